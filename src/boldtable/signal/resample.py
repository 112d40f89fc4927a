"""Move (frame, column) arrays from one repetition time to another, through the cosines of `boldtable.signal.filter`.

A band-passed run is a short sum of cosines and is evaluated exactly at the new times; a run that was not band-passed
is first freed of what the new repetition time cannot carry (anti-aliasing).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft

from boldtable.signal.filter import response

Array = npt.NDArray[np.float64]
# With this upper edge the slope of the low-pass reaches zero at the new Nyquist frequency.
_PASS = 1 / 1.1
_SAME_TR = 1e-5


def same_tr(tr_s: float, target_tr_s: float) -> bool:
    """Return whether two repetition times (s) are the same but for rounding in a header."""
    return abs(tr_s - target_tr_s) <= _SAME_TR * tr_s


def n_resampled(n_frames: int, tr_s: float, target_tr_s: float) -> int:
    """Return how many frames of the target TR lie between the first and the last frame, both included."""
    return int(np.floor((n_frames - 1) * tr_s / target_tr_s + 1e-9)) + 1


def resample(values: Array, tr_s: float, target_tr_s: float) -> Array:
    """Return (frame, column) values at the times 0, target, 2 × target, … (s); the first frame is time 0.

    The length is that of `n_resampled`. Where the target TR is longer, frequencies from 91 % of its Nyquist
    frequency on are damped to nothing before. Equal TRs return a copy.
    """
    if same_tr(tr_s, target_tr_s):
        return values.copy()
    cosines = _cosines(len(values), tr_s, target_tr_s)
    spectrum = fft.dct(values, axis=0, norm="ortho")[: cosines.shape[1]]
    moved: Array = cosines @ spectrum
    return moved


@lru_cache(maxsize=4)
def _cosines(n_frames: int, tr_s: float, target_tr_s: float) -> Array:
    """Return each cosine at each new time, (new frame, cosine), gain included; a shard shares few lengths."""
    high_hz = _PASS / (2 * target_tr_s) if target_tr_s > tr_s else None
    gain = response(n_frames, tr_s, None, high_hz)
    order = np.arange(int(np.flatnonzero(gain)[-1]) + 1)
    position = np.arange(n_resampled(n_frames, tr_s, target_tr_s)) * (target_tr_s / tr_s) + 0.5
    scale = np.where(order == 0, np.sqrt(1 / n_frames), np.sqrt(2 / n_frames)) * gain[order]
    cosines: Array = np.cos(np.pi / n_frames * position[:, None] * order) * scale
    return cosines


def carry_marks(marks: npt.NDArray[np.bool_], tr_s: float, target_tr_s: float) -> npt.NDArray[np.bool_]:
    """Return frame marks on the target grid: a new frame is marked when the nearest native frame is.

    Of two native frames equally near, one marked is enough.
    """
    if same_tr(tr_s, target_tr_s):
        return marks.copy()
    position = np.arange(n_resampled(len(marks), tr_s, target_tr_s)) * (target_tr_s / tr_s)
    last = len(marks) - 1
    below = np.clip(np.ceil(position - 0.5 - 1e-9), 0, last).astype(int)
    above = np.clip(np.floor(position + 0.5 + 1e-9), 0, last).astype(int)
    carried: npt.NDArray[np.bool_] = marks[below] | marks[above]
    return carried
