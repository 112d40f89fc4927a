"""Embeddings of runs and windows → one vector per participant, per half or per window, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable import store
from boldtable.errors import InputError
from boldtable.stages.probe import runs as recordings
from boldtable.stages.probe.settings import Probe

_VALUES_AT_ONCE = 2**24
_ABOUT_SOMEBODY = frozenset(store.schema("participants").names)

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """What the rows of some embeddings files are: `keys` (run, half, window) in the order of the files.

    `size` is the number of features; `columns` says for each file which of them its values are, -1 for none.
    """

    paths: tuple[Path, ...]
    keys: pd.DataFrame
    size: int
    columns: tuple[Ints, ...]

    @property
    def name(self) -> str:
        """The files in an error line."""
        return ", ".join(map(str, self.paths))

    def vectors(self) -> Iterator[tuple[int, Floats]]:
        """The number of the first row of each batch, and the batch's vectors (row, feature); an absent one is NaN."""
        row = 0
        for path, columns in zip(self.paths, self.columns, strict=True):
            with store.opened(path, ["embedding"]) as file:
                for batch in file.iter_batches(max(1, _VALUES_AT_ONCE // self.size), columns=["embedding"]):
                    given = batch.column("embedding").flatten().to_numpy(zero_copy_only=False)
                    found = np.full((batch.num_rows, self.size), np.nan, dtype=np.float32)
                    found[:, columns[columns >= 0]] = given.reshape(batch.num_rows, -1)[:, columns >= 0]
                    yield row, found
                    row += batch.num_rows


def read(paths: Sequence[Path], task: Probe | None = None) -> Rows:
    """Open the embeddings of one model, a file per dataset, without the features that are the target of a `task`.

    Features that are named (nuisance and demographics) are joined by name, so that a site that only one dataset has is
    missing in the other; a name is a measure, or a column of the participants table with or without a value. Raises
    `InputError` where the files are of different models.
    """
    keys = [store.frame(path, "embeddings", [*store.KEYS, "half", "window"]) for path in paths]
    features: list[Any] = [store.provenance(path).get("features") for path in paths]
    sizes = [store.parquet_schema(path).field("embedding").type.list_size for path in paths]
    if all(isinstance(names, list) for names in features):
        every = (name for names in features for name in names)
        union = dict.fromkeys(name for name in every if task is None or not _gives_away(task, name))
        place = {name: number for number, name in enumerate(union)}
        columns = [np.array([place.get(name, -1) for name in names], dtype=np.int64) for names in features]
        return Rows(tuple(paths), pd.concat(keys, ignore_index=True), len(union), tuple(columns))
    for path, size, about in zip(paths, sizes, features, strict=True):
        if size != sizes[0] or about != features[0]:
            raise InputError(
                f"{path} holds {size} features ({about}), {paths[0]} {sizes[0]} ({features[0]}): embed both datasets "
                "with the same model"
            )
    return Rows(tuple(paths), pd.concat(keys, ignore_index=True), sizes[0], (np.arange(sizes[0]),) * len(paths))


def _gives_away(task: Probe, feature: str) -> bool:
    """Whether a named feature is what the task asks for; in a fingerprint, whatever is known of the participant."""
    column = feature.split("=")[0]
    return column in _ABOUT_SOMEBODY if task.kind == "fingerprint" else column == task.target


def of_participants(rows: Rows, people: pd.DataFrame, runs: pd.DataFrame) -> Floats:
    """One embedding per participant, shape (participant, feature): the mean over windows, then over `runs`.

    `people` has dataset and participant, in the order wanted; `runs` the runs that count (of `runs.used`). A feature
    that is missing (NaN) in one run is the mean over the others, and NaN where it is missing in all. Raises
    `InputError` listing the participants without any embedding, or with none that is finite.
    """
    place = _places(rows, people, runs)
    refuse_absent(rows, people, place)
    found = means(rows, place, len(people))
    _refuse_empty(rows, people, np.asarray(np.isfinite(found).any(axis=1)))
    return found


def samples(rows: Rows, people: pd.DataFrame, runs: pd.DataFrame) -> tuple[Floats, Ints]:
    """Every window of everybody: vectors (window, feature) and whose each is, a position in `people` (window,).

    Windows are in the order of the files. Arguments and errors as for `of_participants`.
    """
    place = _places(rows, people, runs)
    refuse_absent(rows, people, place)
    inside = np.flatnonzero(place >= 0)
    found = np.empty((len(inside), rows.size), dtype=np.float32)
    for first, vectors in rows.vectors():
        low, high = np.searchsorted(inside, [first, first + len(vectors)])
        found[low:high] = vectors[inside[low:high] - first]
    finite = np.zeros(len(people), dtype=bool)
    np.logical_or.at(finite, place[inside], np.isfinite(found).any(axis=1))
    _refuse_empty(rows, people, finite)
    return found, place[inside]


def pairs(rows: Rows, people: pd.DataFrame, runs: pd.DataFrame, halves: bool) -> tuple[Floats, Floats]:
    """The two recordings of a fingerprint: two arrays (participant, feature).

    They are the runs of either unit (see `runs.used`) or, with `halves`, the halves of a run. Raises `InputError`
    where the embeddings hold no halves, and where a participant lacks one of the two.
    """
    if halves and rows.keys["half"].isna().all():
        raise InputError(f"{rows.name} holds no halves of runs: set halves: true in the embed block of this model")
    both = []
    for place in _units(rows, people, runs, halves):
        refuse_absent(rows, people, place)
        both.append(means(rows, place, len(people)))
    return both[0], both[1]


def present(rows: Rows, people: pd.DataFrame, runs: pd.DataFrame, task: Probe) -> npt.NDArray[np.bool_]:
    """Who has an embedding with a finite value, (participant,); in a fingerprint, of both recordings."""
    if task.kind == "fingerprint":
        places = _units(rows, people, runs, task.across == "half")
    else:
        places = [_places(rows, people, runs)]
    found = np.zeros((len(places), len(people)), dtype=bool)
    for first, vectors in rows.vectors():
        finite = np.isfinite(vectors).any(axis=1)
        for number, place in enumerate(places):
            mine = place[first : first + len(vectors)]
            found[number, mine[(mine >= 0) & finite]] = True
    return np.asarray(found.all(axis=0))


def _units(rows: Rows, people: pd.DataFrame, runs: pd.DataFrame, halves: bool) -> list[Ints]:
    """Whose each row is, for either of the two recordings of a fingerprint."""
    if halves:
        return [_places(rows, people, runs, half) for half in (1, 2)]
    return [_places(rows, people, runs[runs["unit"] == unit]) for unit in (0, 1)]


def means(rows: Rows, place: Ints, n: int) -> Floats:
    """Mean over windows, then over runs, of the rows that share a place; shape (n, feature), NaN where there is none.

    `place` gives each row its place (0 to n-1) or -1 to leave it out.
    """
    weight = _weights(rows.keys, place, n)
    total = np.zeros((n, rows.size), dtype=np.float32)
    seen = np.zeros((n, rows.size), dtype=np.float32)
    for first, vectors in rows.vectors():
        for row, vector in enumerate(vectors, start=first):
            if place[row] >= 0:
                finite = np.isfinite(vector)
                total[place[row]] += np.where(finite, vector, 0) * weight[row]
                seen[place[row]] += finite * weight[row]
    return np.divide(total, seen, out=np.full_like(total, np.nan), where=seen > 0)


def _weights(keys: pd.DataFrame, place: Ints, n: int) -> Floats:
    """Share of each row in its place's mean: 1 / (windows of its run there × runs of its place)."""
    run = keys.groupby(list(store.KEYS), dropna=False, sort=False).ngroup().to_numpy()
    inside = place >= 0
    windows = np.bincount(run[inside], minlength=run.max(initial=0) + 1)[run]
    pairs = np.unique(np.stack([run[inside], place[inside]]), axis=1)
    runs = np.bincount(pairs[1], minlength=n)
    return np.where(inside, 1 / np.maximum(1, windows * runs[place]), 0).astype(np.float32)


def _places(rows: Rows, people: pd.DataFrame, runs: pd.DataFrame, half: int | None = None) -> Ints:
    """Whose each row is, a position in `people`; -1 for another run, another half, or nobody asked for."""
    index = {person: number for number, person in enumerate(_persons(people))}
    wanted = {key: index.get(person, -1) for key, person in zip(recordings.keys(runs), _persons(runs), strict=True)}
    right = rows.keys["half"].isna() if half is None else rows.keys["half"] == half
    found = [wanted.get(key, -1) for key in recordings.keys(rows.keys)]
    return np.where(right, np.array(found, dtype=np.int64), -1)


def _persons(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["dataset"], rows["participant"], strict=True))


def refuse_absent(rows: Rows, people: pd.DataFrame, place: Ints) -> None:
    """Raise `InputError` naming the participants of a task that no row is of."""
    absent = np.setdiff1d(np.arange(len(people)), place)
    if absent.size:
        raise InputError(
            f"{rows.name} has no embedding of {_some(people, absent)} of the task's splits; embed and split must read "
            "the same qc table: run both again"
        )


def _refuse_empty(rows: Rows, people: pd.DataFrame, finite: npt.NDArray[np.bool_]) -> None:
    if not finite.all():
        raise InputError(
            f"{rows.name}: no finite value in the embeddings of {_some(people, np.flatnonzero(~finite))}; look at the "
            "runs and the model"
        )


def _some(people: pd.DataFrame, places: Ints) -> str:
    names = people["participant"].iloc[places[:5]]
    rest = f" and {len(places) - 5} more" if len(places) > 5 else ""
    return f"{len(places)} participant(s) ({', '.join(names)}{rest})"
