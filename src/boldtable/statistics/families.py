"""Several tests at once, several tasks at once: Holm's correction and mean ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = Sequence[float] | npt.NDArray[np.floating]


def holm(p: Values) -> npt.NDArray[np.float64]:
    """Return Holm's step-down adjusted p values in the given order (Scandinavian Journal of Statistics 6, 1979).

    A NaN (a comparison that could not be made) stays NaN and does not count to the family.
    """
    given = np.asarray(p, dtype=np.float64)
    adjusted = np.full(given.shape, math.nan)
    known = np.flatnonzero(np.isfinite(given))
    order = known[np.argsort(given[known], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * steps))
    return adjusted


def mean_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean rank of every model, 1 being best; `values` (task, model), where larger is better.

    Ties share the mean of their ranks. The ranks of Friedman's test (JASA 32, 1937). A task in which a model has no
    value (NaN) is left out for all; NaN where none remains.
    """
    complete = values[np.isfinite(values).all(axis=1)]
    if not len(complete):
        return np.full(values.shape[1], math.nan)
    ahead = (complete[:, None, :] > complete[:, :, None]).sum(axis=2)
    level = (complete[:, None, :] == complete[:, :, None]).sum(axis=2)
    return np.asarray((ahead + (level + 1) / 2).mean(axis=0), dtype=np.float64)
