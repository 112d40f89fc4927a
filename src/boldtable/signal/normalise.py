"""Bring each parcel of a run to a common scale."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def zscore(signal: Array, kept: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return (frame, parcel) z-scores and the standard deviation removed, (parcel,).

    Mean and population standard deviation come from the kept frames: filled-in frames vary less, and counting
    them would make the scale of a run depend on how much its participant moved. A parcel without variation becomes
    NaN, not zero and not magnified rounding.
    """
    mean, std = signal[kept].mean(axis=0), signal[kept].std(axis=0)
    scaled: Array = (signal - mean) / np.where(std > 0, std, np.nan)
    return scaled, std
