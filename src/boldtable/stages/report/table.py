"""The numbers of the table: one row per task, model and metric, and every test that is made with them.

Tests are made on the primary metric alone. Three families, each corrected after Holm over the whole table: the
comparisons that were asked for (every model against the reference, and the pairs), for the marks every model against
the best of its column, and, where permutations were asked for, every model against chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable import statistics
from boldtable.stages.report import published, remarks
from boldtable.stages.report.cells import Cell, encoded
from boldtable.stages.report.read import Task
from boldtable.stages.report.settings import Report

LOWER_IS_BETTER = {"mae", "mean_rank"}
# Where a metric ends, an interval ends too.
RANGES = {
    "balanced_accuracy": (0, 1), "accuracy": (0, 1), "auroc": (0, 1), "f1": (0, 1), "mae": (0, math.inf),
    "mean_rank": (1, math.inf), "r2": (-math.inf, 1), "pearson_r": (-1, 1),
}  # fmt: skip
COLUMNS = [
    "row", "task", "dataset", "kind", "target", "scheme", "model", "n_seeds", "metric", "primary", "n", "n_splits",
    "n_train", "n_val", "n_test", "mean", "sd", "ci_low", "ci_high", "chance", "p_chance", "p_chance_holm", "best",
    "p_best", "p_best_holm", "reference", "difference", "difference_low", "difference_high", "p", "p_holm", "published",
    "published_difference", "published_inside", "published_source", "settings_sha256", "data_sha256", "scores_sha256",
    "version", "seed",
]  # fmt: skip


@dataclass(frozen=True)
class Table:
    """The table as `rows` (columns `COLUMNS`), the notes that belong below it, and the level of its tests.

    A row is a ``score`` (model × task × metric, with its difference from the reference), a ``pair`` (the
    difference of a further pair on the primary metric; its `reference` is the second model of the pair), a ``curve``
    (the primary metric of what is drawn and neither listed nor tested: snapshots, portions, hidden networks) or a
    ``rank`` (a model's mean rank over the tasks, 1 being best; `n_splits` counts the tasks).
    """

    rows: pd.DataFrame
    notes: list[str]
    alpha: float

    @property
    def scores(self) -> pd.DataFrame:
        """What the printed table shows: the primary metric of every model and task."""
        return self.rows.loc[(self.rows["row"] == "score") & self.rows["primary"]]

    @property
    def ranks(self) -> dict[str, float]:
        """Mean rank over the tasks by model; empty where there are too few of either."""
        found = self.rows.loc[self.rows["row"] == "rank"]
        return dict(zip(found["model"], found["mean"].astype(float), strict=True))

    @property
    def published(self) -> pd.DataFrame:
        """The measured numbers beside which a published one stands."""
        return self.rows.loc[self.rows["published"].notna()]

    @property
    def tests(self) -> pd.DataFrame:
        """The comparisons that were asked for: every model against the reference, then the pairs."""
        asked = self.rows.loc[self.rows["primary"] & (self.rows["reference"] != "")]
        return asked.loc[asked["model"] != asked["reference"]]


def make(settings: Report, tasks: list[Task], notes: Sequence[str] = ()) -> Table:
    """Compute every row of the table and correct its tests; differences are model minus reference.

    `notes` are lines to print below the table besides those that the scores themselves call for.
    """
    numbers = published.load(settings.published) if settings.published else []
    made = [*(row for task in tasks for row in _task_rows(settings, task, numbers)), *_rank_rows(settings, tasks)]
    rows = pd.DataFrame(made, columns=COLUMNS)
    for column in ("p", "p_best", "p_chance"):
        rows[f"{column}_holm"] = _corrected(rows, column)
    alpha = round(1 - settings.confidence, 10)
    return Table(rows, [*settings.skipped, *remarks.on(tasks), *_too_few(settings, rows, alpha), *notes], alpha)


def _too_few(settings: Report, rows: pd.DataFrame, alpha: float) -> Iterator[str]:
    """A line where so few permutations were asked for that no corrected p could fall below the level: these p go."""
    n = int(rows["p_chance"].notna().sum())
    if n and n / (settings.permutations + 1) >= alpha:
        needed = math.ceil(n / alpha)
        yield (
            f"{settings.permutations} permutations are too few for {n} tests against chance: nothing could be found "
            f"above it after correction, so ° is left out; set permutations to {needed} or more"
        )
        rows["p_chance_holm"] = math.nan


def _corrected(rows: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
    """Holm over all tests of the column; a pair that repeats a test against the reference counts once."""
    pairs = [tuple(sorted(pair)) for pair in zip(rows["model"], rows["reference"], strict=True)]
    if column == "p":
        keys = pd.Series([f"{task}\n{one}\n{two}" for task, (one, two) in zip(rows["task"], pairs, strict=True)])
    else:
        keys = pd.Series(np.arange(len(rows)).astype(str))
    tested = pd.DataFrame({"key": keys, "p": rows[column].astype(float).to_numpy()}).dropna()
    once = tested.drop_duplicates("key")
    adjusted = dict(zip(once["key"], statistics.holm(once["p"].to_numpy()), strict=True))
    found = [adjusted.get(key, math.nan) for key in keys]
    return np.where(rows[column].astype(float).isna(), math.nan, found)


def _task_rows(settings: Report, task: Task, numbers: list[published.Number]) -> Iterator[dict[str, Any]]:
    best = _best(task)
    for model, cell in task.cells.items():
        for metric in task.metrics:
            if metric not in cell.values:
                continue
            row = _score_row(settings, task, model, metric)
            row |= published.beside(settings, numbers, row | {"task": task.name})
            if metric == task.primary:
                row["best"] = model == best
                row["p_best"] = _test(task, model, best, metric) if model != best else math.nan
                row["p"] = _test(task, model, settings.reference, metric) if model != settings.reference else math.nan
                row["p_chance"] = _against_chance(settings, task, cell)
            yield row | _trace(task, cell)
    for better, than in settings.pairs:
        yield _pair_row(settings, task, better, than) | _trace(task, task.cells[better])
    for model, cell in task.curves.items():
        yield _curve_row(settings, task, model, cell) | _trace(task, cell)


def _curve_row(settings: Report, task: Task, model: str, cell: Cell) -> dict[str, Any]:
    found = bounded_summary(cell, task.primary, settings.confidence)
    return {
        "row": "curve", "model": model, "metric": task.primary, "primary": True, "n": cell.n,
        "n_seeds": len(cell.predictions), "n_splits": found.n, **cell.counts, "mean": found.mean, "sd": found.sd,
        "ci_low": found.low, "ci_high": found.high, "chance": chance_level(task, task.primary), "best": False,
        "reference": "",
    }  # fmt: skip


def _score_row(settings: Report, task: Task, model: str, metric: str) -> dict[str, Any]:
    cell = task.cells[model]
    found = bounded_summary(cell, metric, settings.confidence)
    own = model == settings.reference
    return {
        "row": "score", "model": model, "metric": metric, "primary": metric == task.primary, "n": cell.n,
        "n_seeds": len(cell.predictions), "n_splits": found.n, **cell.counts, "mean": found.mean, "sd": found.sd,
        "ci_low": found.low, "ci_high": found.high, "chance": chance_level(task, metric), "best": False,
        "reference": "" if own else settings.reference,
        **({} if own else _difference(settings, task, model, settings.reference, metric)),
    }  # fmt: skip


def _pair_row(settings: Report, task: Task, better: str, than: str) -> dict[str, Any]:
    return {
        "row": "pair", "model": better, "metric": task.primary, "primary": True, "n": task.cells[better].n,
        **task.cells[better].counts, "best": False, "reference": than,
        **_difference(settings, task, better, than, task.primary), "p": _test(task, better, than, task.primary),
    }  # fmt: skip


def _trace(task: Task, cell: Cell) -> dict[str, Any]:
    return {
        "task": task.name, "dataset": " ".join(task.datasets), "kind": task.kind, "target": task.target,
        "scheme": task.scheme, "settings_sha256": task.settings_sha256, "data_sha256": task.data_sha256,
        "scores_sha256": cell.sha256, "version": str(cell.made.get("version", "")), "seed": task.seed,
    }  # fmt: skip


def bounded_summary(cell: Cell, metric: str, confidence: float) -> statistics.Summary:
    """Mean, sd and interval over the splits, cut off where the metric ends.

    An accuracy without a training part (a fingerprint) has Wilson's interval.
    """
    counts = cell.counts
    found = statistics.summary(cell.values[metric].to_numpy(), counts["n_train"], counts["n_test"], confidence)
    if metric == "accuracy" and counts["n_train"] == 0 and found.n:
        low, high = statistics.wilson(found.mean * counts["n_test"], counts["n_test"], confidence)
        return replace(found, low=low, high=high)
    low, high = (float(np.clip(end, *RANGES.get(metric, (-math.inf, math.inf)))) for end in (found.low, found.high))
    return replace(found, low=low, high=high)


def _paired(task: Task, one: str, two: str, metric: str) -> tuple[pd.Series, pd.Series]:
    """The scores of two models split by split; NaN where a model has none."""
    first, second = (task.cells[model].values[metric] for model in (one, two))
    return first, second.reindex(first.index)


def _difference(settings: Report, task: Task, model: str, reference: str, metric: str) -> dict[str, float]:
    """Mean difference over the splits that both have, with its interval."""
    first, second = _paired(task, model, reference, metric)
    counts = task.cells[model].counts
    found = statistics.summary((first - second).to_numpy(), counts["n_train"], counts["n_test"], settings.confidence)
    return {"difference": found.mean, "difference_low": found.low, "difference_high": found.high}


def _test(task: Task, one: str, two: str, metric: str) -> float:
    """Two-sided p of the corrected resampled t-test on the splits that both models have."""
    first, second = _paired(task, one, two, metric)
    counts = task.cells[one].counts
    test = statistics.corrected_paired_test(first.to_numpy(), second.to_numpy(), counts["n_train"], counts["n_test"])
    return test.p


def _against_chance(settings: Report, task: Task, cell: Cell) -> float:
    """p of the permutation test, the median over the seeds of a row; NaN where it was not asked for."""
    if not settings.permutations:
        return math.nan
    n_train, n_test = cell.counts["n_train"], cell.counts["n_test"]
    return float(np.median([
        statistics.permutation_test(
            encoded(cell.rows(path), task.kind), settings.permutations, n_train, n_test, settings.seed
        )
        for path in cell.predictions
    ]))  # fmt: skip


def _rank_rows(settings: Report, tasks: list[Task]) -> Iterator[dict[str, Any]]:
    """A row per model with its mean rank over the tasks, where there are at least two of both."""
    if len(tasks) < 2 or len(settings.rows) < 2:
        return
    means = np.array([[_oriented(task, cell) for cell in task.cells.values()] for task in tasks])
    counted = int(np.isfinite(means).all(axis=1).sum())
    for model, rank in zip(settings.rows, statistics.mean_ranks(means), strict=True):
        yield {"row": "rank", "model": model, "metric": "rank", "primary": False, "n_splits": counted, "mean": rank,
               "best": False, "reference": "", "n_seeds": len(settings.rows[model])}  # fmt: skip


def _oriented(task: Task, cell: Cell) -> float:
    """The mean of the primary metric over the splits, signed so that larger is better."""
    return (-1 if task.primary in LOWER_IS_BETTER else 1) * float(cell.values[task.primary].mean())


def _best(task: Task) -> str:
    """The model with the best mean; of equals the first in the order of the settings."""
    means = {model: _oriented(task, cell) for model, cell in task.cells.items()}
    return max(means, key=lambda model: means[model] if math.isfinite(means[model]) else -math.inf)


def chance_level(task: Task, metric: str) -> float:
    """What guessing yields; NaN where that depends on the distribution of the target (accuracy, F1, MAE)."""
    if metric == "balanced_accuracy" and task.n_classes:
        return 1 / task.n_classes
    if task.kind == "fingerprint":
        n = next(iter(task.cells.values())).counts["n_test"]
        return {"accuracy": 1 / n, "mean_rank": (n + 1) / 2}.get(metric, math.nan) if n else math.nan
    return {"auroc": 0.5, "r2": 0.0, "pearson_r": 0.0}.get(metric, math.nan)
