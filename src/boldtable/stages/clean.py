"""clean: a shard of parcel signals × one recipe → denoised, band-passed, resampled, normalised tensors.

Order of operations: 1. drop dummy frames; 2. mark frames to censor (FD, DVARS); 3. interpolate them; 4. detrend;
5. band-pass signals and confounds alike; 6. regress confounds (fitted on kept frames); 7. resample to the target TR
(anti-aliased); 8. record mean and std; 9. normalise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from boldtable import store
from boldtable.errors import InputError, RunError
from boldtable.progress import progress
from boldtable.settings import Settings
from boldtable.signal import Band, censor, confounds, denoise
from boldtable.signal.normalise import zscore

Strategy = Literal["24P", "27P", "36P", "none"]


class Clean(Settings):
    """A recipe: everything between parcel signals and a tensor."""

    atlas: str = Field(description="Key of the parcellate block whose parcel signals are cleaned.")
    confounds: Strategy | list[str] = Field(
        "24P",
        description="Confound strategy: 24P (six motion parameters, derivatives, squares), 27P (24P with white matter, "
        "CSF and global signal), 36P (27P with their derivatives and squares), none, or a list of column names.",
    )
    dummy_frames: int = Field(0, ge=0, description="Frames dropped at the start of every run.")
    fd_mm: float | None = Field(
        0.5, gt=0, description="Frames with a framewise displacement above this (mm) are censored; null: none."
    )
    dvars: float | None = Field(
        None, gt=0, description="Frames with standardised DVARS above this are censored; null: none."
    )
    min_segment_frames: int = Field(
        1, ge=1, description="Kept stretches between censored frames that are shorter than this are censored as well."
    )
    min_minutes: float = Field(2.0, ge=0, description="Runs with less left after censoring fail (minutes).")
    low_hz: float | None = Field(0.01, gt=0, description="Lower edge of the pass band (Hz); null: no high-pass.")
    high_hz: float | None = Field(0.1, gt=0, description="Upper edge of the pass band (Hz); null: no low-pass.")
    tr_s: float | None = Field(2.0, gt=0, description="Target repetition time (s); null keeps the native one.")
    normalise: Literal["zscore", "none"] = Field("zscore", description="Per parcel over the run: z-score, or none.")

    @model_validator(mode="after")
    def _band_is_open(self) -> Self:
        if self.low_hz is not None and self.high_hz is not None and self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz {self.low_hz:g} must be below high_hz {self.high_hz:g}")
        return self


def run(settings: Clean, parcels: Path, out: Path) -> None:
    """Clean every run of a shard and write `out`, the tensors, one row per run of `parcels` and in its order.

    A run that cannot be cleaned, or that failed before, is a row with status 'failed', its reason and no signal.
    Raises `InputError` when `parcels` is no parcels file or was made with another atlas than the recipe's.
    """
    statuses = store.read(parcels, "parcels", ["status"])
    source = store.provenance(parcels)
    if source.get("atlas", settings.atlas) != settings.atlas:
        raise InputError(f"{parcels} holds parcels of atlas '{source['atlas']}', the recipe is for '{settings.atlas}'")
    carried = {name: source[name] for name in ("space", "atlas_sha256") if name in source}
    recipe = settings.model_dump(mode="json")
    about = store.Provenance("clean", settings, [parcels], atlas=settings.atlas, recipe=recipe, **carried)
    n_parcels = pq.read_schema(parcels).field("coverage").type.list_size
    with store.Writer(out, "tensors", about, n_parcels) as writer:
        for row in progress(store.rows(parcels, "parcels"), f"clean {parcels.stem}", len(statuses)):
            writer.append(clean_row(settings, row))


def clean_row(settings: Clean, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tensors row of one parcels row; what goes wrong with this run becomes its reason."""
    carried = {name: row[name] for name in (*store.KEYS, "tr_s", "n_frames", "coverage")}
    if row["status"] == "failed":
        return {**carried, "status": "failed", "reason": row["reason"]}
    try:
        return {**carried, **_tensor(settings, row), "status": "ok", "reason": None}
    except RunError as error:
        reason = str(error)
    except ValueError as error:  # of numpy and scipy, LinAlgError included
        reason = f"cleaning failed: {error}"
    return {**carried, "status": "failed", "reason": reason}


def _tensor(settings: Clean, row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a cleaned run.

    `mean` is the temporal mean of the raw parcel signal over the kept frames, before anything is removed; `std`
    the standard deviation over the kept frames of the cleaned, resampled signal, before normalisation. Times std
    plus mean, a z-score is back in image units, without its confounds and drift. A parcel that is constant, or
    that cleaning leaves nothing of, is NaN like a missing one: it carries no signal, and dividing by its standard
    deviation would magnify rounding. Its mean and coverage stay, which tells the two apart.
    """
    tr_s, band = row["tr_s"], Band(settings.low_hz, settings.high_hz, settings.tr_s)
    if tr_s is None and band.needs_tr:
        raise RunError("TR unknown: set low_hz, high_hz and tr_s to null or declare tr_s in collect")
    if tr_s is not None and not tr_s > 0:
        raise RunError(f"TR is {tr_s:g} s; declare tr_s in collect")
    signal = row["signal"][settings.dummy_frames :]
    columns = _columns(settings, row)
    kept = _kept(settings, signal, columns)
    _check_minutes(settings, kept, tr_s)
    chosen = confounds.names(settings.confounds)
    nuisance = confounds.design(chosen, columns, kept, settings.dummy_frames)
    cleaned = denoise(signal, nuisance, kept, tr_s, band)
    if cleaned.interpolated.all():
        raise RunError(f"no frame left after censoring at a TR of {cleaned.tr_s:g} s")
    scaled, std = zscore(cleaned.signal, ~cleaned.interpolated)
    values = scaled if settings.normalise == "zscore" else cleaned.signal
    return {
        "tr_s": cleaned.tr_s,
        "n_frames": len(values),
        "signal": values.astype(np.float32),
        "mean": cleaned.mean.astype(np.float32),
        "std": std.astype(np.float32),
        "interpolated": cleaned.interpolated,
    }


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
    settings: Clean, signal: npt.NDArray[np.float32], columns: Mapping[str, npt.NDArray[np.float32]]
) -> npt.NDArray[np.bool_]:
    """The frames to keep after the dummies: still enough, whole, and in stretches long enough, (frame,)."""
    if not len(signal):
        raise RunError(f"no frame left after dropping {settings.dummy_frames} dummy frames")
    limits = dict(_limits(settings))
    traces = {name: columns[name][settings.dummy_frames :] for name in limits}
    kept = censor.mark(traces, limits, len(signal))
    kept = censor.mark_incomplete(signal, kept)
    return censor.drop_short(kept, settings.min_segment_frames)


def _check_minutes(settings: Clean, kept: npt.NDArray[np.bool_], tr_s: float | None) -> None:
    if not kept.any():
        raise RunError("no frame left after censoring")
    if tr_s is None:
        return
    left = int(kept.sum()) * tr_s / 60
    if left < settings.min_minutes:
        raise RunError(f"only {left:.1f} min left after censoring (minimum {settings.min_minutes:.1f})")
