"""Numbers over repeated splits: intervals, corrected paired tests, multiple comparisons, chance, mean ranks.

Splits of one dataset share participants, so their scores are correlated and the usual standard error is far too
small. Nadeau and Bengio (Machine Learning 52, 2003) correct the variance of the mean over J random splits to
(1/J + n_test/n_train) · s², used here for intervals and tests alike.

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
from scipy.special import ndtri, stdtr, stdtrit

Values = Sequence[float] | npt.NDArray[np.floating]


@dataclass(frozen=True)
class Summary:
    """Mean over `n` splits, standard deviation between splits (n-1) and the interval from low to high."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class PairedTest:
    """Mean difference (first minus second), its t statistic and the two-sided p value."""

    difference: float
    t: float
    p: float


def summary(values: Values, n_train: float, n_test: float, confidence: float = 0.95) -> Summary:
    """Mean, sd and t interval with the Nadeau-Bengio variance; `n_train` and `n_test` count participants per split.

    `n_train` is the part the probe was fitted on (validation participants do not count). With a single split, or
    without a training part, sd or interval are NaN; NaN values are left out and `n` counts what remains.
    """
    scores = np.asarray(values, dtype=np.float64)
    scores = scores[np.isfinite(scores)]
    n = len(scores)
    mean = float(scores.mean()) if n else math.nan
    if n < 2 or n_train <= 0:
        return Summary(mean, float(scores.std(ddof=1)) if n > 1 else math.nan, math.nan, math.nan, n)
    sd = float(scores.std(ddof=1))
    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * sd * _inflation(n, n_train, n_test)
    return Summary(mean, sd, mean - half, mean + half, n)


def corrected_paired_test(a: Values, b: Values, n_train: float, n_test: float) -> PairedTest:
    """The corrected resampled t-test of two models' scores on the same splits (Nadeau and Bengio 2003).

    `a` and `b` hold one score per split, in the same order. Splits where either is NaN are left out. Differences
    that are zero throughout give p = 1; fewer than two splits or no training part give NaN.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"a paired test needs the same splits for both models: {first.shape} and {second.shape}")
    differences = (first - second)[np.isfinite(first - second)]
    mean = float(differences.mean()) if len(differences) else math.nan
    if len(differences) < 2 or n_train <= 0:
        return PairedTest(mean, math.nan, math.nan)
    spread = float(differences.std(ddof=1)) * _inflation(len(differences), n_train, n_test)
    if spread <= 1e-12 * max(1.0, abs(mean)):  # every split says the same
        return PairedTest(mean, 0.0, 1.0) if abs(mean) < 1e-12 else PairedTest(mean, math.copysign(math.inf, mean), 0.0)
    t = mean / spread
    return PairedTest(mean, t, float(2 * stdtr(len(differences) - 1, -abs(t))))


def holm(p: Values) -> npt.NDArray[np.float64]:
    """Holm's step-down adjusted p values in the given order (Scandinavian Journal of Statistics 6, 1979).

    A NaN (a comparison that could not be made) stays NaN and does not count to the family.
    """
    given = np.asarray(p, dtype=np.float64)
    adjusted = np.full(given.shape, math.nan)
    known = np.flatnonzero(np.isfinite(given))
    order = known[np.argsort(given[known], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * steps))
    return adjusted


@dataclass(frozen=True)
class Predictions:
    """Every prediction of one model on one task: a row per participant and split in which it was tested.

    `target` has one value per participant; `person`, `split` (counted from 0) and `predicted` one per row. Classes
    are numbers from 0 on; `n_classes` is 0 where targets are quantities.
    """

    target: npt.NDArray[Any]
    person: npt.NDArray[np.int64]
    split: npt.NDArray[np.int64]
    predicted: npt.NDArray[Any]
    n_classes: int

    def scores(self, target: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Balanced accuracy (classes; over those that occur) or minus the mean absolute error, of every split."""
        truth = target[self.person]
        n = int(self.split.max()) + 1
        if not self.n_classes:
            return -np.bincount(self.split, np.abs(truth - self.predicted), n) / np.bincount(self.split, minlength=n)
        key, size = self.split * self.n_classes + truth, n * self.n_classes
        there = np.bincount(key, minlength=size).reshape(n, -1)
        right = np.bincount(key[truth == self.predicted], minlength=size).reshape(n, -1)
        recall = np.divide(right, there, out=np.zeros((n, self.n_classes)), where=there > 0)
        return np.asarray(recall.sum(axis=1) / (there > 0).sum(axis=1))


def permutation_test(found: Predictions, permutations: int, n_train: float, n_test: float, seed: int) -> float:
    """One-sided p of predictions being no better than with the targets dealt out anew: (b + 1) / (permutations + 1).

    A participant keeps the dealt target in every split. The probes are not fitted again, so permuted means vary less
    than means of refitted probes would, and the plain test is too eager (9 % instead of 5 % in the simulation above);
    their deviations are therefore widened to the variance of Nadeau and Bengio where that is larger. b counts the
    permutations at least as good as what was found (Phipson and Smyth 2010); NaN without permutations.
    """
    if permutations < 1:
        return math.nan
    rng = np.random.default_rng(seed)
    dealt = np.stack([found.scores(rng.permutation(found.target)) for _ in range(permutations)])
    means = dealt.mean(axis=1)
    centre, spread = means.mean(), float(means.std())
    corrected = float(dealt.std(axis=0).mean()) * _inflation(dealt.shape[1], n_train, n_test) if n_train > 0 else 0.0
    widened = centre + (means - centre) * (max(1.0, corrected / spread) if spread > 0 else 1.0)
    better = int((widened >= found.scores(found.target).mean() - 1e-12).sum())
    return (better + 1) / (permutations + 1)


def mean_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean rank of every model, values (task, model) larger is better: 1 is best, ties share the mean of their ranks.

    The ranks of Friedman's test (JASA 32, 1937). A task in which a model has no value (NaN) is left out for all; NaN
    where none remains.
    """
    complete = values[np.isfinite(values).all(axis=1)]
    if not len(complete):
        return np.full(values.shape[1], math.nan)
    ahead = (complete[:, None, :] > complete[:, :, None]).sum(axis=2)
    level = (complete[:, None, :] == complete[:, :, None]).sum(axis=2)
    return np.asarray((ahead + (level + 1) / 2).mean(axis=0), dtype=np.float64)


def wilson(k: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (JASA 22, 1927) of the share k / n, for one test set without repeated splits.

    `k` may be fractional (a mean over two directions of a fingerprint). NaN bounds when n is 0.
    """
    if n <= 0:
        return math.nan, math.nan
    z = float(ndtri(0.5 + confidence / 2))
    share = k / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _inflation(n_splits: int, n_train: float, n_test: float) -> float:
    """Standard error of a mean over splits in units of the standard deviation between splits."""
    return math.sqrt(1 / n_splits + n_test / n_train)
