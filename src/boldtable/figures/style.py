"""The look of the house: colours, a canvas to draw on, and the figure as SVG or PNG, the same bytes every time."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def style() -> Any:
    """The matplotlib settings of the house, for ``matplotlib.rc_context``."""
    return dict(_STYLE)


@contextmanager
def canvas(width_in: float, height_in: float, columns: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yield a figure in the house style and its Axes, left to right; draw and save it inside the block."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        yield figure, list(figure.subplots(1, columns, squeeze=False)[0])


@contextmanager
def stack(width_in: float, height_in: float, ratios: Sequence[float]) -> Iterator[tuple[Figure, list[Axes]]]:
    """As `canvas`, with one Axes above the other in these ratios of height and one x axis for all of them."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = figure.subplots(len(ratios), 1, squeeze=False, sharex=True, height_ratios=list(ratios))
        yield figure, list(axes[:, 0])


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


def say_empty(ax: Axes, text: str) -> None:
    """Say in the middle of an Axes why nothing is drawn there."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=COLOURS["muted"])
    ax.set_xticks([])
    ax.set_yticks([])
