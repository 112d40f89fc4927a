"""Data → matplotlib Axes: every figure of the page and of `boldtable figure`.

Figures are deterministic (no dates, fixed hash salt, no random jitter) and use only the colours of `COLOURS`, so
that a page can exchange them for its own light and dark ones. Names are drawn as they are, never as mathematics.
"""

from boldtable.figures.benchmark import LOSSES, MAX_POINTS, dots, networks, rising, token_similarity, training_curves
from boldtable.figures.brain import glass_brain
from boldtable.figures.quality import coverage, minutes, motion, qcfc, qcfc_distance
from boldtable.figures.run import carpet, displacement, frames_axis
from boldtable.figures.style import COLOURS, SERIES, canvas, png, stack, svg

__all__ = [
    "COLOURS",
    "LOSSES",
    "MAX_POINTS",
    "SERIES",
    "canvas",
    "carpet",
    "coverage",
    "displacement",
    "dots",
    "frames_axis",
    "glass_brain",
    "minutes",
    "motion",
    "networks",
    "png",
    "qcfc",
    "qcfc_distance",
    "rising",
    "stack",
    "svg",
    "token_similarity",
    "training_curves",
]
