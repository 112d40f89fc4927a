"""A figure of the page: panels side by side as one ``<svg>``, in the page's own colours."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from markupsafe import Markup
from matplotlib.axes import Axes

from boldtable import figures


def drawing(label: str, width_in: float, height_in: float, *draw: Callable[[Axes], None]) -> Markup:
    """Draw panels side by side; colours become the page's own, so that the dark theme reaches into the figure.

    `label` names the figure for who cannot see it. The result is markup: matplotlib has escaped every text in it.
    """
    with figures.canvas(width_in, height_in, len(draw)) as (figure, axes):
        for ax, one in zip(axes, draw, strict=True):
            one(ax)
        text = figures.svg(figure, salt=label)
    for role, colour in figures.COLOURS.items():
        text = text.replace(colour, f"var(--{role})")
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1))
