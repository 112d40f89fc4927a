"""A task's participants and their targets → its splits, made once for all models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boldtable import splits, store
from boldtable.errors import InputError, nearest
from boldtable.progress import say
from boldtable.stages.probe.settings import Probe

_KEYS_OF_ROWS = ("participant", "session")


def write(settings: Probe, task: str, participants: Path, qc: Path, out: Path) -> None:
    """Write the ``splits`` of a task; the work behind `boldtable.stages.probe.split`."""
    kept = _kept(qc, settings.dataset)
    table = store.frame(participants, "participants")
    if settings.kind == "fingerprint":
        made = _fingerprint(settings, task, kept, table, qc)
    else:
        made = _repeated(settings, task, kept, table, participants)
    splits.check(made, str(out))
    store.write(out, "splits", made.assign(task=task), store.Provenance("split", settings, [participants, qc]))


def _kept(qc: Path, dataset: str) -> pd.DataFrame:
    found = store.frame(qc, "qc", [*store.KEYS, "keep"])
    others = sorted(set(found["dataset"].dropna()) - {dataset})
    if others:
        raise InputError(f"{qc} is about dataset '{others[0]}', not '{dataset}': give the qc table of '{dataset}'")
    kept = found[found["keep"].eq(True)]
    if kept.empty:
        raise InputError(f"no run is kept in {qc}; its columns 'stage' and 'reasons' say why")
    return kept


def _repeated(settings: Probe, task: str, kept: pd.DataFrame, table: pd.DataFrame, path: Path) -> pd.DataFrame:
    column = str(settings.target)
    if column not in table.columns or column in _KEYS_OF_ROWS:
        known = [str(name) for name in table.columns if name not in _KEYS_OF_ROWS]
        # 'age' means 'age_years' rather than a word of three similar letters
        known = [name for name in known if name.startswith(column)] or known
        raise InputError(f"task '{task}': {path} has no column '{column}' to predict{nearest(column, known)}")
    people = _people(table, column)
    inside = people[people["participant"].isin(set(kept["participant"])) & people["target"].notna()]
    _say_who(task, column, people, inside)
    if inside.empty:
        raise InputError(f"task '{task}': no participant with a kept run has a value in column '{column}' of {path}")
    if settings.kind == "classification":
        inside = inside.assign(target=inside["target"].map(class_name)).assign(stratum=lambda rows: rows["target"])
    else:
        inside = _numeric(settings, task, inside)
    if inside["target"].nunique() < 2:
        only = inside["target"].iloc[0]
        raise InputError(
            f"task '{task}': column '{column}' of {path} is '{only}' for all {len(inside)} participants "
            "with a kept run, so there is nothing to predict; choose another target"
        )
    try:
        return splits.repeated(inside, settings.splits, settings.seed, settings.val_share, settings.test_share)
    except InputError as error:
        raise InputError(f"task '{task}', column '{column}': {error}") from None


def _people(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row per participant: participant, group, target. Of several sessions, the first with a value counts."""
    sessions = [natural(value) for value in table["session"]]
    ordered = table.iloc[sorted(range(len(table)), key=sessions.__getitem__)]
    known = pd.DataFrame({name: ordered[name] for name in ("participant", "family")} | {"target": ordered[column]})
    first = known.groupby("participant", sort=True, as_index=False).first()  # the first value that is not missing
    family = first["family"].map(lambda value: None if pd.isna(value) else f"family {value}")
    return first.assign(group=family.where(family.notna(), first["participant"]))


def _say_who(task: str, column: str, people: pd.DataFrame, inside: pd.DataFrame) -> None:
    unlabelled = int(people["target"].isna().sum())
    without = len(people) - unlabelled - len(inside)
    say(f"{task}: {len(inside)} participants; left out: {unlabelled} without {column}, {without} without a kept run")


def _numeric(settings: Probe, task: str, inside: pd.DataFrame) -> pd.DataFrame:
    """Targets as numbers (kept as text that reads back exactly), stratified by quantiles of about ten participants."""
    numbers = pd.to_numeric(inside["target"], errors="coerce").astype(float)
    wrong = inside["target"][~np.isfinite(numbers)]
    if len(wrong):
        raise InputError(
            f"task '{task}': '{wrong.iloc[0]}' in column '{settings.target}' (participant "
            f"{inside['participant'].loc[wrong.index[0]]}) is no number; kind 'classification' takes text"
        )
    wanted = settings.bins if settings.kind == "binned" else min(5, max(1, len(inside) // 10))
    if settings.kind == "binned" and numbers.nunique() < wanted:
        raise InputError(
            f"task '{task}': column '{settings.target}' has {numbers.nunique()} different values, too few for "
            f"{wanted} bins; set bins lower"
        )
    rank = numbers.rank(method="first").to_numpy() - 1
    stratum = (rank * wanted // len(numbers)).astype(int) + 1
    return inside.assign(
        target=[repr(float(number)) for number in numbers],
        stratum=[f"quantile {number} of {wanted}" for number in stratum],
    )


def _fingerprint(settings: Probe, task: str, kept: pd.DataFrame, table: pd.DataFrame, qc: Path) -> pd.DataFrame:
    known = kept[kept["participant"].isin(set(table["participant"]))]
    units = known.assign(unit=units_of(known, settings.across))
    counts = units.groupby("participant")["unit"].nunique()
    names = sorted(str(name) for name in counts.index[counts >= 2])
    say(f"{task}: {len(names)} participants with two {settings.across}s, {len(counts) - len(names)} with one left out")
    if len(names) < 2:
        other = "run" if settings.across == "session" else "session"
        raise InputError(
            f"task '{task}': {len(names)} participant(s) in {qc} have kept runs in two {settings.across}s, but a "
            f"fingerprint needs two participants; try across: {other}"
        )
    return splits.fingerprint(names)


def units_of(rows: pd.DataFrame, across: str) -> list[str]:
    """What a fingerprint compares within a participant: the session, or every run by itself; text per row."""
    keys = ["session"] if across == "session" else ["session", "task", "run", "acquisition"]
    return ["|".join("" if pd.isna(row[key]) else str(row[key]) for key in keys) for row in rows.to_dict("records")]


def natural(value: Any) -> tuple[tuple[int, str], ...]:
    """A sort key in which '2' comes before '10', and a missing value first."""
    if pd.isna(value):
        return ()
    return tuple((int(part), "") if part.isdigit() else (0, part) for part in re.findall(r"\d+|\D+", str(value)))


def class_name(value: Any) -> str:
    """A class as text: 1.0 (a whole number in a column with gaps) reads 1."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
