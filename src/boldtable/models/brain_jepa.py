"""Brain-JEPA: parcels × patches as tokens, placed by connectivity gradients (arXiv 2409.19407).

To the constants of the authors' code. Every parcel's window is cut into patches of frames; each becomes a token whose
position is its time (sine-cosine) and its parcel's place in the functional connectome (a learned map of the
diffusion-map components, see `boldtable.gradients`).
Nothing is bound to one atlas or length: places follow the gradients given, times follow the patches of the window.
Tokens of parcels or patches without data are left out of attention and of the mean: their values reach no feature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from boldtable.errors import SettingsError, nearest
from boldtable.models.base import InputSpec, checked_fields
from boldtable.models.brain_jepa_layers import (
    EPS,
    STD,
    GradientPositions,
    attended,
    check_width,
    initialise,
    jepa_blocks,
    rows_of,
    through,
    tokens_at,
)

# width, depth, heads of the encoder, then width and depth of the predictor; small, base and large are published.
SIZES: dict[str, tuple[int, int, int, int, int]] = {
    "tiny": (96, 2, 3, 48, 2),
    "small": (384, 12, 6, 192, 6),
    "base": (768, 12, 12, 384, 6),
    "large": (1024, 24, 16, 384, 6),
}


@dataclass(frozen=True)
class BrainJepaConfig:
    """The architecture of the encoder; windows of other lengths than `window_frames` are taken too."""

    n_parcels: int
    window_frames: int = 160
    patch_frames: int = 16
    n_components: int = 30
    width: int = 768
    depth: int = 12
    heads: int = 12

    def __post_init__(self) -> None:
        for name in ("n_parcels", "patch_frames", "n_components", "depth"):
            if getattr(self, name) < 1:
                raise SettingsError(f"brain-jepa: {name} {getattr(self, name)} must be at least 1")
        if self.window_frames < 1 or self.window_frames % self.patch_frames:
            raise SettingsError(
                f"brain-jepa: window_frames {self.window_frames} must be a multiple of patch_frames {self.patch_frames}"
            )
        check_width(self.width, self.heads)

    @property
    def n_patches(self) -> int:
        """Patches in one window."""
        return self.window_frames // self.patch_frames

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read back `to_dict`; a missing or unknown key raises `InputError` naming it."""
        return cls(**checked_fields(cls, values, "brain-jepa architecture"))


def brain_jepa_config(
    size: str, n_parcels: int, window_frames: int = 160, patch_frames: int = 16, n_components: int = 30
) -> BrainJepaConfig:
    """Return the architecture of a size: ``tiny`` (96/2/3), ``small`` (384/12/6), ``base`` (768/12/12) or ``large``.

    An unknown size raises `SettingsError`.
    """
    if size not in SIZES:
        raise SettingsError(f"brain-jepa: unknown size '{size}'{nearest(size, SIZES)}")
    width, depth, heads = SIZES[size][:3]
    return BrainJepaConfig(n_parcels, window_frames, patch_frames, n_components, width, depth, heads)


class BrainJepa(nn.Module):
    """The encoder. Windows (batch, parcel, frame) in, tokens (batch, parcel·patch, width) out; there is no CLS token.

    Token ``parcel * n_patches + patch`` belongs to that parcel and patch. A last patch that is cut short is filled with
    zeros. `gradients` (parcel, component) is kept with the weights. `spare_memory` computes activations twice instead
    of keeping them for the backward pass (activation checkpointing); it changes no number.
    """

    kind: ClassVar[str] = "brain-jepa"
    gradients: Tensor

    def __init__(self, config: BrainJepaConfig, spec: InputSpec, gradients: Tensor | None = None) -> None:
        super().__init__()
        self.config, self.spec, self.spare_memory = config, spec, False
        shape = (config.n_parcels, config.n_components)
        if gradients is not None and tuple(gradients.shape) != shape:
            raise SettingsError(f"brain-jepa: gradients of shape {tuple(gradients.shape)}, expected {shape}")
        self.patch = nn.Linear(config.patch_frames, config.width)
        self.positions = GradientPositions(config.width, config.n_components)
        self.blocks = jepa_blocks(config.width, config.heads, config.depth)
        self.norm = nn.LayerNorm(config.width, eps=EPS)
        self.register_buffer("gradients", torch.zeros(shape) if gradients is None else gradients.float().clone())
        initialise(self)

    @classmethod
    def from_config(cls, architecture: Mapping[str, Any], spec: InputSpec) -> Self:
        """Return an encoder of this architecture (`BrainJepaConfig.to_dict`) with random weights."""
        return cls(BrainJepaConfig.from_dict(architecture), spec)

    @property
    def n_features(self) -> int:
        """Length of the feature vector: the width."""
        return self.config.width

    def forward(
        self,
        x: Tensor,
        kept: Tensor | None = None,
        parcel_mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the tokens after the last normalisation, (batch, token, width).

        `kept` (batch, kept token) chooses the tokens of each window that are read, by their places; None reads all.
        `parcel_mask` (batch, parcel) and `frame_mask` (batch, frame) are True where a value is present; None means all.
        """
        present = self.present(parcel_mask, frame_mask, x.shape[-1])
        if kept is not None and present is not None:
            present = present.expand(len(kept), -1).gather(1, kept)
        return self.encode(self.patches(x, parcel_mask, frame_mask), kept, present)

    def patches(self, x: Tensor, parcel_mask: Tensor | None = None, frame_mask: Tensor | None = None) -> Tensor:
        """Return the windows cut into patches, (batch, parcel·patch, frame of a patch); absent values count as 0."""
        if parcel_mask is not None:
            x = torch.where(parcel_mask[:, :, None], x, 0.0)
        if frame_mask is not None:
            x = torch.where(frame_mask[:, None, :], x, 0.0)
        missing = -x.shape[-1] % self.config.patch_frames
        if missing:
            x = functional.pad(x, (0, missing))
        return x.to(self.norm.weight.dtype).reshape(len(x), -1, self.config.patch_frames)

    def present(self, parcel_mask: Tensor | None, frame_mask: Tensor | None, n_frames: int) -> Tensor | None:
        """Return which tokens have data, (batch, parcel·patch) bool; None if all do.

        A token has data if its parcel and any of its patch's frames are present.
        """
        if parcel_mask is None and frame_mask is None:
            return None
        frames, n_parcels = self.config.patch_frames, self.config.n_parcels
        shape = (1, n_parcels, -(-n_frames // frames))
        present = torch.ones(shape, dtype=torch.bool, device=self.gradients.device)
        if parcel_mask is not None:
            present = present & parcel_mask[:, :, None]
        if frame_mask is not None:
            patches = functional.pad(frame_mask, (0, -n_frames % frames)).view(len(frame_mask), -1, frames).any(dim=-1)
            present = present & patches[:, None, :]
        return present.flatten(1)

    def encode(self, patches: Tensor, kept: Tensor | None = None, present: Tensor | None = None) -> Tensor:
        """Return the final tokens of `patches`, or of those `kept`; the same tokens' `present` says which have data."""
        n_patches = patches.shape[1] // self.config.n_parcels
        positions = self.positions(self.gradients, n_patches).flatten(0, 1)
        if kept is not None:
            patches = tokens_at(patches, kept)
            positions = rows_of(positions, kept)
        keys = attended(present, len(patches))
        x = self.patch(patches) + positions
        return self.norm(through(self.blocks, x, keys, None, self.spare_memory))  # type: ignore[no-any-return]

    def pool(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Return features (batch, width): the mean over the tokens that are present."""
        if present is None:
            return tokens.mean(dim=1)
        weight = present.to(tokens.dtype)[..., None]
        return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)

    def embed(self, x: Tensor, parcel_mask: Tensor | None = None, frame_mask: Tensor | None = None) -> Tensor:
        """Return features (window, width): the mean over all tokens with data, as the authors read their encoder.

        `x` is (window, parcel, frame), masks are True where a value is present; absent values (NaN too) have no
        influence. A window without any data gives zeros.
        """
        present = self.present(parcel_mask, frame_mask, x.shape[-1])
        if present is not None and bool(present.all()):
            present = None  # attention without a mask takes the faster kernel
        return self.pool(self.encode(self.patches(x, parcel_mask, frame_mask), None, present), present)


class Predictor(nn.Module):
    """From the tokens of a context to what the target encoder says elsewhere: a narrow transformer with mask tokens."""

    def __init__(self, config: BrainJepaConfig, width: int, depth: int) -> None:
        super().__init__()
        check_width(width, config.heads)
        self.spare_memory = False
        self.embed = nn.Linear(config.width, width)
        self.positions = GradientPositions(width, config.n_components)
        self.mask_token = nn.Parameter(torch.empty(1, width))
        nn.init.trunc_normal_(self.mask_token, std=STD)
        self.blocks = jepa_blocks(width, config.heads, depth)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.project = nn.Linear(width, config.width)
        initialise(self)

    def forward(
        self, context: Tensor, kept: Tensor, targets: Tensor, positions: Tensor, keys: Tensor | None = None
    ) -> Tensor:
        """Return predictions (batch, target, width of the encoder).

        `context` (batch, kept, width) are the encoder's tokens at the places `kept` (batch, kept), `targets` (batch,
        target) the places to predict, `positions` (token, width of the predictor) those of all tokens. `keys` (batch,
        target + kept), targets first, is True for what may be attended to.
        """
        wanted = self.mask_token + rows_of(positions, targets)
        # Targets first: of the last block they alone are computed.
        x = torch.cat([wanted, self.embed(context) + rows_of(positions, kept)], dim=1)
        x = through(self.blocks, x, keys, targets.shape[1], self.spare_memory)
        return self.project(self.norm(x))  # type: ignore[no-any-return]
