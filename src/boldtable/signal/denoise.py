"""The order of operations that turns parcel signals into a cleaned run, once the frames to keep are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from boldtable.errors import RunError
from boldtable.signal.censor import interpolate
from boldtable.signal.filter import bandpass, detrend, response
from boldtable.signal.regress import orthonormal, regress
from boldtable.signal.resample import carry_marks, resample

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Band:
    """The pass band (Hz; null leaves a side open) and the target repetition time (s; null keeps the native one)."""

    low_hz: float | None
    high_hz: float | None
    tr_s: float | None

    @property
    def needs_tr(self) -> bool:
        """Whether anything here needs to know the native repetition time."""
        return (self.low_hz, self.high_hz, self.tr_s) != (None, None, None)


@dataclass(frozen=True)
class Cleaned:
    """A cleaned run before normalisation.

    `signal` (new frame, parcel) with NaN columns for missing parcels, `mean` (parcel,) of the raw signal over kept
    frames, `interpolated` (new frame,), `tr_s` of the new frames (None: unknown).
    """

    signal: Array
    mean: Array
    interpolated: Mask
    tr_s: float | None


def denoise(signal: npt.NDArray[np.floating], confounds: Array, kept: Mask, tr_s: float | None, band: Band,
            trend: bool = True) -> Cleaned:  # fmt: skip
    """Interpolate, detrend, band-pass, regress and resample one run, in this order.

    1. Censored frames of signals and confounds are drawn linearly between kept neighbours (`interpolate`).
    2. Mean and, where `trend` is true, linear trend, fitted on kept frames, go from both; without `trend` and without
       a high-pass the mean comes back at the end.
    3. The same zero-phase band-pass goes over both: filtering only the signals would let regression bring back
       what was filtered out (Hallquist et al. 2013; Lindquist et al. 2019).
    4. Confounds are regressed with weights from kept frames; on these the result is orthogonal to all of them.
    5. The run is moved to the target TR, anti-aliased.

    Every step is linear in `signal` (frame, parcel), so averaging voxels first or last is the same. `confounds` is
    (frame, confound), `kept` (frame,). Parcels that are missing (NaN) or constant over the kept frames come back as
    NaN and touch no other. No input is changed. Raises `RunError` when no parcel or no degree of freedom is left.
    """
    if not kept.any():
        raise RunError("no frame left after censoring")
    live = _live(signal, kept)
    raw = signal[:, live].astype(np.float64)
    values, nuisance = (_filtered(part, kept, tr_s, band, trend) for part in (raw, confounds))
    basis = orthonormal(nuisance, kept, np.linalg.norm(_within(confounds, kept), axis=0))
    _check_freedom(basis.shape[1], confounds.shape[1], kept, tr_s, band)
    values = regress(values, basis, kept)
    emptied = _emptied(values, raw, kept)
    if not trend and band.low_hz is None:
        values += raw[kept].mean(axis=0)
    target = band.tr_s if band.tr_s is not None else tr_s
    if tr_s is not None and target is not None:
        values, marks = resample(values, tr_s, target), carry_marks(~kept, tr_s, target)
    else:
        marks = ~kept
    values[:, emptied] = np.nan
    return Cleaned(_spread(values, live), _mean(signal, kept), marks, target)


def _filtered(values: Array, kept: Mask, tr_s: float | None, band: Band, trend: bool) -> Array:
    whole = interpolate(values, kept)
    values = detrend(whole, kept) if trend else whole - whole[kept].mean(axis=0)
    if tr_s is None or (band.low_hz is None and band.high_hz is None):
        return values
    return bandpass(values, response(len(values), tr_s, band.low_hz, band.high_hz))


def _within(values: Array, kept: Mask) -> Array:
    centred: Array = values[kept] - values[kept].mean(axis=0)
    return centred


def _live(signal: npt.NDArray[np.floating], kept: Mask) -> Mask:
    """Which parcels have a signal that varies over the kept frames, (parcel,)."""
    inside = signal[kept]
    finite = np.isfinite(inside).all(axis=0)
    live: Mask = finite & (np.where(finite, inside, 0).max(axis=0) > np.where(finite, inside, 0).min(axis=0))
    if not live.any():
        raise RunError("no parcel has a signal that varies")
    return live


def _emptied(values: Array, raw: Array, kept: Mask) -> Mask:
    """Which parcels were left nothing but rounding: all of it drift, out of band or confounds, (parcel,)."""
    floor = 1e-6 * raw[kept].std(axis=0) + 1e-7 * np.abs(raw[kept].mean(axis=0))
    emptied: Mask = values[kept].std(axis=0) <= floor
    return emptied


def _check_freedom(rank: int, n_confounds: int, kept: Mask, tr_s: float | None, band: Band) -> None:
    """Refuse a run whose confounds explain all that the band holds: the rest is rounding.

    What remains has at most as many dimensions as kept frames (less the trend) and as cosines in the band.
    """
    free = float(kept.sum() - 2)
    if tr_s is not None:
        free = min(free, float((response(len(kept), tr_s, band.low_hz, band.high_hz) ** 2).sum()))
    if rank >= free:
        raise RunError(
            f"no degree of freedom left: {n_confounds} confounds for {free:.0f} independent frames "
            "within the band; choose fewer confounds or a wider band"
        )


def _mean(signal: npt.NDArray[np.floating], kept: Mask) -> Array:
    """The mean of the raw signal over the kept frames, NaN for missing parcels, (parcel,)."""
    mean: Array = signal[kept].astype(np.float64).mean(axis=0)
    return np.where(np.isfinite(mean), mean, np.nan)


def _spread(values: Array, live: Mask) -> Array:
    """Put the live parcels back in their places; the others are NaN."""
    full = np.full((len(values), len(live)), np.nan)
    full[:, live] = values
    return full
