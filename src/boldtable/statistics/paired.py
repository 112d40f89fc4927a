"""Two models on the same participants: exact or permutation tests, and DeLong's for AUROC.

Scores that are sums over participants are tested by flipping the sign of each family's difference, which is to swap
the two models in it. Where the differences take few sizes, every one of the 2^m swaps is counted; for accuracy that is
exactly McNemar's test. Where who is tested also trains the probes of others (sites left out, folds), differences due
to swaps are widened by `Outcomes.stretch`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats import binom, rankdata

from boldtable.statistics.delong import influence, variance
from boldtable.statistics.intervals import FEWEST_FAMILIES, REPLICATES, SHARES, bootstrap, percentiles
from boldtable.statistics.people import Array, Floats, Ints, Outcomes, contributions, statistic
from boldtable.statistics.splits import PairedTest

SWAPS = 4_999
_EXACT = 200_000
_MANY = 5_000
_BLOCK = 4_000_000


def paired_test(
    metric: str, a: Outcomes, b: Outcomes, confidence: float = 0.95, seed: int = 0, swaps: int = SWAPS,
    bounds: bool = True,
) -> PairedTest:  # fmt: skip
    """Return the difference of two leading scores (`a` minus `b`), its two-sided p value and its interval.

    p and interval are NaN with fewer than five participants (or families). `bounds` false spares the interval where
    it takes a bootstrap.
    """
    difference = float(statistic(metric, a)[0] - statistic(metric, b)[0])
    if a.n_clusters < FEWEST_FAMILIES or not math.isfinite(difference):
        return PairedTest(difference, math.nan, math.nan)
    if metric == "auroc":
        found = _delong(a, b, difference, confidence)
        return found if _many_of_both(a) else replace(found, p=_swapped_areas(a, b, difference, seed, swaps))
    if metric in ("f1", "pearson_r"):
        p = _swapped(metric, a, b, difference, seed, swaps)
        return PairedTest(difference, math.nan, p, *(_bootstrapped(metric, a, b, confidence, seed) if bounds else ()))
    each = a.by_cluster(contributions(metric, a)[0] - contributions(metric, b)[0])
    error = _error(metric, a, each) * a.stretch
    half = float(stdtrit(len(each) - 1, 0.5 + confidence / 2)) * error
    return PairedTest(difference, difference / error if error > 0 else 0.0, sign_flips(each, seed, swaps, a.stretch),
                      difference - half, difference + half)  # fmt: skip


def _error(metric: str, found: Outcomes, each: Floats) -> float:
    """The standard error of a sum of differences over families.

    For shares, one more participant is counted for and one against either model (Bonett and Price 2012), so that two
    models that agree about a few participants are not said to be equal everywhere.
    """
    n = len(each)
    square = float(((each - each.mean()) ** 2).sum()) * n / (n - 1)
    if metric in SHARES:
        square += 2 * float((contributions(metric, found)[1] ** 2).mean())
    return math.sqrt(square)


def sign_flips(each: Floats, seed: int = 0, swaps: int = SWAPS, stretch: float = 1.0) -> float:
    """Return the two-sided p of the sum of `each` under random signs, whose sums are multiplied by `stretch`.

    Exact where the sizes of `each` are few, from `swaps` draws where they are many, by the normal distribution with
    more than 5,000 families.
    """
    moved = each[np.abs(each) > 1e-12 * max(1e-300, float(np.abs(each).max(initial=0.0)))]
    if not len(moved):
        return 1.0
    found = abs(float(moved.sum())) / stretch
    limit = found - 1e-9 * float(np.abs(moved).max())
    sizes, counts = np.unique(np.round(np.abs(moved) / np.abs(moved).max(), 9), return_counts=True)
    if math.prod(int(count) + 1 for count in counts) <= _EXACT if len(counts) <= 20 else False:
        return _exact(sizes * np.abs(moved).max(), counts, limit)
    if len(moved) > _MANY:
        return float(2 * ndtr(-found / math.sqrt(float((moved**2).sum()))))
    rng, beyond = np.random.default_rng(seed), 0
    size = max(1, _BLOCK // len(moved))
    for start in range(0, swaps, size):
        signs = rng.integers(0, 2, (min(size, swaps - start), len(moved)), dtype=np.int8)
        beyond += int((np.abs(2 * (signs @ moved) - moved.sum()) >= limit).sum())
    return (beyond + 1) / (swaps + 1)


def _exact(sizes: Floats, counts: Ints, limit: float) -> float:
    """The share of all signs whose sum is as far from 0: for each size, the number of plus signs is binomial."""
    sums, chances = np.zeros(1), np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        plus = np.arange(count + 1)
        sums = (sums[:, None] + size * (2 * plus - count)).ravel()
        chances = (chances[:, None] * binom.pmf(plus, count, 0.5)).ravel()
    return min(1.0, float(chances[np.abs(sums) >= limit].sum()))


def _delong(a: Outcomes, b: Outcomes, difference: float, confidence: float) -> PairedTest:
    each = influence(a) - influence(b)
    error = math.sqrt(variance(a, each)) * a.stretch
    if not math.isfinite(error):
        return PairedTest(difference, math.nan, math.nan)
    half = float(ndtri(0.5 + confidence / 2)) * error
    if error < 1e-12:  # both rank everybody alike, or both without any error
        return PairedTest(difference, 0.0, 1.0 if abs(difference) < 1e-12 else math.nan)
    z = difference / error
    return PairedTest(difference, z, float(2 * ndtr(-abs(z))), difference - half, difference + half)


def _many_of_both(found: Outcomes) -> bool:
    """Whether the normal distribution serves: five of every class in each part, twenty in all."""
    members = list(zip(found.truth, found.parts, strict=True))
    least = min(np.unique(truth[part], return_counts=True)[1].min() for truth, parts in members for part in parts)
    return bool(least >= 5 and np.unique(found.truth[0], return_counts=True)[1].min() >= 20)


def _flips(rng: np.random.Generator, found: Outcomes, draws: int) -> Array:
    """In which draws the two models are swapped for whom, (draw, participant)."""
    cluster = np.unique(found.cluster, return_inverse=True)[1]
    return np.asarray(rng.random((draws, found.n_clusters)) < 0.5)[:, cluster]


def _swapped(metric: str, a: Outcomes, b: Outcomes, difference: float, seed: int, swaps: int) -> float:
    """p of swapping the predictions of two models within families drawn at random, and scoring them anew."""
    rng, members = np.random.default_rng(seed), math.lcm(a.members, b.members)
    one, two = (found.predicted[np.arange(members) % found.members] for found in (a, b))
    own = np.arange(members) % a.members
    wide = Outcomes(a.truth[own], one, a.part[own], a.cluster, a.n_classes)
    beyond, size = 0, max(1, _BLOCK // one.size)
    for start in range(0, swaps, size):
        flip = _flips(rng, a, min(size, swaps - start))[:, None]
        first = statistic(metric, wide, predicted=np.where(flip, two, one))
        gap = first - statistic(metric, wide, predicted=np.where(flip, one, two))
        beyond += int((np.abs(gap) * a.stretch >= abs(difference) - 1e-12).sum())
    return (beyond + 1) / (swaps + 1)


def _swapped_areas(a: Outcomes, b: Outcomes, difference: float, seed: int, swaps: int) -> float:
    """p of swapping the ranks that two models give within a part; for samples too small for DeLong's variance."""
    if a.scores is None or b.scores is None:
        return math.nan
    rng, members = np.random.default_rng(seed), math.lcm(a.members, b.members)
    flips = _flips(rng, a, swaps)
    gaps, labels = np.zeros(swaps), [1] if a.n_classes == 2 else range(a.n_classes)
    for number in range(members):
        truth, parts = a.truth[number % a.members], a.parts[number % a.members]
        judged = [part for part in parts if len(np.unique(truth[part])) > 1]
        for part in judged:
            present = [label for label in labels if 0 < (truth[part] == label).sum() < len(part)]
            share = len(part) / sum(map(len, judged)) / members / len(present)
            for label in present:
                one, two = (rankdata(f.scores[number % f.members][part, label]) for f in (a, b))  # type: ignore[index]
                gaps += share * _gaps(truth[part] == label, one, two, flips[:, part])
    return (int((np.abs(gaps) * a.stretch >= abs(difference) - 1e-12).sum()) + 1) / (swaps + 1)


def _gaps(own: Array, one: Floats, two: Floats, flips: Array) -> Floats:
    """The difference of two areas in every draw."""
    m, n = int(own.sum()), int((~own).sum())
    first, second = np.where(flips, two, one), np.where(flips, one, two)
    ranks = rankdata(first, axis=1)[:, own].sum(axis=1) - rankdata(second, axis=1)[:, own].sum(axis=1)
    return np.asarray(ranks / (m * n))


def _bootstrapped(metric: str, a: Outcomes, b: Outcomes, confidence: float, seed: int) -> tuple[float, float]:
    draws = bootstrap(metric, a, seed, REPLICATES) - bootstrap(metric, b, seed, REPLICATES)
    middle = float(np.nanmedian(draws)) if np.isfinite(draws).any() else math.nan
    return percentiles(middle + (draws - middle) * a.stretch, a.n_clusters, confidence)
