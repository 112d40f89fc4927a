"""Scores that are drawn and not listed: against the step of training, and against how many were learnt from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from boldtable import figures, store
from boldtable.errors import InputError
from boldtable.stages.report import numbers
from boldtable.stages.report.drawing import drawing
from boldtable.stages.report.networks import NETWORKS
from boldtable.stages.report.read import Task, read_json
from boldtable.stages.report.settings import Report
from boldtable.stages.report.table import chance_level
from boldtable.tasks.metrics import METRICS

Row = dict[str, Any]
_PORTION = ("portion", "portion_seed", "seed")


def steps(settings: Report, results: Path, config: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """For every model with snapshots on the page: row of the embed block → step of training, in order.

    The finished model stands at its last step; rows that embed in another way than the first curve are left out.
    """
    embed: Mapping[str, Row] = config.get("embed") or {}
    curves = {row: embed[row] for row in settings.curves if embed.get(row, {}).get("snapshot") is not None}
    found: dict[str, dict[str, int]] = {}
    for encoder in dict.fromkeys(str(about.get("encoder")) for about in curves.values()):
        alike = next(_but(about) for about in curves.values() if about.get("encoder") == encoder)
        rows = [row for row in [*settings.models, *settings.curves] if embed.get(row, {}).get("encoder") == encoder]
        folder = results / "models" / encoder
        places = {row: _step(folder, embed[row].get("snapshot")) for row in rows if _but(embed[row]) == alike}
        found[encoder] = dict(sorted(places.items(), key=lambda one: one[1]))
    return found


def _but(about: Mapping[str, Any]) -> Row:
    """How a row embeds, whichever weights it takes."""
    return {key: value for key, value in about.items() if key not in ("encoder", "snapshot")}


def _step(folder: Path, snapshot: int | None) -> int:
    """The step after which a snapshot was taken, or the last one of the finished model."""
    if snapshot is None:
        path = folder / "training.parquet"
        if not path.exists():
            return 0
        with store.opened(path, []) as file:
            return int(file.metadata.num_rows)
    there = sorted((folder / "snapshots").glob("[0-9]*"))
    if snapshot >= len(there):
        raise InputError(f"{folder} has {len(there)} snapshots, none with number {snapshot}: run pretrain again")
    return int(there[snapshot].name)


def portions(settings: Report, results: Path, config: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """For every model that was also trained on portions: row → participants learnt from, or the portion, in order.

    Models belong together where their pretrain blocks differ in the portion, its seed and the training's seed alone,
    and their rows embed alike; several rows of one portion are its seeds.
    """
    embed, pretrain = config.get("embed") or {}, config.get("pretrain") or {}
    families: dict[str, dict[str, float]] = {}
    for row in [*settings.models, *settings.curves]:
        about = embed.get(row) or {}
        made = pretrain.get(about.get("encoder")) or {}
        if not made or about.get("snapshot") is not None or made.get("epochs") == 0 or any(map(about.get, NETWORKS)):
            continue
        alike = {key: value for key, value in made.items() if key not in _PORTION}
        families.setdefault(repr((_but(about), alike)), {})[row] = float(made.get("portion", 1))
    curves = [rows for rows in families.values() if len(set(rows.values())) > 1]
    return {
        max(rows, key=lambda row: rows[row]): dict(sorted(_learnt(rows, results, embed), key=lambda one: one[1]))
        for rows in curves
    }


def _learnt(rows: Mapping[str, float], results: Path, embed: Mapping[str, Row]) -> Iterator[tuple[str, float]]:
    """Row and participants that its model learnt from; row and portion where a model does not say so."""
    counts = {}
    for row in rows:
        seen = read_json(results / "models" / str(embed[row]["encoder"]) / "data.json", "pretrain").get("participants")
        counts[row] = sum(len(names) for names in seen.values()) if isinstance(seen, dict) else 0
    return iter(rows.items()) if not all(counts.values()) else iter(counts.items())


def points(task: Task, rows: Mapping[str, float], confidence: float) -> pd.DataFrame:
    """x, mean, ci_low and ci_high of the primary metric of each of the `rows`."""
    cells = task.cells | task.curves
    values = [(x, numbers.summary(task, row, task.primary, confidence)) for row, x in rows.items() if row in cells]
    found = [{"x": x, "mean": one.mean, "ci_low": one.low, "ci_high": one.high} for x, one in values]
    return pd.DataFrame(found, columns=["x", "mean", "ci_low", "ci_high"])


def _name(task: Task) -> str:
    """The metric on an axis."""
    return METRICS[task.primary].label


def against_step(settings: Report, task: Task, model: str, rows: Mapping[str, int]) -> Row:
    """The score of one task against the step of training."""
    found = _scaled(points(task, rows, settings.confidence), task)

    def draw(ax: Axes) -> None:
        figures.rising(ax, found, chance(task))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        ax.set_xlabel("step")
        ax.set_ylabel(_name(task))

    label = f"{model}, {task.name}: {_name(task)} against the step"
    return {"task": task.name, "figure": drawing(label, 3.4, 1.9, draw)}


def against_number(settings: Report, task: Task, model: str, rows: Mapping[str, float]) -> Row:
    """The score of one task against how many participants the model learnt from: the mean over seeds, and each seed."""
    each = _scaled(points(task, rows, settings.confidence), task)
    means = each.groupby("x", as_index=False).mean()
    counted = bool(each["x"].max() > 1)

    def draw(ax: Axes) -> None:
        figures.rising(ax, means, chance(task), each)
        ax.set_xscale("log")
        ax.set_xticks(means["x"])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.set_xlabel("participants learnt from" if counted else "share of the participants learnt from")
        ax.set_ylabel(_name(task))

    label = f"{model}, {task.name}: {_name(task)} against the participants learnt from"
    return {"task": task.name, "figure": drawing(label, 3.4, 2.0, draw)}


def _scaled(found: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The values as printed: shares in percent."""
    columns = ["mean", "ci_low", "ci_high"]
    return found.assign(**{name: found[name] * METRICS[task.primary].scale for name in columns})


def chance(task: Task) -> float | None:
    """The chance level as printed; None where there is none."""
    level = chance_level(task, task.primary) * METRICS[task.primary].scale
    return float(level) if np.isfinite(level) else None
