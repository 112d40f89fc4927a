"""What was predicted of every participant, where all are tested equally often, and the scores made from it.

A *member* is one prediction of everybody: a repetition of k-fold, a split of a transfer task, a seed of an untrained
model. A score is the mean over members of the score of each member. Within a member, participants are tested in
*parts* (sites, folds), each by a probe of its own. Balanced accuracy, accuracy, macro F1 and the mean absolute error
are pooled over the parts. Scores of different probes are offset, and parts differ in the mean of the target, so that
AUROC, R² and Pearson's r are made within each part: AUROC and r are the means over parts weighted by participants,
R² is 1 - Σ squared errors / Σ squares around the means of the parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

WITHIN = frozenset({"auroc", "r2", "pearson_r"})


@dataclass(frozen=True)
class Outcomes:
    """Targets and predictions of one model; arrays are (member, participant).

    `truth` and `predicted` are class numbers from 0 on, or quantities where `n_classes` is 0; `part` numbers the test
    part and `cluster` (participant,) the family. `scores` (member, participant, class) are probabilities, or None.
    """

    truth: Array
    predicted: Array
    part: Ints
    cluster: Ints
    n_classes: int = 0
    scores: Floats | None = None

    @property
    def n(self) -> int:
        """How many participants there are."""
        return int(self.truth.shape[1])

    @property
    def members(self) -> int:
        """How many predictions there are of each participant."""
        return int(self.truth.shape[0])

    @cached_property
    def n_clusters(self) -> int:
        """How many families (or participants without one) there are."""
        return len(np.unique(self.cluster))

    @cached_property
    def parts(self) -> list[list[Ints]]:
        """The participants of each part, by member."""
        return [[np.flatnonzero(row == number) for number in np.unique(row)] for row in self.part]

    @property
    def stretch(self) -> float:
        """How much wider the deviations of a test are than those of participants alone.

        Where several parts are tested, who is tested in one trains the probes of the others. What a participant adds by
        chance then counts up to twice, and the variance of a score near chance is up to twice that of predictions
        made by probes that never saw anybody who is tested.
        """
        return math.sqrt(2) if any(len(parts) > 1 for parts in self.parts) else 1.0

    def only(self, people: Ints) -> Outcomes:
        """Return the outcomes of some of the participants."""
        scores = None if self.scores is None else self.scores[:, people]
        return Outcomes(
            self.truth[:, people], self.predicted[:, people], self.part[:, people], self.cluster[people],
            self.n_classes, scores,
        )  # fmt: skip

    def by_cluster(self, values: Floats) -> Floats:
        """Return the sums of `values` (participant,) over every family."""
        own = np.unique(self.cluster, return_inverse=True)[1]
        return np.asarray(np.bincount(own, weights=values), dtype=np.float64)


def statistic(
    metric: str, found: Outcomes, truth: Array | None = None, predicted: Array | None = None,
    weights: Floats | None = None, how: str = "leading",
) -> Floats:  # fmt: skip
    """Return the score, shape (draw,); one draw unless an array has a further first axis.

    `truth` (draw, participant), `predicted` (draw, member, participant) and `weights` (draw, participant) stand in for
    what was found. `how` is ``leading`` (the number that is printed), ``pooled`` (one pool for all parts),
    ``weighted`` (the mean over parts by participants) or ``mean`` (over parts, each counting alike).
    """
    members = []
    for number, parts in enumerate(found.parts):
        own = found.truth[number][None] if truth is None else truth
        said = found.predicted[number][None] if predicted is None else predicted[:, number]
        scores = None if found.scores is None else found.scores[number]
        pools = [np.arange(found.n)] if how == "pooled" or (how == "leading" and metric not in WITHIN) else parts
        values = [
            value(metric, own[:, pool], said[:, pool], None if scores is None else scores[pool], found.n_classes,
                   None if weights is None else weights[:, pool])
            for pool in pools
        ]  # fmt: skip
        if metric == "r2" and how == "leading":
            members.append(_r2_within(own, said, weights, pools))
        else:
            members.append(_over_parts(values, None if how == "mean" else [len(pool) for pool in pools]))
    return np.asarray(np.mean(members, axis=0), dtype=np.float64)


def _over_parts(values: list[Floats], sizes: list[int] | None) -> Floats:
    """The mean over parts, weighted by `sizes`; a part without a value (one class only) is left out."""
    stacked = np.stack(np.broadcast_arrays(*values))
    shares = np.ones(len(values)) if sizes is None else np.asarray(sizes, dtype=np.float64)
    known = np.isfinite(stacked) * shares[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(np.isfinite(stacked), stacked * known, 0).sum(axis=0) / known.sum(axis=0))


def value(
    metric: str, truth: Array, said: Array, scores: Floats | None, n_classes: int, w: Floats | None = None
) -> Floats:
    """Return the score of one pool of participants; `truth`, `said` and the weights `w` are (draw, participant)."""
    if metric == "auroc":
        return auroc(truth, scores, n_classes)
    weights = np.ones((1, truth.shape[1])) if w is None else w
    return _FUNCTIONS[metric](truth, said, n_classes, weights)


def auroc(truth: Array, scores: Floats | None, n_classes: int) -> Floats:
    """Return the area under the ROC curve by ranks, of `truth` (draw, participant); NaN where only one class occurs.

    Of more than two classes it is the mean over those that occur of one against the rest.
    """
    if scores is None:
        return np.full(len(truth), np.nan)
    total, judged = np.zeros(len(truth)), np.zeros(len(truth))
    for label in [1] if n_classes == 2 else range(n_classes):
        own = truth == label
        m = own.sum(axis=1).astype(np.float64)
        pairs = m * (truth.shape[1] - m)
        wins = own @ rankdata(scores[:, label]) - m * (m + 1) / 2
        total += np.divide(wins, pairs, out=np.zeros(len(truth)), where=pairs > 0)
        judged += pairs > 0
    return np.asarray(np.divide(total, judged, out=np.full(len(truth), np.nan), where=judged > 0))


def _recalls(truth: Array, said: Array, n_classes: int, w: Floats) -> Floats:
    recalls: Array = np.zeros(1)
    present: Array = np.zeros(1)
    for label in range(n_classes):
        own = (truth == label) * w
        there, right = own.sum(axis=-1), (own * (said == label)).sum(axis=-1)
        recalls = recalls + np.divide(right, there, out=np.zeros(np.broadcast(right, there).shape), where=there > 0)
        present = present + (there > 0)
    return np.asarray(recalls / present)


def _accuracy(truth: Array, said: Array, n_classes: int, w: Floats) -> Floats:
    return np.asarray(((truth == said) * w).sum(axis=-1) / w.sum(axis=-1))


def _f1(truth: Array, said: Array, n_classes: int, w: Floats) -> Floats:
    """Macro F1 over the classes that occur among targets or predictions."""
    total: Array = np.zeros(1)
    present: Array = np.zeros(1)
    for label in range(n_classes):
        own, told = truth == label, said == label
        both, either = 2 * ((own & told) * w).sum(axis=-1), (own * w).sum(axis=-1) + (told * w).sum(axis=-1)
        total = total + np.divide(both, either, out=np.zeros(np.broadcast(both, either).shape), where=either > 0)
        present = present + (either > 0)
    return np.asarray(total / present)


def _mae(truth: Array, said: Array, n_classes: int, w: Floats) -> Floats:
    return np.asarray((np.abs(truth - said) * w).sum(axis=-1) / w.sum(axis=-1))


def _r2(truth: Array, said: Array, n_classes: int, w: Floats) -> Floats:
    error, spread = _squares(truth, said, w)
    nothing = np.full(np.broadcast(error, spread).shape, np.nan)
    return np.asarray(np.divide(spread - error, spread, out=nothing, where=spread > 0))


def _squares(truth: Array, said: Array, w: Floats) -> tuple[Floats, Floats]:
    """The sums of squared errors, and of squares around the mean."""
    total = np.maximum(w.sum(axis=-1), 1e-300)
    mean = (truth * w).sum(axis=-1) / total
    spread = (truth**2 * w).sum(axis=-1) - total * mean**2
    return np.asarray(((truth - said) ** 2 * w).sum(axis=-1)), np.maximum(spread, 0)


def _r2_within(truth: Array, said: Array, weights: Floats | None, parts: list[Ints]) -> Floats:
    w = np.ones((1, truth.shape[1])) if weights is None else weights
    sums = [_squares(truth[:, part], said[:, part], w[:, part]) for part in parts]
    errors, spread = sum(error for error, _ in sums), sum(spread for _, spread in sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - errors / spread)


def _pearson(truth: Array, said: Array, n_classes: int, w: Floats) -> Floats:
    total = np.maximum(w.sum(axis=-1, keepdims=True), 1e-300)
    x, y = (
        truth - (truth * w).sum(axis=-1, keepdims=True) / total,
        said - (said * w).sum(axis=-1, keepdims=True) / total,
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x * y * w).sum(axis=-1) / np.sqrt((x**2 * w).sum(axis=-1) * (y**2 * w).sum(axis=-1)))


_FUNCTIONS: dict[str, Callable[[Array, Array, int, Floats], Floats]] = {
    "balanced_accuracy": _recalls,
    "accuracy": _accuracy,
    "f1": _f1,
    "mae": _mae,
    "r2": _r2,
    "pearson_r": _pearson,
}


def contributions(metric: str, found: Outcomes) -> tuple[Floats, Floats]:
    """Return what each participant adds to a score that is a sum, (participant,), and the weight of its part in it.

    With the targets given, accuracy, balanced accuracy, the mean absolute error and R² are sums over participants
    (R² up to a constant, which differences lose).
    """
    total, shares = np.zeros(found.n), np.zeros(found.n)
    for number in range(found.members):
        truth, said = found.truth[number], found.predicted[number]
        weight = _weights(metric, truth, found.parts[number])
        total += weight * _gain(metric, truth, said) / found.members
        shares += weight / found.members
    return total, shares


def _gain(metric: str, truth: Array, said: Array) -> Array:
    if metric == "mae":
        return np.asarray(np.abs(truth - said))
    return np.asarray(-((truth - said) ** 2) if metric == "r2" else truth == said)


def _weights(metric: str, truth: Array, parts: list[Ints]) -> Floats:
    n = len(truth)
    if metric == "balanced_accuracy":
        own, counts = np.unique(truth, return_inverse=True, return_counts=True)[1:]
        return np.asarray(1 / (len(counts) * counts[own]), dtype=np.float64)
    if metric == "r2":
        spread = sum(float(((truth[part] - truth[part].mean()) ** 2).sum()) for part in parts)
        return np.full(n, 1 / spread if spread > 0 else np.nan)
    return np.full(n, 1 / n)
