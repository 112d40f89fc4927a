"""Values of parcels on a glass brain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from boldtable.figures.style import COLOURS, style

Floats = npt.NDArray[np.floating]

# From nothing to everything; what is wholly covered recedes.
_RAMP = ((0.0, "six"), (0.5, "two"), (0.95, "five"), (0.99, "line"), (1.0, "line"))


@contextmanager
def glass_brain(values: Floats, centroids: Floats, title: str, label: str) -> Iterator[Figure]:
    """Yield a figure of one dot per parcel seen from left, above, front and right; small values in front and larger.

    `values` (parcel,) lie between 0 and 1, `centroids` (parcel, 3) are RAS millimetres in MNI space; parcels without
    a value or a place are left out. Draws with nilearn, which is imported here and not before.
    """
    from nilearn.plotting import plot_markers

    known = np.isfinite(values) & np.isfinite(centroids).all(axis=1)
    order = np.flatnonzero(known)[np.argsort(-values[known], kind="stable")]
    ramp = LinearSegmentedColormap.from_list("coverage", [(at, COLOURS[name]) for at, name in _RAMP])
    with mpl.rc_context(style()):
        figure = Figure(figsize=(9.2, 2.9))
        plot_markers(
            values[order],
            centroids[order],
            node_size=12 + 48 * (1 - values[order]),
            node_cmap=ramp,
            node_vmin=0,
            node_vmax=1,
            node_kwargs={"linewidths": 0.3, "edgecolors": COLOURS["muted"]},
            display_mode="lyrz",
            figure=figure,
            axes=(0.0, 0.02, 1.0, 0.82),
            colorbar=True,
        )
        figure.suptitle(title, x=0.02, y=0.97, ha="left", fontsize=10, fontweight="bold", color=COLOURS["ink"])
        figure.text(0.98, 0.9, label, ha="right", fontsize=8, color=COLOURS["muted"])
        yield figure
