"""Ridge regression, on features from `prepare.scale`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sklearn.linear_model import Ridge

from boldtable.stages.probe.heads.prepare import Array
from boldtable.stages.probe.heads.samples import Floats, Ints


def outputs(x: Floats, y: Floats, train: Ints, strengths: Sequence[float]) -> Iterator[tuple[float, Array]]:
    """Each strength (1 / alpha), smallest first, with the predictions (row,) of all rows."""
    for strength in sorted(strengths):
        found: Array = Ridge(alpha=1 / strength, solver="cholesky").fit(x[train], y[train]).predict(x)
        yield strength, found
