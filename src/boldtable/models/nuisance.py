"""The nuisance baseline: what a model could know without looking at the brain. No weights, numpy only.

Whatever this row predicts (motion, run length, signal quality, site), every other row can predict for the same reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

MEASURES = (
    "fd_mm_mean", "fd_mm_max", "fd_share_over", "n_spikes", "dvars", "minutes", "minutes_kept", "n_frames", "tsnr",
)  # fmt: skip


def names(sites: Sequence[str]) -> list[str]:
    """The features in order: the measures of motion, length and quality, then one indicator per site."""
    return [*MEASURES, *(f"site={site}" for site in sites)]


def features(measures: Mapping[str, float | None], site: str | None, sites: Sequence[str]) -> npt.NDArray[np.float32]:
    """One run's features, shape (len(names(sites)),): measures as they are (NaN where unknown), site as 0 and 1.

    `measures` holds the keys `MEASURES`: framewise displacement in mm (mean, maximum), share of frames above the
    threshold, number of motion spikes, DVARS, length in minutes, minutes that censoring left, length in frames, and the
    temporal signal-to-noise ratio (the median parcel's). A run of unknown site has 0 at every site.
    """
    motion = [np.nan if measures[name] is None else measures[name] for name in MEASURES]
    return np.array([*motion, *(float(site == other) for other in sites)], dtype=np.float32)
