"""What was predicted of every participant, for tasks that test everybody equally often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable.stages.report.cells import Cell, probabilities
from boldtable.stages.report.cells import classes as known_classes
from boldtable.statistics import Outcomes

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Site:
    """A test part of a task: the split that tests it, its name, and the places of its participants."""

    split: int
    name: str
    people: npt.NDArray[np.int64]
    classes: str

    @property
    def n(self) -> int:
        """How many participants are tested."""
        return len(self.people)


def of_cells(cells: Mapping[str, Cell], kind: str) -> dict[str, Outcomes]:
    """Return the outcomes of every row; empty where participants are not tested equally often.

    The repetitions are read from who is tested: splits belong to one as long as they test different participants.
    """
    if kind == "fingerprint" or not cells:
        return {}
    first = next(iter(cells.values()))
    repetitions = _repetitions(first.tested)
    if repetitions is None or set(first.tested["split"]) != set(first.scores["split"]):
        return {}
    found = {row: _of_cell(cell, kind, repetitions) for row, cell in cells.items()}
    return {row: one for row, one in found.items() if one is not None} if all(found.values()) else {}


def sites(cell: Cell, kind: str) -> list[Site]:
    """Return the sites that a task leaves out, in the order of its splits."""
    rows = cell.rows(cell.predictions[0]).sort_values(["split", "participant"], kind="stable")
    people = pd.Index(sorted(set(rows["participant"])))
    found = []
    for split, part in rows.groupby("split"):
        names = part["site"].dropna().unique()
        name = str(names[0]) if len(names) == 1 else f"split {split}"
        counts = part["target"].value_counts().sort_index()
        classes = "" if kind == "regression" else ", ".join(f"{label} {n}" for label, n in counts.items())
        found.append(Site(int(str(split)), name, people.get_indexer(pd.Index(part["participant"])), classes))
    return found


def _repetitions(tested: pd.DataFrame) -> list[list[int]] | None:
    """The splits of each repetition; None where repetitions do not test the same participants."""
    found: list[tuple[list[int], set[str]]] = []
    for split, rows in tested.groupby("split", sort=True):
        people = set(rows["participant"])
        if not found or found[-1][1] & people:
            found.append(([], set()))
        found[-1][0].append(int(str(split)))
        found[-1][1].update(people)
    alike = all(people == found[0][1] for _, people in found)
    return [splits for splits, _ in found] if alike else None


def _of_cell(cell: Cell, kind: str, repetitions: list[list[int]]) -> Outcomes | None:
    """The outcomes of all seeds and repetitions; None where a target or prediction is missing."""
    members, classes = [], None
    for path in cell.predictions:
        rows = cell.rows(path)
        if rows[["participant", "target", "prediction"]].isna().any(axis=None):
            return None
        classes = classes or _classes(known_classes(path), rows, kind)
        members += [rows[rows["split"].isin(splits)].sort_values("participant") for splits in repetitions]
    if len({len(rows) for rows in members}) > 1:
        return None
    labels = pd.Index(classes or [])
    truth, predicted = (np.stack([_numbers(rows[name], labels, kind) for rows in members]) for name in _BOTH)
    first = members[0]
    group = first["group"].where(first["group"].notna(), first["participant"])
    return Outcomes(
        truth, predicted, np.stack([rows["split"].to_numpy() for rows in members]), pd.factorize(group)[0],
        len(labels), _scores(members, len(labels)),
    )  # fmt: skip


_BOTH = ("target", "prediction")


def _numbers(texts: pd.Series, labels: pd.Index, kind: str) -> Array:
    return texts.to_numpy(dtype=float) if kind == "regression" else labels.get_indexer(pd.Index(texts))


def _classes(known: tuple[str, ...], rows: pd.DataFrame, kind: str) -> list[str]:
    """The classes in the order of the probabilities, as the file says, or as they occur."""
    if kind == "regression":
        return []
    there = set(rows["target"]) | set(rows["prediction"])
    return list(known) if there <= set(known) else sorted(there)


def _scores(members: list[pd.DataFrame], n_classes: int) -> npt.NDArray[np.float64] | None:
    """Probabilities (member, participant, class); None where some are missing."""
    scores = [probabilities(rows, n_classes) for rows in members]
    return None if any(one is None for one in scores) else np.stack([one for one in scores if one is not None])
