"""Detrend and band-pass (frame, column) arrays: linear, zero-phase, the same for signals and confounds.

The filter works in the discrete cosine basis (DCT-II): the response is real, so that phase stays, and is given
directly, so that amplitude inside the band stays too, which a Butterworth filter run in both directions does not
manage near its edges (half the power lost twice). The cosine basis continues a run by its mirror image at both
ends: no jump, no padding to choose. A frequency between two basis functions leaks at the ends of the run, for
about one period of the slowest frequency passed; away from them a sine inside the band keeps its amplitude within
1 % and its phase within 1 degree, and one below half of `low_hz` or above 1.1 times `high_hz` falls by 20 dB.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

Array = npt.NDArray[np.float64]
_STOP_LOW = 0.5
_STOP_HIGH = 1.1


def detrend(values: Array, kept: npt.NDArray[np.bool_]) -> Array:
    """Return (frame, column) values without their mean and linear trend, both fitted on the kept frames."""
    n_frames = len(values)
    line = np.stack([np.ones(n_frames), np.linspace(-1, 1, n_frames)], axis=1)
    basis, mixing = np.linalg.qr(line[kept])
    fitted = np.linalg.lstsq(mixing, basis.T @ values[kept], rcond=None)[0]
    cleaned: Array = values - line @ fitted
    return cleaned


def response(n_frames: int, tr_s: float, low_hz: float | None, high_hz: float | None) -> Array:
    """Return the gain of each cosine of a run, (frame,), frequencies k / (2 × n_frames × tr_s) Hz.

    1 from `low_hz` to `high_hz`; raised-cosine slopes down to 0 at half of `low_hz` and 1.1 times `high_hz`. A null
    edge leaves that side open; with a lower edge the mean is removed as well.
    """
    frequency = np.arange(n_frames) / (2 * n_frames * tr_s)
    gain = np.ones(n_frames)
    if low_hz is not None:
        gain *= _slope((frequency / low_hz - _STOP_LOW) / (1 - _STOP_LOW))
    if high_hz is not None:
        gain *= _slope((_STOP_HIGH - frequency / high_hz) / (_STOP_HIGH - 1))
    return gain


def _slope(position: Array) -> Array:
    rise: Array = np.sin(np.pi / 2 * np.clip(position, 0, 1)) ** 2
    return rise


def bandpass(values: Array, gain: Array) -> Array:
    """Return (frame, column) values with the gain of `response` applied to each cosine."""
    spectrum = fft.dct(values, axis=0, norm="ortho", overwrite_x=False)
    spectrum *= gain[:, None]
    filtered: Array = fft.idct(spectrum, axis=0, norm="ortho", overwrite_x=True)
    return filtered
