"""Brain-JEPA's spatiotemporal masks (arXiv 2409.19407): what the encoder sees of a window, and what it must predict.

An observation block (random parcels, consecutive patches) is what the context is taken from. Targets lie in three
regions: Cross-ROI (other parcels, times of the observation), Cross-Time (parcels of the context, times outside of it)
and Double-Cross (other parcels and other times). Sampling overlaps: targets are drawn first, then every parcel of the
Cross-ROI block and every patch at which side targets lie is taken out of the observation.

Two versions. ``paper`` is the method as it is described. ``code`` is what the released code does, which differs:
the observation never holds the last patch of a window, nor the Cross-ROI block the last one of the observation; the
parcel pools of the side targets are the observed Cross-ROI parcels and all the others, not context and the others; a
token in two regions counts twice; and where windows of a batch are cut to the shortest list, the last parcels of the
context and the left side of the targets are what is lost (here: tokens at random). Left out of ``code``: with all
parcels but one observed, the released code now and then forgets the one that is not.

Drawn for a whole batch at once on the generator's device. Sizes of observation and Cross-ROI block hold for a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Version = Literal["paper", "code"]
Range = tuple[float, float]


@dataclass(frozen=True)
class MaskScales:
    """Shares [low, high) of the parcels or patches that each block takes; the published ones.

    `side_parcels` is the share of either pool of parcels at each side, `side_patches` that of the window's patches.
    """

    observation: Range = (0.84, 1.0)
    cross_parcels: Range = (0.45, 0.6)
    cross_patches: Range = (0.2, 0.6)
    side_parcels: Range = (0.15, 0.3)
    side_patches: Range = (0.0, 0.4)


class Masks(NamedTuple):
    """Places of tokens (``parcel * n_patches + patch``): `context` (batch, kept) and `targets` (batch, target)."""

    context: Tensor
    targets: Tensor


class Blocks(NamedTuple):
    """What is drawn for each window: parcels (batch, parcel) and patches (batch, patch), True where in the block.

    `observed` and `cross` are the observation and the Cross-ROI block, `sides` the right and the left side.
    """

    observed: tuple[Tensor, Tensor]
    cross: tuple[Tensor, Tensor]
    sides: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def draw_masks(
    batch: int,
    n_parcels: int,
    n_patches: int,
    generator: torch.Generator,
    version: Version,
    scales: MaskScales | None = None,
) -> Masks:
    """Return the masks of a batch; all windows have as many context tokens, and as many targets, as the poorest one.

    Raises `ValueError` with fewer than four parcels, where a context could be empty.
    """
    if n_parcels < 4:
        raise ValueError(f"spatiotemporal masks need at least 4 parcels, found {n_parcels}")
    blocks = draw_blocks(batch, n_parcels, n_patches, generator, version, scales or MaskScales())
    return compose(blocks, version, generator)


def draw_blocks(
    batch: int, n_parcels: int, n_patches: int, generator: torch.Generator, version: Version, scales: MaskScales
) -> Blocks:
    """Draw parcels and patches of every block; sizes in the authors' order: Cross-ROI, observation, then the sides."""
    n_cross = (_one(n_parcels, scales.cross_parcels, generator), _one(n_patches, scales.cross_patches, generator))
    n_observed = (_one(n_parcels, scales.observation, generator), _one(n_patches, scales.observation, generator))
    last = 0 if version == "code" else 1  # the authors' upper bound of a start is never drawn
    observed = _random(batch, n_parcels, n_observed[0], generator)
    start = _starts(batch, n_patches - n_observed[1] + last, generator)
    times = _run(start, n_observed[1], n_patches)
    cross = _random(batch, n_parcels, n_cross[0], generator)
    n_cross_patches = min(n_cross[1], n_observed[1])
    cross_start = start + _starts(batch, n_observed[1] - n_cross_patches + last, generator)
    cross_times = _run(cross_start, n_cross_patches, n_patches)
    pool = observed & (cross if version == "code" else ~cross)
    right, left = (_side(pool, n_patches, side, generator, scales) for side in ("right", "left"))
    return Blocks((observed, times), (cross, cross_times), (right, left))


def compose(blocks: Blocks, version: Version, generator: torch.Generator) -> Masks:
    """Return the lists of tokens that the blocks leave to the context, and those they make targets.

    ``code``: in the order of the tokens (targets: Cross-ROI, then right, then left side, doubles kept), the ends cut
    off. ``paper``: every target once, and where lists are cut, tokens at random are left out.
    """
    beside = blocks.sides[0][1] | blocks.sides[1][1]
    context = _cells(blocks.observed[0] & ~blocks.cross[0], blocks.observed[1] & ~beside)
    regions = [_cells(*block) for block in (blocks.cross, *blocks.sides)]
    if version == "code":
        return Masks(_listed(context), _listed(torch.cat(regions, dim=1)) % context.shape[1])
    found = regions[0] | regions[1] | regions[2]
    return Masks(_listed(context, generator), _listed(found, generator))


def _side(
    pool: Tensor, n_patches: int, side: Literal["right", "left"], generator: torch.Generator, scales: MaskScales
) -> tuple[Tensor, Tensor]:
    """Draw the parcels and patches of one side: as large a share of `pool` as of the other parcels."""
    batch, n_parcels = pool.shape
    low, high = scales.side_parcels
    share = low + (high - low) * _uniform(generator, batch, 1)
    order = _uniform(generator, batch, n_parcels)
    parcels = torch.zeros_like(pool)
    for members in (pool, ~pool):
        parcels |= members & (_ranks(order.masked_fill(~members, 2.0)) < (share * members.sum(1, keepdim=True)).int())
    low, high = scales.side_patches
    counts = (n_patches * (low + (high - low) * _uniform(generator, batch, 1))).int()
    width = math.ceil(n_patches * high) - 1  # the most that can be drawn
    chosen = _ranks(_uniform(generator, batch, width)) < counts
    patches = torch.zeros(batch, n_patches, dtype=torch.bool, device=generator.device)
    patches[:, n_patches - width if side == "right" else 0 :][:, :width] = chosen
    return parcels, patches


def _one(n: int, scale: Range, generator: torch.Generator) -> int:
    """Draw one size for the whole batch: the whole part of a uniform share of `n`, at least 1."""
    low, high = scale
    return max(1, int(n * (low + float(_uniform(generator, 1)) * (high - low))))


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device)


def _starts(batch: int, n: int, generator: torch.Generator) -> Tensor:
    """Draw whole numbers (batch, 1) from 0 up to, not including, `n`; 0 where there is no choice."""
    return torch.randint(max(1, n), (batch, 1), generator=generator, device=generator.device)


def _random(batch: int, n: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` of `n`, (batch, n) bool."""
    return _ranks(_uniform(generator, batch, n)) < count


def _ranks(values: Tensor) -> Tensor:
    """Return the place of each value in the order of its row."""
    return values.argsort(dim=1).argsort(dim=1)


def _run(start: Tensor, length: int, n: int) -> Tensor:
    """Return `length` consecutive places from `start` (batch, 1) on, (batch, n) bool."""
    places = torch.arange(n, device=start.device)
    return (places >= start) & (places < start + length)


def _cells(parcels: Tensor, patches: Tensor) -> Tensor:
    """Return the tokens of a block, (batch, parcel·patch) bool."""
    return (parcels[:, :, None] & patches[:, None, :]).flatten(1)


def _listed(cells: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return the places of the True cells, (batch, smallest number of a row): the first, or with a generator random."""
    count = int(cells.sum(dim=1).min())
    order = _uniform(generator, *cells.shape) if generator is not None else torch.zeros_like(cells, dtype=torch.float32)
    return order.masked_fill(~cells, 2.0).argsort(dim=1, stable=True)[:, :count]
