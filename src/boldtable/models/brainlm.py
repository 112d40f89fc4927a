"""BrainLM, the 13 M class: a masked autoencoder over parcels and patches (Ortega Caro et al., ICLR 2024).

One token per parcel and patch of frames: a linear map of the patch, plus a linear map of the parcel's position (MNI,
mm), plus a sine-cosine position of the patch. The transformer layers are those of the authors' configuration of
Nyströmformer (Xiong et al. 2021) where it does not approximate: exact softmax attention plus a depthwise convolution of
the values over the token axis, post-norm.

That convolution sees the order of the tokens. The authors' code shuffles tokens even where none is hidden, so their
features depend on random noise. Here features are deterministic: `embed` reads the tokens parcel by parcel in the order
of the atlas, patches of a parcel one after the other. It is the order the decoder was trained in, and the only one that
a data set defines; the numbers of the released model differ from call to call around it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from boldtable.errors import SettingsError, nearest
from boldtable.models.base import InputSpec, checked_fields
from boldtable.models.brainlm_layers import EPS, PostNormBlock, interleaved_positions, pooled, through

Drop = Callable[[Tensor], Tensor] | None
Pooling = Literal["cls", "avg", "cls_avg"]

# width, depth, heads, hidden, depth of the decoder: base is the published 13 M class, tiny runs on a laptop's CPU.
SIZES: dict[str, tuple[int, int, int, int, int]] = {
    "tiny": (64, 2, 2, 128, 1),
    "small": (256, 4, 4, 1024, 2),
    "base": (512, 4, 4, 1024, 2),
}


@dataclass(frozen=True)
class BrainLMConfig:
    """The architecture. The decoder is as wide as the encoder: both add positions of the same width.

    Pooling ``cls`` is the summary token, as published; ``avg`` the mean of the other tokens, ``cls_avg`` that mean
    followed by the summary token.
    """

    n_parcels: int
    window_frames: int = 200
    patch_frames: int = 20
    width: int = 512
    depth: int = 4
    heads: int = 4
    hidden: int = 1024
    decoder_depth: int = 2
    decoder_heads: int = 4
    decoder_hidden: int = 1024
    pooling: Pooling = "cls"

    def __post_init__(self) -> None:
        if self.patch_frames < 1 or self.window_frames < 1 or self.window_frames % self.patch_frames:
            raise SettingsError(
                f"brainlm: window_frames {self.window_frames} must be a multiple of patch_frames {self.patch_frames}"
            )
        for heads in (self.heads, self.decoder_heads):
            if self.width % (2 * heads):
                raise SettingsError(f"brainlm: width {self.width} must be a multiple of twice the heads ({heads})")
        if self.pooling not in get_args(Pooling):
            raise SettingsError(f"brainlm: unknown pooling '{self.pooling}'{nearest(self.pooling, get_args(Pooling))}")

    @property
    def n_patches(self) -> int:
        """Patches of a parcel in one window."""
        return self.window_frames // self.patch_frames

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read back `to_dict`; a missing or unknown key raises `InputError` naming it."""
        return cls(**checked_fields(cls, values, "brainlm architecture"))


def brainlm_config(
    size: str, n_parcels: int, window_frames: int = 200, patch_frames: int = 20, pooling: Pooling = "cls"
) -> BrainLMConfig:
    """Return the architecture of a size: ``tiny`` (64/2/2), ``small`` (256/4/4) or ``base`` (512/4/4, published).

    An unknown size raises `SettingsError`.
    """
    if size not in SIZES:
        raise SettingsError(f"brainlm: unknown size '{size}'{nearest(size, SIZES)}")
    width, depth, heads, hidden, decoder_depth = SIZES[size]
    return BrainLMConfig(
        n_parcels, window_frames, patch_frames, width, depth, heads, hidden, decoder_depth, heads, hidden, pooling
    )


class BrainLMDecoder(nn.Module):
    """From the tokens that were kept back to the signal of all of them."""

    def __init__(self, config: BrainLMConfig) -> None:
        super().__init__()
        width = config.width
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.embed = nn.Linear(width, width)
        self.position = nn.Linear(3, width)
        self.blocks = nn.ModuleList(
            PostNormBlock(width, config.decoder_heads, config.decoder_hidden) for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.signal = nn.Sequential(
            nn.Linear(width, width // 2), nn.LeakyReLU(0.1), nn.Linear(width // 2, config.patch_frames)
        )


class BrainLM(nn.Module):
    """Encoder and decoder. Token ``parcel * n_patches + patch`` belongs to that parcel and patch; CLS comes first.

    A window may have any number of frames; a last patch that is cut short is filled with zeros. The convolution counts
    tokens, so a run that is shorter than the windows of the training is better padded, and its padding masked. The
    parcels' positions (parcel, 3; mm) are a buffer: pass them where the model is made, or load them with its weights.
    """

    kind: ClassVar[str] = "brainlm"
    coordinates: Tensor

    def __init__(self, config: BrainLMConfig, spec: InputSpec, coordinates: Tensor | None = None) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.spare_memory = False  # whether activations are computed again in the backward pass
        self.register_buffer(
            "coordinates", torch.zeros(config.n_parcels, 3) if coordinates is None else coordinates.float()
        )
        width = config.width
        self.cls_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.signal = nn.Linear(config.patch_frames, width)
        self.position = nn.Linear(3, width)
        self.blocks = nn.ModuleList(PostNormBlock(width, config.heads, config.hidden) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.decoder = BrainLMDecoder(config)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    @classmethod
    def from_config(cls, architecture: Mapping[str, Any], spec: InputSpec) -> Self:
        """Return the model that a folder describes, before its weights are read."""
        return cls(BrainLMConfig.from_dict(architecture), spec)

    @property
    def n_tokens(self) -> int:
        """Tokens of one window, without CLS."""
        return self.config.n_parcels * self.config.n_patches

    @property
    def n_features(self) -> int:
        """Length of the feature vector: 2 x width for ``cls_avg``, else width."""
        return self.config.width * (2 if self.config.pooling == "cls_avg" else 1)

    def tokenize(self, x: Tensor, parcel_mask: Tensor | None = None, frame_mask: Tensor | None = None) -> Tensor:
        """Return the tokens with their positions, (batch, parcel·patch, width), for `x` (batch, parcel, frame).

        `parcel_mask` (batch, parcel) and `frame_mask` (batch, frame) are True where a value is present; absent values
        count as 0.
        """
        if parcel_mask is not None:
            x = torch.where(parcel_mask[:, :, None], x, 0.0)
        if frame_mask is not None:
            x = torch.where(frame_mask[:, None, :], x, 0.0)
        x = functional.pad(x, (0, -x.shape[-1] % self.config.patch_frames)).to(self.cls_token.dtype)
        patches = x.reshape(*x.shape[:2], -1, self.config.patch_frames)
        places = self._places(self.position, patches.shape[2])
        return (self.signal(patches) + places).flatten(1, 2)  # type: ignore[no-any-return]

    def _places(self, position: nn.Linear, n_patches: int) -> Tensor:
        """Return the positions in space and time, (parcel, patch, width)."""
        times = interleaved_positions(n_patches, self.config.width, self.coordinates.device)
        return position(self.coordinates)[:, None] + times.to(self.coordinates.dtype)  # type: ignore[no-any-return]

    def present(self, parcel_mask: Tensor | None, frame_mask: Tensor | None, n_frames: int) -> Tensor | None:
        """Return which tokens have data, (batch, parcel·patch) bool; None if all do.

        A token has data if its parcel and any of its patch's frames are present.
        """
        if parcel_mask is None and frame_mask is None:
            return None
        size = self.config.patch_frames
        device = self.coordinates.device
        parcels = torch.ones(1, self.config.n_parcels, dtype=torch.bool, device=device)
        patches = torch.ones(1, -(-n_frames // size), dtype=torch.bool, device=device)
        if parcel_mask is not None:
            parcels = parcel_mask
        if frame_mask is not None:
            patches = functional.pad(frame_mask, (0, -n_frames % size)).view(len(frame_mask), -1, size).any(dim=-1)
        return (parcels[:, :, None] & patches[:, None, :]).flatten(1)

    def encode(self, tokens: Tensor, keys: Tensor | None = None, rows: int | None = None) -> Tensor:
        """Return the final tokens, CLS first, (batch, 1 + token, width), for `tokens` in the order given.

        `keys` (batch, token) is True for those that may be read. With `rows` only the first ones are returned, and the
        last layer is spared the others.
        """
        return self.norm(through(self.blocks, self.cls_token, tokens, keys, rows, self.spare_memory))  # type: ignore[no-any-return]

    def decode(
        self, latent: Tensor, places: Tensor, n_frames: int, keys: Tensor | None = None, drop: Drop = None
    ) -> Tensor:
        """Return the signal (batch, parcel, frame) of all tokens from the final ones that were kept, CLS first.

        `places` (batch, kept) says which token each of them is; one past the last where it is none. `keys`
        (batch, parcel·patch) is True for the tokens that may be read, kept or not; `drop` is what the training does to
        the tokens with their positions.
        """
        decoder, n_patches = self.decoder, -(-n_frames // self.config.patch_frames)
        known = decoder.embed(latent)
        blank = decoder.mask_token.to(known.dtype).expand(len(known), self.config.n_parcels * n_patches + 1, -1)
        tokens = blank.scatter(1, places[..., None].expand(-1, -1, known.shape[-1]), known[:, 1:])[:, :-1]
        tokens = tokens + self._places(decoder.position, n_patches).flatten(0, 1)
        tokens = tokens if drop is None else drop(tokens)
        found = through(decoder.blocks, known[:, :1], tokens, keys, None, self.spare_memory)
        signal: Tensor = decoder.signal(decoder.norm(found)[:, 1:])
        return signal.reshape(len(signal), self.config.n_parcels, -1)[..., :n_frames]

    def within(self, tokens: Tensor, n_frames: int) -> Tensor:
        """Return, for a value of each token (batch, parcel·patch), that of every frame, (batch, parcel, frame)."""
        by_patch = tokens.view(len(tokens), self.config.n_parcels, -1)
        return by_patch.repeat_interleave(self.config.patch_frames, dim=-1)[..., :n_frames]

    def embed(self, x: Tensor, parcel_mask: Tensor | None = None, frame_mask: Tensor | None = None) -> Tensor:
        """Return features (window, feature), none of the tokens hidden, in the order of the atlas (see above).

        `x` is (window, parcel, frame), masks are True where a value is present. Absent values (NaN too) have no
        influence: tokens without data are left out of attention, convolution and mean.
        """
        keys = self.present(parcel_mask, frame_mask, x.shape[-1])
        rows = 1 if self.config.pooling == "cls" else None
        tokens = self.encode(self.tokenize(x, parcel_mask, frame_mask), keys, rows)
        return pooled(self.config.pooling, tokens, keys)
