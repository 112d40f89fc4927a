"""Quality measures of one run: pure functions on (frame, parcel) arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from boldtable.signal.filter import detrend


def tsnr(signal: npt.NDArray[np.floating]) -> float | None:
    """Return the median over parcels of mean ÷ standard deviation after linear detrending; None without signal.

    `signal` (frame, parcel) is unfiltered, in image units. Missing parcels and frames with missing values are left
    out. A constant parcel has no ratio. Series whose mean was taken out (most parcels have a mean below their standard
    deviation) have none either: images are positive, and what is left of the mean says nothing.
    """
    present = np.isfinite(signal).any(axis=0)
    values = signal[:, present].astype(np.float64)
    values = values[np.isfinite(values).all(axis=1)]
    if len(values) < 3:
        return None
    std = detrend(values, np.ones(len(values), dtype=bool)).std(axis=0)
    mean = values.mean(axis=0)
    varies = std > 1e-7 * np.abs(mean)
    if not varies.any() or np.median(mean[varies] / std[varies]) < 1:
        return None
    return float(np.median(mean[varies] / std[varies]))


def global_signal_share(signal: npt.NDArray[np.floating], kept: npt.NDArray[np.bool_]) -> float | None:
    """Return the share (0 to 1) of the variance of all parcels that their mean explains over the kept frames.

    Each parcel of `signal` (frame, parcel) is regressed on the mean over parcels; missing parcels are left out.
    None without two kept frames or without variance.
    """
    values = signal[kept][:, np.isfinite(signal).all(axis=0)].astype(np.float64)
    if len(values) < 2 or not values.shape[1]:
        return None
    values = values - values.mean(axis=0)
    shared = values.mean(axis=1)
    total, power = float((values**2).sum()), float(shared @ shared)
    if total == 0 or power == 0:
        return 0.0 if total else None
    return float(((shared @ values) ** 2).sum() / power / total)
