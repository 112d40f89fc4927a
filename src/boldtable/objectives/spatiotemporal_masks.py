"""Brain-JEPA's spatiotemporal masks (arXiv 2409.19407): what the encoder sees of a window, and what it must predict.

An observation block (random parcels, consecutive patches) is what the context is taken from. Targets lie in three
regions: Cross-ROI (other parcels, times of the observation), Cross-Time (parcels of the context, times outside of it)
and Double-Cross (other parcels and other times). Sampling overlaps: targets are drawn first, then every parcel of the
Cross-ROI block and every patch at which side targets lie is taken out of the observation.

Two versions. ``paper`` is the method as it is described. ``code`` is what the released code does, which differs:
the observation never holds the last patch of a window, nor the Cross-ROI block the last one of the observation; the
parcel pools of the side targets are the observed Cross-ROI parcels and all the others, not context and the others; a
token in two regions counts twice; and where windows of a batch are cut to the shortest list, the last parcels of the
context and the left side of the targets are what is lost (in ``paper``: tokens at random). Left out of ``code``: with
all parcels but one observed, the released code now and then forgets the one that is not.

Sizes of observation and Cross-ROI block, and the lengths of the lists, hold for a group of windows (the authors': those
that a GPU computes at once). All groups of a batch are drawn at once on the generator's device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

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
    """Places of tokens (``parcel * n_patches + patch``): `context` (batch, kept) and `targets` (batch, target).

    Lists of a group are equally long; where another group's are longer, they end in -1.
    """

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
    group: int,
    scales: MaskScales | None = None,
) -> Masks:
    """Return the masks of a batch; the windows of a `group` have as many tokens in their lists as the poorest of them.

    Raises `ValueError` with fewer than four parcels, where a context could be empty.
    """
    if n_parcels < 4:
        raise ValueError(f"spatiotemporal masks need at least 4 parcels, found {n_parcels}")
    blocks = draw_blocks(batch, n_parcels, n_patches, generator, version, group, scales or MaskScales())
    return compose(blocks, version, group, generator)


def draw_blocks(
    batch: int,
    n_parcels: int,
    n_patches: int,
    generator: torch.Generator,
    version: Version,
    group: int,
    scales: MaskScales,
) -> Blocks:
    """Draw the parcels and patches of every block."""
    sizes = draw_sizes(-(-batch // group), n_parcels, n_patches, generator, scales)
    n_cross, n_cross_patches, n_observed, length = sizes.repeat_interleave(group, dim=0)[:batch].T[..., None]
    last = 0 if version == "code" else 1  # the authors' upper bound of a start is never drawn
    observed = _random(batch, n_parcels, n_observed, generator)
    start = _starts(n_patches - length + last, generator)
    cross = _random(batch, n_parcels, n_cross, generator)
    cross_start = start + _starts(length - n_cross_patches + last, generator)
    pool = observed & (cross if version == "code" else ~cross)
    right, left = (_side(pool, n_patches, side, generator, scales) for side in ("right", "left"))
    return Blocks(
        (observed, _run(start, length, n_patches)),
        (cross, _run(cross_start, n_cross_patches, n_patches)),
        (right, left),
    )


def draw_sizes(groups: int, n_parcels: int, n_patches: int, generator: torch.Generator, scales: MaskScales) -> Tensor:
    """Draw the sizes (group, 4) of the blocks, in the authors' order.

    Parcels and patches of the Cross-ROI block, then of the observation: the whole part of a uniform share, at least 1.
    """
    ranges = torch.tensor(
        [scales.cross_parcels, scales.cross_patches, scales.observation, scales.observation],
        dtype=torch.float64, device=generator.device,
    )  # fmt: skip
    low, high = ranges.T
    of = torch.tensor([n_parcels, n_patches, n_parcels, n_patches], device=generator.device)
    sizes: Tensor = (of * (low + (high - low) * _uniform(generator, groups, 4).double())).long().clamp(min=1)
    sizes[:, 1] = torch.minimum(sizes[:, 1], sizes[:, 3])
    return sizes


def compose(blocks: Blocks, version: Version, group: int, generator: torch.Generator) -> Masks:
    """Return the lists of tokens that the blocks leave to the context, and those they make targets.

    ``code``: in the order of the tokens (targets: Cross-ROI, then right, then left side, doubles kept), the ends cut
    off. ``paper``: every target once, and where lists are cut, tokens at random are left out.
    """
    beside = blocks.sides[0][1] | blocks.sides[1][1]
    context = _cells(blocks.observed[0] & ~blocks.cross[0], blocks.observed[1] & ~beside)
    regions = [_cells(*block) for block in (blocks.cross, *blocks.sides)]
    if version == "code":
        targets = _listed(torch.cat(regions, dim=1), group)
        return Masks(_listed(context, group), torch.where(targets < 0, -1, targets % context.shape[1]))
    found = regions[0] | regions[1] | regions[2]
    return Masks(_listed(context, group, generator), _listed(found, group, generator))


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


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device)


def _starts(n: Tensor, generator: torch.Generator) -> Tensor:
    """Draw whole numbers from 0 up to, not including, `n` (batch, 1); 0 where there is no choice."""
    return (n.clamp(min=1) * _uniform(generator, *n.shape).double()).long()


def _random(batch: int, n: int, count: Tensor, generator: torch.Generator) -> Tensor:
    """Draw `count` (batch, 1) of `n`, (batch, n) bool."""
    return _ranks(_uniform(generator, batch, n)) < count


def _ranks(values: Tensor) -> Tensor:
    """Return the place of each value in the order of its row."""
    return values.argsort(dim=1).argsort(dim=1)


def _run(start: Tensor, length: Tensor, n: int) -> Tensor:
    """Return `length` consecutive places from `start` (batch, 1) on, (batch, n) bool."""
    places = torch.arange(n, device=start.device)
    return (places >= start) & (places < start + length)


def _cells(parcels: Tensor, patches: Tensor) -> Tensor:
    """Return the tokens of a block, (batch, parcel·patch) bool."""
    return (parcels[:, :, None] & patches[:, None, :]).flatten(1)


def _listed(cells: Tensor, group: int, generator: torch.Generator | None = None) -> Tensor:
    """Return the places of the True cells (batch, place), as many as the poorest row of the group has, then -1.

    The first ones, or with a generator random ones.
    """
    counts = cells.sum(dim=1)
    missing = -len(counts) % group
    poorest = functional.pad(counts, (0, missing), value=cells.shape[1]).view(-1, group).amin(dim=1)
    limit = poorest.repeat_interleave(group)[: len(counts), None]
    longest = int(limit.max())
    order = _uniform(generator, *cells.shape) if generator is not None else torch.zeros_like(cells, dtype=torch.float32)
    places = order.masked_fill(~cells, 2.0).argsort(dim=1, stable=True)[:, :longest]
    return torch.where(torch.arange(longest, device=cells.device) < limit, places, -1)
