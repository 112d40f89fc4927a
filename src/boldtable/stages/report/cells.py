"""The scores of one model on one task: read, summarised over seeds, and brought to the participants that all share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable import store
from boldtable.errors import InputError, nearest
from boldtable.statistics import Predictions
from boldtable.tasks.metrics import headlines

COUNTS = ("n_train", "n_val", "n_test")
_ROWS = ["participant", "split"]
_SAID = ["site", "group", "target", "prediction", "probabilities"]


@dataclass(frozen=True)
class Cell:
    """The scores of one row on one task, what their files say of their making, and the files of predictions.

    A row of several seeds has the mean over the seeds in every split and as many files of predictions.
    """

    scores: pd.DataFrame
    made: dict[str, Any]
    sha256: str
    predictions: tuple[Path, ...]
    shared: pd.DataFrame | None = None

    @cached_property
    def values(self) -> pd.DataFrame:
        """The scores as a table: one row per split in order, one column per metric, NaN where there is none."""
        return self.scores.pivot(index="split", columns="metric", values="value").astype(float).sort_index()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Participants per part: the median over splits, which differ by one or two where parts divide unevenly."""
        medians = self.scores[list(COUNTS)].astype(float).fillna(0).median()
        return {name: round(float(medians[name])) for name in COUNTS}

    def at_edge(self, edge: str) -> int:
        """In how many splits the probe took this end of its grid, by what the scores say of its choices."""
        choices = self.scores.drop_duplicates("split")["hyperparameters"].dropna()
        return sum(json.loads(one).get("grid_edge") == edge for one in choices)

    @cached_property
    def tested(self) -> pd.DataFrame:
        """Who is tested in which split, each once, sorted: columns participant and split."""
        if self.shared is not None:
            return self.shared
        found = predictions(self.predictions[0])[_ROWS].drop_duplicates().sort_values(["split", "participant"])
        return found.reset_index(drop=True)

    @property
    def n(self) -> int:
        """How many different participants are tested in all splits together."""
        return int(self.tested["participant"].nunique())

    def rows(self, path: Path) -> pd.DataFrame:
        """The predictions of one file, of the shared participants only where there are such."""
        found = predictions(path)
        return found if self.shared is None else found.merge(self.shared, on=_ROWS)


def read_cell(results: Path, models: list[str], task: str) -> Cell:
    """The scores of a row, the mean over its seeds in every split and metric."""
    cells = [_cell(results, model, task) for model in models]
    if len(cells) == 1:
        return cells[0]
    check_splits(task, dict(zip(models, cells, strict=True)))
    check_metrics(task, dict(zip(models, cells, strict=True)))
    every = pd.concat([cell.scores for cell in cells])
    means = every.groupby(["split", "metric"], sort=False)["value"].mean()
    first = cells[0].scores.set_index(["split", "metric"])
    scores = first.assign(value=means.reindex(first.index)).reset_index()
    sha256 = store.sha256_json([cell.sha256 for cell in cells])
    return Cell(scores, cells[0].made, sha256, tuple(path for cell in cells for path in cell.predictions))


def _cell(results: Path, model: str, task: str) -> Cell:
    path = results / "scores" / model / f"{task}.parquet"
    if not path.exists():
        raise InputError(_missing(results, model, task, path))
    scores = store.frame(path, "scores").sort_values(["metric", "split"], kind="stable").reset_index(drop=True)
    if scores.empty:
        raise InputError(f"{path} holds no scores; delete it and run the stage 'probe' again")
    if not headlines() & set(scores["metric"]):
        found = ", ".join(sorted(set(scores["metric"].astype(str))))
        raise InputError(f"{path} has none of the primary metrics {', '.join(sorted(headlines()))}, only {found}")
    doubled = scores.duplicated(["split", "metric"])
    if doubled.any():
        first = scores.loc[doubled].iloc[0]
        raise InputError(f"{path} holds split {first['split']} of {first['metric']} twice; run the stage 'probe' again")
    beside = path.with_name(f"{task}.predictions.parquet")
    if not beside.exists():
        raise InputError(f"predictions not found: {beside}; run the stage 'probe' for '{model}' and '{task}' first")
    return Cell(scores, store.provenance(path), content_sha256(scores), (beside,))


def _missing(results: Path, model: str, task: str, path: Path) -> str:
    """Why a scores file is missing: an unknown model, or a probe that has not run."""
    folder = results / "scores"
    known = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    hint = nearest(model, known) if known and model not in known else ""
    return (
        f"scores of model '{model}' for task '{task}' not found: {path}{hint}; "
        f"run the stage 'probe' for this model and task first"
    )


def predictions(path: Path) -> pd.DataFrame:
    """What a file of predictions says: participant, split, site, group, target, prediction and probabilities."""
    return store.frame(path, "predictions", [*_ROWS, *_SAID])


def check_splits(task: str, cells: Mapping[str, Cell]) -> None:
    """Every model must have been scored on the same splits, or no difference between two of them means anything."""
    splits = {model: sorted(set(cell.scores["split"])) for model, cell in cells.items()}
    first = next(iter(splits))
    for model, found in splits.items():
        if found != splits[first]:
            raise InputError(
                f"task '{task}': '{first}' has splits {_span(splits[first])}, but '{model}' has {_span(found)}; "
                f"delete the scores of the older one and run the stage 'probe' again"
            )


def check_metrics(task: str, cells: Mapping[str, Cell]) -> None:
    """Every model must have the same metrics, and at least one value of each primary one."""
    first = next(iter(cells))
    for model, cell in cells.items():
        found, expected = sorted(cell.values.columns), sorted(cells[first].values.columns)
        if found != expected:
            raise InputError(
                f"task '{task}': '{first}' has the metrics {', '.join(expected)}, but '{model}' has "
                f"{', '.join(found)}; delete the scores of the older one and run the stage 'probe' again"
            )
        if cell.values[[metric for metric in found if metric in headlines()]].isna().all(axis=None):
            raise InputError(
                f"task '{task}', model '{model}': no split has a value of the primary metric; look at the model's "
                f"embeddings, then run the stage 'probe' again"
            )


def _span(values: list[int]) -> str:
    return f"{values[0]} to {values[-1]} ({len(values)})"


def on_shared(task: str, kind: str, metric: str, cells: Mapping[str, Cell]) -> tuple[dict[str, Cell], list[str]]:
    """The cells on the test participants that all rows share, and a line for the table where they differed.

    Where they differ, the leading metric is computed again from the predictions of the shared participants, and the
    other metrics are left out. Raises `InputError` where a split shares nobody.
    """
    first = next(iter(cells.values())).tested
    if all(cell.tested.equals(first) for cell in cells.values()):
        return dict(cells), []
    shared = first
    for cell in cells.values():
        shared = shared.merge(cell.tested, on=_ROWS)
    lost = sorted(set(first["split"]) - set(shared["split"]))
    counts = ", ".join(f"{row} {cell.n}" for row, cell in cells.items())
    if lost or shared.empty:
        raise InputError(f"task '{task}': its models share no test participant in split {lost[0]} ({counts})")
    line = (
        f"{task}: its models were tested on different participants ({counts}); the table uses the "
        f"{shared['participant'].nunique()} that all share, on the leading metric alone"
    )
    return {row: _restricted(cell, kind, metric, shared) for row, cell in cells.items()}, [line]


def _restricted(cell: Cell, kind: str, metric: str, shared: pd.DataFrame) -> Cell:
    """The cell on fewer participants, its leading metric computed again."""
    narrow = replace(cell, shared=shared)
    members = [encoded(narrow.rows(path), kind, classes(path)) for path in cell.predictions]
    values = np.mean([member.values(member.target, metric) for member in members], axis=0)
    scores = cell.scores.loc[cell.scores["metric"] == metric].sort_values("split")
    n_test = shared.groupby("split", sort=True)["participant"].nunique().to_numpy()
    found = scores.assign(value=-values if metric == "mae" else values, n_test=n_test).reset_index(drop=True)
    return replace(narrow, scores=found, sha256=content_sha256(found))


def classes(path: Path) -> tuple[str, ...]:
    """The classes in the order of the probabilities in a file of predictions; empty where it does not say."""
    return tuple(str(name) for name in store.provenance(path).get("classes") or ())


def encoded(rows: pd.DataFrame, kind: str, known: tuple[str, ...] = ()) -> Predictions:
    """Predictions as numbers; a participant's target is the one of its first split (bins may differ between splits)."""
    people = rows.groupby("participant", sort=True)["target"].first()
    person = people.index.get_indexer(pd.Index(rows["participant"]))
    split = pd.factorize(rows["split"], sort=True)[0]
    if kind == "regression":
        numbers = (people.to_numpy(dtype=float), rows["prediction"].to_numpy(dtype=float))
        return Predictions(numbers[0], person, split, numbers[1], 0)
    there = {*people, *rows["prediction"]}
    labels = pd.Index(known if there <= set(known) else sorted(there))
    target, predicted = labels.get_indexer(pd.Index(people)), labels.get_indexer(pd.Index(rows["prediction"]))
    return Predictions(target, person, split, predicted, len(labels), probabilities(rows, len(labels)))


def probabilities(rows: pd.DataFrame, n_classes: int) -> npt.NDArray[np.float64] | None:
    """Probabilities (row, class); None where some are missing."""
    if not n_classes or rows["probabilities"].isna().any():
        return None
    found = np.array(rows["probabilities"].tolist(), dtype=np.float64)
    return found if found.shape[1:] == (n_classes,) else None


def content_sha256(frame: pd.DataFrame) -> str:
    """Hash a table by its values, numbers to six digits, so that neither file layout nor the last bit counts."""
    return store.sha256_json(frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
