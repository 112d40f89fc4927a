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


def robust(signal: Array, kept: npt.NDArray[np.bool_]) -> Array:
    """Return (frame, parcel) values minus the median, over the interquartile range, both of the kept frames.

    A parcel whose interquartile range is zero becomes NaN.
    """
    low, median, high = np.quantile(signal[kept], [0.25, 0.5, 0.75], axis=0)
    return scaled_by(signal, median, high - low)


def scaled_by(signal: Array, centre: Array, scale: Array) -> Array:
    """Return (frame, parcel) values minus a centre, over a scale, both (parcel,); NaN where the scale is not positive.

    Centre and scale may come from other runs: the values of a population.
    """
    scaled: Array = (signal - centre) / np.where(scale > 0, scale, np.nan)
    return scaled
