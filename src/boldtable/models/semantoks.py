"""Brain-Semantoks: networks of parcels as tokens (arXiv 2512.11582), to the constants of the authors' code.

Input windows are cut into patches of frames; each functional network becomes one token per patch; a transformer with a
CLS token reads them all. Parcels or patches without data are masked: their values cannot reach any feature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from boldtable.errors import SettingsError, nearest
from boldtable.models.base import InputSpec, checked_fields
from boldtable.models.layers import Block, Rows, sincos_positions, varying
from boldtable.models.tokenizers import NetworkTokenizers, ParcelTokenizer

TokenizerKind = Literal["network", "single", "parcel-linear"]
Pooling = Literal["cls_avg", "cls", "avg"]

# width, depth, heads: base is the published model, small trains on one workstation, tiny runs on a laptop's CPU.
SIZES: dict[str, tuple[int, int, int]] = {"tiny": (96, 2, 3), "small": (384, 6, 6), "base": (768, 8, 12)}


@dataclass(frozen=True)
class SemantoksConfig:
    """The architecture. `networks` holds one network name per parcel; any grouping works, in any parcel order.

    Tokenizer ``network`` gives one token per network and patch, ``single`` puts every parcel in one network,
    ``parcel-linear`` gives one token per parcel and patch by a linear map (the ablation that collapses).
    Pooling ``cls_avg`` is the mean of the tokens followed by CLS, as published; ``cls`` and ``avg`` are its halves.
    """

    networks: tuple[str, ...]
    window_frames: int = 100
    patch_frames: int = 20
    width: int = 768
    depth: int = 8
    heads: int = 12
    tokenizer: TokenizerKind = "network"
    pooling: Pooling = "cls_avg"
    layer_scale: float = 0.1

    def __post_init__(self) -> None:
        if not self.networks:
            raise SettingsError("semantoks: no parcels; give one network name per parcel")
        if self.patch_frames < 1 or self.window_frames % self.patch_frames or self.window_frames < 1:
            raise SettingsError(
                f"semantoks: window_frames {self.window_frames} must be a multiple of patch_frames {self.patch_frames}"
            )
        if self.width % (2 * self.heads):
            raise SettingsError(f"semantoks: width {self.width} must be a multiple of twice the heads ({self.heads})")
        for value, known in ((self.tokenizer, TokenizerKind), (self.pooling, Pooling)):
            if value not in get_args(known):
                raise SettingsError(f"semantoks: unknown choice '{value}'{nearest(value, get_args(known))}")

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Parcel indices of each token row: networks in the order in which they first appear in `networks`."""
        if self.tokenizer == "parcel-linear":
            return tuple((index,) for index in range(len(self.networks)))
        if self.tokenizer == "single":
            return (tuple(range(len(self.networks))),)
        members: dict[str, list[int]] = {}
        for index, name in enumerate(self.networks):
            members.setdefault(name, []).append(index)
        return tuple(tuple(indices) for indices in members.values())

    @property
    def n_patches(self) -> int:
        """Patches in one window."""
        return self.window_frames // self.patch_frames

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and texts, ready for JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read back `to_dict`; a missing or unknown key raises `InputError` naming it."""
        return cls(**checked_fields(cls, values, "semantoks architecture"))


def semantoks_config(
    size: str,
    networks: Sequence[str],
    window_frames: int = 100,
    patch_frames: int = 20,
    tokenizer: TokenizerKind = "network",
    pooling: Pooling = "cls_avg",
) -> SemantoksConfig:
    """Return the architecture of a size: ``tiny`` (96/2/3), ``small`` (384/6/6) or ``base`` (768/8/12, published).

    `networks` is the network name of every parcel, in parcel order. An unknown size raises `SettingsError`.
    """
    if size not in SIZES:
        raise SettingsError(f"semantoks: unknown size '{size}'{nearest(size, SIZES)}")
    width, depth, heads = SIZES[size]
    return SemantoksConfig(
        tuple(networks), window_frames, patch_frames, width, depth, heads, tokenizer=tokenizer, pooling=pooling
    )


class Semantoks(nn.Module):
    """The encoder. Tensors are (batch, parcel, frame) in, (batch, 1 + network·patch, width) out, CLS first.

    Token ``1 + network * n_patches + patch`` belongs to that network and patch. A window may have any number of
    frames; a last patch that is cut short is filled with zeros (zero is the mean of a normalised signal).
    """

    kind: ClassVar[str] = "semantoks"
    member: Tensor

    def __init__(self, config: SemantoksConfig, spec: InputSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        width, n_networks = config.width, len(config.groups)
        linear = config.tokenizer == "parcel-linear"
        self.tokenizer: nn.Module = (
            ParcelTokenizer(config.patch_frames, width) if linear else NetworkTokenizers(config.groups, width)
        )
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.cls_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.network_embedding = nn.Parameter(torch.empty(n_networks, width).normal_(std=0.02))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, 4 * width, layer_scale=config.layer_scale) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        member = torch.zeros(len(config.networks), n_networks)
        for column, parcels in enumerate(config.groups):
            member[list(parcels), column] = 1.0
        self.register_buffer("member", member, persistent=False)

    @classmethod
    def from_config(cls, architecture: Mapping[str, Any], spec: InputSpec) -> Self:
        """Return an encoder of this architecture (`SemantoksConfig.to_dict`) with random weights."""
        return cls(SemantoksConfig.from_dict(architecture), spec)

    @property
    def n_features(self) -> int:
        """Length of the feature vector: 2 x width for ``cls_avg``, else width."""
        return self.config.width * (2 if self.config.pooling == "cls_avg" else 1)

    def forward(
        self,
        x: Tensor,
        token_mask: Tensor | None = None,
        parcel_mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
        rows: Rows = None,
    ) -> Tensor:
        """Return the tokens after the last normalisation, (batch, 1 + network·patch, width), CLS first.

        `token_mask` (batch, network, patch) is True where a token is hidden behind the mask token; `parcel_mask`
        (batch, parcel) and `frame_mask` (batch, frame) are True where a value is present; None means all present.
        With `rows` only those tokens are returned, as `layers.pick` does, and the last block is spared the others.
        """
        # What is hidden need not be computed, but its number changes: a GPU would wait for it, a compiler start again.
        spare = token_mask is not None and varying(x)
        tokens = self.tokenize(x, parcel_mask, frame_mask, token_mask if spare else None)
        return self.encode(tokens, token_mask, self.present(parcel_mask, frame_mask, x.shape[-1]), rows)

    def tokenize(
        self,
        x: Tensor,
        parcel_mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Return the tokens (batch, network, patch, width) before masks and positions; absent values count as 0.

        Tokens that are `hidden` (batch, network, patch) are left out: what stands in their place is not defined.
        """
        series = x.transpose(1, 2)
        if parcel_mask is not None:
            series = torch.where(parcel_mask[:, None, :], series, 0.0)
        if frame_mask is not None:
            series = torch.where(frame_mask[:, :, None], series, 0.0)
        missing = -series.shape[1] % self.config.patch_frames
        if missing:
            series = functional.pad(series, (0, 0, 0, missing))
        patches = series.to(self.cls_token.dtype).reshape(len(x), -1, self.config.patch_frames, x.shape[1])
        return self.tokenizer(patches, hidden)  # type: ignore[no-any-return]

    def present(self, parcel_mask: Tensor | None, frame_mask: Tensor | None, n_frames: int) -> Tensor | None:
        """Return which tokens have data, (batch, network, patch) bool; None if all do.

        A token has data if any of its network's parcels and any of its patch's frames are present.
        """
        if parcel_mask is None and frame_mask is None:
            return None
        frames = self.config.patch_frames
        shape = (1, len(self.config.groups), -(-n_frames // frames))
        present = torch.ones(shape, dtype=torch.bool, device=self.cls_token.device)
        if parcel_mask is not None:
            present = present & ((parcel_mask.to(self.member.dtype) @ self.member) > 0)[:, :, None]
        if frame_mask is not None:
            patches = functional.pad(frame_mask, (0, -n_frames % frames)).view(len(frame_mask), -1, frames).any(dim=-1)
            present = present & patches[:, None, :]
        return present

    def encode(
        self, tokens: Tensor, token_mask: Tensor | None = None, present: Tensor | None = None, rows: Rows = None
    ) -> Tensor:
        """Return the final tokens for the tokenizer's `tokens`; tokens not `present` are never attended to."""
        batch, _, n_patches, width = tokens.shape
        if token_mask is not None:
            tokens = torch.where(token_mask[..., None], self.mask_token.to(tokens.dtype), tokens)
        times = sincos_positions(n_patches, width, tokens.device)
        tokens = tokens + (self.network_embedding[:, None, :] + times)
        x = torch.cat([self.cls_token.expand(batch, 1, width), tokens.flatten(1, 2)], dim=1)
        # CLS may always be attended to, so a window without any data still gives finite features.
        keys = None if present is None else functional.pad(present.flatten(1).expand(batch, -1), (1, 0), value=True)
        for block in self.blocks[:-1]:
            x = block(x, keys)
        return self.norm(self.blocks[-1](x, keys, rows))  # type: ignore[no-any-return]

    def pool(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Return features (batch, feature) from final tokens: the mean over tokens that are present, then CLS."""
        cls, rest = tokens[:, 0], tokens[:, 1:]
        if self.config.pooling == "cls":
            return cls
        if present is None:
            mean = rest.mean(dim=1)
        else:
            weight = present.flatten(1).to(rest.dtype)[..., None]
            mean = (rest * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        return mean if self.config.pooling == "avg" else torch.cat([mean, cls], dim=-1)

    def embed(self, x: Tensor, parcel_mask: Tensor | None = None, frame_mask: Tensor | None = None) -> Tensor:
        """Return features (window, feature); for ``cls_avg`` the token mean comes first, then CLS.

        `x` is (window, parcel, frame), masks are True where a value is present. Absent values (NaN too) have no
        influence; tokens without data are left out of attention and of the mean.
        """
        present = self.present(parcel_mask, frame_mask, x.shape[-1])
        tokens = self.encode(self.tokenize(x, parcel_mask, frame_mask), None, present)
        return self.pool(tokens, present)

    def embed_shown(self, x: Tensor, parcel_mask: Tensor, frame_mask: Tensor, shown: Tensor) -> Tensor:
        """Return features as `embed` does, from the parcels `shown` (parcel,) alone: the others are hidden, not absent.

        A token with data but no shown parcel is replaced by the mask token, as in training, so that the encoder knows
        that something is there; it is left out of the mean. A hidden parcel of another token counts as absent.
        """
        visible = parcel_mask & shown
        present, seen = (self.present(mask, frame_mask, x.shape[-1]) for mask in (parcel_mask, visible))
        assert present is not None  # as the masks are given
        assert seen is not None
        tokens = self.encode(self.tokenize(x, visible, frame_mask), present & ~seen, present)
        return self.pool(tokens, seen)
