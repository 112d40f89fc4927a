"""The numbers of the table: one row per task, model and metric, and every test that is made with them.

Tests are made on the leading metric alone. The comparisons that `comparisons` declares primary are one family, and the
tests of trained models against chance another; each is corrected after Holm over the whole table. All other tests are
exploratory: their p stand without correction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable import statistics
from boldtable.stages.report import numbers, published, remarks
from boldtable.stages.report.cells import Cell
from boldtable.stages.report.comparisons import PRIMARY, Declared, declared
from boldtable.stages.report.read import Task
from boldtable.stages.report.settings import Report
from boldtable.tasks.metrics import METRICS

COLUMNS = [
    "row", "task", "dataset", "kind", "target", "scheme", "model", "n_seeds", "metric", "primary", "site", "classes",
    "n", "n_splits", "n_train", "n_val", "n_test", "mean", "sd", "ci_low", "ci_high", "inference", "pooled",
    "weighted_mean", "part_mean", "chance", "p_chance", "p_chance_holm", "best", "reference", "family", "difference",
    "difference_low", "difference_high", "p", "p_holm", "published", "published_difference", "published_inside",
    "published_source", "settings_sha256", "data_sha256", "scores_sha256", "version", "seed",
]  # fmt: skip


@dataclass(frozen=True)
class Table:
    """The table as `rows` (columns `COLUMNS`), the notes that belong below it, and the level of its tests.

    A row is a ``score`` (model × task × metric, with its difference from the reference), a ``pair`` (the
    difference of a further pair on the leading metric; its `reference` is the second model of the pair), a ``site``
    (the leading metric of a model at one site that is left out), a ``curve`` (the leading metric of what is drawn and
    neither listed nor tested: snapshots, portions, hidden networks) or a ``rank`` (a model's mean rank over the tasks,
    1 being best; `n_splits` counts the tasks).
    """

    rows: pd.DataFrame
    notes: list[str]
    alpha: float

    @property
    def scores(self) -> pd.DataFrame:
        """What the printed table shows: the leading metric of every model and task."""
        return self.rows.loc[(self.rows["row"] == "score") & self.rows["primary"]]

    @property
    def primary(self) -> pd.DataFrame:
        """The comparisons that are declared and corrected."""
        return self.tests.loc[self.tests["family"] == PRIMARY]

    @property
    def sites(self) -> pd.DataFrame:
        """The leading metric of every model at every site that is left out."""
        return self.rows.loc[self.rows["row"] == "site"]

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


def make(
    settings: Report, tasks: list[Task], notes: Sequence[str] = (), config: Mapping[str, Any] | None = None
) -> Table:
    """Compute every row of the table and correct its tests; differences are model minus reference.

    `notes` are lines to print below the table besides those that the scores themselves call for; the `config` says
    which models are trained.
    """
    known = published.load(settings.published) if settings.published else []
    plan = declared(settings, config or {})
    made = [*(row for task in tasks for row in _task_rows(settings, plan, task, known)), *_rank_rows(settings, tasks)]
    rows = pd.DataFrame(made, columns=COLUMNS)
    for column in ("p", "p_chance"):
        rows[f"{column}_holm"] = _corrected(rows, plan, column)
    alpha = round(1 - settings.confidence, 10)
    said = [*settings.skipped, *remarks.on(tasks), *_too_few(settings, rows, alpha), *notes]
    return Table(rows, said, alpha)


def _too_few(settings: Report, rows: pd.DataFrame, alpha: float) -> Iterator[str]:
    """A line where so few permutations were asked for that no corrected p could fall below the level: these p go."""
    n = int(rows["p_chance_holm"].notna().sum())
    if n and n / (settings.permutations + 1) >= alpha:
        needed = math.ceil(n / alpha)
        yield (
            f"{settings.permutations} permutations are too few to correct {n} tests against chance: nothing could be "
            f"found above it; set permutations to {needed} or more"
        )
        rows["p_chance_holm"] = math.nan


def _corrected(rows: pd.DataFrame, plan: Declared, column: str) -> npt.NDArray[np.float64]:
    """Holm over the primary tests of the column; a pair that repeats a test against the reference counts once."""
    places = zip(rows["task"], rows["model"], rows["reference"], strict=True)
    if column == "p":
        keys = ["\n".join([str(task), *sorted([str(one), str(two)])]) for task, one, two in places]
        asked = rows["family"] == PRIMARY
    else:
        keys = [f"{task}\n{one}" for task, one, _ in places]
        who = rows[["task", "model"]].astype(str).to_numpy()
        asked = pd.Series([plan.alone(task, row) == PRIMARY for task, row in who])
    values = rows[column].astype(float).where(asked)
    once = pd.DataFrame({"key": keys, "p": values}).dropna().drop_duplicates("key")
    adjusted = dict(zip(once["key"], statistics.holm(once["p"].to_numpy()), strict=True))
    found = np.array([adjusted.get(key, math.nan) for key in keys])
    return np.where(values.isna(), math.nan, found)


def _task_rows(settings: Report, plan: Declared, task: Task, known: list[published.Number]) -> Iterator[dict[str, Any]]:
    best = _best(task)
    for model, cell in task.cells.items():
        for metric in task.metrics:
            if metric not in cell.values:
                continue
            row = _score_row(settings, plan, task, model, metric)
            row |= published.beside(settings, known, row | {"task": task.name})
            if metric == task.primary:
                row |= {"best": model == best, "p_chance": numbers.against_chance(settings, task, model)}
            yield row | _trace(task, cell)
        for row in _site_rows(settings, task, model):
            yield row | _trace(task, cell)
    for better, than in plan.pairs(settings.pairs):
        yield _pair_row(settings, plan, task, better, than) | _trace(task, task.cells[better])
    for model, cell in task.curves.items():
        yield _number(settings, task, model, task.primary) | {"row": "curve", "reference": ""} | _trace(task, cell)


def _number(settings: Report, task: Task, model: str, metric: str) -> dict[str, Any]:
    """What every row of a score or curve holds."""
    cell = (task.cells | task.curves)[model]
    found = numbers.summary(task, model, metric, settings.confidence, settings.seed)
    return {
        "model": model, "metric": metric, "primary": metric == task.primary, "n": cell.n,
        "n_seeds": len(cell.predictions), "n_splits": found.n, **cell.counts, "mean": found.mean, "sd": found.sd,
        "ci_low": found.low, "ci_high": found.high, "inference": numbers.inference(task, model, metric, found.low),
        **numbers.ways(task, model, metric), "chance": chance_level(task, metric), "best": False,
    }  # fmt: skip


def _score_row(settings: Report, plan: Declared, task: Task, model: str, metric: str) -> dict[str, Any]:
    row = _number(settings, task, model, metric) | {"row": "score"}
    if model == settings.reference:
        return row | {"reference": ""}
    return row | _difference(settings, plan, task, model, settings.reference, metric)


def _pair_row(settings: Report, plan: Declared, task: Task, better: str, than: str) -> dict[str, Any]:
    return {
        "row": "pair", "model": better, "metric": task.primary, "primary": True, "n": task.cells[better].n,
        **task.cells[better].counts, "best": False,
        **_difference(settings, plan, task, better, than, task.primary),
    }  # fmt: skip


def _site_rows(settings: Report, task: Task, model: str) -> Iterator[dict[str, Any]]:
    """A row per site with the score of its participants alone; nothing where no outcomes are known."""
    people = numbers.outcomes(task, model, task.primary)
    if people is None:
        return
    for site in task.sites:
        found = people.only(site.people)
        low, high = statistics.interval(task.primary, found, settings.confidence, settings.seed)
        yield {
            "row": "site", "model": model, "metric": task.primary, "primary": True, "site": site.name,
            "classes": site.classes, "n": site.n, "n_test": site.n, "n_splits": 1, "best": False, "reference": "",
            "mean": float(statistics.statistic(task.primary, found)[0]), "ci_low": low, "ci_high": high,
            "inference": "participants" if math.isfinite(low) else "none", "chance": chance_level(task, task.primary),
        }  # fmt: skip


def _trace(task: Task, cell: Cell) -> dict[str, Any]:
    return {
        "task": task.name, "dataset": " ".join(task.datasets), "kind": task.kind, "target": task.target,
        "scheme": task.scheme, "settings_sha256": task.settings_sha256, "data_sha256": task.data_sha256,
        "scores_sha256": cell.sha256, "version": str(cell.made.get("version", "")), "seed": task.seed,
    }  # fmt: skip


def _difference(settings: Report, plan: Declared, task: Task, one: str, two: str, metric: str) -> dict[str, Any]:
    """The difference with its interval; on the leading metric with p and the family it belongs to."""
    leads = metric == task.primary
    found = numbers.comparison(settings, task, one, two, metric)
    return {
        "reference": two, "family": plan.family(task.name, one, two) if leads else "", "difference": found.difference,
        "difference_low": found.low, "difference_high": found.high, "p": found.p if leads else math.nan,
    }  # fmt: skip


def _rank_rows(settings: Report, tasks: list[Task]) -> Iterator[dict[str, Any]]:
    """A row per model with its mean rank over the tasks, where there are at least two of both."""
    if len(tasks) < 2 or len(settings.rows) < 2:
        return
    means = np.array([[_oriented(task, row) for row in task.cells] for task in tasks])
    counted = int(np.isfinite(means).all(axis=1).sum())
    for model, rank in zip(settings.rows, statistics.mean_ranks(means), strict=True):
        yield {"row": "rank", "model": model, "metric": "rank", "primary": False, "n_splits": counted, "mean": rank,
               "best": False, "reference": "", "n_seeds": len(settings.rows[model])}  # fmt: skip


def _oriented(task: Task, row: str) -> float:
    """The printed number of the leading metric, signed so that larger is better."""
    return METRICS[task.primary].sign * numbers.value(task, row)


def _best(task: Task) -> str:
    """The model with the best mean; of equals the first in the order of the settings."""
    means = {model: _oriented(task, model) for model in task.cells}
    return max(means, key=lambda model: means[model] if math.isfinite(means[model]) else -math.inf)


def chance_level(task: Task, metric: str) -> float:
    """What guessing yields; NaN where that depends on the distribution of the target (accuracy, F1, MAE)."""
    if metric == "accuracy" and task.kind != "fingerprint":
        return math.nan
    n_test = next(iter(task.cells.values())).counts["n_test"]
    return METRICS[metric].chance(task.n_classes, n_test if task.kind == "fingerprint" else 0)
