"""qc: parcels + tensors of a dataset → one row per run: measures, keep or drop, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from boldtable import store
from boldtable.atlas.table import load_table
from boldtable.errors import InputError
from boldtable.progress import progress
from boldtable.settings import Settings
from boldtable.signal.confounds import DVARS, FD
from boldtable.signal.measure import global_signal_share, tsnr

Row = dict[str, Any]
Key = tuple[str | None, ...]

UNLABELLED = "not in the participants table: used for pretraining, left out of every task"


class QC(Settings):
    """Thresholds that decide whether a run is kept."""

    recipe: str = Field(description="Key of the clean block whose tensors (and atlas) are measured.")
    max_fd_mm_mean: float = Field(
        0.5, gt=0, description="Runs with a larger mean framewise displacement are dropped (mm)."
    )
    fd_mm: float = Field(
        0.5, gt=0, description="Threshold for the share of frames with high framewise displacement (mm)."
    )
    max_share_over: float = Field(0.5, gt=0, le=1, description="Runs with a larger share of such frames are dropped.")
    min_minutes_kept: float = Field(
        2.0, ge=0, description="Runs with less data left after censoring are dropped (minutes)."
    )
    max_empty_parcels: float = Field(
        0.1, ge=0, le=1, description="Runs with a larger share of uncovered parcels are dropped."
    )


def run(settings: QC, runs: Path, participants: Path, parcels: Path, tensors: Path, atlas: Path, out: Path) -> None:
    """Measure every run of `runs`, decide, and write `out`, one row per run in the order of `runs`.

    `parcels` and `tensors` are the folders of the shards. Shards are streamed: one run's arrays are in memory at a
    time. Raises `InputError` that names a missing shard file, or a run that its shard lacks.
    """
    found = store.read(runs, "runs").to_pylist()
    known = {row["participant"] for row in store.read(participants, "participants", ["participant"]).to_pylist()}
    n_parcels = load_table(atlas).n_parcels
    shards = sorted({row["shard"] for row in found if row["status"] == "found"})
    measured: dict[Key, Row] = {}
    for shard in progress(shards, "qc"):
        measured |= _shard(settings, parcels / f"{shard}.parquet", tensors / f"{shard}.parquet", n_parcels)
    rows = [_decide(settings, row, measured, row["participant"] in known, n_parcels) for row in found]
    store.write(out, "qc", rows, store.Provenance("qc", settings, [runs, participants, atlas]))


def _shard(settings: QC, parcels: Path, tensors: Path, n_parcels: int) -> dict[Key, Row]:
    """Measures of every run of a shard, by key, with what parcellate and clean said of it."""
    measured: dict[Key, Row] = {}
    for row in store.rows(parcels, "parcels"):
        _check_size(parcels, row, n_parcels)
        measured[_key(row)] = {"parcels": _outcome(row), **_of_parcels(settings, row)}
    for row in store.rows(tensors, "tensors"):
        _check_size(tensors, row, n_parcels)
        about = measured.get(_key(row))
        if about is None:
            raise InputError(f"{tensors} holds {store.label(row)}, {parcels} does not; run clean again")
        about |= {"tensors": _outcome(row), **_of_tensors(row)}
    return measured


def _key(row: Mapping[str, Any]) -> Key:
    return tuple(row[name] for name in store.KEYS)


def _outcome(row: Row) -> tuple[str, str | None]:
    return row["status"], row["reason"]


def _check_size(path: Path, row: Row, n_parcels: int) -> None:
    coverage = row["coverage"]
    if coverage is not None and len(coverage) != n_parcels:
        raise InputError(f"{path} has {len(coverage)} parcels, the atlas {n_parcels}; run parcellate and clean again")


def _of_parcels(settings: QC, row: Row) -> Row:
    """Measures of the raw parcel signal and its confounds; what cannot be known is absent."""
    signal, coverage, tr_s = row["signal"], row["coverage"], row["tr_s"]
    measures: Row = {"tr_s": tr_s, "n_frames": row["n_frames"], **_motion(settings, row["confounds"] or {})}
    if tr_s is not None and row["n_frames"] is not None:
        measures["minutes"] = row["n_frames"] * tr_s / 60
    if coverage is not None:
        measures["min_coverage"] = float(np.nanmin(coverage)) if np.isfinite(coverage).any() else None
    if signal is not None:
        measures["tsnr"] = tsnr(signal)
        measures["n_empty_parcels"] = int((~np.isfinite(signal).any(axis=0)).sum())
    return measures


def _motion(settings: QC, confounds: Mapping[str, Any]) -> Row:
    """Framewise displacement (mm) and DVARS, standardised where the file has it; the first frame has neither."""
    measures: Row = {}
    fd = confounds.get(FD)
    if fd is not None and np.isfinite(fd).any():
        over = int((fd > settings.fd_mm).sum())
        measures = {"fd_mm_mean": float(np.nanmean(fd)), "fd_mm_max": float(np.nanmax(fd))}
        measures |= {"fd_share_over": over / len(fd), "n_spikes": over}
    for name in (DVARS, "dvars"):
        if name in confounds and np.isfinite(confounds[name]).any():
            return measures | {"dvars": float(np.nanmean(confounds[name]))}
    return measures


def _of_tensors(row: Row) -> Row:
    """Measures of the cleaned run. Parcels without variation count as empty from here on: models get NaN."""
    signal, interpolated, tr_s = row["signal"], row["interpolated"], row["tr_s"]
    if row["status"] == "failed":
        return {}
    kept = ~interpolated.astype(bool)
    measures: Row = {"global_signal_share": global_signal_share(signal, kept)}
    measures["n_empty_parcels"] = int((~np.isfinite(signal).any(axis=0)).sum())
    if tr_s is not None:
        measures["minutes_kept"] = int(kept.sum()) * tr_s / 60
    return measures


def _decide(settings: QC, row: Row, measured: Mapping[Key, Row], labelled: bool, n_parcels: int) -> Row:
    """One qc row: keys, measures, and what became of the run."""
    base = {name: row[name] for name in (*store.KEYS, "shard", "tr_s", "n_frames")}
    if row["status"] == "excluded":
        return {**base, **_verdict("collect", "excluded", [row["reason"]])}
    about = measured.get(_key(row))
    if about is None or "tensors" not in about:
        missing = "parcellate" if about is None else "clean"
        raise InputError(f"shard {row['shard']} lacks {store.label(row)}; delete its files and run {missing} again")
    measures = {name: value for name, value in about.items() if name not in ("parcels", "tensors")}
    base |= {name: value for name, value in measures.items() if value is not None}
    for where, name in (("parcellate", "parcels"), ("clean", "tensors")):
        outcome, reason = about[name]
        if outcome == "failed":
            return {**base, **_verdict(where, "failed", [reason])}
    notes = [*_notes(row, about, labelled)]
    said = [reason for _, _, reason in notes]
    failed = [*_thresholds(settings, base, n_parcels)]
    if failed:
        return {**base, **_verdict("qc", "dropped", [*failed, *said])}
    stage, status = notes[0][:2] if notes else (None, "ok")
    return {**base, **_verdict(stage, status, said)}


def _verdict(stage: str | None, status: str, reasons: Sequence[str | None]) -> Row:
    text = "; ".join(reason for reason in reasons if reason) or None
    keep = status in ("ok", "partial", "unlabelled")
    return {"keep": keep, "stage": stage, "status": status, "reasons": text}


def _notes(row: Row, about: Row, labelled: bool) -> Iterator[tuple[str, str, str | None]]:
    """What is worth saying of a run that stays, the weightiest first: stage, status, reason."""
    if row["reason"] or not labelled:
        yield "collect", "unlabelled", row["reason"] or f"participant {row['participant']} {UNLABELLED}"
    status, reason = about["parcels"]
    if status == "partial":
        yield "parcellate", "partial", reason


def _thresholds(settings: QC, measures: Row, n_parcels: int) -> Iterator[str]:
    """A line for every threshold a run fails; a measure that cannot be known fails none."""
    mean, share = measures.get("fd_mm_mean"), measures.get("fd_share_over")
    minutes, empty = measures.get("minutes_kept"), measures["n_empty_parcels"]
    if mean is not None and mean > settings.max_fd_mm_mean:
        yield f"mean framewise displacement {mean:.2f} mm over {settings.max_fd_mm_mean:g}"
    if share is not None and share > settings.max_share_over:
        over = f"{_percent(round(share, 3))} of frames over {settings.fd_mm:g} mm framewise displacement"
        yield f"{over}, more than {_percent(settings.max_share_over)}"
    if minutes is not None and minutes < settings.min_minutes_kept:
        yield f"only {minutes:.1f} min left after censoring (minimum {settings.min_minutes_kept:.1f})"
    if empty / n_parcels > settings.max_empty_parcels:
        yield f"{empty} of {n_parcels} parcels empty, more than {_percent(settings.max_empty_parcels)}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
