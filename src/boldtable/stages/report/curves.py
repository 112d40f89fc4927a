"""Probe scores against the step of training, from the snapshots of a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from boldtable.errors import InputError
from boldtable.figures import COLOURS
from boldtable.stages.report.read import Task
from boldtable.stages.report.settings import Report
from boldtable.stages.report.table import bounded_summary

Row = dict[str, Any]


def steps(settings: Report, results: Path, config: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """For every model with snapshots on the page: row of the embed block → step of training, in order.

    The finished model stands at its last step; rows that embed in another way than the first curve are left out.
    """
    embed: Mapping[str, Row] = config.get("embed") or {}
    curves = {row: embed[row] for row in settings.curves if row in embed}
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
        return int(pq.read_metadata(path).num_rows) if path.exists() else 0
    there = sorted((folder / "snapshots").glob("[0-9]*"))
    if snapshot >= len(there):
        raise InputError(f"{folder} has {len(there)} snapshots, none with number {snapshot}: run pretrain again")
    return int(there[snapshot].name)


def points(task: Task, rows: Mapping[str, int], confidence: float) -> pd.DataFrame:
    """Step, mean, ci_low and ci_high of the primary metric of each of the `rows`."""
    cells = task.cells | task.curves
    values = [(step, bounded_summary(cells[row], task.primary, confidence)) for row, step in rows.items()]
    found = [{"step": step, "mean": one.mean, "ci_low": one.low, "ci_high": one.high} for step, one in values]
    return pd.DataFrame(found, columns=["step", "mean", "ci_low", "ci_high"])


def draw(ax: Axes, found: pd.DataFrame, chance: float | None) -> None:
    """The mean over the splits against the step, its interval as a band, chance as a broken line."""
    step, mean = found["step"].to_numpy(dtype=float), found["mean"].to_numpy(dtype=float)
    low, high = (found[name].to_numpy(dtype=float) for name in ("ci_low", "ci_high"))
    if np.isfinite(low).any():
        ax.fill_between(step, low, high, color=COLOURS["one"], alpha=0.13, linewidth=0)
    ax.plot(step, mean, color=COLOURS["one"], marker="o", markersize=4)
    if chance is not None:
        ax.axhline(chance, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.set_xlabel("step")
