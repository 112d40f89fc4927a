"""Choose one value of a grid: on the validation part, or by nested cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from boldtable.errors import InputError
from boldtable.stages.probe import metrics
from boldtable.stages.probe.heads.prepare import Array
from boldtable.stages.probe.heads.samples import Floats, Ints, Part

# Training participants → every value of the grid, the one to prefer among equals first, with what it gives everybody.
Outputs = Callable[[Ints], Iterator[tuple[float, Array]]]


@dataclass(frozen=True)
class Fitted:
    """A chosen probe: its value of the grid and what it gives for every participant.

    `output` is (participant, class) probabilities for classes, (participant,) values for regression; `validation` the
    balanced accuracy, or minus the mean absolute error, that it was chosen by; `unseen` the sites that harmonisation
    had to take for the pooled one.
    """

    chosen: float
    validation: float
    output: Array
    unseen: tuple[str, ...] = ()


def goodness(y: Floats | Ints, output: Array, n_classes: int) -> float:
    """Balanced accuracy, or minus the mean absolute error where `n_classes` is 0; minus infinity of what diverged."""
    if not np.isfinite(output).all():
        return -np.inf
    if n_classes:
        return metrics.balanced_accuracy(y, output.argmax(axis=1))
    return -float(np.abs(output - y).mean())


def on_validation(outputs: Outputs, y: Floats | Ints, n_classes: int, train: Ints, val: Ints) -> Fitted:
    """The first of the best values on the participants `val`, fitted on `train`."""
    fits = (Fitted(value, goodness(y[val], output[val], n_classes), output) for value, output in outputs(train))
    return max(fits, key=lambda fit: fit.validation)


def nested(
    outputs: Outputs, y: Floats | Ints, n_classes: int, seen: Ints, groups: Ints, folds: int, seed: int
) -> Fitted:
    """The value best on average over inner folds of the participants `seen`, fitted on all of them.

    The folds are stratified by class (or by quantile of the target) and keep each of `groups` (participant,) together.
    Raises `InputError` where there are fewer groups than folds.
    """
    if len(np.unique(groups[seen])) < folds:
        raise InputError(f"{len(np.unique(groups[seen]))} families cannot make {folds} inner_folds: set it lower")
    strata = y[seen] if n_classes else np.argsort(np.argsort(y[seen], kind="stable")) * folds // len(seen)
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    values: list[float] = []
    sums = np.zeros(0)
    for inside, outside in cut.split(seen, strata, groups[seen]):
        found = [(v, goodness(y[seen[outside]], o[seen[outside]], n_classes)) for v, o in outputs(seen[inside])]
        values = [value for value, _ in found]
        sums = np.array([good for _, good in found]) + (sums if len(sums) else 0)
    chosen = values[int(sums.argmax())]
    output = next(output for value, output in outputs(seen) if value == chosen)
    return Fitted(chosen, float(sums.max()) / folds, output)


def constant(part: Part, train: Ints) -> Array:
    """What is known without features: the shares of the training classes (participant, class), or the mean."""
    if not part.n_classes:
        return np.full(len(part.y), part.y[train].mean())
    share = np.bincount(part.y[train], minlength=part.n_classes) / len(train)
    return np.tile(share, (len(part.y), 1))
