"""The quality of a dataset: what its runs are like, who was kept, and what motion still explains."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from boldtable.figures.style import COLOURS, say_empty


def motion(ax: Axes, qc: pd.DataFrame, threshold_mm: float | None = None, legend: bool = True) -> None:
    """Histogram of the mean framewise displacement (mm) of kept and dropped runs, with the QC threshold."""
    _histogram(ax, qc, "fd_mm_mean", "no motion measured", legend)
    if threshold_mm is not None:
        ax.axvline(threshold_mm, color=COLOURS["ink"], linewidth=1, linestyle=(0, (4, 3)))
    ax.set_xlabel("mean framewise displacement (mm)")
    ax.set_title("Motion")


def coverage(ax: Axes, qc: pd.DataFrame, legend: bool = True) -> None:
    """Histogram of the smallest parcel coverage of each run (share of the parcel's voxels with signal)."""
    _histogram(ax, qc, "min_coverage", "no coverage measured", legend, edges=np.linspace(0, 1, 21))
    ax.set_xlim(0, 1)
    ax.set_xlabel("smallest parcel coverage (share)")
    ax.set_title("Coverage")


def minutes(ax: Axes, qc: pd.DataFrame, legend: bool = True) -> None:
    """Histogram of the minutes of each run that are left after censoring."""
    _histogram(ax, qc, "minutes_kept", "no duration known", legend)
    ax.set_xlabel("minutes kept")
    ax.set_title("Length")


def qcfc(ax: Axes, summary: pd.DataFrame) -> None:
    """Distribution over edges of the correlation with motion (QC-FC), before and after cleaning.

    `summary` is the table ``qc_summary``; the legend has the median of |r| and the share of edges with a small p.
    """
    bins = summary.loc[summary["measure"] == "qcfc_histogram"]
    for group, colour, part in _before_and_after(bins):
        left = part["level"].astype(float).to_numpy()
        width = float(np.diff(left).min())
        ax.stairs(part["value"].to_numpy(dtype=float), [*left, left[-1] + width], color=colour, linewidth=1.6)
        ax.stairs(part["value"].to_numpy(dtype=float), [*left, left[-1] + width], color=colour, fill=True, alpha=0.15)
        median, share = (_value(summary, f"qcfc_{name}", group) for name in ("median_abs", "share_significant"))
        ax.plot(
            [], [], color=colour, label=f"{group}: median |r| {median:.2f}, {100 * share:.0f} % of edges significant"
        )
    _finish(ax, bins, "correlation of an edge with motion (r)", "edges", "QC-FC")
    if len(bins):
        shown = bins.loc[bins["value"].astype(float) > 0.0005, "level"].astype(float)
        limit = max(0.3, float(shown.abs().max()) + 0.05) if len(shown) else 1.0
        ax.set_xlim(-limit, limit)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None, symbol=" %"))
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.set_ylim(bottom=0, top=1.35 * float(bins["value"].astype(float).max()))


def qcfc_distance(ax: Axes, summary: pd.DataFrame) -> None:
    """Mean QC-FC against the distance between the two parcels of an edge, in bins with equally many edges."""
    bins = summary.loc[summary["measure"] == "qcfc_by_distance"]
    for group, colour, part in _before_and_after(bins):
        rho = _value(summary, "qcfc_distance_spearman", group)
        known = "" if np.isnan(rho) else f": Spearman {rho:+.2f}"
        distance_mm, mean = part["level"].astype(float), part["value"].astype(float)
        ax.plot(distance_mm, mean, color=colour, marker="o", markersize=4, label=f"{group}{known}")
    _finish(ax, bins, "distance between parcels (mm)", "mean r", "Dependence on distance")
    if len(bins):
        ax.axhline(0, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        low, high = ax.get_ylim()
        ax.set_ylim(min(low, -0.05), high + 0.35 * (high - min(low, -0.05)))


def _before_and_after(bins: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for group, colour in (("before", COLOURS["two"]), ("after", COLOURS["one"])):
        part = bins.loc[bins["group"] == group]
        if len(part):
            yield group, colour, part


def _value(summary: pd.DataFrame, measure: str, group: str) -> float:
    found = summary.loc[(summary["measure"] == measure) & (summary["group"] == group), "value"]
    return float(found.iloc[0]) if len(found) and found.notna().iloc[0] else np.nan


def _finish(ax: Axes, bins: pd.DataFrame, x: str, y: str, title: str) -> None:
    if len(bins):
        ax.legend(loc="upper left")
        ax.set_ylabel(y)
    else:
        say_empty(ax, "too few participants with known motion")
    ax.set_xlabel(x)
    ax.set_title(title)


def _histogram(
    ax: Axes, qc: pd.DataFrame, column: str, nothing: str, legend: bool, edges: npt.NDArray[np.float64] | None = None
) -> None:
    """Stacked counts of kept (below) and dropped runs, between the values found where no edges are given.

    Runs without the measure are not shown.
    """
    values = pd.to_numeric(qc[column], errors="coerce").to_numpy(dtype=float)
    keep = qc["keep"].fillna(value=False).to_numpy(dtype=bool)
    known = np.isfinite(values)
    ax.set_ylabel("runs")
    if not known.any():
        say_empty(ax, nothing)
        return
    edges = _edges(values[known]) if edges is None else edges
    groups = [values[known & keep], values[known & ~keep]]
    labels = [f"kept ({len(groups[0])})", f"dropped ({len(groups[1])})"]
    colours = [COLOURS["one"], COLOURS["two"]]
    ax.hist(groups, bins=edges.tolist(), stacked=True, color=colours, label=labels, rwidth=0.92)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(visible=False, axis="x")
    if legend:
        ax.legend(loc="best")


def _edges(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """8 to 30 bins from the smallest value to the largest, or three around the only one."""
    low, high = float(values.min()), float(values.max())
    bins = int(np.clip(2 * np.sqrt(len(values)), 8, 30))
    return np.linspace(low, high, bins + 1) if high > low else np.linspace(low - 0.5, high + 0.5, 4)
