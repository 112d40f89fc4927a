"""A test against chance over participants: the targets dealt out anew among those they could belong to.

Targets stay within their test part where every member has the same parts (a site keeps its share of patients), and
families move as a whole among families of their size. Nothing is fitted again. Where who is tested in one part trains
the probes of the others, deviations are widened to twice the variance (`Outcomes.stretch`): of a score that is a sum of
products of training and test participants, each pair counts twice, once in either role.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from boldtable.statistics.people import Array, Ints, Outcomes, statistic

_BLOCK = 4_000_000


def dealt_out(metric: str, found: Outcomes, permutations: int, seed: int, sign: int = 1) -> float:
    """Return the one-sided p of the leading score being no better than with the targets dealt out anew.

    `sign` is -1 where lower is better. p is (b + 1) / (permutations + 1) (Phipson and Smyth 2010); NaN without
    permutations and where the score is NaN.
    """
    target = found.truth[0]
    value = sign * float(statistic(metric, found, truth=target[None])[0])
    if permutations < 1 or not math.isfinite(value):
        return math.nan
    rng, draws = np.random.default_rng(seed), []
    units, size = list(_exchangeable(found)), max(1, _BLOCK // found.n)
    for start in range(0, permutations, size):
        truth = _dealt(rng, target, units, min(size, permutations - start))
        draws.append(sign * statistic(metric, found, truth=truth))
    dealt = np.concatenate(draws)
    middle = float(np.nanmean(dealt))
    widened = middle + (dealt - middle) * found.stretch
    better = int((np.maximum(widened, dealt) >= value - 1e-12).sum())  # ties count however the widening moves them
    return (better + 1) / (permutations + 1)


def _exchangeable(found: Outcomes) -> Iterator[Ints]:
    """Arrays (family, member of it) of participants; their rows can be exchanged."""
    fixed = bool((found.part == found.part[:1]).all())
    part = found.part[0] if fixed else np.zeros(found.n, dtype=np.int64)
    order = np.lexsort((np.arange(found.n), found.cluster, part))
    pieces = np.split(order, np.flatnonzero(np.diff(found.cluster[order]) | np.diff(part[order])) + 1)
    for number in np.unique(part):
        own = [piece for piece in pieces if part[piece[0]] == number]
        for size in sorted({len(piece) for piece in own}):
            yield np.stack([piece for piece in own if len(piece) == size])


def _dealt(rng: np.random.Generator, target: Array, units: list[Ints], draws: int) -> Array:
    """The targets dealt out, (draw, participant)."""
    dealt = np.tile(target, (draws, 1))
    for people in units:
        order = np.argsort(rng.random((draws, len(people))), axis=1)
        dealt[:, people.ravel()] = target[people[order]].reshape(draws, -1)
    return dealt
