"""The splits of a task by its scheme, and the notes on whom they leave out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boldtable import splits
from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.reading.tables import read_table
from boldtable.stages.probe.conditions import natural
from boldtable.stages.probe.settings import Probe

_TRAINED = 2  # of every class, one to train on and one to validate


def make(settings: Probe, task: str, people: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The splits of `people` (of `people.of_task`) and the notes on them, which are said too.

    Raises `InputError` that names the task where a class, a site or a list leaves nobody to train on or to test.
    """
    try:
        made, notes = _SCHEMES[settings.scheme](settings, people)
    except InputError as error:
        raise InputError(f"task '{task}', column '{settings.target}': {error}") from None
    notes += _absent(made, people)
    for note in notes:
        say(f"{task}: {note}")
    return made, notes


def _random(settings: Probe, people: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    made = splits.repeated(
        people, settings.splits, settings.seed, settings.val_share, settings.test_share, settings.stratify_site
    )
    return made, []


def _kfold(settings: Probe, people: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    made = splits.folds(
        people, settings.splits, settings.folds, settings.seed, settings.val_share, settings.stratify_site
    )
    return made, []


def _leave_one_site_out(settings: Probe, people: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Each site in test once, but for those that cannot be judged: too few of a class, or a class that is nowhere else.

    Nobody without a site, or known from several, takes part: they could stand on both sides.
    """
    placed = people[people["site"].notna()].reset_index(drop=True)
    notes = []
    if len(placed) < len(people):
        notes.append(f"{len(people) - len(placed)} participant(s) without a site, or with several, take no part")
    sites = sorted(set(placed["site"]), key=natural)
    if len(sites) < 2:
        raise InputError(
            f"leave-one-site-out needs two sites, found {splits.listed(sites) or 'none'}: say in collect which column "
            "holds the site, or take another scheme"
        )
    unfit = dict(_unfit_sites(settings, placed, sites))
    notes += [f"site {site} is not tested: {reason}" for site, reason in unfit.items()]
    tested = [site for site in sites if site not in unfit]
    if not tested:
        raise InputError(f"no site can be tested: {splits.listed(f'{site} ({why})' for site, why in unfit.items())}")
    made = splits.leave_one_out(placed, tested, settings.seed, settings.val_share, settings.stratify_site)
    return made, notes


def _unfit_sites(settings: Probe, people: pd.DataFrame, sites: list[str]) -> Iterator[tuple[str, str]]:
    """The sites that cannot be tested, and why."""
    for site in sites:
        inside, outside = people[people["site"] == site], people[people["site"] != site]
        found = sorted(set(inside["target"]), key=natural)
        few = _few(settings, inside, found)
        if len(found) < 2:
            yield site, f"all {len(inside)} participant(s) have {settings.target} {found[0]}"
        elif few:
            yield site, f"{few}, fewer than site_minimum ({settings.site_minimum})"
        elif settings.kind == "classification":
            left = outside[~outside["group"].isin(set(inside["group"]))]["target"].value_counts()
            scarce = [name for name in sorted(set(people["target"]), key=natural) if left.get(name, 0) < _TRAINED]
            if scarce:
                yield site, f"{left.get(scarce[0], 0)} participant(s) of class {scarce[0]} elsewhere to train on"


def _few(settings: Probe, inside: pd.DataFrame, classes: list[str]) -> str:
    """Of whom a site has too few to be tested, with all its counts; empty where it has enough."""
    if settings.kind != "classification":
        return f"{len(inside)} participant(s)" if len(inside) < settings.site_minimum else ""
    counts = inside["target"].value_counts()
    enough = all(counts[name] >= settings.site_minimum for name in classes)
    return "" if enough else "participants per class: " + splits.listed(f"{name} {counts[name]}" for name in classes)


def _transfer(settings: Probe, people: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    made = splits.transfer(
        people, str(settings.test_dataset), settings.splits, settings.seed, settings.val_share, settings.stratify_site
    )
    return made, []


def _files(settings: Probe, people: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    path = Path(str(settings.split_file))
    lists = _lists(path)
    names = sorted(set(lists["split"]), key=natural)
    inside = lists["participant"].isin(set(people["participant"]))
    empty = [name for name in names if name not in set(lists.loc[inside, "split"])]
    if empty:
        raise InputError(
            f"split '{empty[0]}' of {path} names nobody of the task, such as {people['participant'].iloc[0]}"
        )
    others, notes = lists.loc[~inside, "participant"].unique(), []
    if len(others):
        notes.append(f"{len(others)} participant(s) of {path.name} are not in the task: {splits.listed(others)}")
    if names != [str(number) for number in range(len(names))]:
        numbered = (f"{number} is '{name}'" for number, name in enumerate(names))
        notes.append(f"splits of {path.name} are numbered in the order of their names: {splits.listed(numbered)}")
    given = lists[inside].assign(split=lists.loc[inside, "split"].map(names.index))
    made = splits.given(people, given, settings.seed, settings.val_share, settings.stratify_site)
    return made, notes


def _lists(path: Path) -> pd.DataFrame:
    """The fixed lists: split (its name), held_out (None), participant, part."""
    try:
        found = read_table(path, "," if ".csv" in path.suffixes else "\t")
    except FileNotFoundError:
        raise InputError(f"split_file not found: {path}") from None
    except OSError as error:
        raise InputError(f"cannot read split_file {path}: {error.strerror}") from None
    cells = [[cell.strip() or None for cell in row] for row in found.rows]
    table = pd.DataFrame(cells, columns=found.names, dtype=object)
    for column in ("participant", "part"):
        if column not in table:
            raise InputError(f"{path} has no column '{column}' (there: {splits.listed(table.columns)})")
    table = table.assign(part=table["part"].str.strip().str.lower())
    if "split" not in table:
        table["split"] = "0"
    if table[["split", "participant", "part"]].isna().any(axis=None):
        row = int(np.argmax(table[["split", "participant", "part"]].isna().any(axis=1)))
        raise InputError(f"{path}: row {row + 2} lacks a split, participant or part")
    table["split"] = table["split"].str.strip()
    table["participant"] = table["participant"].str.strip().str.removeprefix("sub-")
    return table.assign(held_out=None)[["split", "held_out", "participant", "part"]]


def _absent(made: pd.DataFrame, people: pd.DataFrame) -> Iterator[str]:
    """Notes on the participants of the task that are in no part of any split, or of one."""
    used = made[["dataset", "participant"]].drop_duplicates()
    never = people.merge(used, on=["dataset", "participant"], how="left", indicator=True)
    names = never.loc[never["_merge"] == "left_only", "participant"]
    if len(names):
        yield f"{len(names)} participant(s) in no part of any split: {splits.listed(names)}"
    places = []
    for split, rows in made.groupby("split"):
        absent, held_out = len(used) - len(rows), rows["held_out"].iloc[0]
        places += [f"{absent} in split {split}{f' ({held_out})' if held_out else ''}"] if absent else []
    if places:
        why = "in no part (relatives of the tested, or not listed)"
        yield f"of {len(used)} participants, {why}: {splits.listed(places)}"


_SCHEMES: Mapping[str, Any] = {
    "random": _random,
    "kfold": _kfold,
    "leave-one-site-out": _leave_one_site_out,
    "transfer": _transfer,
    "files": _files,
}
