"""Logistic regression (L2, lbfgs), on features from `prepare.scale`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from boldtable.stages.probe.heads.prepare import Array
from boldtable.stages.probe.heads.samples import Floats, Ints


def outputs(
    x: Floats, y: Ints, train: Ints, strengths: Sequence[float], n_classes: int, balance: bool
) -> Iterator[tuple[float, Array]]:
    """Each strength (inverse, C), smallest first, with the probabilities (row, class) of all rows.

    `y` (row,) is class numbers; classes absent from the rows `train` keep probability 0.
    """
    for strength in sorted(strengths):
        model = LogisticRegression(C=strength, class_weight="balanced" if balance else None, max_iter=5000)
        model.fit(x[train], y[train])
        found = np.zeros((len(x), n_classes))
        found[:, model.classes_] = model.predict_proba(x)
        yield strength, found
