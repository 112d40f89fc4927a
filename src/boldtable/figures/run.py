"""One run: its motion over time, and the carpet plot of its parcels (Power, NeuroImage 154, 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes

from boldtable.figures.style import COLOURS

Floats = npt.NDArray[np.floating]

GREY_RANGE = 2.0  # standard deviations from black to white
_LABEL_GAP = 0.05  # closest distance of two network names, as a share of the height


def frames_axis(n_frames: int, tr_s: float | None, start_s: float = 0.0) -> tuple[Floats, str]:
    """Where the frames lie on the x axis, (frame,), and its label: minutes, or numbers where the TR is unknown."""
    frames = np.arange(n_frames, dtype=float)
    return (frames, "frame") if tr_s is None else ((start_s + frames * tr_s) / 60, "time (min)")


def displacement(ax: Axes, fd_mm: Floats | None, tr_s: float | None, threshold_mm: float | None = None) -> None:
    """Framewise displacement (mm) of every frame, those over the threshold marked; says so where it is unknown."""
    ax.set_ylabel("FD (mm)")
    if fd_mm is None or not np.isfinite(fd_mm).any():
        ax.text(0.5, 0.5, "no motion known", transform=ax.transAxes, ha="center", color=COLOURS["muted"])
        ax.set_yticks([])  # the x axis may be shared with a carpet, its ticks stay
        return
    x, label = frames_axis(len(fd_mm), tr_s)
    ax.fill_between(x, 0, np.nan_to_num(fd_mm), color=COLOURS["one"], alpha=0.2, linewidth=0)
    ax.plot(x, fd_mm, color=COLOURS["one"], linewidth=1)
    if threshold_mm is not None:
        over = np.nan_to_num(fd_mm) > threshold_mm
        ax.axhline(threshold_mm, color=COLOURS["ink"], linewidth=0.8, linestyle=(0, (4, 3)))
        ax.scatter(x[over], fd_mm[over], s=14, color=COLOURS["two"], linewidths=0, zorder=3)
    top = max(float(np.nanmax(fd_mm)), 1.2 * (threshold_mm or 0))
    ax.set_ylim(0, 1.1 * top if top else 1)
    ax.set_xlim(x[0], x[-1] if len(x) > 1 else 1)
    ax.set_xlabel(label)


def carpet(ax: Axes, signal: Floats, networks: Sequence[str], tr_s: float | None, start_s: float = 0.0,
           marked: npt.NDArray[np.bool_] | None = None) -> None:  # fmt: skip
    """Every parcel as a row, grouped by network, every frame as a column, in standard deviations of the parcel.

    `signal` is (frame, parcel) and `networks` names the network of each parcel. A missing parcel is a coloured row.
    Frames in `marked` (frame,), such as censored ones, get a tick above the carpet.
    """
    groups = list(dict.fromkeys(networks))
    order = np.argsort([groups.index(name) for name in networks], kind="stable")
    x, label = frames_axis(len(signal), tr_s, start_s)
    step = (x[1] - x[0]) / 2 if len(x) > 1 else 0.5
    ax.imshow(
        _standardised(signal).T[order],
        cmap=colormaps["gray"].with_extremes(bad=COLOURS["two"]),
        vmin=-GREY_RANGE,
        vmax=GREY_RANGE,
        aspect="auto",
        interpolation="none",
        extent=(x[0] - step, x[-1] + step, len(order), 0),
    )
    if marked is not None and marked.any():
        ax.plot(x[marked], np.zeros(int(marked.sum())), "|", color=COLOURS["two"], markersize=7, clip_on=False)
    _name_networks(ax, networks, groups)
    ax.grid(visible=False)
    ax.set_xlabel(label)


def _standardised(signal: Floats) -> npt.NDArray[np.float32]:
    """Each parcel over the frames that have a value; parcels without variation are NaN."""
    values = np.asarray(signal, dtype=np.float32)
    present = np.isfinite(values).any(axis=0)
    scaled = np.full_like(values, np.nan)
    mean, std = np.nanmean(values[:, present], axis=0), np.nanstd(values[:, present], axis=0)
    scaled[:, present] = (values[:, present] - mean) / np.where(std > 1e-6 * np.abs(mean), std, np.nan)
    return scaled


def _name_networks(ax: Axes, networks: Sequence[str], groups: Sequence[str]) -> None:
    """Lines between networks, and their names beside the middle of each, pushed apart where they would overlap."""
    sizes = np.array([sum(name == group for name in networks) for group in groups], dtype=float)
    ends = np.cumsum(sizes)
    middles = ends - sizes / 2
    gap = _LABEL_GAP * ends[-1]
    places = np.maximum.accumulate(middles - gap * np.arange(len(groups))) + gap * np.arange(len(groups))
    over = max(0.0, float(places[-1] - ends[-1] + gap / 3))
    back = np.minimum(places, (places[-1] - over) - gap * np.arange(len(groups))[::-1])
    for end in ends[:-1]:
        ax.axhline(end, color=COLOURS["paper"], linewidth=0.9)
    ax.set_yticks(back, groups)
    ax.tick_params(axis="y", labelcolor=COLOURS["ink"], labelsize=7.5)
