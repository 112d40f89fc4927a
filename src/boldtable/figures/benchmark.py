"""Scores of models and curves of their training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from boldtable.figures.style import COLOURS, SERIES, say_empty

LOSSES = {
    "loss": "total", "total": "total", "cls_loss": "CLS", "cls": "CLS", "token_loss": "token", "tokens": "token",
    "network_loss": "network", "network": "network",
}  # fmt: skip
MAX_POINTS = 400


def dots(
    ax: Axes, scores: pd.DataFrame, summary: pd.DataFrame, chance: float | None, bold: Sequence[str] = (),
    labels: Mapping[int, str] | None = None,
) -> None:  # fmt: skip
    """One line per model: a dot per split, the mean and its interval, and chance as a broken line.

    `scores` has model, split and value; `summary` has model, mean, ci_low and ci_high in the order to draw, first on
    top; models in `bold` are emphasised. A split sits at the same height within its line for every model; `labels`
    names splits beside their dots.
    """
    models = [str(model) for model in summary["model"]]
    for row, (_, line) in enumerate(summary.iterrows()):
        colour = COLOURS["one"] if line["model"] in bold else COLOURS["muted"]
        mine = scores.loc[scores["model"] == line["model"]].sort_values("split")
        heights = row + np.linspace(-0.26, 0.26, len(mine)) if len(mine) > 1 else np.full(len(mine), float(row))
        ax.plot([line["ci_low"], line["ci_high"]], [row, row], color=colour, linewidth=1.8)
        ax.scatter(mine["value"], heights, s=14, color=colour, alpha=0.45, linewidths=0, zorder=3)
        for value, height, split in zip(mine["value"], heights, mine["split"], strict=True):
            _name(ax, (labels or {}).get(int(split), ""), value, height)
        ax.scatter([line["mean"]], [row], s=46, color=colour, edgecolors=COLOURS["paper"], linewidths=1.2, zorder=4)
    if chance is not None:
        ax.axvline(chance, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    ax.set_yticks(range(len(models)), models)
    ax.tick_params(axis="y", labelcolor=COLOURS["ink"])
    ax.set_ylim(len(models) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")


def _name(ax: Axes, label: str, x: float, y: float) -> None:
    """A small name to the right of a dot; nothing where there is none."""
    if label and np.isfinite(x):
        ax.annotate(
            label, (x, y), (3, 0), textcoords="offset points", va="center", fontsize=5.5, color=COLOURS["muted"]
        )


def rising(ax: Axes, found: pd.DataFrame, chance: float | None, dots: pd.DataFrame | None = None) -> None:
    """Means against `x` as a line, their intervals as a band, single models as faint dots, chance as a broken line.

    `found` has x, mean, ci_low and ci_high in the order of x; `dots` has x and mean.
    """
    x, mean, low, high = (found[name].to_numpy(dtype=float) for name in ("x", "mean", "ci_low", "ci_high"))
    if np.isfinite(low).any():
        ax.fill_between(x, low, high, color=COLOURS["one"], alpha=0.13, linewidth=0)
    if dots is not None:
        ax.scatter(dots["x"], dots["mean"], s=14, color=COLOURS["one"], alpha=0.45, linewidths=0, zorder=3)
    ax.plot(x, mean, color=COLOURS["one"], marker="o", markersize=4, zorder=4)
    if chance is not None:
        ax.axhline(chance, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)


def networks(ax: Axes, found: pd.DataFrame, whole: float, chance: float | None) -> None:
    """Per network, first on top: the score with no other network (`only`) and without this one (`hidden`).

    `found` has network, only and hidden (NaN where there is none); the line is the score with every network.
    """
    rows = np.arange(len(found))
    only, hidden = (found[name].to_numpy(dtype=float) for name in ("only", "hidden"))
    ax.hlines(rows, only, hidden, color=COLOURS["line"], linewidth=2.5, zorder=2)
    ax.axvline(whole, color=COLOURS["ink"], linewidth=1.1, zorder=1)
    ax.scatter(only, rows, s=34, color=COLOURS["two"], edgecolors=COLOURS["paper"], linewidths=1, zorder=4)
    ax.scatter(hidden, rows, s=34, color=COLOURS["one"], edgecolors=COLOURS["paper"], linewidths=1, zorder=3)
    if chance is not None:
        ax.axvline(chance, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    ax.set_yticks(rows, [str(name) for name in found["network"]])
    ax.tick_params(axis="y", labelcolor=COLOURS["ink"])
    ax.set_ylim(len(found) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")


def training_curves(ax: Axes, frame: pd.DataFrame) -> None:
    """The total loss and its parts (columns named ``{what}_loss``) against the step, epoch means over faint steps."""
    others = {str(name): str(name).removesuffix("_loss") for name in frame if str(name).endswith("_loss")}
    labels = {**LOSSES, **{name: label.replace("_", " ") for name, label in others.items() if name not in LOSSES}}
    parts = {label: column for column, label in reversed(labels.items()) if _has_values(frame, column)}
    if len(parts) == 2 and "total" in parts:  # a single part is the total
        parts = {label: column for label, column in parts.items() if label != "total" or _differ(frame, parts)}
    for colour, (label, column) in zip(SERIES, reversed(parts.items()), strict=False):
        _curve(ax, frame, column, COLOURS[colour], label)
    if parts:
        ax.legend(ncols=2, loc="best")
    else:
        say_empty(ax, "no loss recorded")
    ax.set_xlabel("step")
    ax.set_title("Loss")


def _differ(frame: pd.DataFrame, parts: Mapping[str, str]) -> bool:
    """Whether the columns differ anywhere."""
    first, *others = (frame[column] for column in parts.values())
    return any(not first.equals(other) for other in others)


def token_similarity(ax: Axes, frame: pd.DataFrame) -> None:
    """Mean cosine similarity between the tokens of one sample against the step: 1 (broken line) means collapse."""
    if _has_values(frame, "token_similarity"):
        _curve(ax, frame, "token_similarity", COLOURS["four"])
        ax.axhline(1, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
        ax.set_ylim(top=1.04)
    else:
        say_empty(ax, "not recorded")
    ax.set_xlabel("step")
    ax.set_title("Token similarity")


def _curve(ax: Axes, frame: pd.DataFrame, column: str, colour: str, label: str | None = None) -> None:
    """Epoch means as the line and single steps faint behind it; only steps where there are too few epochs."""
    known = frame[[name for name in ("step", "epoch", column) if name in frame]].apply(pd.to_numeric, errors="coerce")
    known = known.dropna().sort_values("step")
    epochs = known.groupby("epoch").mean() if "epoch" in known else known.iloc[:0]
    step, value = _thin(known, column)
    if 4 <= len(epochs) < len(known):
        ax.plot(step, value, color=colour, alpha=0.22, linewidth=0.8)
        step, value = _thin(epochs, column)
    ax.plot(step, value, color=colour, label=label, marker="o" if len(step) == 1 else None)


def _thin(known: pd.DataFrame, column: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Step and value, averaged in at most `MAX_POINTS` blocks: long logs keep the file small."""
    blocks = np.array_split(known[["step", column]].to_numpy(dtype=float), min(MAX_POINTS, len(known)))
    means = np.array([block.mean(axis=0) for block in blocks])
    return means[:, 0], means[:, 1]


def _has_values(frame: pd.DataFrame, column: str) -> bool:
    if column not in frame or "step" not in frame:
        return False
    return bool(pd.to_numeric(frame[column], errors="coerce").notna().any())
