"""Mark frames to censor and fill them in, so that nothing in them can reach the frames that are kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def mark(traces: Mapping[str, npt.NDArray[np.floating]], limits: Mapping[str, float], n_frames: int) -> Mask:
    """Return True for frames to keep, (frame,).

    A frame is censored where a trace (framewise displacement in mm, standardised DVARS) exceeds its limit
    (Power et al. 2012). A trace that is not a number (the first frame has no predecessor) censors nothing.
    """
    kept = np.ones(n_frames, dtype=bool)
    for name, limit in limits.items():
        kept &= ~(np.asarray(traces[name]) > limit)
    return kept


def mark_incomplete(signal: npt.NDArray[np.floating], kept: Mask) -> Mask:
    """Return `kept` without the frames in which a parcel that has signal elsewhere is not finite.

    `signal` is (frame, parcel). A parcel without one finite value among the kept frames is missing, not broken:
    it censors nothing.
    """
    finite = np.isfinite(signal)
    present = finite[kept].any(axis=0)
    whole: Mask = kept & finite[:, present].all(axis=1)
    return whole


def drop_short(kept: Mask, min_frames: int) -> Mask:
    """Return `kept` without the stretches of fewer than `min_frames` frames between censored ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
    result = kept.copy()
    for start, stop in edges.reshape(-1, 2):
        if stop - start < min_frames:
            result[start:stop] = False
    return result


def interpolate(values: Array, kept: Mask) -> Array:
    """Return a copy of (frame, column) values with censored frames drawn linearly between their kept neighbours.

    Before the first and after the last kept frame the nearest kept value is held. Linear, because it never
    overshoots across a gap and because it keeps the whole of cleaning linear in the signal: averaging voxels
    first or last is the same. Needs one kept frame at least.
    """
    filled = values.copy()
    if kept.all():
        return filled
    known, gaps = np.flatnonzero(kept), np.flatnonzero(~kept)
    after = np.searchsorted(known, gaps)
    left, right = known[np.maximum(after - 1, 0)], known[np.minimum(after, len(known) - 1)]
    # At the edges both neighbours are the same or in the wrong order: hold the nearest one.
    left, right = np.where(after == 0, right, left), np.where(after == len(known), left, right)
    weight = np.where(right > left, (gaps - left) / np.maximum(right - left, 1), 0.0)[:, None]
    filled[gaps] = (1 - weight) * values[left] + weight * values[right]
    return filled
