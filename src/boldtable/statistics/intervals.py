"""Intervals of scores over participants: Wilson's for shares, Newcombe's for AUROC, a bootstrap for the rest.

The first two do not shrink to nothing where a model is right about everybody. The bootstrap draws families (or
participants without one) within test parts and takes percentiles, expanded for small samples as in Hesterberg (The
American Statistician 69, 2015).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from boldtable.statistics.delong import binormal_variance, influence, variance
from boldtable.statistics.people import Floats, Ints, Outcomes, contributions, statistic

SHARES = frozenset({"accuracy", "balanced_accuracy"})
FEWEST_FAMILIES = 5
REPLICATES = 2_000
_BLOCK = 4_000_000


def wilson(k: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval (JASA 22, 1927) of the share k / n, for one test of everybody.

    `k` and `n` may be fractional (a mean over members, an effective number). NaN bounds when n is 0.
    """
    if n <= 0:
        return math.nan, math.nan
    z = float(ndtri(0.5 + confidence / 2))
    share = k / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(max(0.0, share * (1 - share)) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def interval(
    metric: str, found: Outcomes, confidence: float = 0.95, seed: int = 0, replicates: int = REPLICATES
) -> tuple[float, float]:
    """Return the interval of the leading score; NaN with fewer than five participants (or families)."""
    if found.n_clusters < FEWEST_FAMILIES:
        return math.nan, math.nan
    if metric in SHARES:
        return _share(metric, found, confidence)
    if metric == "auroc":
        return _area(found, confidence)
    draws = bootstrap(metric, found, seed, replicates)
    return percentiles(draws, found.n_clusters, confidence)


def percentiles(draws: Floats, n: int, confidence: float) -> tuple[float, float]:
    """Return the percentiles of a bootstrap, expanded as a t interval of `n` units is; NaN without any spread."""
    known = draws[np.isfinite(draws)]
    if len(known) < len(draws) / 2:
        return math.nan, math.nan
    tail = float(ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.5 + confidence / 2)))
    low, high = (float(end) for end in np.quantile(known, [tail, 1 - tail]))
    return (low, high) if high - low > 1e-12 else (math.nan, math.nan)


def bootstrap(metric: str, found: Outcomes, seed: int, replicates: int) -> Floats:
    """Return the score in every draw of families; equal seeds draw the same families for every model."""
    rng = np.random.default_rng(seed)
    cluster = np.unique(found.cluster, return_inverse=True)[1]
    first = np.unique(cluster, return_index=True)[1]
    strata = [np.flatnonzero(found.part[0][first] == number) for number in np.unique(found.part[0])]
    size = max(1, _BLOCK // found.n)
    draws = []
    for start in range(0, replicates, size):
        weights = _drawn(rng, strata, len(first), min(size, replicates - start))
        draws.append(statistic(metric, found, weights=weights[:, cluster]))
    return np.concatenate(draws)


def _drawn(rng: np.random.Generator, strata: list[Ints], n: int, draws: int) -> Floats:
    """How often each family is drawn, (draw, family), as many from each stratum as there are."""
    counts = np.empty((draws, n))
    for members in strata:
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    return counts


def _share(metric: str, found: Outcomes, confidence: float) -> tuple[float, float]:
    """Wilson's interval with the number of independent participants that carry as much.

    That number is never more than weights and families allow when everybody is right, so that an interval keeps its
    width there.
    """
    gains, shares = contributions(metric, found)
    value, spread = float(gains.sum()), _spread(metric, found)
    most = 1 / float((found.by_cluster(shares) ** 2).sum()) if spread <= 1e-15 else 1 / float((shares**2).sum())
    n = most if spread <= 1e-15 else min(most, value * (1 - value) / spread)
    return wilson(value * n, n, confidence) if n > 0 else wilson(value * most, most, confidence)


def _spread(metric: str, found: Outcomes) -> float:
    """The variance of a share: deviations from the recall of each class, added within families."""
    gains, shares = contributions(metric, found)
    if metric == "accuracy":
        rest = gains - shares * gains.sum()
    else:
        rest = np.zeros(found.n)
        for label in np.unique(found.truth[0]):
            own = found.truth[0] == label
            rest[own] = gains[own] - shares[own] * gains[own].sum() / shares[own].sum()
    n = found.n_clusters
    return float((found.by_cluster(rest) ** 2).sum()) * (1 if n == found.n else n / (n - 1))


def _area(found: Outcomes, confidence: float) -> tuple[float, float]:
    """Newcombe's score interval of AUROC, widened where DeLong's variance with families is larger."""
    value = float(statistic("auroc", found)[0])
    if not math.isfinite(value):
        return math.nan, math.nan
    expected = _expected(found, value)
    factor = variance(found, influence(found)) / expected if expected > 1e-12 else 1.0
    factor = max(1.0 if found.n_classes == 2 else 1 / found.n_classes, factor)
    z = float(ndtri(0.5 + confidence / 2)) * math.sqrt(factor)
    return _solved(found, value, 0.0, z), _solved(found, value, 1.0, z)


def _solved(found: Outcomes, value: float, end: float, z: float) -> float:
    """The area between `value` and `end` that lies z of its own standard errors from `value`."""
    near, far = value, end
    for _ in range(40):
        middle = (near + far) / 2
        beyond = abs(value - middle) > z * math.sqrt(_expected(found, middle))
        near, far = (near, middle) if beyond else (middle, far)
    return (near + far) / 2


def _expected(found: Outcomes, area: float) -> float:
    """The variance of the leading AUROC if every part and class had this area, for one member."""
    total, people = 0.0, 0
    for part in found.parts[0]:
        labels, counts = np.unique(found.truth[0, part], return_counts=True)
        if len(labels) > 1:
            n = len(part)
            pairs = [(int(c), n - int(c)) for c in (counts[-1:] if found.n_classes == 2 else counts)]
            total += float(np.mean([binormal_variance(area, m, rest) for m, rest in pairs])) * n**2
            people += n
    return total / people**2 if people else math.nan
