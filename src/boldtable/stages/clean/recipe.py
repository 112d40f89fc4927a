"""One run through a recipe: from a row of parcels to a row of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from boldtable import store
from boldtable.errors import RunError
from boldtable.progress import log_fault
from boldtable.signal import Band, Cleaned, censor, confounds, denoise, steady
from boldtable.signal.normalise import robust, scaled_by, zscore
from boldtable.stages.clean.settings import Clean

_LONGEST_TR_S = 60.0  # no scanner is slower; a larger one is in milliseconds


@dataclass(frozen=True)
class Population:
    """What a population normalisation takes off and divides by, per parcel (parcel,); NaN where it knows nothing."""

    median: npt.NDArray[np.float64]
    iqr: npt.NDArray[np.float64]


def clean_row(settings: Clean, row: Mapping[str, Any], population: Population | None = None) -> dict[str, Any]:
    """Return the tensors row of one parcels row; what goes wrong with this run becomes its reason.

    `population` is needed by normalise 'population' and by nothing else.
    """
    carried = {name: row[name] for name in (*store.KEYS, "tr_s", "n_frames", "coverage")}
    if row["status"] == "failed":
        return {**carried, "status": "failed", "reason": row["reason"]}
    try:
        return {**carried, **_tensor(settings, row, population), "status": "ok", "reason": None}
    except MemoryError:
        raise
    except RunError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - the boundary of a run
        reason = f"cleaning failed: {log_fault(error)}"
    return {**carried, "status": "failed", "reason": reason}


def cleaned_run(settings: Clean, row: Mapping[str, Any]) -> Cleaned:
    """Everything but the normalisation, for a parcels row that has a signal; raises `RunError` with the reason."""
    tr_s, band = row["tr_s"], Band(settings.low_hz, settings.high_hz, settings.tr_s)
    if tr_s is None and band.needs_tr:
        raise RunError("TR unknown: set low_hz, high_hz and tr_s to null or declare tr_s in collect")
    if tr_s is not None and not 0 < tr_s <= _LONGEST_TR_S:
        unit = " (milliseconds?)" if tr_s > _LONGEST_TR_S else ""
        raise RunError(f"TR is {tr_s:g} s{unit}; declare tr_s in collect")
    _check_nyquist(settings, tr_s)
    columns = _columns(settings, row)
    dummies = dummy_frames(settings, row)
    signal = row["signal"][dummies:]
    kept = _kept(settings, signal, columns, dummies)
    _check_minutes(settings, kept, tr_s)
    chosen = confounds.names(settings.confounds, columns, settings.components)
    nuisance = confounds.design(chosen, columns, kept, dummies)
    cleaned = denoise(signal, nuisance, kept, tr_s, band, settings.detrend)
    if cleaned.interpolated.all():
        raise RunError(f"no frame left after censoring at a TR of {cleaned.tr_s:g} s")
    return cleaned


def dummy_frames(settings: Clean, row: Mapping[str, Any]) -> int:
    """How many frames at the start of a run are dropped: those flagged as non-steady-state, or a fixed number."""
    if settings.dummy_frames != "auto":
        return settings.dummy_frames
    return steady.leading(steady.flagged(row["confounds"] or {}, len(row["signal"])))


def _check_nyquist(settings: Clean, tr_s: float | None) -> None:
    """Refuse an upper edge that the run's repetition time cannot carry: the filter would let everything pass."""
    if tr_s is not None and settings.high_hz is not None and settings.high_hz > 1 / (2 * tr_s):
        raise RunError(
            f"high_hz {settings.high_hz:g} is above the Nyquist frequency {1 / (2 * tr_s):.3g} Hz of a TR of "
            f"{tr_s:g} s; lower it, or set it to null"
        )


def _tensor(settings: Clean, row: Mapping[str, Any], population: Population | None) -> dict[str, Any]:
    """The columns of a cleaned run.

    `mean` is the temporal mean of the raw parcel signal over the kept frames, before anything is removed; `std`
    the standard deviation over the kept frames of the cleaned, resampled signal, before normalisation. Whatever the
    normalisation, a signal brought to mean 0 and standard deviation 1 over its kept frames, times std plus mean, is
    back in image units, without its confounds and drift. A parcel that is constant, or that cleaning leaves nothing
    of, is NaN like a missing one: it carries no signal, and dividing by its standard deviation would magnify rounding.
    Its mean and coverage stay, which tells the two apart.
    """
    cleaned = cleaned_run(settings, row)
    scaled, std = zscore(cleaned.signal, ~cleaned.interpolated)
    values = scaled if settings.normalise == "zscore" else _normalised(settings, cleaned, std, population)
    return {
        "tr_s": cleaned.tr_s,
        "n_frames": len(values),
        "n_dummy_frames": dummy_frames(settings, row),
        "signal": values.astype(np.float32),
        "mean": cleaned.mean.astype(np.float32),
        "std": std.astype(np.float32),
        "interpolated": cleaned.interpolated,
    }


def _normalised(
    settings: Clean, cleaned: Cleaned, std: npt.NDArray[np.float64], population: Population | None
) -> npt.NDArray[np.float64]:
    """The cleaned signal (frame, parcel) on the scale of the recipe; a parcel without variation is NaN."""
    signal = np.where(std > 0, cleaned.signal, np.nan)
    if settings.normalise == "robust":
        return robust(signal, ~cleaned.interpolated)
    if settings.normalise == "population":
        if population is None or population.median.shape != std.shape:
            raise ValueError("the population statistics are missing or have another number of parcels")
        return scaled_by(signal, population.median, population.iqr)
    return signal


def _columns(settings: Clean, row: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
    """The confounds of a run, checked to hold what censoring needs; strategies check for themselves."""
    columns: dict[str, npt.NDArray[np.float32]] = row["confounds"] or {}
    if not columns and settings.confounds != "none":
        strategy = settings.confounds if isinstance(settings.confounds, str) else ", ".join(settings.confounds)
        raise RunError(f"no confounds file: recipe needs {strategy}")
    for name, option in _limits(settings):
        if name not in columns:
            setting = "dvars" if name == confounds.DVARS else "fd_mm"
            raise RunError(
                f"confounds lack {name}: {setting} {option:g} needs it; set {setting}: null to censor nothing"
            )
        if len(columns[name]) != len(row["signal"]):
            raise RunError(f"confound {name} has {len(columns[name])} rows, the run has {len(row['signal'])} frames")
    return columns


def _limits(settings: Clean) -> list[tuple[str, float]]:
    limits = ((confounds.FD, settings.fd_mm), (confounds.DVARS, settings.dvars))
    return [(name, limit) for name, limit in limits if limit is not None]


def _kept(
    settings: Clean, signal: npt.NDArray[np.float32], columns: Mapping[str, npt.NDArray[np.float32]], dummies: int
) -> npt.NDArray[np.bool_]:
    """The frames to keep after the dummies: steady, still enough, whole, and in stretches long enough, (frame,)."""
    if not len(signal):
        raise RunError(f"no frame left after dropping {dummies} dummy frames")
    limits = dict(_limits(settings))
    traces = {name: columns[name][dummies:] for name in limits}
    for name, trace in traces.items():
        _check_trace(name, trace)
    kept = censor.mark(traces, limits, len(signal))
    if settings.dummy_frames == "auto":
        kept &= ~steady.flagged(columns, dummies + len(signal))[dummies:]
    kept = censor.mark_incomplete(signal, kept)
    return censor.drop_short(kept, settings.min_segment_frames)


def _check_trace(name: str, trace: npt.NDArray[np.float32]) -> None:
    """Refuse a trace with gaps: frames of unknown motion would pass every limit. The first has no predecessor."""
    unknown = np.flatnonzero(~np.isfinite(trace))
    if len(unknown) == len(trace):
        raise RunError(f"confound {name} is n/a in every frame, so that it censors nothing; set its limit to null")
    if (trace[np.isfinite(trace)] < 0).any():
        raise RunError(f"confound {name} is negative at frame {int(np.nanargmin(trace))} after the dummies; correct it")
    if len(unknown) and unknown[-1] > 0:
        raise RunError(f"confound {name} is n/a at frame {unknown[-1]} after the dummies; set its limit to null")


def _check_minutes(settings: Clean, kept: npt.NDArray[np.bool_], tr_s: float | None) -> None:
    if not kept.any():
        raise RunError("no frame left after censoring")
    if tr_s is None:
        return
    left = int(kept.sum()) * tr_s / 60
    if left < settings.min_minutes:
        raise RunError(f"only {left:.1f} min left after censoring (minimum {settings.min_minutes:.1f})")
