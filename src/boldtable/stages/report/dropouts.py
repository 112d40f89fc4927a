"""The ledger: everything that dropped out, from fMRIPrep's failures to the runs that QC left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boldtable import store
from boldtable.errors import InputError

_ORDER = [*store.KEYS, "stage", "status", "reason"]


def ledger(qc: Sequence[Path], out: Path, preprocess: Sequence[Path] = ()) -> pd.DataFrame:
    """Write the ledger and return it, sorted by the keys of a run: columns keys, stage, status, reason.

    One row per run whose QC status is not ``ok``; one per participant or session that failed in fMRIPrep (without
    task and run; its reason names the log), and one per raw run that fMRIPrep left out. `preprocess` names records of
    fMRIPrep (JSON) or folders of them. Raises `InputError` for a table that is no QC table, a file that is no record.
    """
    tables = [store.frame(path, "qc") for path in qc]
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*_ORDER, "reasons"])
    left = (
        rows.loc[rows["status"] != "ok"].drop(columns="reason", errors="ignore").rename(columns={"reasons": "reason"})
    )
    records = [_read(path) for path in _files(preprocess)]
    lost = pd.DataFrame([row for record in records for row in _rows(record)], columns=_ORDER, dtype=object)
    if not lost.empty:
        left = pd.concat([_unexplained(left, lost)[_ORDER].astype(object), lost], ignore_index=True)
    left = left[_ORDER].sort_values(_ORDER, na_position="first", kind="stable").reset_index(drop=True)
    provenance = store.Provenance("report", inputs=qc, preprocess=_summary(records))
    store.write(out, "ledger", left, provenance)
    return left


def _files(places: Sequence[Path]) -> list[Path]:
    """The records themselves: a folder holds one per participant or session."""
    return [path for place in places for path in (sorted(place.glob("*.json")) if place.is_dir() else [place])]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the preprocess record {path}: {error}; delete it and start again") from None
    if not isinstance(found, dict) or not {"dataset", "participant", "status"} <= set(found):
        raise InputError(f"{path} is no record of preprocess; delete it and start again")
    return found


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    keys = {"dataset": record["dataset"], "participant": record["participant"], "session": record.get("session")}
    if record["status"] != "ok":
        yield {**keys, "stage": "preprocess", "status": record["status"], "reason": record.get("reason")}
    for run in record.get("missing", []):
        entities = {key: run.get(key) for key in ("session", "task", "run", "acquisition")}
        reason = f"fMRIPrep left no preprocessed BOLD of {run.get('file')}; log: {record.get('log')}"
        yield {**keys, **entities, "stage": "preprocess", "status": "failed", "reason": reason}


def _unexplained(left: pd.DataFrame, lost: pd.DataFrame) -> pd.DataFrame:
    """Without the rows of collect for participants without any BOLD, where a record of fMRIPrep says why."""
    whole = lost[lost["task"].isna()]
    failed = set(zip(whole["dataset"], whole["participant"], strict=True))
    named = np.array([key in failed for key in zip(left["dataset"], left["participant"], strict=True)], dtype=bool)
    return left[~((left["stage"] == "collect") & left["task"].isna() & named)]


def _summary(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Dataset → how many fMRIPrep runs there were, how many failed, and in which images they ran."""
    made: dict[str, dict[str, Any]] = {}
    for record in records:
        one = made.setdefault(record["dataset"], {"records": 0, "failed": 0, "images": [], "fmriprep": []})
        one["records"] += 1
        one["failed"] += record["status"] != "ok"
        one["images"] += [record.get("digest") or record.get("image")]
        one["fmriprep"] += [record.get("versions", {}).get("fmriprep")]
    for one in made.values():
        for name in ("images", "fmriprep"):
            one[name] = sorted({value for value in one[name] if value})
    return made
