"""The number of a cell with its interval, and the difference of two: over participants, or over splits.

Where everybody is tested equally often, both are made from the predictions of every participant; otherwise from the
scores of the splits.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from boldtable import statistics
from boldtable.stages.report.cells import Cell, classes, encoded
from boldtable.stages.report.read import Task
from boldtable.stages.report.settings import Report
from boldtable.statistics import Outcomes, PairedTest, Summary
from boldtable.tasks.metrics import METRICS

WAYS = {"pooled": "pooled", "weighted_mean": "weighted", "part_mean": "mean"}


def outcomes(task: Task, row: str, metric: str) -> Outcomes | None:
    """Return what was predicted of every participant, where the metric can be made from it."""
    found = task.outcomes.get(row)
    return None if found is None or (metric == "auroc" and found.scores is None) else found


def summary(task: Task, row: str, metric: str, confidence: float, seed: int = 0) -> Summary:
    """Return the printed number, the standard deviation between splits and the interval, within the metric's range.

    An accuracy without a training part (a fingerprint) has Wilson's interval.
    """
    cell, people = (task.cells | task.curves)[row], outcomes(task, row, metric)
    counts = cell.counts
    found = statistics.summary(cell.values[metric].to_numpy(), counts["n_train"], counts["n_test"], confidence)
    if people is not None:
        value = float(statistics.statistic(metric, people)[0])
        low, high = statistics.interval(metric, people, confidence, seed)
        found = replace(found, mean=value, low=low, high=high)
    elif metric == "accuracy" and counts["n_train"] == 0 and found.n:
        low, high = statistics.wilson(found.mean * counts["n_test"], counts["n_test"], confidence)
        found = replace(found, low=low, high=high)
    record = METRICS[metric]
    low, high = (float(np.clip(end, record.low, record.high)) for end in (found.low, found.high))
    return replace(found, low=low, high=high)


def value(task: Task, row: str) -> float:
    """Return the printed number of the leading metric."""
    people = outcomes(task, row, task.primary)
    if people is not None:
        return float(statistics.statistic(task.primary, people)[0])
    return float((task.cells | task.curves)[row].values[task.primary].mean())


def ways(task: Task, row: str, metric: str) -> dict[str, float]:
    """Return the score pooled, averaged by participants, and averaged over parts that count alike; by column."""
    people = outcomes(task, row, metric)
    if people is None:
        return {}
    return {name: float(statistics.statistic(metric, people, how=how)[0]) for name, how in WAYS.items()}


def inference(task: Task, row: str, metric: str, low: float) -> str:
    """Return over what the interval is made: ``participants``, ``splits``, or ``none`` where there is none."""
    if not math.isfinite(low):
        return "none"
    return "participants" if outcomes(task, row, metric) is not None or task.kind == "fingerprint" else "splits"


def comparison(settings: Report, task: Task, one: str, two: str, metric: str) -> PairedTest:
    """Return the difference of two rows (`one` minus `two`), its p value and its interval."""
    a, b = outcomes(task, one, metric), outcomes(task, two, metric)
    if a is not None and b is not None:
        return statistics.paired_test(metric, a, b, settings.confidence, settings.seed)
    first, second = _by_split(task, one, two, metric)
    counts = task.cells[one].counts
    test = statistics.corrected_paired_test(first, second, counts["n_train"], counts["n_test"])
    gaps = statistics.summary(first - second, counts["n_train"], counts["n_test"], settings.confidence)
    return replace(test, difference=gaps.mean, low=gaps.low, high=gaps.high)


def _by_split(task: Task, one: str, two: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The scores of two models split by split; NaN where a model has none."""
    first, second = (task.cells[model].values[metric] for model in (one, two))
    return first.to_numpy(), second.reindex(first.index).to_numpy()


def against_chance(settings: Report, task: Task, row: str) -> float:
    """Return p of the permutation test of the leading metric; over splits, the median over the seeds of a row."""
    people, metric, cell = outcomes(task, row, task.primary), task.primary, task.cells[row]
    if not settings.permutations or task.kind == "fingerprint":
        return math.nan
    if people is not None:
        return statistics.dealt_out(metric, people, settings.permutations, settings.seed, METRICS[metric].sign)
    found = [_over_splits(settings, task, cell, path) for path in cell.predictions]
    return float(np.median(found))


def _over_splits(settings: Report, task: Task, cell: Cell, path: Path) -> float:
    """p of one seed; NaN where predictions of some split are missing."""
    rows, counts = cell.rows(path), cell.counts
    if set(rows["split"]) != set(cell.scores["split"]) or rows["prediction"].isna().any():
        return math.nan
    found = encoded(rows, task.kind, classes(path))
    return statistics.permutation_test(
        found, settings.permutations, counts["n_train"], counts["n_test"], settings.seed, task.primary
    )
