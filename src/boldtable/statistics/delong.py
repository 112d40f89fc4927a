"""The variance of AUROC and of differences between two, after DeLong et al. (Biometrics 44, 1988).

The area is a sum over participants of how many of the other class each is ranked beyond; the spread of these parts is
its variance. Parts of one family are added before they are squared (Obuchowski, Biometrics 53, 1997), those of several
test parts, classes and members are averaged with the weights that the area itself has.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import rankdata

from boldtable.statistics.people import Array, Floats, Outcomes


def influence(found: Outcomes) -> Floats:
    """Return what each participant contributes to the deviation of the leading AUROC, (participant,).

    The sum of their squares is the variance of DeLong. NaN throughout where there are no scores.
    """
    if found.scores is None:
        return np.full(found.n, math.nan)
    total = np.zeros(found.n)
    for number, parts in enumerate(found.parts):
        judged = [part for part in parts if len(np.unique(found.truth[number, part])) > 1]
        people = sum(len(part) for part in judged)
        for part in judged:
            one = _of_part(found.truth[number, part], found.scores[number, part], found.n_classes)
            total[part] += one * len(part) / people / found.members
    return total


def _of_part(truth: Array, scores: Floats, n_classes: int) -> Floats:
    labels = [1] if n_classes == 2 else list(np.unique(truth))
    return np.asarray(np.mean([_one_against_rest(truth == label, scores[:, label]) for label in labels], axis=0))


def _one_against_rest(own: Array, score: Floats) -> Floats:
    """The structural components around their mean, scaled so that the sum of squares is the variance."""
    m, n = int(own.sum()), int((~own).sum())
    ranks = rankdata(score)
    beyond = np.empty(len(own))
    beyond[own] = (ranks[own] - rankdata(score[own])) / n
    beyond[~own] = 1 - (ranks[~own] - rankdata(score[~own])) / m
    area = beyond[own].mean()
    sizes = np.where(own, m, n).astype(np.float64)
    return np.asarray((beyond - area) / sizes * np.sqrt(sizes / np.maximum(sizes - 1, 1)))


def variance(found: Outcomes, parts: Floats) -> float:
    """Return the variance that the influences add up to, families as units."""
    n = found.n_clusters
    factor = 1.0 if n == found.n or n < 2 else n / (n - 1)
    return float((found.by_cluster(parts) ** 2).sum()) * factor


def binormal_variance(area: float, m: int, n: int) -> float:
    """Return the variance that an area has with `m` and `n` participants (Hanley and McNeil, Radiology 143, 1982).

    In the form of Newcombe (Statistics in Medicine 25, 2006), which treats both classes alike.
    """
    middle = (m + n) / 2 - 1
    return area * (1 - area) * (1 + middle * (1 - area) / (2 - area) + middle * area / (1 + area)) / (m * n)
