"""How often each test of the table errs at 5 % where there is nothing to find.

``python -m boldtable.statistics.rates --repetitions 2000`` prints the tables that stand in ``config/statistics.md``.

Two nearest-centroid probes (or, for quantities, regressions on one direction) see features of their own that are
equally good, at sites of equal size that are hard or easy for both alike, and are fitted anew for every site that is
left out, or for every random split. For the tests against chance, features know nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from boldtable.statistics.chance import dealt_out
from boldtable.statistics.paired import paired_test
from boldtable.statistics.people import Floats, Ints, Outcomes
from boldtable.statistics.splits import Predictions, corrected_paired_test, permutation_test

PAIRED = ("accuracy", "balanced_accuracy", "f1", "auroc", "mae", "r2", "pearson_r")
CHANCE = ("balanced_accuracy", "auroc", "mae")
LEVEL = 0.05
_FEATURES = 5
_DRAWS = 199  # of every permutation test: at 5 %, (b + 1) / 200 is exact


@dataclass(frozen=True)
class Design:
    """Sites (or random splits), participants in all, and participants per family."""

    sites: int
    n: int
    family: int = 1


def _people(design: Design) -> tuple[Ints, Ints, Ints]:
    """Site, class and family of everybody; classes are even at every site, and families stay at one."""
    site = np.sort(np.arange(design.n) % design.sites)
    place = np.concatenate([np.arange(count) for count in np.bincount(site)])
    label = (place // design.family) % 2
    family = np.unique(site * design.n + place // design.family, return_inverse=True)[1]
    return site, label, family


def _features(
    rng: np.random.Generator, design: Design, target: Floats, site: Ints, family: Ints, signal: float
) -> Floats:
    """Features (participant, feature); relatives share half of what is not the target."""
    noise = rng.normal(size=(design.n, _FEATURES))
    if design.family > 1:
        noise = np.sqrt(0.5) * (noise + rng.normal(size=(family.max() + 1, _FEATURES))[family])
    return np.asarray(noise + signal * target[:, None])


def _classified(x: Floats, label: Ints, train: Ints, test: Ints) -> Floats:
    """The scores of a nearest-centroid probe; above 0 is class 1."""
    centres = [x[train][label[train] == k].mean(axis=0) for k in (0, 1)]
    return np.asarray((x[test] - (centres[0] + centres[1]) / 2) @ (centres[1] - centres[0]))


def _regressed(x: Floats, y: Floats, train: Ints, test: Ints) -> Floats:
    """A quantity predicted from the direction in which features go along with it."""
    way = (x[train] - x[train].mean(axis=0)).T @ (y[train] - y[train].mean())
    line = np.polyfit(x[train] @ way, y[train], 1)
    return np.asarray(np.polyval(line, x[test] @ way))


def _left_out(rng: np.random.Generator, design: Design, signal: float, quantity: bool) -> tuple[Outcomes, Outcomes]:
    """The outcomes of two probes, each site left out once."""
    site, label, family = _people(design)
    ease = rng.uniform(0.5, 1.5, design.sites)[site]
    y = rng.normal(size=family.max() + 1)[family] + 0.3 * rng.normal(size=design.n) if quantity else label.astype(float)
    made = []
    for _ in range(2):
        x = _features(rng, design, y * ease, site, family, signal)
        said = np.empty(design.n)
        for number in range(design.sites):
            test, train = np.flatnonzero(site == number), np.flatnonzero(site != number)
            said[test] = _regressed(x, y, train, test) if quantity else _classified(x, label, train, test)
        if quantity:
            made.append(Outcomes(y[None], said[None], site[None], family))
        else:
            both = np.stack([-said, said], axis=-1)[None]
            made.append(Outcomes(label[None], (said > 0).astype(int)[None], site[None], family, 2, both))
    return made[0], made[1]


def left_out(design: Design, repetitions: int, seed: int = 0, paired: bool = True) -> dict[str, float]:
    """Return by metric how often p < 5 % with sites left out: two equal models (`paired`), or one against chance."""
    rng, found = np.random.default_rng(seed), dict.fromkeys(PAIRED if paired else CHANCE, 0)
    for _ in range(repetitions):
        pairs = {kind: _left_out(rng, design, 0.25 * paired, kind) for kind in (False, True)}
        draw = int(rng.integers(2**31))
        for metric in found:
            a, b = pairs[metric in ("mae", "r2", "pearson_r")]
            p = (
                paired_test(metric, a, b, seed=draw, swaps=_DRAWS, bounds=False).p
                if paired
                else dealt_out(metric, a, _DRAWS, draw, -1 if metric == "mae" else 1)
            )
            found[metric] += p <= LEVEL
    return {name: count / repetitions for name, count in found.items()}


def repeated(design: Design, repetitions: int, seed: int = 0) -> dict[str, float]:
    """Return how often p < 5 % over `design.sites` random splits: the corrected t-test, and the one against chance."""
    rng, found = np.random.default_rng(seed), {"corrected t-test": 0, "against chance": 0}
    n_test = max(4, design.n // 5 // 2 * 2)
    for _ in range(repetitions):
        scores = [_over_splits(rng, design, 0.25, n_test) for _ in range(2)]
        values = [one.values(one.target) for one in scores]
        found["corrected t-test"] += corrected_paired_test(values[0], values[1], design.n - n_test, n_test).p <= LEVEL
        nothing = _over_splits(rng, design, 0.0, n_test)
        found["against chance"] += permutation_test(nothing, _DRAWS, design.n - n_test, n_test, 1) <= LEVEL
    return {name: count / repetitions for name, count in found.items()}


def _over_splits(rng: np.random.Generator, design: Design, signal: float, n_test: int) -> Predictions:
    label = np.arange(design.n) % 2
    x = rng.normal(size=(design.n, _FEATURES)) + signal * label[:, None]
    person, said = [], []
    for _ in range(design.sites):
        test = np.concatenate([rng.permutation(np.flatnonzero(label == k))[: n_test // 2] for k in (0, 1)])
        person.append(test)
        said.append(_classified(x, label, np.setdiff1d(np.arange(design.n), test), test) > 0)
    split = np.repeat(np.arange(design.sites), n_test)
    return Predictions(label, np.concatenate(person), split, np.concatenate(said).astype(int), 2)


def tables(repetitions: int) -> Iterator[str]:
    """Yield the lines of the tables."""
    yield "| sites | n | " + " | ".join(PAIRED) + " | " + " | ".join(f"chance: {name}" for name in CHANCE) + " |"
    yield "|---:" * (2 + len(PAIRED) + len(CHANCE)) + "|"
    designs = [Design(sites, n) for sites in (2, 5, 20) for n in (16, 100, 1000) if sites * 2 <= n]
    for design in [*designs, Design(5, 100, 2), Design(5, 1000, 4)]:
        times = repetitions if design.n < 1000 else max(1, repetitions // 2)
        rates = [*left_out(design, times).values(), *left_out(design, times, 1, paired=False).values()]
        people = f"{design.n} in families of {design.family}" if design.family > 1 else design.n
        yield f"| {design.sites} | {people} | " + " | ".join(f"{100 * rate:.1f}" for rate in rates) + " |"
    yield "\n| splits | n | corrected t-test | against chance |\n|---:|---:|---:|---:|"
    for design in (Design(splits, n) for splits in (2, 5, 20) for n in (16, 100, 1000)):
        rates = list(repeated(design, repetitions if design.n < 1000 else max(1, repetitions // 2)).values())
        yield f"| {design.sites} | {design.n} | " + " | ".join(f"{100 * rate:.1f}" for rate in rates) + " |"


def main() -> None:
    """Print the tables of false-positive rates in percent."""
    parser = argparse.ArgumentParser(description="Measure how often each test errs where there is nothing to find.")
    parser.add_argument("--repetitions", type=int, default=2000, help="Simulations per row; half for n = 1,000.")
    for line in tables(parser.parse_args().repetitions):
        print(line, flush=True)


if __name__ == "__main__":
    main()
