"""What is measured of one run: on the raw parcel signals and confounds, and on the tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boldtable import store
from boldtable.errors import InputError
from boldtable.signal.confounds import DVARS, FD
from boldtable.signal.measure import global_signal_share, tsnr
from boldtable.stages.qc.settings import QC

Row = dict[str, Any]
Key = tuple[str | None, ...]


def key(row: Mapping[str, Any]) -> Key:
    """What identifies a run."""
    return tuple(row[name] for name in store.KEYS)


def pairs(parcels: Path, tensors: Path, n_parcels: int) -> Iterator[tuple[Row, Row]]:
    """Yield the parcels row and the tensors row of every run of a shard.

    Clean keeps the order of the runs, so that one run is in memory at a time; in another order rows wait for each
    other. Raises `InputError` that names a missing file, a run that one of the files lacks, or another atlas.
    """
    waiting: dict[Key, Row] = {}
    rest = store.rows(tensors, "tensors")
    for before in store.rows(parcels, "parcels"):
        _check_size(parcels, before, n_parcels)
        while key(before) not in waiting:
            after = next(rest, None)
            if after is None:
                raise InputError(f"{tensors} lacks {store.label(before)}; delete it and run clean again")
            _check_size(tensors, after, n_parcels)
            waiting[key(after)] = after
        yield before, waiting.pop(key(before))
    for after in (*waiting.values(), *rest):
        raise InputError(f"{tensors} holds {store.label(after)}, {parcels} does not; run clean again")


def _check_size(path: Path, row: Row, n_parcels: int) -> None:
    coverage = row["coverage"]
    if coverage is not None and len(coverage) != n_parcels:
        raise InputError(f"{path} has {len(coverage)} parcels, the atlas {n_parcels}; run parcellate and clean again")


def of_parcels(settings: QC, row: Row, n_dummy_frames: int) -> Row:
    """Measures of the raw parcel signal and its confounds; what cannot be known is absent.

    The frames that cleaning drops at the start count for the length of the run and for nothing else.
    """
    signal, coverage, tr_s = row["signal"], row["coverage"], row["tr_s"]
    confounds = {name: values[n_dummy_frames:] for name, values in (row["confounds"] or {}).items()}
    measures: Row = {"tr_s": tr_s, "n_frames": row["n_frames"], **_motion(settings, confounds)}
    if tr_s is not None and row["n_frames"] is not None:
        measures["minutes"] = row["n_frames"] * tr_s / 60
    if coverage is not None:
        measures["min_coverage"] = float(np.nanmin(coverage)) if np.isfinite(coverage).any() else None
    if signal is not None:
        measures["tsnr"] = tsnr(signal[n_dummy_frames:])
        measures["n_empty_parcels"] = int((~np.isfinite(signal).any(axis=0)).sum())
        if _varies(signal):  # signals without variation are alike without being one recording
            measures["signal_sha256"] = _content(signal)
    return measures


def _varies(signal: npt.NDArray[np.floating]) -> bool:
    known = signal[:, np.isfinite(signal).all(axis=0)]
    return bool(known.size) and bool((known != known[:1]).any())


def _content(signal: npt.NDArray[np.floating]) -> str:
    """What tells that two runs are one recording, whatever they are called; any difference in a bit counts."""
    return hashlib.sha256(np.ascontiguousarray(signal, dtype="<f4").tobytes()).hexdigest()


def _motion(settings: QC, confounds: Mapping[str, Any]) -> Row:
    """Framewise displacement (mm), DVARS (standardised where the file has it) and spikes; frame 0 has none of them."""
    measures: Row = {}
    limits = {FD: settings.fd_mm, DVARS: settings.spike_dvars}
    known = {name: confounds[name] for name in (FD, DVARS, "dvars") if _known(confounds.get(name))}
    if FD in known:
        fd = known[FD]
        measures = {"fd_mm_mean": float(np.nanmean(fd)), "fd_mm_max": float(np.nanmax(fd))}
        measures["fd_share_over"] = int((fd > settings.fd_mm).sum()) / len(fd)
    over = [known[name] > limit for name, limit in limits.items() if name in known]
    if over and len({len(one) for one in over}) == 1:
        measures["n_spikes"] = int(np.logical_or.reduce(over).sum())
    for name in (DVARS, "dvars"):
        if name in known:
            return measures | {"dvars": float(np.nanmean(known[name]))}
    return measures


def _known(values: Any) -> bool:
    return values is not None and bool(np.isfinite(values).any())


def of_tensors(row: Row) -> Row:
    """Measures of the cleaned run. Parcels without variation count as empty from here on: models get NaN."""
    signal, tr_s = row["signal"], row["tr_s"]
    if row["status"] == "failed":
        return {}
    kept = ~row["interpolated"].astype(bool)
    measures: Row = {
        "n_dummy_frames": row["n_dummy_frames"],
        "global_signal_share": global_signal_share(signal, kept),
    }
    measures["n_empty_parcels"] = int((~np.isfinite(signal).any(axis=0)).sum())
    if tr_s is not None:
        measures["minutes_kept"] = int(kept.sum()) * tr_s / 60
    return measures
