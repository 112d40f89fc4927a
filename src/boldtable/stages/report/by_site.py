"""The sites of each task that leaves them out: how many people, of which classes, and the score of every model."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from boldtable.stages.report.read import Task
from boldtable.stages.report.settings import Report
from boldtable.stages.report.table import Table
from boldtable.stages.report.texts import interval, number
from boldtable.tasks.metrics import METRICS

_SHORT = 12  # a site's name is written beside its dots up to this length, and where there are few
_FEW = 6
_WAYS = {
    "pooled": "pooled",
    "weighted_mean": "mean over sites, by participants",
    "part_mean": "mean over sites, each alike",
}


@dataclass(frozen=True)
class SiteTable:
    """One task: the models, a row per site (label, name, n, classes, scores), and its summaries (name, scores)."""

    task: str
    metric: str
    models: list[str]
    rows: list[tuple[str, str, int, str, list[tuple[str, str]]]]
    summaries: list[tuple[str, list[str]]]


def labels(task: Task) -> dict[int, str]:
    """How the dots of each site are labelled, by split: by name, or by number where names are many or long."""
    named = len(task.sites) <= _FEW and all(len(site.name) <= _SHORT for site in task.sites)
    return {site.split: site.name if named else str(i + 1) for i, site in enumerate(task.sites)}


def tables(settings: Report, tasks: list[Task], table: Table) -> list[SiteTable]:
    """Return a table for every task whose sites are known."""
    return [_table(list(settings.rows), task, table) for task in tasks if task.sites and task.outcomes]


def _table(models: list[str], task: Task, table: Table) -> SiteTable:
    names, metric = labels(task), task.primary
    sites, scores = (rows.loc[rows["task"] == task.name] for rows in (table.sites, table.scores))
    spans = {(row["site"], row["model"]): _score(row, metric) for _, row in sites.iterrows()}
    whole = {str(row["model"]): row for _, row in scores.iterrows()}
    rows = [
        (names[site.split], site.name, site.n, site.classes, [spans[site.name, one] for one in models])
        for site in task.sites
    ]
    means = [
        (words, [number(float(whole[one][way]), metric) or "n/a" for one in models]) for way, words in _WAYS.items()
    ]
    return SiteTable(task.name, METRICS[metric].label, models, rows, means)


def _score(row: pd.Series, metric: str) -> tuple[str, str]:
    return number(row["mean"], metric) or "n/a", interval(row["ci_low"], row["ci_high"], metric)
