"""Intervals and tests over participants: known answers, boundaries, families, and rates under simulated nulls."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score, r2_score, roc_auc_score

from boldtable import statistics
from boldtable.statistics import Outcomes, rates
from boldtable.statistics.delong import influence, variance

Array = np.ndarray


def classes(truth: Array, said: Array, part: Array | None = None, cluster: Array | None = None) -> Outcomes:
    """Outcomes of one member and two classes; probabilities are 0.5 ± what was said."""
    scores = np.stack([1 - said, said], axis=-1)[None].astype(float)
    one = np.zeros(len(truth), dtype=int)
    return Outcomes(
        truth[None], (said > 0.5).astype(int)[None], (one if part is None else part)[None],
        np.arange(len(truth)) if cluster is None else cluster, 2, scores,
    )  # fmt: skip


def quantities(truth: Array, said: Array, part: Array | None = None, cluster: Array | None = None) -> Outcomes:
    one = np.zeros(len(truth), dtype=int) if part is None else part
    return Outcomes(truth[None], said[None], one[None], np.arange(len(truth)) if cluster is None else cluster)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def test_scores_are_those_of_scikit_learn(rng: np.random.Generator) -> None:
    truth, said = rng.integers(0, 2, 80), rng.random(80)
    found = classes(truth, said)
    guess = (said > 0.5).astype(int)
    expected = {
        "balanced_accuracy": balanced_accuracy_score(truth, guess), "accuracy": (truth == guess).mean(),
        "f1": f1_score(truth, guess, average="macro"), "auroc": roc_auc_score(truth, said),
    }  # fmt: skip
    for metric, value in expected.items():
        assert statistics.statistic(metric, found)[0] == pytest.approx(value), metric
    y, guessed = rng.normal(size=80), rng.normal(size=80)
    numbers = quantities(y, guessed)
    assert statistics.statistic("r2", numbers)[0] == pytest.approx(r2_score(y, guessed))
    assert statistics.statistic("mae", numbers)[0] == pytest.approx(np.abs(y - guessed).mean())
    assert statistics.statistic("pearson_r", numbers)[0] == pytest.approx(np.corrcoef(y, guessed)[0, 1])


def test_several_classes_one_against_the_rest(rng: np.random.Generator) -> None:
    truth, scores = rng.integers(0, 3, 60), rng.dirichlet([1, 1, 1], 60)
    found = Outcomes(truth[None], scores.argmax(axis=1)[None], np.zeros((1, 60), int), np.arange(60), 3, scores[None])
    assert statistics.statistic("auroc", found)[0] == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr"))


def test_offset_scores_of_two_sites_do_not_count_against_auroc(rng: np.random.Generator) -> None:
    truth, part = np.tile([0, 1], 40), np.repeat([0, 1], 40)
    said = 0.2 * truth + 0.05 * rng.normal(size=80)
    shifted = classes(truth, np.where(part == 1, said + 5, said), part)
    plain = classes(truth, said, part)
    assert statistics.statistic("auroc", shifted)[0] == pytest.approx(statistics.statistic("auroc", plain)[0])
    assert statistics.statistic("auroc", shifted, how="pooled")[0] < 0.8
    sizes = np.repeat([0, 1], [20, 60])
    uneven = classes(truth, said, sizes)
    each = [roc_auc_score(truth[sizes == k], said[sizes == k]) for k in (0, 1)]
    assert statistics.statistic("auroc", uneven)[0] == pytest.approx((20 * each[0] + 60 * each[1]) / 80)
    assert statistics.statistic("auroc", uneven, how="mean")[0] == pytest.approx(np.mean(each))


def test_two_equal_sites_of_eight() -> None:
    """Case 16: 14 of 16 against 16 of 16, equal at both sites, was p < 0.001 and an interval without width."""
    truth, part = np.tile([0] * 4 + [1] * 4, 2), np.repeat([0, 1], 8)
    wrong = truth.copy()
    wrong[[0, 13]] = 1 - wrong[[0, 13]]
    a, b = classes(truth, wrong.astype(float), part), classes(truth, truth.astype(float), part)
    for metric in ("accuracy", "balanced_accuracy"):
        assert statistics.statistic(metric, a)[0] == 0.875
        low, high = statistics.interval(metric, a)
        assert (low, high) == pytest.approx((0.640, 0.965), abs=1e-3)
        assert statistics.interval(metric, b)[0] == pytest.approx(0.806, abs=1e-3), "right of everybody, and not sure"
        assert statistics.paired_test(metric, a, b).p == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(4))
def test_accuracy_is_tested_by_mcnemar(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 120)
    one, two = (np.where(rng.random(120) < level, truth, 1 - truth).astype(float) for level in (0.8, 0.68))
    a, b = classes(truth, one), classes(truth, two)
    only_a, only_b = (one == truth) & (two != truth), (one != truth) & (two == truth)
    expected = stats.binomtest(int(only_a.sum()), int((only_a | only_b).sum())).pvalue
    assert statistics.paired_test("accuracy", a, b).p == pytest.approx(expected)


def test_sign_flips_are_counted_exactly_and_drawn_where_sizes_are_many(rng: np.random.Generator) -> None:
    each = np.array([3.0, 1.0, -1.0, 2.0])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1)
    assert statistics.sign_flips(each) == pytest.approx((np.abs(each @ signs) >= 5).mean())
    many = rng.normal(0.25, 1, 60)
    drawn = statistics.sign_flips(many)
    normal = 2 * stats.norm.sf(abs(many.sum()) / np.sqrt((many**2).sum()))
    assert drawn == pytest.approx(normal, abs=0.02)
    assert statistics.sign_flips(np.zeros(5)) == 1.0


def test_delong_against_the_formula_and_the_bootstrap(rng: np.random.Generator) -> None:
    truth = np.repeat([0, 1], [70, 50])
    one, two = truth + rng.normal(size=120), 0.6 * truth + rng.normal(size=120)
    a, b = classes(truth, one), classes(truth, two)
    x, y = one[truth == 1], one[truth == 0]
    psi = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
    by_hand = psi.mean(axis=1).var(ddof=1) / len(x) + psi.mean(axis=0).var(ddof=1) / len(y)
    assert variance(a, influence(a)) == pytest.approx(by_hand)
    draws = []
    for _ in range(300):
        pick = np.concatenate([rng.choice(np.flatnonzero(truth == k), (truth == k).sum()) for k in (0, 1)])
        draws.append(roc_auc_score(truth[pick], one[pick]) - roc_auc_score(truth[pick], two[pick]))
    found = statistics.paired_test("auroc", a, b)
    assert found.difference / found.t == pytest.approx(np.std(draws), rel=0.15)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.t)))


def test_auroc_of_one_is_not_sure() -> None:
    truth = np.repeat([0, 1], 8)
    low, high = statistics.interval("auroc", classes(truth, truth.astype(float)))
    assert 0.6 < low < 0.9
    assert high == pytest.approx(1)


def test_families_widen_intervals_and_move_as_a_whole(rng: np.random.Generator) -> None:
    truth, family = np.tile([0, 1], 40), np.repeat(np.arange(20), 4)
    right = np.repeat(rng.random(20) < 0.7, 4)
    said = np.where(right, truth, 1 - truth).astype(float)
    alone, together = classes(truth, said), classes(truth, said, cluster=family)
    (low, high), (lower, higher) = (statistics.interval("accuracy", one) for one in (alone, together))
    assert higher - lower > 1.5 * (high - low)
    other = classes(truth, truth.astype(float), cluster=family)
    wrong = int((~right).reshape(20, 4)[:, 0].sum())
    assert statistics.paired_test("accuracy", together, other).p == pytest.approx(2 * 0.5**wrong)
    y = np.repeat(rng.normal(size=20), 4)
    guess = y + np.repeat(rng.normal(size=20), 4)
    widths = [np.diff(statistics.interval("mae", quantities(y, guess, cluster=c)))[0] for c in (None, family)]
    assert widths[1] > 1.5 * widths[0]


def test_repetitions_of_the_same_people_do_not_narrow_an_interval(rng: np.random.Generator) -> None:
    truth = np.tile([0, 1], 30)
    said = np.where(rng.random(60) < 0.75, truth, 1 - truth)
    one = classes(truth, said.astype(float))
    ten = Outcomes(*(np.tile(x, (10, 1)) for x in (one.truth, one.predicted, one.part)), one.cluster, 2)
    assert statistics.interval("accuracy", ten) == pytest.approx(statistics.interval("accuracy", one))
    assert statistics.statistic("accuracy", ten)[0] == statistics.statistic("accuracy", one)[0]


def test_a_few_people_carry_nothing() -> None:
    truth = np.array([0, 1, 0, 1])
    few = classes(truth, truth.astype(float))
    assert all(map(math.isnan, statistics.interval("accuracy", few)))
    assert math.isnan(statistics.paired_test("accuracy", few, few).p)


def test_chance_keeps_the_share_of_classes_at_each_site(rng: np.random.Generator) -> None:
    """A model that says 'patient' at the site of patients knows the site alone, and is at chance within it."""
    part = np.repeat([0, 1], 40)
    truth = np.concatenate([rng.permutation(np.repeat([0, 1], counts)) for counts in ((34, 6), (6, 34))])
    knows_site = classes(truth, part.astype(float), part)
    assert statistics.statistic("balanced_accuracy", knows_site)[0] == pytest.approx(0.85)
    assert statistics.dealt_out("balanced_accuracy", knows_site, 199, 1) == 1.0
    knows = classes(truth, truth.astype(float), part)
    assert statistics.dealt_out("balanced_accuracy", knows, 199, 1) == pytest.approx(1 / 200)
    y = rng.normal(size=60)
    assert statistics.dealt_out("mae", quantities(y, y + 0.1), 199, 1, sign=-1) == pytest.approx(1 / 200)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "auroc", "mae", "r2"])
def test_intervals_cover_the_truth(metric: str) -> None:
    rng, covered, n = np.random.default_rng(3), 0, 60
    x = np.random.default_rng(0).normal(size=400_000)
    label = np.arange(400_000) % 2
    truths = {"accuracy": 0.75, "balanced_accuracy": 0.75, "auroc": roc_auc_score(label, x + label)}
    truths |= {"mae": math.sqrt(2 / math.pi), "r2": 0.5}
    for _ in range(200):
        truth = np.arange(n) % 2
        if metric in ("mae", "r2"):
            guess = rng.normal(size=n)
            found = quantities(guess + rng.normal(size=n), guess)
        elif metric == "auroc":
            found = classes(truth, truth + rng.normal(size=n))
        else:
            found = classes(truth, np.where(rng.random(n) < 0.75, truth, 1 - truth).astype(float))
        low, high = statistics.interval(metric, found, replicates=300)
        covered += low <= truths[metric] <= high
    assert covered / 200 > 0.90


def kept(found: dict[str, float], repetitions: int, level: float = rates.LEVEL) -> bool:
    """Whether every rate is the level at most, but for three Monte-Carlo errors."""
    return all(rate <= level + 3 * math.sqrt(level * (1 - level) / repetitions) for rate in found.values())


@pytest.mark.parametrize("design", [rates.Design(2, 16), rates.Design(5, 100), rates.Design(20, 100)], ids=str)
def test_no_test_finds_what_is_not_there(design: rates.Design) -> None:
    for paired in (True, False):
        found = rates.left_out(design, 80, seed=2, paired=paired)
        assert kept(found, 80), found


def test_repeated_splits_find_nothing_either() -> None:
    for splits, n in ((2, 100), (5, 16), (20, 100)):
        found = rates.repeated(rates.Design(splits, n), 100, seed=2)
        assert kept(found, 100), (splits, n, found)
    assert rates.repeated(rates.Design(2, 100), 20)["corrected t-test"] == 0, "two splits carry no test"


@pytest.mark.slow
@pytest.mark.parametrize("n", [16, 100, 1000])
@pytest.mark.parametrize("sites", [2, 5, 20])
def test_rates_of_the_documentation(sites: int, n: int) -> None:
    if 2 * sites > n:
        pytest.skip("a class at each site needs two participants")
    repetitions = 400
    for found in (rates.left_out(rates.Design(sites, n), repetitions, 5, paired) for paired in (True, False)):
        assert kept(found, repetitions, 0.06), found
    assert kept(rates.repeated(rates.Design(sites, n), repetitions, 5), repetitions, 0.09), "as the documentation says"
