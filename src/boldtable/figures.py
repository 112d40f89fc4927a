"""Data → matplotlib Axes: every figure of the page, drawn on an Axes that the caller made with `canvas`.

Figures are deterministic (no dates, fixed hash salt, no random jitter) and use only the colours of `COLOURS`, so
that a page can exchange them for its own light and dark ones. Names are drawn as they are, never as mathematics.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS: dict[str, str] = {
    "ink": "#1d2733",
    "muted": "#66727f",
    "line": "#dfe4ea",
    "paper": "#ffffff",
    "one": "#1f6f9c",
    "two": "#cc6a2c",
    "three": "#4b8b5f",
    "four": "#80589f",
    "five": "#a88a1f",
    "six": "#b34a62",
}
SERIES = ("one", "two", "three", "four", "five", "six")
LOSSES = {
    "loss": "total", "total": "total", "cls_loss": "CLS", "cls": "CLS", "token_loss": "token", "tokens": "token",
    "network_loss": "network", "network": "network",
}  # fmt: skip
MAX_POINTS = 400

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": COLOURS["muted"],
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.6,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.7,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.labelcolor": COLOURS["ink"],
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "text.color": COLOURS["ink"],
    "text.parse_math": False,
    "xtick.color": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.color": COLOURS["muted"],
    "ytick.major.size": 0,
}


@contextmanager
def canvas(width_in: float, height_in: float, columns: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yield a figure in the house style and its Axes, left to right; draw and save it inside the block."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        yield figure, list(figure.subplots(1, columns, squeeze=False)[0])


def svg(figure: Figure, salt: str) -> str:
    """The figure as one ``<svg>`` element: no date, no prolog, and no id that nothing refers to.

    `salt` keeps the remaining ids of several figures on one page apart.
    """
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)


def png(figure: Figure, dots_per_inch: int = 160) -> bytes:
    """The figure as PNG bytes on white, without a software stamp."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def dots(ax: Axes, scores: pd.DataFrame, summary: pd.DataFrame, chance: float | None, bold: Sequence[str] = ()) -> None:
    """One line per model: a dot per split, the mean and its interval, and chance as a broken line.

    `scores` has model, split and value; `summary` has model, mean, ci_low and ci_high in the order to draw, first on
    top; models in `bold` are emphasised. A split sits at the same height within its line for every model.
    """
    models = [str(model) for model in summary["model"]]
    for row, (_, line) in enumerate(summary.iterrows()):
        colour = COLOURS["one"] if line["model"] in bold else COLOURS["muted"]
        mine = scores.loc[scores["model"] == line["model"]].sort_values("split")
        heights = row + np.linspace(-0.26, 0.26, len(mine)) if len(mine) > 1 else np.full(len(mine), float(row))
        ax.plot([line["ci_low"], line["ci_high"]], [row, row], color=colour, linewidth=1.8)
        ax.scatter(mine["value"], heights, s=14, color=colour, alpha=0.45, linewidths=0, zorder=3)
        ax.scatter([line["mean"]], [row], s=46, color=colour, edgecolors=COLOURS["paper"], linewidths=1.2, zorder=4)
    if chance is not None:
        ax.axvline(chance, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    ax.set_yticks(range(len(models)), models)
    ax.tick_params(axis="y", labelcolor=COLOURS["ink"])
    ax.set_ylim(len(models) - 0.45, -0.55)
    ax.grid(visible=False, axis="y")


def training_curves(ax: Axes, frame: pd.DataFrame) -> None:
    """The total loss and its parts against the step, epoch means over faint steps; draws the `LOSSES` there are."""
    parts = {label: column for column, label in reversed(LOSSES.items()) if _has_values(frame, column)}
    for colour, (label, column) in zip(SERIES, reversed(parts.items()), strict=False):
        _curve(ax, frame, column, COLOURS[colour], label)
    if parts:
        ax.legend(ncols=2, loc="best")
    else:
        _say_empty(ax, "no loss recorded")
    ax.set_xlabel("step")
    ax.set_title("Loss")


def token_similarity(ax: Axes, frame: pd.DataFrame) -> None:
    """Mean cosine similarity between the tokens of one sample against the step: 1 (broken line) means collapse."""
    if _has_values(frame, "token_similarity"):
        _curve(ax, frame, "token_similarity", COLOURS["four"])
        ax.axhline(1, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
        ax.set_ylim(top=1.04)
    else:
        _say_empty(ax, "not recorded")
    ax.set_xlabel("step")
    ax.set_title("Token similarity")


def motion(ax: Axes, qc: pd.DataFrame, threshold_mm: float | None = None, legend: bool = True) -> None:
    """Histogram of the mean framewise displacement (mm) of kept and dropped runs, with the QC threshold."""
    _histogram(ax, qc, "fd_mm_mean", "no motion measured", legend)
    if threshold_mm is not None:
        ax.axvline(threshold_mm, color=COLOURS["ink"], linewidth=1, linestyle=(0, (4, 3)))
    ax.set_xlabel("mean framewise displacement (mm)")
    ax.set_title("Motion")


def coverage(ax: Axes, qc: pd.DataFrame, legend: bool = True) -> None:
    """Histogram of the smallest parcel coverage of each run (share of the parcel's voxels with signal)."""
    _histogram(ax, qc, "min_coverage", "no coverage measured", legend)
    ax.set_xlabel("smallest parcel coverage (share)")
    ax.set_title("Coverage")


def minutes(ax: Axes, qc: pd.DataFrame, legend: bool = True) -> None:
    """Histogram of the minutes of each run that are left after censoring."""
    _histogram(ax, qc, "minutes_kept", "no duration known", legend)
    ax.set_xlabel("minutes kept")
    ax.set_title("Length")


def _histogram(ax: Axes, qc: pd.DataFrame, column: str, nothing: str, legend: bool) -> None:
    """Stacked counts of kept (below) and dropped runs; runs without the measure are not shown."""
    values = pd.to_numeric(qc[column], errors="coerce").to_numpy(dtype=float)
    keep = qc["keep"].fillna(value=False).to_numpy(dtype=bool)
    known = np.isfinite(values)
    ax.set_ylabel("runs")
    if not known.any():
        _say_empty(ax, nothing)
        return
    low, high = float(values[known].min()), float(values[known].max())
    bins = int(np.clip(2 * np.sqrt(known.sum()), 8, 30))
    edges = np.linspace(low, high, bins + 1) if high > low else np.linspace(low - 0.5, high + 0.5, 4)
    groups = [values[known & keep], values[known & ~keep]]
    labels = [f"kept ({len(groups[0])})", f"dropped ({len(groups[1])})"]
    colours = [COLOURS["one"], COLOURS["two"]]
    ax.hist(groups, bins=edges.tolist(), stacked=True, color=colours, label=labels, rwidth=0.92)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(visible=False, axis="x")
    if legend:
        ax.legend(loc="best")


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


def _say_empty(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=COLOURS["muted"])
    ax.set_xticks([])
    ax.set_yticks([])
