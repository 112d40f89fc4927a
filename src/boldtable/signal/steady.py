"""Non-steady-state volumes: frames at the start of a run in which the magnetisation has not settled yet.

They are brighter than all others. fMRIPrep flags them in confounds called ``non_steady_state_outlierNN`` and sets its
aCompCor components and cosines to 0 there; a regression over them fits the step instead of the noise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from boldtable.errors import RunError

Mask = npt.NDArray[np.bool_]
_FLAG = re.compile(r"non_steady_state_outlier[0-9]+")
_FIRST = 50  # frames that the intensity test looks at, as nipype's does
_START = 6  # frames in which the magnetisation settles, at any repetition time in use
_GLARING = 7.0
_THRESHOLD = 3.5  # modified z-score (Iglewicz and Hoaglin 1993)


def flagged(confounds: Mapping[str, npt.NDArray[np.floating]], n_frames: int) -> Mask:
    """Return which frames the confounds flag as non-steady-state, (frame,).

    Raises `RunError` where such a column has another length or something else than 0 and 1.
    """
    marks = np.zeros(n_frames, dtype=bool)
    for name, values in confounds.items():
        if not _FLAG.fullmatch(name):
            continue
        if len(values) != n_frames:
            raise RunError(f"confound {name} has {len(values)} rows, the run has {n_frames} frames")
        if not np.isin(values, (0, 1)).all():
            raise RunError(f"confound {name} flags frames by 1 and others by 0, but holds other values; correct it")
        marks |= values == 1
    return marks


def leading(marks: Mask) -> int:
    """Return how many frames at the start are marked without a gap."""
    return int(len(marks) if marks.all() else np.argmin(marks))


def bright_start(signal: npt.NDArray[np.floating]) -> int:
    """Return how many frames at the start are too bright to be in steady state.

    The mean over the parcels of `signal` (frame, parcel) in each of the first 50 frames is compared with their median
    by 0.6745 × deviation ÷ median absolute deviation (``is_outlier`` of nipype's ``NonSteadyStateDetector``, by which
    fMRIPrep flags). Counted are frames above 3.5 up to the first that is not, and all up to the last of the first six
    that is above 7, for a run may begin with a frame like any other.
    """
    present = np.isfinite(signal).all(axis=0)
    if not present.any():
        return 0
    level = signal[:_FIRST, present].mean(axis=1, dtype=np.float64)
    deviation = level - np.median(level)
    spread = float(np.median(np.abs(deviation)))
    if spread == 0:
        return 0
    score = 0.6745 * deviation / spread
    glaring = np.flatnonzero(score[:_START] > _GLARING)
    return max(leading(score > _THRESHOLD), int(glaring[-1]) + 1 if glaring.size else 0)
