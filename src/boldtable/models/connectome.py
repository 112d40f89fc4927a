"""The connectome baseline: Fisher-z Pearson correlations between parcels. No weights, numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# arctanh(1) is infinite: parcels with the same signal get the z of this correlation instead (7.25).
_LARGEST_CORRELATION = 1 - 1e-6


def n_edges(n_parcels: int) -> int:
    """How many pairs of parcels there are."""
    return n_parcels * (n_parcels - 1) // 2


def edges(signal: npt.NDArray[np.floating], kept: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.float32]:
    """Fisher-z Pearson correlations of a run, shape (edge,): the upper triangle, row by row, without the diagonal.

    `signal` is (frame, parcel); `kept` (frame,) says which frames count, all when None. Edge order is
    ``numpy.triu_indices(n_parcels, 1)``. Edges of a missing parcel (any NaN) or of a constant one are NaN.
    Raises `ValueError` with fewer than three frames.
    """
    x = np.asarray(signal if kept is None else signal[kept], dtype=np.float64)
    if len(x) < 3:
        raise ValueError(f"a correlation needs at least 3 frames, found {len(x)}")
    x = x - x.mean(axis=0)
    norm = np.sqrt((x**2).sum(axis=0))
    usable = np.isfinite(norm) & (norm > 1e-7 * np.sqrt(len(x)) * np.abs(signal).max(axis=0, initial=0.0))
    x = np.where(usable, x, 0.0) / np.where(usable, norm, 1.0)
    correlation = (x.T @ x)[np.triu_indices(x.shape[1], 1)]
    known = np.logical_and.outer(usable, usable)[np.triu_indices(x.shape[1], 1)]
    z = np.arctanh(np.clip(correlation, -_LARGEST_CORRELATION, _LARGEST_CORRELATION))
    return np.where(known, z, np.nan).astype(np.float32)
