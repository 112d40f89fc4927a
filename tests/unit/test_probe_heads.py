"""probe: what is fitted on the training participants, and that nothing else has a say in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from boldtable.errors import InputError, SettingsError
from boldtable.stages.probe import Probe, heads
from boldtable.stages.probe.heads import Part, Samples, choose, knn
from boldtable.stages.probe.heads.prepare import prepare, scale

RUNS = {"logistic": {}, "ridge": {"kind": "regression"}, "knn": {}, "linear-sgd": {"rates": [0.03, 0.001], "epochs": 3}}
EVERYTHING = {"harmonise": "site", "confounds": ["fd_mm_mean", "sex"], "select": 12}


def settings(**values: Any) -> Probe:
    return Probe.parse({"dataset": "aurora", "kind": "classification", "target": "t", "device": "cpu", **values})


def of(head: str, **values: Any) -> Probe:
    return settings(probe=head, **{**RUNS[head], **values})


def cut(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.arange(n)[: n // 2], np.arange(n)[n // 2 : 3 * n // 4], np.arange(n)[3 * n // 4 :]


def part(y: np.ndarray, train: np.ndarray, val: np.ndarray, n_classes: int = 2) -> Part:
    return Part(train, val, y, n_classes, np.arange(len(y)), 21)


def alone(x: np.ndarray, **more: Any) -> Samples:
    return Samples(x, np.arange(len(x)), **more)


def target(probe: Probe, rng: np.random.Generator, n: int) -> tuple[np.ndarray, int]:
    return (rng.normal(size=n), 0) if probe.kind == "regression" else (np.arange(n) % 2, 2)


def fit(probe: Probe, samples: Samples, *parts: Part) -> list[heads.Fitted]:
    return list(heads.fit(probe, samples, parts))


def scaled(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    return scale(prepare(settings(), alone(x), train, np.zeros(len(x), int), 2))


# Nothing but the training participants


@pytest.mark.parametrize("head", RUNS)
@pytest.mark.parametrize("size", [16, 300])
@pytest.mark.parametrize("more", [{}, EVERYTHING], ids=["plain", "everything"])
def test_test_participants_leave_the_fitted_model_bit_identical(head: str, size: int, more: dict[str, Any]) -> None:
    """Features, confounds, sites and targets of the test part are replaced: what the model says of others stays."""
    rng = np.random.default_rng(0)
    probe = of(head, **more)
    y, n_classes = target(probe, rng, 80)
    train, val, test = cut(80)
    x = rng.normal(size=(80, size)) + 0.3 * y[:, None]
    fd, sex = rng.normal(size=80), np.array(["f", "m"], dtype=object)[rng.integers(0, 2, 80)]
    site = np.array(["north", "south", "west"], dtype=object)[rng.integers(0, 3, 80)]
    given = alone(x.astype(np.float32), confounds=[fd, sex], site=site)
    other = [column.copy() for column in (x, y, fd, sex, site)]
    for column, value in zip(other, (1e3, 1 - y[test], 9.0, "x", "elsewhere"), strict=True):
        column[test] = value
    changed = alone(other[0].astype(np.float32), confounds=other[2:4], site=other[4])
    before = fit(probe, given, part(y, train, val, n_classes))[0]
    after = fit(probe, changed, part(other[1], train, val, n_classes))[0]
    seen = np.concatenate([train, val])
    assert before.chosen == after.chosen
    assert before.validation == after.validation
    np.testing.assert_array_equal(before.output[seen], after.output[seen])
    assert not np.array_equal(before.output[test], after.output[test])


def test_a_selection_that_sees_the_test_part_is_caught() -> None:
    """Features that know nothing: chance here, far above chance where the selection leaks, so a leak would be seen."""
    rng = np.random.default_rng(1)
    found: dict[str, list[float]] = {"ours": [], "leaky": []}
    for _ in range(5):
        y = rng.permutation(np.arange(80) % 2)
        x = rng.normal(size=(80, 1000)).astype(np.float32)
        train, val, test = cut(80)
        probe = settings(select=20)
        everybody = prepare(probe, alone(x), np.arange(80), y, 2).all()
        for name, samples, how in (("ours", alone(x), probe), ("leaky", alone(everybody), settings())):
            output = fit(how, samples, part(y, train, val))[0].output
            found[name].append(float((output[test].argmax(axis=1) == y[test]).mean()))
    assert 0.35 < np.mean(found["ours"]) < 0.65
    assert np.mean(found["leaky"]) > 0.75


def test_a_site_effect_removed_with_the_test_part_in_sight_is_told_from_ours() -> None:
    """Harmonising everybody at once lets the test part into the fit: the guard, bit identity, fails for it."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 30))
    site = np.array(["a", "b"], dtype=object)[np.arange(60) % 2]
    train, _, test = cut(60)
    other = x.copy()
    other[test] += 100
    y = np.zeros(60, int)
    probe = settings(harmonise="site")
    ours, leaky = (
        [prepare(probe, alone(values, site=site), rows, y, 2).all()[train] for values in (x, other)]
        for rows in (train, np.arange(60))
    )
    np.testing.assert_array_equal(*ours)
    assert np.abs(leaky[0] - leaky[1]).max() > 1


# Scaling, confounds, sites, selection


def test_scaling_uses_training_mean_and_sd_and_imputes_the_mean() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(3, 2, size=(40, 5))
    x[2, 1], x[35, 1], x[:, 4] = np.nan, np.nan, 7.1
    train = np.arange(20)
    z = scaled(x.astype(np.float32), train) * np.sqrt(5)
    np.testing.assert_allclose(z[train].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(z[train][:, [0, 2, 3]].std(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(z[[2, 35], 1], 0, atol=1e-6)
    assert (z[:, 4] == 0).all()
    expected = (x[30, 0] - x[train, 0].mean()) / x[train, 0].std()
    assert z[30, 0] == pytest.approx(expected, rel=1e-5)


def test_the_training_row_space_gives_exactly_the_predictions_of_all_features() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(50, 300))
    y = np.arange(50) % 3
    x[:, :20] += y[:, None]
    train = np.arange(30)
    rotated = scaled(x, train)
    assert rotated.shape[1] == 29  # centring takes one direction
    plain = (x - x[train].mean(axis=0)) / x[train].std(axis=0) / np.sqrt(300)
    options = {"C": 10.0, "max_iter": 5000, "tol": 1e-8}
    full = LogisticRegression(**options).fit(plain[train], y[train])
    small = LogisticRegression(**options).fit(rotated[train], y[train])
    np.testing.assert_allclose(small.predict_proba(rotated), full.predict_proba(plain), atol=1e-5)
    target = x[:, 0] + x[:, 1]
    full, small = Ridge(alpha=0.1).fit(plain[train], target[train]), Ridge(alpha=0.1).fit(rotated[train], target[train])
    np.testing.assert_allclose(small.predict(rotated), full.predict(plain), atol=1e-8)


def test_confounds_are_regressed_out_with_training_coefficients() -> None:
    rng = np.random.default_rng(3)
    n = 60
    age, sex = rng.normal(50, 10, n), np.array(["f", "m", None], dtype=object)[np.arange(n) % 3]
    clean = rng.normal(size=(n, 4))
    x = clean + 0.2 * age[:, None] + 3 * (sex == "m")[:, None]
    train, _, test = cut(n)
    samples = alone(x, confounds=[age, sex])
    found = prepare(settings(confounds=["age_years", "sex"]), samples, train, np.zeros(n, int), 2)
    rest = found.all()
    assert np.abs(np.corrcoef(np.column_stack([rest[train], age[train]]).T)[:4, 4]).max() < 1e-12
    known = np.isin(sex, ["f", "m"])
    told = test[known[test]]
    assert np.corrcoef(x[told, 0], clean[told, 0])[0, 1] < 0.6
    assert np.corrcoef(rest[told, 0], clean[told, 0])[0, 1] > 0.85
    design = np.column_stack([age, sex == "f", sex == "m"]).astype(float)
    design[~known, 1:] = np.nan
    centre = np.nanmean(design[train], axis=0)
    design = np.where(np.isnan(design - centre), 0, design - centre)
    coefficients = np.linalg.lstsq(np.column_stack([np.ones(len(train)), design[train]]), x[train], rcond=None)[0]
    np.testing.assert_allclose(rest, x - design @ coefficients[1:], atol=1e-9)


def test_a_value_unseen_in_training_counts_as_average() -> None:
    rng = np.random.default_rng(4)
    site = np.array(["a", "b"] * 15 + ["c"] * 10, dtype=object)
    x = rng.normal(size=(40, 3)) + (site == "a")[:, None]
    found = prepare(settings(confounds=["site"]), alone(x, confounds=[site]), np.arange(30), np.zeros(40, int), 2)
    np.testing.assert_allclose(found.all()[30:], x[30:])
    assert np.abs(found.all()[:30] - x[:30]).max() > 0.3


def test_a_feature_that_confounds_explain_altogether_does_not_become_noise() -> None:
    rng = np.random.default_rng(5)
    age = rng.normal(size=40)
    x = np.column_stack([2 * age, rng.normal(size=40)])
    found = prepare(settings(confounds=["age_years"]), alone(x, confounds=[age]), np.arange(20), np.zeros(40, int), 2)
    assert (scale(found)[:, 0] == 0).all()


def test_more_confounds_than_participants_are_refused() -> None:
    names = np.array([f"site {index}" for index in range(20)], dtype=object)
    samples = alone(np.ones((20, 2)), confounds=[names])
    with pytest.raises(InputError, match="10 columns, 10 training participants"):
        prepare(settings(confounds=["site"]), samples, np.arange(10), np.zeros(20, int), 2)


def combat_by_hand(x: np.ndarray, site: np.ndarray) -> np.ndarray:
    """ComBat without covariates as Johnson et al. write it, feature by feature and site by site, with plain loops."""
    names = sorted(set(site))
    means = np.stack([x[site == name].mean(axis=0) for name in names])
    grand = np.average(means, axis=0, weights=[(site == name).sum() for name in names])
    residual = x - np.stack([means[names.index(name)] for name in site])
    sd = np.sqrt((residual**2).mean(axis=0))
    z = (x - grand) / sd
    out = np.empty_like(z)
    for name in names:
        own = z[site == name]
        n, gamma, delta = len(own), own.mean(axis=0), own.var(axis=0, ddof=1)
        bar, tau = gamma.mean(), gamma.var()
        v, s2 = delta.mean(), delta.var()
        lam, theta = (v**2 + 2 * s2) / s2, (v**3 + v * s2) / s2
        for g in range(x.shape[1]):
            location, scale_ = gamma[g], delta[g]
            for _ in range(500):
                location = (n * tau * gamma[g] + scale_ * bar) / (n * tau + scale_)
                scale_ = (theta + 0.5 * ((own[:, g] - location) ** 2).sum()) / (n / 2 + lam - 1)
            out[site == name, g] = (own[:, g] - location) / np.sqrt(scale_)
    return out * sd + grand


def test_harmonising_is_combat() -> None:
    rng = np.random.default_rng(6)
    site = np.array(["a", "b", "c"], dtype=object)[rng.integers(0, 3, 70)]
    shift, spread = rng.normal(size=(3, 15)), rng.uniform(0.5, 2, (3, 15))
    number = np.array(["abc".index(name) for name in site])
    x = rng.normal(size=(70, 15)) * spread[number] + shift[number] + 5
    found = prepare(settings(harmonise="site"), alone(x, site=site), np.arange(70), np.zeros(70, int), 2).all()
    np.testing.assert_allclose(found, combat_by_hand(x, site), atol=1e-5)
    between = [np.var([values[site == name].mean(axis=0) for name in "abc"], axis=0).mean() for values in (x, found)]
    assert between[1] < 0.05 * between[0]


def test_harmonising_keeps_what_a_confound_explains_until_it_is_regressed_out() -> None:
    """Sites that differ in age differ in what age does: ComBat with age leaves it, and regressing takes it out."""
    rng = np.random.default_rng(7)
    age = np.concatenate([rng.normal(30, 5, 40), rng.normal(60, 5, 40)])
    site = np.repeat(np.array(["young", "old"], dtype=object), 40)
    x = 0.1 * age[:, None] + 0.3 * rng.normal(size=(80, 10)) + 2 * (site == "old")[:, None]
    samples = alone(x, confounds=[age], site=site)
    found = prepare(settings(harmonise="site", confounds=["age_years"]), samples, np.arange(80), np.zeros(80, int), 2)
    kept = found.sites.apply(found.imputed(np.arange(10)), found.site, found.design, np.arange(10))
    slopes = np.polyfit(age, kept, 1)[0]
    np.testing.assert_allclose(slopes, 0.1, atol=0.03)
    rest = found.all()
    assert np.abs(np.corrcoef(np.column_stack([rest, age]).T)[:10, 10]).max() < 0.25
    assert np.abs(rest[site == "old"].mean(axis=0) - rest[site == "young"].mean(axis=0)).max() < 0.3


def test_a_site_unseen_in_training_gets_the_pooled_location_and_scale_and_is_named() -> None:
    rng = np.random.default_rng(8)
    site = np.array(["a", "b"] * 20 + ["new"] * 19 + [None], dtype=object)
    site[0] = "single"
    x = rng.normal(size=(60, 6)) + 3 * (site == "a")[:, None]
    samples, y = alone(x, site=site), np.arange(60) % 2
    probe = settings(harmonise="site")
    found = prepare(probe, samples, np.arange(40), y, 2).all()
    np.testing.assert_allclose(found[40:], x[40:])
    np.testing.assert_allclose(found[0], x[0])
    fitted = fit(probe, samples, part(y, np.arange(30), np.arange(30, 40)))[0]
    assert fitted.unseen == ("new", "single", "unknown")


def test_selection_takes_the_features_with_the_largest_f() -> None:
    from sklearn.feature_selection import f_classif, f_regression

    rng = np.random.default_rng(9)
    y, age = np.arange(60) % 3, rng.normal(size=60)
    x = rng.normal(size=(60, 50))
    x[:, 7] += y
    x[:, 9] += age
    x[:, 11] = 4.0
    train = np.arange(40)
    for outcome, n_classes, reference in ((y, 3, f_classif), (age, 0, f_regression)):
        found = prepare(settings(select=5), alone(x), train, outcome, n_classes)
        usable = np.delete(np.arange(50), 11)
        f = reference(x[train][:, usable], outcome[train])[0]
        assert found.chosen.tolist() == sorted(usable[np.argsort(-f)[:5]])
        np.testing.assert_array_equal(found.all(), x[:, found.chosen])


# The probes


@pytest.mark.parametrize("head", RUNS)
@pytest.mark.filterwarnings("error")
def test_features_that_say_nothing_give_chance(head: str) -> None:
    """The majority row: the larger class for everybody, and the mean for numbers, without a warning."""
    y = np.array([0, 1, 1] * 10)
    numbers = RUNS[head].get("kind") == "regression"
    y = y.astype(float) if numbers else y
    train, val, _ = cut(30)
    for size in (1, 100):
        for folds in (None, 3 if head != "linear-sgd" else None):
            probe = of(head, inner_folds=folds)
            fitted = fit(probe, alone(np.ones((30, size))), part(y, train, val, 0 if numbers else 2))[0]
            seen = np.concatenate([train, val]) if folds else train
            np.testing.assert_allclose(fitted.output[:, -1] if not numbers else fitted.output, y[seen].mean())


def test_ties_go_to_the_strongest_regularisation() -> None:
    y = np.repeat([0, 1], 20)
    x = np.where(y, 5.0, -5.0)[:, None] + np.zeros((40, 1))
    chosen = part(y, np.arange(0, 40, 2), np.arange(1, 40, 2))
    assert fit(settings(strengths=[100.0, 0.5, 1.0]), alone(x), chosen)[0].chosen == 0.5
    assert fit(of("knn", neighbours=[1, 7, 3]), alone(x), chosen)[0].chosen == 7


def test_neighbours_are_those_of_largest_cosine() -> None:
    rng = np.random.default_rng(10)
    x, train = rng.normal(size=(30, 4)), np.arange(20)
    y, values = np.arange(30) % 3, rng.normal(size=30)
    cosine = (x / np.linalg.norm(x, axis=1)[:, None]) @ (x[train] / np.linalg.norm(x[train], axis=1)[:, None]).T
    cosine[train, train] = -2
    nearest = np.argsort(-cosine, axis=1)[:, :5]
    votes = np.stack([(y[nearest] == label).mean(axis=1) for label in range(3)], axis=1)
    np.testing.assert_allclose(dict(knn.outputs(x, y, train, [5, 2], 3, balance=False))[5], votes)
    np.testing.assert_allclose(dict(knn.outputs(x, values, train, [5], 0, False))[5], values[nearest].mean(axis=1))
    rare = np.where(np.arange(30) % 4 == 0, 1, 0)
    balanced = dict(knn.outputs(x, rare, train, [19], 2, balance=True))[19]
    np.testing.assert_allclose(balanced[25:], 0.5, atol=0.06)  # all training rows: both classes weigh alike


@pytest.mark.parametrize("head", ["logistic", "ridge", "knn"])
def test_nested_cross_validation_fits_on_training_and_validation_and_keeps_families_together(
    head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(11)
    probe = of(head, inner_folds=4)
    y, n_classes = target(probe, rng, 80)
    x = rng.normal(size=(80, 5))
    x[:, 0] += 3 * y
    train, val, test = cut(80)
    asked: list[np.ndarray] = []

    nested = choose.nested

    def spied(measure: str, outputs: choose.Outputs, *rest: Any) -> choose.Fitted:
        return nested(measure, lambda rows: asked.append(rows) or outputs(rows), *rest)

    monkeypatch.setattr(choose, "nested", spied)
    families = np.arange(80) // 2
    fitted = fit(probe, alone(x), replace(part(y, train, val, n_classes), groups=families))[0]
    seen = set(train) | set(val)
    assert set(asked[-1]) == seen
    assert len(asked) == 5
    for inside in asked[:-1]:
        assert set(inside) < seen
        assert not {families[index] for index in inside} & {families[index] for index in seen - set(inside)}
    if n_classes:
        assert (fitted.output[test].argmax(axis=1) == y[test]).mean() > 0.7
    else:
        assert np.corrcoef(fitted.output[test], y[test])[0, 1] > 0.7


def test_too_few_families_for_nested_cross_validation() -> None:
    y = np.arange(20) % 2
    chosen = replace(part(y, np.arange(10), np.arange(10, 15)), groups=np.arange(20) // 20)
    with pytest.raises(InputError, match="all participants to train on are of one family"):
        fit(settings(inner_folds=3), alone(np.random.default_rng(0).normal(size=(20, 3))), chosen)


def test_inner_folds_keep_sites_together_where_the_scheme_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the inner folds would be easier than the outer ones, and choose for scanners that were seen."""
    rng, n = np.random.default_rng(12), 120
    y, sites = np.arange(n) % 2, np.arange(n) // 20
    asked: list[np.ndarray] = []
    nested = choose.nested

    def spied(measure: str, outputs: choose.Outputs, *rest: Any) -> choose.Fitted:
        return nested(measure, lambda rows: asked.append(rows) or outputs(rows), *rest)

    monkeypatch.setattr(choose, "nested", spied)
    outer = Part(np.arange(0, 100, 2), np.arange(1, 100, 2), y, 2, np.arange(n), 21, sites)
    fit(settings(), alone(rng.normal(size=(n, 5))), outer)
    assert len(asked) == 6
    for inside in asked[:-1]:
        assert not set(sites[inside]) & set(sites[np.setdiff1d(np.arange(100), inside)])


def test_what_a_probe_is_chosen_by(capsys: pytest.CaptureFixture[str]) -> None:
    """An unbalanced target: the threshold of balanced accuracy sees a step where the ranks see the order."""
    y = np.array([0, 0, 0, 0, 1, 1])
    output = np.array([0.1, 0.2, 0.3, 0.6, 0.4, 0.45])
    shares = np.stack([1 - output, output], axis=1)
    assert choose.goodness("auroc", y, shares) == pytest.approx(6 / 8)
    assert choose.goodness("balanced_accuracy", y, shares) == pytest.approx((3 / 4 + 0) / 2)
    own = np.log([0.9, 0.8, 0.7, 0.4, 0.4, 0.45])
    assert choose.goodness("log_loss", y, shares) == pytest.approx((own[:4].mean() + own[4:].mean()) / 2)
    assert np.isnan(choose.goodness("auroc", y[:3], shares[:3]))
    numbers = np.array([1.0, 2, 3])
    assert choose.goodness("r2", numbers, numbers) == 1
    assert choose.goodness("r2", numbers, np.full(3, 2.0), float(numbers.var())) == pytest.approx(0)
    assert choose.goodness("mae", numbers, np.full(3, 2.0)) == pytest.approx(-2 / 3)
    assert settings().measure == "auroc"
    assert of("ridge").measure == "r2"
    assert of("linear-sgd").measure == "balanced_accuracy"
    with pytest.raises(SettingsError, match="choose_by 'r2' does not fit kind"):
        settings(choose_by="r2")


def test_the_edge_of_a_grid_is_told() -> None:
    rng = np.random.default_rng(13)
    y = np.arange(80) % 2
    x = rng.normal(size=(80, 2)) + 3 * y[:, None]
    train, val, _ = cut(80)
    assert fit(settings(strengths=[1.0]), alone(x), part(y, train, val))[0].edge is None
    assert fit(settings(strengths=[1e-9, 1e-8]), alone(x), part(y, train, val))[0].edge is None  # equally good
    assert fit(settings(strengths=[1e-6, 1e-3, 1.0], choose_by="log_loss"), alone(x), part(y, train, val))[0].edge == (
        "largest"
    )
