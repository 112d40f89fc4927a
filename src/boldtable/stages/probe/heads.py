"""Linear probes: scaling fitted on the training participants, strength chosen on the validation participants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression, Ridge

from boldtable.stages.probe import metrics

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
_COLUMNS_AT_ONCE = 8192


@dataclass(frozen=True)
class Fitted:
    """A chosen probe: its regularisation and what it gives for every participant.

    `output` is (participant, class) probabilities for classes, (participant,) values for regression.
    """

    strength: float
    validation: float
    output: npt.NDArray[np.float64]


def scale(features: Floats, train: Ints) -> npt.NDArray[np.float64]:
    """Standardise all rows with the training rows' mean and sd, and turn them into the training rows' space.

    `features` (participant, feature), `train` the training rows. A missing value becomes the training mean, a feature
    constant in training becomes 0; the result is divided by the square root of the number of features, so that one
    grid of strengths suits 10 features and 100,000. With more features than training rows the result has one column
    per direction the training rows span: an L2-penalised linear model has no weight elsewhere (representer theorem),
    so its predictions are exactly those of all features, at a fraction of the cost.
    """
    n, size = features.shape
    if size <= len(train):
        small: npt.NDArray[np.float64] = _standardised(features, train) / np.sqrt(size)
        return small
    kernel = np.zeros((n, len(train)))
    for first in range(0, size, _COLUMNS_AT_ONCE):
        piece = _standardised(features[:, first : first + _COLUMNS_AT_ONCE], train)
        kernel += piece @ piece[train].T
    kernel /= size
    values, directions = np.linalg.eigh(kernel[train])
    spanned = values > values.max(initial=0.0) * len(train) * np.finfo(np.float64).eps
    # The largest direction first, and each with a fixed sign: the same result whatever LAPACK returns.
    values, directions = values[spanned][::-1], directions[:, spanned][:, ::-1]
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
    rotated: npt.NDArray[np.float64] = kernel @ (directions * signs / np.sqrt(values))
    return rotated if rotated.shape[1] else np.zeros((n, 1))


def _standardised(features: Floats, train: Ints) -> npt.NDArray[np.float64]:
    x = np.asarray(features, dtype=np.float64)
    known = np.isfinite(x)
    count = np.maximum(1, known[train].sum(axis=0))
    mean = np.where(known[train], x[train], 0).sum(axis=0) / count
    centred = np.where(known, x - mean, 0)
    sd = np.sqrt((centred[train] ** 2).sum(axis=0) / count)
    constant = sd <= 1e-7 * np.abs(mean) + np.finfo(np.float64).tiny  # float32 features: noise of rounding is no signal
    return np.where(constant, 0, centred / np.where(constant, 1, sd))


def classes(
    x: Floats, y: Ints, train: Ints, val: Ints, strengths: Sequence[float], n_classes: int, balance: bool
) -> Fitted:
    """Logistic regression (L2, lbfgs), strength by balanced accuracy on the validation rows.

    `x` from `scale`, `y` (participant,) class numbers. Classes absent from training keep probability 0.
    """

    def fit(strength: float) -> tuple[float, npt.NDArray[np.float64]]:
        model = LogisticRegression(C=strength, class_weight="balanced" if balance else None, max_iter=5000)
        model.fit(x[train], y[train])
        probabilities = np.zeros((len(x), n_classes))
        probabilities[:, model.classes_] = model.predict_proba(x)
        return metrics.balanced_accuracy(y[val], probabilities[val].argmax(axis=1)), probabilities

    return _best(strengths, fit)


def numbers(x: Floats, y: Floats, train: Ints, val: Ints, strengths: Sequence[float]) -> Fitted:
    """Ridge regression, strength by mean absolute error on the validation rows; `validation` is minus that error."""

    def fit(strength: float) -> tuple[float, npt.NDArray[np.float64]]:
        model = Ridge(alpha=1 / strength, solver="cholesky").fit(x[train], y[train])
        predicted: npt.NDArray[np.float64] = model.predict(x)
        return -float(np.abs(predicted[val] - y[val]).mean()), predicted

    return _best(strengths, fit)


def _best(strengths: Sequence[float], fit: Callable[[float], tuple[float, Any]]) -> Fitted:
    """The strength with the best validation value; among equals the strongest regularisation (smallest C)."""
    best: Fitted | None = None
    for strength in sorted(strengths):
        value, output = fit(strength)
        if best is None or value > best.validation:
            best = Fitted(strength, value, output)
    if best is None:
        raise ValueError("no strengths to choose from")
    return best
