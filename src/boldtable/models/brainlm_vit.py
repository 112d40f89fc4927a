"""BrainLM's 111 M and 650 M classes: a window as an image, read by the masked autoencoder of He et al. (2022).

The image has a row per parcel, sorted by the parcel's MNI y coordinate, and a column per frame. Values are divided by
the authors' constant, repeated over three channels and padded with -1 on all sides to a square (432 x 432 in patches of
16, or 434 x 434 in patches of 14). The transformer is that of ViT-MAE: pre-norm, fixed positions, LN eps 1e-12.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from boldtable.errors import InputError, SettingsError, nearest
from boldtable.models.base import InputSpec, checked_fields
from boldtable.models.brainlm import Drop, Pooling
from boldtable.models.brainlm_layers import EPS, pooled, through
from boldtable.models.layers import Block, sincos_positions

CHANNELS, PADDING = 3, -1.0
# The largest value of the authors' training data; their images are signals divided by it.
SCALE = 5.6430855


@dataclass(frozen=True)
class ImageConfig:
    """The architecture. `norm_pixels`: the decoder was trained on patches brought to mean 0 and variance 1 each."""

    n_parcels: int
    image_size: int
    patch: int
    width: int
    depth: int
    heads: int
    hidden: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    decoder_hidden: int
    scale: float = SCALE
    norm_pixels: bool = False
    pooling: Pooling = "cls"

    def __post_init__(self) -> None:
        if self.image_size % self.patch:
            raise SettingsError(f"brainlm images: image_size {self.image_size} is no multiple of patch {self.patch}")
        if self.n_parcels > self.image_size:
            raise SettingsError(f"brainlm images: {self.n_parcels} parcels do not fit into {self.image_size} rows")
        for width, heads in ((self.width, self.heads), (self.decoder_width, self.decoder_heads)):
            if width % heads or width % 4:
                raise SettingsError(f"brainlm images: width {width} must be a multiple of 4 and of the heads ({heads})")
        if self.pooling not in get_args(Pooling):
            raise SettingsError(
                f"brainlm images: unknown pooling '{self.pooling}'{nearest(self.pooling, get_args(Pooling))}"
            )

    @property
    def grid(self) -> int:
        """Patches along one side of the image."""
        return self.image_size // self.patch

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read back `to_dict`; a missing or unknown key raises `InputError` naming it."""
        return cls(**checked_fields(cls, values, "brainlm-images architecture"))


class ImageDecoder(nn.Module):
    """From the tokens that were kept back to the pixels of all of them."""

    positions: Tensor

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.embed = nn.Linear(config.width, width)
        self.register_buffer("positions", square_positions(config.grid, width))
        self.blocks = nn.ModuleList(
            Block(width, config.decoder_heads, config.decoder_hidden, qkv_bias=True, eps=EPS)
            for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.pixels = nn.Linear(width, config.patch**2 * CHANNELS)


class BrainLMImages(nn.Module):
    """Encoder and decoder over the patches of the image, row by row; CLS comes first.

    The parcels' positions (parcel, 3; mm), of which y orders the rows, are a buffer of the model: pass them where it is
    made, or load them with its weights. Features are deterministic: no token is hidden, and the order of the tokens
    does not matter to this transformer.
    """

    kind: ClassVar[str] = "brainlm-images"
    coordinates: Tensor
    positions: Tensor

    def __init__(self, config: ImageConfig, spec: InputSpec, coordinates: Tensor | None = None) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.spare_memory = False  # whether activations are computed again in the backward pass
        self.register_buffer(
            "coordinates", torch.zeros(config.n_parcels, 3) if coordinates is None else coordinates.float()
        )
        self.cls_token = nn.Parameter(torch.empty(config.width).normal_(std=0.02))
        self.register_buffer("positions", square_positions(config.grid, config.width))
        self.patches = nn.Conv2d(CHANNELS, config.width, config.patch, stride=config.patch)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.hidden, qkv_bias=True, eps=EPS) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=EPS)
        self.decoder = ImageDecoder(config)

    @classmethod
    def from_config(cls, architecture: Mapping[str, Any], spec: InputSpec) -> Self:
        """Return the model that a folder describes, before its weights are read."""
        return cls(ImageConfig.from_dict(architecture), spec)

    @property
    def n_tokens(self) -> int:
        """Tokens of one window, without CLS."""
        return self.config.grid**2

    @property
    def n_features(self) -> int:
        """Length of the feature vector: 2 x width for ``cls_avg``, else width."""
        return self.config.width * (2 if self.config.pooling == "cls_avg" else 1)

    @property
    def order(self) -> Tensor:
        """The parcel (image row,) of every row: from back to front, parcels of one y in the order of the atlas."""
        return self.coordinates[:, 1].argsort(stable=True)

    def image(self, x: Tensor, parcel_mask: Tensor | None = None, frame_mask: Tensor | None = None) -> Tensor:
        """Return the image (batch, row, column) of `x` (batch, parcel, frame), one channel of three that are alike.

        Absent values are 0, which is the median of a scaled signal. Raises `InputError` where there are more frames
        than columns.
        """
        if parcel_mask is not None:
            x = torch.where(parcel_mask[:, :, None], x, 0.0)
        if frame_mask is not None:
            x = torch.where(frame_mask[:, None, :], x, 0.0)
        scaled = x.to(self.cls_token.dtype)[:, self.order] / self.config.scale
        return functional.pad(scaled, self._margins(x.shape[-1]), value=PADDING)

    def _margins(self, n_frames: int) -> tuple[int, int, int, int]:
        """Columns before and after, rows above and below; where they are odd, the larger part comes after."""
        free = self.config.image_size - n_frames
        if free < 0:
            raise InputError(
                f"a window of {n_frames} frames does not fit into an image of {self.config.image_size} columns: "
                "set window_frames lower"
            )
        rows = self.config.image_size - self.config.n_parcels
        return free // 2, free - free // 2, rows // 2, rows - rows // 2

    def tokenize(self, x: Tensor, parcel_mask: Tensor | None = None, frame_mask: Tensor | None = None) -> Tensor:
        """Return the tokens with their positions, (batch, patch, width); see `image`."""
        image = self.image(x, parcel_mask, frame_mask)
        patches = self.patches(image[:, None].expand(-1, CHANNELS, -1, -1)).flatten(2).transpose(1, 2)
        return patches + self.positions[1:]  # type: ignore[no-any-return]

    def present(self, parcel_mask: Tensor | None, frame_mask: Tensor | None, n_frames: int) -> Tensor | None:
        """Return which tokens may be read, (batch, patch) bool; None if all may.

        A patch of the image's margin may: it says nothing, and the model knows it. One that touches the signal may if
        any of its values is present.
        """
        if parcel_mask is None and frame_mask is None:
            return None
        device = self.coordinates.device
        rows = torch.ones(1, self.config.n_parcels, dtype=torch.bool, device=device)
        columns = torch.ones(1, n_frames, dtype=torch.bool, device=device)
        touched = self._any(rows, columns)
        rows = rows if parcel_mask is None else parcel_mask[:, self.order]
        columns = columns if frame_mask is None else frame_mask
        return self._any(rows, columns) | ~touched

    def _any(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Which patches (batch, patch) hold a value of one of the rows (batch, row) and columns (batch, column)."""
        before, after, above, below = self._margins(columns.shape[-1])
        size = self.config.patch
        high = functional.pad(rows, (above, below)).view(len(rows), -1, size).any(dim=-1)
        wide = functional.pad(columns, (before, after)).view(len(columns), -1, size).any(dim=-1)
        return (high[:, :, None] & wide[:, None, :]).flatten(1)

    def encode(self, tokens: Tensor, keys: Tensor | None = None, rows: int | None = None) -> Tensor:
        """Return the final tokens, CLS first, (batch, 1 + token, width), of the first `rows` alone where given.

        `keys` (batch, token) is True for those that may be read.
        """
        cls = self.cls_token + self.positions[0]
        return self.norm(through(self.blocks, cls, tokens, keys, rows, self.spare_memory))  # type: ignore[no-any-return]

    def decode(
        self, latent: Tensor, places: Tensor, n_frames: int, keys: Tensor | None = None, drop: Drop = None
    ) -> Tensor:
        """Return the signal (batch, parcel, frame) of all tokens from the final ones that were kept; see `pixels`.

        The three channels are averaged and scaled back. Raises `InputError` where the decoder knows no scale.
        """
        if self.config.norm_pixels:
            raise InputError("these weights reconstruct patches of mean 0 and variance 1 each: the signal is not known")
        pixels = self.pixels(latent, places, keys, drop)
        size, grid = self.config.patch, self.config.grid
        image = pixels.view(len(pixels), grid, grid, size, size, CHANNELS).mean(dim=-1).transpose(2, 3)
        return self._signal(image.reshape(len(pixels), grid * size, -1), n_frames) * self.config.scale

    def pixels(self, latent: Tensor, places: Tensor, keys: Tensor | None = None, drop: Drop = None) -> Tensor:
        """Return the pixels (batch, patch, row·column·channel) of all patches from the tokens kept, CLS first.

        `places` (batch, kept) says which token each of them is; one past the last where it is none.
        """
        decoder = self.decoder
        known = decoder.embed(latent)
        blank = decoder.mask_token.to(known.dtype).expand(len(known), self.config.grid**2 + 1, -1)
        tokens = blank.scatter(1, places[..., None].expand(-1, -1, known.shape[-1]), known[:, 1:])[:, :-1]
        tokens = tokens + decoder.positions[1:]
        tokens = tokens if drop is None else drop(tokens)
        found = through(decoder.blocks, known[:, :1] + decoder.positions[0], tokens, keys, None, self.spare_memory)
        return decoder.pixels(decoder.norm(found)[:, 1:])  # type: ignore[no-any-return]

    def within(self, tokens: Tensor, n_frames: int) -> Tensor:
        """Return, for a value of each token (batch, patch), that of every frame, (batch, parcel, frame)."""
        size, grid = self.config.patch, self.config.grid
        image = tokens.view(len(tokens), grid, grid).repeat_interleave(size, dim=1).repeat_interleave(size, dim=2)
        return self._signal(image, n_frames)

    def _signal(self, image: Tensor, n_frames: int) -> Tensor:
        """(batch, row, column) → (batch, parcel, frame): without its margins, rows in the order of the atlas."""
        before, _, above, _ = self._margins(n_frames)
        rows = image[:, above : above + self.config.n_parcels, before : before + n_frames]
        return rows[:, self.order.argsort()]

    def embed(self, x: Tensor, parcel_mask: Tensor | None = None, frame_mask: Tensor | None = None) -> Tensor:
        """Return features (window, feature), none of the tokens hidden.

        `x` is (window, parcel, frame), masks are True where a value is present. Absent values (NaN too) have no
        influence; patches of which no value is present are left out of attention and mean.
        """
        keys = self.present(parcel_mask, frame_mask, x.shape[-1])
        rows = 1 if self.config.pooling == "cls" else None
        tokens = self.encode(self.tokenize(x, parcel_mask, frame_mask), keys, rows)
        return pooled(self.config.pooling, tokens, keys)


def square_positions(grid: int, width: int) -> Tensor:
    """Return fixed positions (1 + grid², width) of the patches of a square, row by row, CLS (zeros) first.

    Column in the first half of the width, row in the second, each as `sincos_positions`.
    """
    along = sincos_positions(grid, width // 2)
    columns, rows = along.repeat(grid, 1), along.repeat_interleave(grid, dim=0)
    return torch.cat([torch.zeros(1, width), torch.cat([columns, rows], dim=1)])
