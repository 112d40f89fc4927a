"""Intervals, corrected tests and adjustments against known numbers and simulated nulls."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from boldtable import statistics


def null_differences(n_simulations: int, n_splits: int, seed: int) -> tuple[np.ndarray, int, int]:
    """Accuracy differences (simulation, split) of two nearest-centroid probes whose features are equally good."""
    rng = np.random.default_rng(seed)
    n, n_test = 80, 16
    n_train = n - n_test
    found = np.empty((n_simulations, n_splits))
    label = np.repeat([-1.0, 1.0], n // 2)
    for simulation in range(n_simulations):
        features = rng.normal(size=(2, n, 5)) + 0.25 * label[:, None]
        for split in range(n_splits):
            order = rng.permutation(n)
            train, test = order[n_test:], order[:n_test]
            weights = np.einsum("mnf,n->mf", features[:, train], label[train])
            scores = np.einsum("mnf,mf->mn", features[:, test], weights)
            right = (np.sign(scores) == label[test]).mean(axis=1)
            found[simulation, split] = right[0] - right[1]
    return found, n_train, n_test


def test_corrected_test_keeps_its_level_where_the_uncorrected_one_does_not() -> None:
    differences, n_train, n_test = null_differences(400, 10, seed=11)
    zero = np.zeros(10)
    corrected = np.array([statistics.corrected_paired_test(row, zero, n_train, n_test).p for row in differences])
    plain = stats.ttest_1samp(differences, 0, axis=1).pvalue
    assert (corrected < 0.05).mean() < 0.09
    assert (corrected < 0.5).mean() > 0.25  # and it does not simply never reject
    assert (plain < 0.05).mean() > 0.15


def test_corrected_test_by_hand() -> None:
    a, b = np.array([0.7, 0.8, 0.9, 0.6, 0.7]), np.array([0.6, 0.6, 0.7, 0.6, 0.575])
    found = statistics.corrected_paired_test(a, b, n_train=60, n_test=20)
    d = a - b
    t = d.mean() / math.sqrt((1 / 5 + 20 / 60) * d.var(ddof=1))
    assert found.difference == pytest.approx(0.125)
    assert found.t == pytest.approx(t)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert statistics.corrected_paired_test(b, a, 60, 20).t == pytest.approx(-t)


def test_splits_that_carry_no_test_give_none() -> None:
    a, b = [0.6, 0.7, 0.8, 0.7, 0.6], [0.5, 0.6, 0.7, 0.6, 0.5]
    assert math.isnan(statistics.corrected_paired_test(a, a, 60, 20).p), "no difference anywhere"
    always = statistics.corrected_paired_test(a, b, 60, 20)
    assert always.difference == pytest.approx(0.1)
    assert math.isnan(always.p), "the same difference in every split: p < 0.001 is not to be had from five splits"
    assert math.isnan(statistics.corrected_paired_test(a[:4], [0.5, 0.7, 0.6, 0.6], 60, 20).p), "too few"
    with pytest.raises(ValueError, match="same splits"):
        statistics.corrected_paired_test([0.6, 0.7], [0.5], 6, 2)


def test_summary_interval_uses_the_corrected_variance() -> None:
    values = [0.60, 0.64, 0.70, 0.66, 0.65]
    found = statistics.summary(values, n_train=30, n_test=10)
    sd = np.std(values, ddof=1)
    half = stats.t.ppf(0.975, 4) * sd * math.sqrt(1 / 5 + 1 / 3)
    assert found.mean == pytest.approx(0.65)
    assert found.sd == pytest.approx(sd)
    assert (found.low, found.high) == pytest.approx((0.65 - half, 0.65 + half))
    assert statistics.summary([*values, math.nan], 30, 10) == found
    assert statistics.summary(values, 30, 10, confidence=0.8).high < found.high


def test_summary_of_one_split_or_without_training() -> None:
    one = statistics.summary([0.7], 30, 10)
    assert one.mean == 0.7
    assert math.isnan(one.low)
    assert math.isnan(statistics.summary([0.7, 0.8, 0.6, 0.7, 0.8], 0, 10).high)
    assert math.isnan(statistics.summary([0.7, 0.8, 0.6, 0.7], 30, 10).high), "four splits"
    assert math.isnan(statistics.summary([0.875] * 5, 30, 10).low), "no spread"
    assert statistics.summary([], 30, 10).n == 0


def test_holm_against_known_numbers() -> None:
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") = 0.03 0.06 0.06 0.02
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    with_gap = statistics.holm([0.01, math.nan, 0.03])
    assert with_gap[[0, 2]] == pytest.approx([0.02, 0.03])
    assert math.isnan(with_gap[1])
    assert len(statistics.holm([])) == 0


def test_wilson_against_known_numbers() -> None:
    # Newcombe (1998), example 81/263: 0.2553 to 0.3662
    assert statistics.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    low, high = statistics.wilson(0, 10)
    assert low == 0.0
    assert high == pytest.approx(0.2775, abs=1e-4)
    assert all(math.isnan(bound) for bound in statistics.wilson(0, 0))


def predictions(rng: np.random.Generator, signal: float, n_splits: int = 10) -> tuple[statistics.Predictions, int, int]:
    """Predictions of nearest-centroid probes on 80 participants, 16 of them tested in every stratified split."""
    label = rng.permutation(np.repeat([0, 1], 40))
    features = rng.normal(size=(80, 5)) + signal * label[:, None]
    person, predicted = [], []
    for _ in range(n_splits):
        test = np.concatenate([rng.permutation(np.flatnonzero(label == k))[:8] for k in (0, 1)])
        train = np.setdiff1d(np.arange(80), test)
        means = [features[train][label[train] == k].mean(axis=0) for k in (0, 1)]
        person.append(test)
        predicted.append(((features[test] - (means[0] + means[1]) / 2) @ (means[1] - means[0]) > 0).astype(int))
    split = np.repeat(np.arange(n_splits), 16)
    return statistics.Predictions(label, np.concatenate(person), split, np.concatenate(predicted), 2), 64, 16


def test_permutation_test_keeps_its_level_and_finds_what_is_there() -> None:
    rng = np.random.default_rng(7)
    null = np.array([statistics.permutation_test(*pick(predictions(rng, 0.0)), seed=1) for _ in range(150)])
    assert (null <= 0.05).mean() < 0.09
    assert 0.3 < (null <= 0.5).mean() < 0.7  # and it is no test that never rejects
    assert statistics.permutation_test(*pick(predictions(rng, 1.5)), seed=1) == pytest.approx(1 / 60)


def pick(found: tuple[statistics.Predictions, int, int]) -> tuple[statistics.Predictions, int, int, int]:
    return found[0], 59, found[1], found[2]


def test_permutation_test_of_quantities_and_of_nothing() -> None:
    rng = np.random.default_rng(2)
    age = rng.uniform(20, 80, 40)
    person, split = np.arange(40), np.repeat([0, 1], 20)
    good = statistics.Predictions(age, person, split, age + rng.normal(0, 3, 40), 0)
    assert good.values(age).mean() == pytest.approx(-np.abs(good.predicted - age).mean())
    assert statistics.permutation_test(good, 99, 60, 20, seed=0) == pytest.approx(0.01)
    assert math.isnan(statistics.permutation_test(good, 0, 60, 20, seed=0))


def test_scores_are_balanced_over_the_classes_that_occur() -> None:
    target = np.array([0, 0, 0, 1, 2])
    found = statistics.Predictions(target, np.arange(5), np.array([0, 0, 0, 0, 1]), np.array([0, 0, 1, 1, 0]), 3)
    assert found.values(target).tolist() == pytest.approx([(2 / 3 + 1) / 2, 0.0])


def test_mean_ranks_against_scipy() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, size=(12, 5)).astype(float)
    expected = stats.rankdata(-values, axis=1).mean(axis=0)
    assert statistics.mean_ranks(values) == pytest.approx(expected)
    gap = values.copy()
    gap[0, 2] = math.nan
    assert statistics.mean_ranks(gap) == pytest.approx(stats.rankdata(-values[1:], axis=1).mean(axis=0))
    assert np.isnan(statistics.mean_ranks(np.full((2, 3), math.nan))).all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("said", [0, 1])
def test_a_probe_that_says_one_class_for_all_is_at_chance(seed: int, said: int) -> None:
    """All ties count: noise of the permutations must not lift them to one side."""
    rng = np.random.default_rng(seed)
    target = np.repeat([0, 1], 20)
    person = np.concatenate([
        np.concatenate([rng.choice(20, 5, replace=False), 20 + rng.choice(20, 5, replace=False)]) for _ in range(10)
    ])  # fmt: skip
    split = np.repeat(np.arange(10), 10)
    found = statistics.Predictions(target, person, split, np.full(100, said), 2)
    assert statistics.permutation_test(found, 999, 30, 10, seed) > 0.4
