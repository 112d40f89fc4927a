"""Who takes part in a task: one row per participant with target, group and site, and a count of everybody left out."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from boldtable import splits, store
from boldtable.errors import InputError, nearest
from boldtable.progress import say
from boldtable.stages.probe.conditions import natural, passing
from boldtable.stages.probe.runs import PERSON
from boldtable.stages.probe.settings import Probe
from boldtable.tasks.settings import Value, class_name

_KEYS_OF_ROWS = ("participant", "session")
_STANDARD = {"site": "site", "family": "family", "age": "age_years", "sex": "sex"}  # collect's setting: its column


def of_task(settings: Probe, task: str, participants: Sequence[Path], runs: pd.DataFrame) -> pd.DataFrame:
    """The participants of a task, as `boldtable.splits` takes them; sorted by dataset and name.

    `participants` has a table per dataset of the settings, in that order; `runs` are the task's runs. Of several
    sessions, the first with a value counts, for the target and for filters. A line per dataset says who is left out
    and why. Raises `InputError` where a column is missing, and where nobody is left or nothing differs.
    """
    if len(participants) != len(settings.datasets):
        raise InputError(
            f"{len(participants)} table(s) of participants for the dataset(s) {', '.join(settings.datasets)}: give one "
            "of each, in this order"
        )
    found = [
        _of_dataset(settings, task, path, runs[runs["dataset"] == dataset], dataset)
        for path, dataset in zip(participants, settings.datasets, strict=True)
    ]
    people = pd.concat(found, ignore_index=True)
    if settings.kind == "fingerprint":
        return people
    try:
        people = _levels(settings, people)
    except InputError as error:
        raise InputError(f"task '{task}': {error}") from None
    say(f"{task}: {_spread(settings, people)}")
    return people


def _spread(settings: Probe, people: pd.DataFrame) -> str:
    """The classes with their counts, or the range of a number: a slip in a code shows here."""
    if settings.kind == "classification":
        counts = people["target"].value_counts().sort_index()
        return f"{settings.target}: " + splits.listed((f"{name} {n}" for name, n in counts.items()), limit=12)
    numbers = people["target"].astype(float)
    return f"{settings.target} from {numbers.min():g} to {numbers.max():g}, median {numbers.median():g}"


def _of_dataset(settings: Probe, task: str, path: Path, runs: pd.DataFrame, dataset: str) -> pd.DataFrame:
    table = store.frame(path, "participants")
    column = settings.target
    if column is not None and (column not in table.columns or column in _KEYS_OF_ROWS):
        known = [str(name) for name in table.columns if name not in _KEYS_OF_ROWS]
        # 'age' means 'age_years' rather than a word of three similar letters
        known = [name for name in known if name.startswith(column)] or known
        renamed = _renamed(path, column)
        hint = f": collect calls it '{renamed}'; write target: {renamed}" if renamed else nearest(column, known)
        raise InputError(f"task '{task}': {path} has no column '{column}' to predict{hint}")
    people = first_known(table).assign(dataset=dataset)
    people["target"] = people["participant"] if column is None else people[column]
    left_out = []
    if column is not None:
        people, missing = people[people["target"].notna()], int(people["target"].isna().sum())
        left_out.append(f"{missing} without {column}")
    if settings.classes is not None:
        people, unmapped = _mapped(settings.classes, people)
        left_out += [unmapped] if unmapped else []
    people, outside = passing(people, settings.where, f"task '{task}': where", str(path))
    left_out += [f"by where: {outside}"] if outside else []
    recorded = people["participant"].isin(set(runs["participant"]))
    people, without = people[recorded], int((~recorded).sum())
    left_out.append(f"{without} without a kept run")
    which = f"{task} ({dataset})" if settings.test_dataset else task
    say(f"{which}: {len(people)} participants; left out: {', '.join(left_out)}")
    if people.empty:
        value = f"has a value in column '{column}' of" if column is not None else "is in"
        raise InputError(
            f"task '{task}': no participant with a kept run {value} {path}; left out: {', '.join(left_out)}"
        )
    return _grouped(settings, people)


def _renamed(path: Path, column: str) -> str | None:
    """What collect calls a column of participants.tsv that it has given its standard name."""
    made = store.provenance(path).get("settings") or {}
    given = {made.get(setting): name for setting, name in _STANDARD.items()}
    return given.get(column)


def first_known(table: pd.DataFrame) -> pd.DataFrame:
    """One row per participant: of several sessions, the first value of each column that is not missing.

    Who was recorded at several sites has none: they would stand on both sides where one of them is left out.
    """
    sessions = [natural(value) for value in table["session"]]
    ordered = table.iloc[sorted(range(len(table)), key=sessions.__getitem__)]
    found = ordered.groupby("participant", sort=True, as_index=False).first()
    several = table.groupby("participant")["site"].nunique() > 1
    return found.assign(site=found["site"].where(~found["participant"].map(several)))


def _mapped(classes: dict[str, list[Value]], people: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Targets as the classes they are mapped to; and how many participants have other values, by value."""
    names = {class_name(value): name for name, values in classes.items() for value in values}
    texts = people["target"].map(class_name)
    mapped = texts.map(names)
    for name in classes:
        if name not in set(mapped):
            there = splits.listed(sorted(set(texts), key=natural), limit=12)
            raise InputError(f"classes: nobody has a value of class '{name}'; values there are: {there}")
    others = texts[mapped.isna()].value_counts().sort_index()
    said = f"{int(others.sum())} of no class ({splits.listed(f'{name}: {n}' for name, n in others.items())})"
    return people.assign(target=mapped)[mapped.notna()], said if len(others) else ""


def _grouped(settings: Probe, people: pd.DataFrame) -> pd.DataFrame:
    """With the group: the family, or the participant alone; names of another dataset are others' names."""
    prefix = people["dataset"] + " " if settings.test_dataset and not settings.shared_ids else ""
    family = people["family"].map(lambda value: None if pd.isna(value) else f"family {value}")
    group = prefix + family.where(family.notna(), people["participant"])
    return people.assign(group=group)[[*PERSON, "site", "group", "target"]]


def _levels(settings: Probe, people: pd.DataFrame) -> pd.DataFrame:
    """With the level that splits are stratified by: the class, or a quantile of the target."""
    if settings.kind == "classification":
        texts = people["target"].map(class_name)
        _refuse_spellings(settings, texts)
        people = people.assign(target=texts, level=texts)
    else:
        people = _numeric(settings, people)
    trained = people[people["dataset"] == settings.dataset]
    if trained["target"].nunique() < 2:
        raise InputError(
            f"column '{settings.target}' is '{trained['target'].iloc[0]}' for all {len(trained)} participants with a "
            f"kept run"
            f"{f' of {settings.dataset}' if settings.test_dataset else ''}, so there is nothing to predict; choose "
            "another target"
        )
    tested = people[people["dataset"] == settings.test_dataset]
    if len(tested) and tested["target"].nunique() < 2:
        raise InputError(
            f"column '{settings.target}' is '{tested['target'].iloc[0]}' for all {len(tested)} participants of "
            f"{settings.test_dataset}, so there is nothing to tell apart; test on another dataset"
        )
    unknown = sorted(set(people["level"]) - set(trained["level"]), key=natural)
    if unknown and settings.kind == "classification":
        raise InputError(
            f"class '{unknown[0]}' is in {settings.test_dataset}, but nobody of {settings.dataset} has it to learn "
            "from; say with classes which values are one class"
        )
    return people


def _refuse_spellings(settings: Probe, texts: pd.Series) -> None:
    """Refuse classes that differ only in case or blanks: they are one class written in several ways."""
    spellings: dict[str, list[str]] = {}
    for text in sorted(set(texts), key=natural):
        spellings.setdefault(_spelling(text), []).append(text)
    for alike in spellings.values():
        if len(alike) > 1:
            counts = splits.listed(f"'{text}' {int((texts == text).sum())}" for text in alike)
            raise InputError(
                f"column '{settings.target}' writes one class in several ways ({counts}); correct the table, or say "
                "with classes which values are one class"
            )


def _spelling(text: str) -> str:
    """What is left of a class without case, blanks, and the several ways to write one letter or one dash."""
    letters = "".join(unicodedata.normalize("NFKC", text).split()).casefold()
    return "".join("-" if unicodedata.category(letter) == "Pd" else letter for letter in letters)


def _numeric(settings: Probe, people: pd.DataFrame) -> pd.DataFrame:
    """Targets as numbers (kept as text that reads back exactly); levels are quantiles of about ten participants."""
    numbers = pd.to_numeric(people["target"], errors="coerce").astype(float)
    wrong = people["target"][~np.isfinite(numbers)]
    if len(wrong):
        raise InputError(
            f"'{wrong.iloc[0]}' in column '{settings.target}' (participant "
            f"{people['participant'].loc[wrong.index[0]]}) is no number; kind 'classification' takes text"
        )
    if settings.kind == "binned" and numbers.nunique() < settings.bins:
        raise InputError(
            f"column '{settings.target}' has {numbers.nunique()} different values, too few for {settings.bins} bins; "
            "set bins lower"
        )
    level = numbers.groupby(people["dataset"]).transform(lambda found: _quantile(settings, found))
    return people.assign(target=[repr(float(number)) for number in numbers], level=level.astype(int))


def _quantile(settings: Probe, numbers: pd.Series) -> pd.Series:
    wanted = settings.bins if settings.kind == "binned" else min(5, max(1, len(numbers) // 10))
    rank = numbers.rank(method="first") - 1
    return rank * wanted // len(numbers) + 1
