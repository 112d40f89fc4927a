"""Which runs a task uses: kept by quality control, inside the task's limits, and chosen by its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boldtable import store
from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.stages.probe.conditions import natural, passing
from boldtable.stages.probe.settings import Probe

PERSON = ["dataset", "participant"]
_UNITS = {"session": ["session"], "run": ["session", "task", "run", "acquisition"]}


def used(settings: Probe, qc: Sequence[Path], task: str | None = None) -> pd.DataFrame:
    """The rows of the qc tables (one per dataset of the settings, in that order) whose runs the task uses.

    For a fingerprint the column `unit` says which of the two compared recordings a run belongs to (0 or 1; a run that
    is cut in halves has 0), and who has only one is left out. With a name of the `task`, lines say what is left out.
    Raises `InputError` where a table is of another dataset, has no column of `runs_where`, and where nothing is left.
    """
    kept = pd.concat([_kept(path, name) for path, name in _paired(settings, qc)], ignore_index=True)
    inside, left_out = passing(kept, settings.runs_where, "runs_where", ", ".join(map(str, qc)))
    if task and left_out:
        say(f"{task}: {len(inside)} of {len(kept)} kept runs used; left out by runs_where: {left_out}")
    if inside.empty:
        raise InputError(f"no run passes runs_where: {left_out}; widen it")
    places = [_order(row) for row in _records(inside)]
    ordered = inside.iloc[sorted(range(len(inside)), key=places.__getitem__)].reset_index(drop=True)
    if settings.kind != "fingerprint":
        return _chosen(ordered, settings.runs)
    if settings.across == "half":
        return _chosen(ordered, "first" if settings.runs == "first" else "longest").assign(unit=0)
    return _two_units(settings, ordered, task)


def refuse_duplicates(runs: pd.DataFrame, people: pd.DataFrame, where: str) -> None:
    """Raise `InputError` where one recording stands under two groups, or under both sides of a fingerprint.

    `runs` from `used`, `people` with dataset, participant and group. Recordings are told by the bits of their parcel
    signals, so the same measurement processed in two ways is not found.
    """
    found = runs[runs["signal_sha256"].notna()].merge(people[[*PERSON, "group"]].drop_duplicates(), on=PERSON)
    sides = ["group", *(["unit"] if "unit" in found else [])]
    different = found.drop_duplicates([*sides, "signal_sha256"])
    doubled = different[different.duplicated("signal_sha256", keep=False)].sort_values("signal_sha256", kind="stable")
    if len(doubled):
        first = doubled[doubled["signal_sha256"] == doubled["signal_sha256"].iloc[0]]
        names = " and ".join(store.label(row) for row in _records(first))
        more = doubled["signal_sha256"].nunique() - 1
        raise InputError(
            f"{where}: {names} are one recording: their parcel signals are identical"
            f"{f' (and {more} more such)' if more else ''}; leave one out in collect (leave_out), or give both "
            "participants one family"
        )


def keys(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """What identifies the run of each row; a missing key is empty."""
    columns = [["" if pd.isna(value) else str(value) for value in rows[name]] for name in store.KEYS]
    return list(zip(*columns, strict=True))


def _paired(settings: Probe, paths: Sequence[Path]) -> list[tuple[Path, str]]:
    if len(paths) != len(settings.datasets):
        raise InputError(
            f"{len(paths)} qc table(s) for {len(settings.datasets)} dataset(s) ({', '.join(settings.datasets)}): give "
            "one of each, in this order"
        )
    return list(zip(paths, settings.datasets, strict=True))


def _kept(qc: Path, dataset: str) -> pd.DataFrame:
    found = store.frame(qc, "qc")
    others = sorted(set(found["dataset"].dropna()) - {dataset})
    if others:
        raise InputError(f"{qc} is about dataset '{others[0]}', not '{dataset}': give the qc table of '{dataset}'")
    kept = found[found["keep"].eq(True)]
    if kept.empty:
        raise InputError(f"no run is kept in {qc}; its columns 'stage' and 'reasons' say why")
    return kept


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(natural(row[key]) for key in store.KEYS)


def _chosen(ordered: pd.DataFrame, rule: str) -> pd.DataFrame:
    """One run per participant for 'first' and 'longest' (of equals the first; unknown length is shortest)."""
    if rule == "all":
        return ordered
    if rule == "longest":
        length = ordered["minutes_kept"].astype(float).fillna(ordered["minutes"].astype(float)).fillna(0.0)
        ordered = ordered.iloc[np.argsort(-length.to_numpy(), kind="stable")]
    return ordered.drop_duplicates(PERSON).sort_index()


def _two_units(settings: Probe, ordered: pd.DataFrame, task: str | None) -> pd.DataFrame:
    """The runs of the first two sessions (or the first two runs) of everybody who has two."""
    label = ordered[_UNITS[settings.across]].fillna("").astype(str).agg("|".join, axis=1)
    person = [ordered[name] for name in PERSON]
    unit = label.groupby(person).transform(lambda found: pd.factorize(found)[0]).astype(int)
    many = unit.groupby(person).transform("max") >= 1
    n_all, n_two = (len(rows.drop_duplicates(PERSON)) for rows in (ordered, ordered[many]))
    if task:
        say(f"{task}: {n_two} participants with two {settings.across}s, {n_all - n_two} with one left out")
    if n_two < 2:
        other = "run" if settings.across == "session" else "session"
        raise InputError(
            f"{n_two} participant(s) of {settings.dataset} have kept runs in two {settings.across}s, but a fingerprint "
            f"needs two participants; try across: {other}"
        )
    found = ordered.assign(unit=unit)[many & (unit < 2)]
    if settings.runs == "all":
        return found
    return pd.concat(_chosen(rows, settings.runs) for _, rows in found.groupby("unit"))


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]
