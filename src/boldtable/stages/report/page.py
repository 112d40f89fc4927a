"""One self-contained HTML page: the table, its figures, QC, ledger, methods, settings and what every number traces to.

Everything is inline (CSS, SVG), nothing is loaded, no script runs, and no date is written: equal inputs give an equal
page. Autoescaping is on for every value; only figures, which matplotlib has escaped, are passed as markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes

from boldtable import __version__, figures
from boldtable.stages.report import by_site, claims, curves, methods, numbers, printed, sections, texts
from boldtable.stages.report.drawing import drawing
from boldtable.stages.report.networks import Attribution, attributions
from boldtable.stages.report.read import Task
from boldtable.stages.report.settings import Report
from boldtable.stages.report.table import Table
from boldtable.tasks.metrics import METRICS

Row = dict[str, Any]


def render(
    settings: Report, name: str, results: Path, config: Mapping[str, Any], tasks: list[Task], table: Table
) -> str:
    """The whole page as HTML text."""
    datasets = list(dict.fromkeys(dataset for task in tasks for dataset in task.datasets))
    models = sections.models(settings, results, config, tasks)
    limits = _limits(tasks, table)
    paragraphs = methods.text(config, trained=bool(models), permuted=bool(settings.permutations))
    template = Environment(
        loader=PackageLoader("boldtable.stages.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html.jinja")
    return template.render(
        settings=settings,
        name=name,
        version=__version__,
        table=_printed(settings, table),
        facts=_facts(settings, tasks, datasets),
        headline=claims.headline(settings, table),
        published=printed.published_entries(table),
        published_caption=printed.PUBLISHED_CAPTION,
        dots=[_dots(settings, task, table, limits[_scale(task)]) for task in tasks],
        sites=by_site.tables(settings, tasks, table),
        scaling=_scaling(settings, results, config, tasks),
        attributions=[_attribution(one, tasks) for one in attributions(settings, config)],
        models=models,
        datasets=[sections.dataset(results, dataset) for dataset in datasets],
        ledger=sections.ledger(results, datasets),
        paragraphs=paragraphs,
        works=methods.cited(paragraphs),
        config=yaml.safe_dump(dict(config) or settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        versions=sections.versions(),
        trace=printed.trace(table).to_dict("records"),
        colours={f"--{role}": colour for role, colour in figures.COLOURS.items()},
    )


def _facts(settings: Report, tasks: list[Task], datasets: list[str]) -> list[tuple[int, str]]:
    """The size of the table: rows, tasks, datasets, and participants who are tested somewhere."""
    people = {(task.tested_in or task.datasets, participant) for task in tasks for participant in task.tested}
    counts = [(len(settings.rows), "model"), (len(tasks), "task"), (len(datasets), "dataset")]
    facts = [(n, f"{word}s" if n != 1 else word) for n, word in counts]
    return [*facts, (len(people), "participants tested")]


def _printed(settings: Report, table: Table) -> Row:
    """The result table and the comparisons, as texts and, for the bar in each cell, places in percent of its width."""
    cells, tasks, ranks = printed.entries(table), printed.columns(table).to_dict("records"), table.ranks
    for task in tasks:
        task["over"], task["short"] = printed.heading(task["task"], task["dataset"])
        task["label"] = METRICS[task["metric"]].label + ("" if METRICS[task["metric"]].higher_is_better else " ↓")
    bars = _bars(table)
    return {
        "tasks": tasks,
        "rows": [
            {
                "name": printed.label(settings, row),
                "cells": [(cells[row, task["task"]], bars[row, task["task"]]) for task in tasks],
                "rank": f"{ranks[row]:.1f}" if ranks else "",
                "first": bool(ranks) and ranks[row] == min(ranks.values()),
            }
            for row in settings.rows
        ],
        "ranked": bool(ranks),
        "caption": printed.caption(settings, table),
        "comparisons": [
            (pair, [claims.test_entry(table, pair, task["task"]) for task in tasks])
            for pair in claims.comparisons(table)
        ],
        "tests_caption": claims.tests_caption(settings, table),
        "one_metric": len({task["metric"] for task in tasks}) == 1,
        "notes": table.notes,
    }


def _bars(table: Table) -> dict[tuple[str, str], Row]:
    """By (model, task): where mean, interval and chance lie between the ends of the column, in percent."""
    found: dict[tuple[str, str], Row] = {}
    for task, rows in table.scores.groupby("task", sort=False):
        values = rows[["mean", "ci_low", "ci_high", "chance"]].to_numpy(dtype=float)
        seen = values[np.isfinite(values)]
        low, span = (float(seen.min()), float(np.ptp(seen)) or 1.0) if len(seen) else (0.0, 1.0)
        for model, row in zip(rows["model"], (values - low) / span * 100, strict=True):
            places = [round(float(place), 1) if math.isfinite(place) else None for place in row]
            found[str(model), str(task)] = dict(zip(("mean", "low", "high", "chance"), places, strict=True))
    return found


def _scaling(settings: Report, results: Path, config: Mapping[str, Any], tasks: list[Task]) -> list[Row]:
    """The scores of every model that was trained on portions too, against how many it learnt from."""
    families = curves.portions(settings, results, config)
    return [
        {"name": row, "figures": [curves.against_number(settings, task, row, rows) for task in tasks]}
        for row, rows in families.items()
    ]


def _attribution(found: Attribution, tasks: list[Task]) -> Row:
    """A figure per task and a table over all: the score with each network alone, and without it."""
    plots, columns = [], []
    for task in tasks:
        scale = METRICS[task.primary].scale
        scores = found.scores(task)
        whole = numbers.value(task, found.row)
        label = f"{found.row}, {task.name}: {METRICS[task.primary].label} by network"

        def draw(ax: Axes, task: Task = task, scores: pd.DataFrame = scores, whole: float = whole * scale) -> None:
            factor = METRICS[task.primary].scale
            shown = scores.assign(only=scores["only"] * factor, hidden=scores["hidden"] * factor)
            figures.networks(ax, shown, whole, curves.chance(task))
            ax.set_xlabel(METRICS[task.primary].label)

        plots.append({"task": task.name, "figure": drawing(label, 3.4, 0.72 + 0.22 * len(scores), draw)})
        printed_scores = [
            [texts.number(float(value), task.primary) for value in scores[kind]] for kind in ("only", "hidden")
        ]
        columns.append(list(zip(*printed_scores, strict=True)))
    rows = [(network, [column[i] for column in columns]) for i, network in enumerate(found.networks)]
    return {"name": found.row, "figures": plots, "rows": rows, "tasks": [task.name for task in tasks]}


def _scale(task: Task) -> tuple[str, int | None]:
    """Tasks with the same primary metric and the same number of classes are drawn on the same axis."""
    return task.primary, task.n_classes


def _limits(tasks: list[Task], table: Table) -> dict[tuple[str, int | None], tuple[float, float]]:
    """The range of values and intervals of each scale, as printed, with a margin."""
    found: dict[tuple[str, int | None], list[float]] = {}
    for task in tasks:
        shown = table.scores.loc[table.scores["task"] == task.name, ["ci_low", "ci_high", "chance"]]
        splits = [value for cell in task.cells.values() for value in cell.values[task.primary]]
        found.setdefault(_scale(task), []).extend([*splits, *shown.to_numpy(dtype=float).ravel()])
    ends = {scale: (float(np.nanmin(seen)), float(np.nanmax(seen))) for scale, seen in found.items()}
    margins = {scale: max(high - low, 1e-6) * 0.04 for scale, (low, high) in ends.items()}
    return {scale: (low - margins[scale], high + margins[scale]) for scale, (low, high) in ends.items()}


def _dots(settings: Report, task: Task, table: Table, limits: tuple[float, float]) -> dict[str, Any]:
    """The dot-and-interval plot of one task over its splits."""
    metric = task.primary
    scale = METRICS[metric].scale
    shown = table.scores.loc[table.scores["task"] == task.name].copy()
    shown[["mean", "ci_low", "ci_high", "chance"]] *= scale
    scores = pd.concat([cell.scores.assign(model=model) for model, cell in task.cells.items()])
    scores = scores.loc[scores["metric"] == metric].assign(value=lambda frame: frame["value"] * scale)
    chance = float(shown["chance"].iloc[0])
    best = list(shown.loc[shown["best"], "model"])
    label = f"{task.name}: {METRICS[metric].label} of every model and split"
    height = min(0.34 + 0.03 * len(task.sites), 0.9)  # room for the names of sites

    def draw(ax: Axes) -> None:
        figures.dots(ax, scores, shown, None if pd.isna(chance) else chance, best, by_site.labels(task))
        ax.set_xlabel(METRICS[metric].label)
        ax.set_xlim(limits[0] * scale, limits[1] * scale)

    return {"task": task.name, "figure": drawing(label, 4.4, 0.72 + height * len(settings.rows), draw)}
