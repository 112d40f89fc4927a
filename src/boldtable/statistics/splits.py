"""Numbers over repeated random splits: intervals, corrected paired tests, a test against chance.

Splits of one dataset share participants, so their scores are correlated and the usual standard error is far too
small. Nadeau and Bengio (Machine Learning 52, 2003) correct the variance of the mean over J random splits to
(1/J + n_test/n_train) · s², used here for intervals and tests alike. Fewer than `FEWEST` splits, or splits that all
say the same, carry neither: both are NaN then.

How often a test at 5 % finds a difference where there is none, in 1,000 to 2,000 simulations (standard error 0.5 to
1 %) of two equally good nearest-centroid probes of 80 participants, a fifth of whom each split tests:

| splits | corrected (used here) | usual paired t-test |
|-------:|----------------------:|--------------------:|
|      5 |                 4.0 % |              12.9 % |
|     10 |                 5.8 % |              27.9 % |
|     30 |                 5.8 % |              50.8 % |
|    100 |                 4.7 % |              68.3 % |

With more splits the usual test only gets worse; the corrected one stays near its level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from boldtable.statistics.people import value

Values = Sequence[float] | npt.NDArray[np.floating]
FEWEST = 5
_BLOCK = 4_000_000  # numbers held at once by a permutation test


@dataclass(frozen=True)
class Summary:
    """A mean, the standard deviation between splits (n-1), the interval from low to high, and how many splits."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class PairedTest:
    """A difference (first minus second), its test statistic, the two-sided p value and the interval."""

    difference: float
    t: float
    p: float
    low: float = math.nan
    high: float = math.nan


def summary(values: Values, n_train: float, n_test: float, confidence: float = 0.95) -> Summary:
    """Return mean, sd and t interval with the Nadeau-Bengio variance.

    `n_train` and `n_test` count participants per split; `n_train` is the part the probe was fitted on. The interval
    is NaN with fewer than `FEWEST` splits, without any spread, and without a training part; NaN values are left out
    and `n` counts what remains.
    """
    scores = np.asarray(values, dtype=np.float64)
    scores = scores[np.isfinite(scores)]
    n = len(scores)
    mean = float(scores.mean()) if n else math.nan
    sd = float(scores.std(ddof=1)) if n > 1 else math.nan
    if n_train <= 0 or not _carries(scores):
        return Summary(mean, sd, math.nan, math.nan, n)
    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * sd * _inflation(n, n_train, n_test)
    return Summary(mean, sd, mean - half, mean + half, n)


def corrected_paired_test(a: Values, b: Values, n_train: float, n_test: float) -> PairedTest:
    """Return the corrected resampled t-test of two models' scores on the same splits (Nadeau and Bengio 2003).

    `a` and `b` hold one score per split, in the same order. Splits where either is NaN are left out. Fewer than
    `FEWEST` splits, differences without any spread, or no training part give NaN.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a paired test needs the same splits for both models: {first.shape} and {second.shape}")
    differences = (first - second)[np.isfinite(first - second)]
    mean = float(differences.mean()) if len(differences) else math.nan
    if n_train <= 0 or not _carries(differences):
        return PairedTest(mean, math.nan, math.nan)
    t = mean / (float(differences.std(ddof=1)) * _inflation(len(differences), n_train, n_test))
    return PairedTest(mean, t, float(2 * stdtr(len(differences) - 1, -abs(t))))


def _carries(values: npt.NDArray[np.float64]) -> bool:
    """Whether there are enough splits, and any spread between them."""
    return len(values) >= FEWEST and float(np.ptp(values)) > 1e-12


@dataclass(frozen=True)
class Predictions:
    """Every prediction of one model on one task: a row per participant and split in which it was tested.

    `target` has one value per participant; `person`, `split` (counted from 0), `predicted` and `scores` (probabilities
    by class, or None) one per row. Classes are numbers from 0 on; `n_classes` is 0 where targets are quantities.
    """

    target: npt.NDArray[Any]
    person: npt.NDArray[np.int64]
    split: npt.NDArray[np.int64]
    predicted: npt.NDArray[Any]
    n_classes: int
    scores: npt.NDArray[np.float64] | None = None

    def values(self, target: npt.NDArray[Any], metric: str | None = None) -> npt.NDArray[np.float64]:
        """Return the metric of every split, larger being better, of `target` (..., participant): (..., split).

        None is balanced accuracy for classes and the mean absolute error, with its sign turned, for quantities.
        """
        name = metric or ("balanced_accuracy" if self.n_classes else "mae")
        dealt = np.atleast_2d(target)
        found = [self._of_split(name, dealt, np.flatnonzero(self.split == k)) for k in range(int(self.split.max()) + 1)]
        made = np.stack(found, axis=-1) * (-1 if name == "mae" else 1)
        return np.asarray(made if target.ndim > 1 else made[0])

    def _of_split(self, metric: str, target: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        scores = None if self.scores is None else self.scores[rows]
        return value(metric, target[:, self.person[rows]], self.predicted[None, rows], scores, self.n_classes)


def permutation_test(
    found: Predictions, permutations: int, n_train: float, n_test: float, seed: int, metric: str | None = None
) -> float:
    """Return the one-sided p of predictions being no better than with the targets dealt out anew.

    A participant keeps the dealt target in every split. The probes are not fitted again, so permuted means vary less
    than means of refitted probes would, and the plain test is too eager (9 % instead of 5 % in the simulation above);
    their deviations are therefore widened to the variance of Nadeau and Bengio where that is larger. p is
    (b + 1) / (permutations + 1), where b counts the permutations at least as good as what was found (Phipson and Smyth
    2010); NaN without permutations.
    """
    if permutations < 1:
        return math.nan
    rng, own = np.random.default_rng(seed), float(np.nanmean(found.values(found.target, metric)))
    if not math.isfinite(own):
        return math.nan
    size = max(1, _BLOCK // max(len(found.person), len(found.target)))
    dealt = np.concatenate([
        found.values(rng.permuted(np.tile(found.target, (min(size, permutations - first), 1)), axis=1), metric)
        for first in range(0, permutations, size)
    ])  # fmt: skip
    means = np.nanmean(dealt, axis=1)
    centre, spread = means.mean(), float(means.std())
    corrected = (
        float(np.nanmean(np.nanstd(dealt, axis=0))) * _inflation(dealt.shape[1], n_train, n_test)
        if n_train > 0
        else 0.0
    )
    widened = centre + (means - centre) * (max(1.0, corrected / spread) if spread > 0 else 1.0)
    # Ties count however the widening moves them: a probe that says one class for all is at chance.
    better = int((np.maximum(widened, means) >= own - 1e-12).sum())
    return (better + 1) / (permutations + 1)


def _inflation(n_splits: int, n_train: float, n_test: float) -> float:
    """Standard error of a mean over splits in units of the standard deviation between splits."""
    return math.sqrt(1 / n_splits + n_test / n_train)
