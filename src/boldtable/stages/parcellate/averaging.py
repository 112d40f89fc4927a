"""Averaging voxels into parcels: one operator per atlas and grid, then one pass over the volumes of a run.

The operator is a sparse matrix of ones in its compressed rows: the voxels sorted by parcel, and where each parcel
starts. Applying it to raw volumes is a gather and a segmented sum, which beats a general sparse product about
threefold; the scaling of the file and the division come after the sum, because all are linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boldtable.atlas.image import Floats, Labels, onto_grid, share_inside
from boldtable.errors import RunError
from boldtable.stages.parcellate.bold import Bold, volumes

Ints = npt.NDArray[np.int64]
_GRIDS_KEPT = 4


@dataclass(frozen=True)
class Operator:
    """Which voxels of a grid belong to which parcel.

    `voxels` are flat indices (x fastest) sorted by parcel, `parcels` the column of each, `sizes` (parcel,) the number
    of voxels each parcel has on the grid, `inside` (parcel,) the share of it that the grid's field of view holds.
    """

    voxels: Ints
    parcels: Ints
    sizes: Ints
    inside: Floats


@dataclass(frozen=True)
class Averages:
    """Parcel signals (frame, parcel) in image units, float32, NaN where no voxel varies; coverage (parcel,)."""

    signal: npt.NDArray[np.float32]
    coverage: npt.NDArray[np.float32]


class Averager:
    """The atlas, brought to each grid once."""

    def __init__(self, labels: Labels, affine: Floats, indices: Ints) -> None:
        self._labels, self._affine, self._indices = labels, affine, indices
        self._operators: dict[tuple[Any, ...], Operator] = {}

    def operator(self, shape: tuple[int, int, int], affine: Floats) -> Operator:
        """The averaging operator for a grid, from the cache when the grid was seen before."""
        key = (shape, np.round(affine, 4).tobytes())
        if key not in self._operators:
            if len(self._operators) >= _GRIDS_KEPT:  # runs in odd grids must not pile up
                self._operators.clear()
            self._operators[key] = self._build(shape, affine)
        return self._operators[key]

    def _build(self, shape: tuple[int, int, int], affine: Floats) -> Operator:
        size = int(max(self._labels.max(initial=0), self._indices.max(initial=0))) + 1
        columns = np.full(size, -1)
        columns[self._indices] = np.arange(len(self._indices))
        flat = columns[onto_grid(self._labels, self._affine, shape, affine).ravel(order="F")]
        order = np.argsort(flat, kind="stable")
        voxels = order[np.searchsorted(flat[order], 0) :]
        parcels = flat[voxels]
        inside = share_inside(self._labels, self._affine, shape, affine, size)[self._indices]
        return Operator(voxels, parcels, np.bincount(parcels, minlength=len(self._indices)), inside)

    def average(self, bold: Bold, mask: npt.NDArray[np.bool_] | None) -> Averages:
        """Average a run: each parcel over its voxels inside `mask` (x, y, z; None for all) that vary in time.

        Coverage is the share of the parcel's voxels that were averaged, counting what lies outside the grid's field of
        view as not covered. Voxels that never change are found on the way and taken out of the sums afterwards, which
        is exact up to float64 rounding. Raises `RunError` for NaN, infinite or no signal at all.
        """
        operator = self.operator(bold.shape, bold.affine)
        chosen = operator if mask is None else _within(operator, mask)
        if chosen.voxels.size == 0:
            where = "on this grid" if mask is None else "inside the brain mask"
            raise RunError(f"no voxel of the atlas lies {where}; check the affine and the space of the image")
        sums, constant, values = _stream(bold, chosen)
        return _means(bold, chosen, sums, constant, values)


def _within(operator: Operator, mask: npt.NDArray[np.bool_]) -> Operator:
    keep = mask.ravel(order="F")[operator.voxels]
    return Operator(operator.voxels[keep], operator.parcels[keep], operator.sizes, operator.inside)


def _stream(bold: Bold, chosen: Operator) -> tuple[npt.NDArray[Any], Ints, npt.NDArray[Any]]:
    """One pass: sums (frame, parcel with voxels), and the places in `chosen.voxels` that never change, with values."""
    starts = np.flatnonzero(np.diff(chosen.parcels, prepend=-1))
    native = bold.dtype.newbyteorder("=")
    wide = np.dtype(np.int64 if native.kind in "iu" and native.itemsize < 8 else np.float64)
    sums = np.empty((bold.n_frames, starts.size), wide)
    constant: Ints = np.arange(chosen.voxels.size)
    first: npt.NDArray[Any] | None = None
    done = 0
    for block in volumes(bold):
        # mode 'clip' skips the bounds check per voxel; the indices come from the grid itself
        raw = np.take(block, chosen.voxels, axis=1, mode="clip").astype(native, copy=False)
        with np.errstate(invalid="ignore", over="ignore"):
            np.add.reduceat(raw, starts, axis=1, dtype=wide, out=sums[done : done + len(raw)])
        if first is None:
            first = raw[0].copy()
        if constant.size:  # after a few volumes only true constants are left to look at
            constant = constant[(raw[:, constant] == first[constant]).all(axis=0)]
        done += len(raw)
    assert first is not None  # a 4-D image has at least two frames
    _refuse_non_finite(bold, sums)
    return sums, constant, first[constant].astype(wide)


def _refuse_non_finite(bold: Bold, sums: npt.NDArray[Any]) -> None:
    bad = np.flatnonzero(~np.isfinite(sums).all(axis=1))
    if bad.size:
        raise RunError(f"NaN or infinite voxels in {bad.size} of {bold.n_frames} volumes, first volume {bad[0]}")


def _means(bold: Bold, chosen: Operator, sums: npt.NDArray[Any], constant: Ints, values: npt.NDArray[Any]) -> Averages:
    """Take the constant voxels out of the sums, divide, scale."""
    n_parcels = chosen.sizes.size
    columns, counts = np.unique(chosen.parcels, return_counts=True)
    still = np.searchsorted(columns, chosen.parcels[constant])
    varying = counts - np.bincount(still, minlength=columns.size)
    if not varying.any():
        what = "zero" if not values.any() else "constant in time"
        raise RunError(f"every voxel inside the parcels is {what}: {bold.path.name} holds no signal")
    fixed = np.zeros(columns.size, dtype=sums.dtype)
    np.add.at(fixed, still, values)
    means = np.full(sums.shape, np.nan)
    np.divide(sums - fixed, varying, out=means, where=varying > 0)
    signal = np.full((bold.n_frames, n_parcels), np.nan, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        signal[:, columns] = means * bold.slope + bold.inter
    if np.isinf(signal).any():
        raise RunError(f"{bold.path.name} scales its values by {bold.slope:g}: out of range; correct its header")
    coverage = np.zeros(n_parcels)
    coverage[columns] = varying / chosen.sizes[columns] * chosen.inside[columns]
    return Averages(signal, coverage.astype(np.float32))
