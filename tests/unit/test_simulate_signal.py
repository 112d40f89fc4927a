"""Planted signals, phenotypes and motion: what alters the coupling does, what must not does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from boldtable.errors import SettingsError
from boldtable.simulate import motion, signal
from boldtable.simulate.atlas import NETWORKS
from boldtable.simulate.phenotypes import participants, traits
from boldtable.simulate.signal import EFFECTS, Traits, coupling, parcel_signals, person, smooth

SOMEONE = Traits(diagnosis="control", sex="M", age_years=50, coin="heads")
FEW = tuple(network for network in NETWORKS for _ in range(6))


def _measured(someone: Traits, seed: int) -> np.ndarray:
    """Covariance of the networks' mean signals over long recordings of 12 people (network, network)."""
    total = np.zeros((len(NETWORKS), len(NETWORKS)))
    for number in range(12):
        rng = np.random.default_rng([seed, number])
        x = parcel_signals(person(someone, FEW, rng), FEW, n_frames=600, tr_s=2.0, rng=rng)
        total += np.cov(x.reshape(len(x), len(NETWORKS), -1).mean(axis=2).T) / 12
    return total


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("diagnosis", replace(SOMEONE, diagnosis="patient")),
        ("sex", replace(SOMEONE, sex="F")),
        ("age_years", replace(SOMEONE, age_years=80)),
    ],
)
def test_a_phenotype_alters_its_own_networks_only(name: str, changed: Traits) -> None:
    difference = np.diag(_measured(changed, 1) - _measured(SOMEONE, 1))  # amplitudes: synchrony within networks
    expected = np.array([EFFECTS[name].within.get(network, 0.0) for network in NETWORKS])
    units = changed.units()[name] - SOMEONE.units()[name]
    assert units > 0.4
    altered = expected != 0
    assert altered.any()
    np.testing.assert_array_equal(np.sign(difference[altered]), np.sign(expected[altered]))
    assert np.abs(difference[altered]).min() > 1.5 * np.abs(difference[~altered]).max()


def test_phenotypes_alter_the_planted_coupling_and_age_does_so_continuously() -> None:
    for name, changed in (("diagnosis", "patient"), ("sex", "F")):
        before, after = coupling(SOMEONE), coupling(replace(SOMEONE, **{name: changed}))
        for (one, other), value in EFFECTS[name].between.items():
            i, j = NETWORKS.index(one), NETWORKS.index(other)
            assert np.sign(after.between[i, j] - before.between[i, j]) == np.sign(value)
            assert abs(after.between[i, j] - before.between[i, j]) > 0.1
    ages = [coupling(replace(SOMEONE, age_years=age)) for age in range(20, 81, 10)]
    i = NETWORKS.index("SalVentAttn")
    assert np.all(np.diff([one.within[i] for one in ages]) > 0)


def test_the_coin_alters_nothing() -> None:
    tails = replace(SOMEONE, coin="tails")
    assert "coin" not in EFFECTS
    np.testing.assert_array_equal(_measured(tails, 2), _measured(SOMEONE, 2))


def test_coupling_is_a_correlation_matrix_for_everybody() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        drawn = Traits(rng.choice(["control", "patient"]), rng.choice(["F", "M"]), rng.uniform(20, 80), "heads")
        found = coupling(drawn, rng)
        np.testing.assert_allclose(np.diag(found.between), 1)
        assert np.linalg.eigvalsh(found.between).min() > 0
        assert ((found.within > 0) & (found.within < 1)).all()


def test_a_person_stays_the_same_over_runs() -> None:
    def connectome(someone: signal.Person, seed: int) -> np.ndarray:
        x = parcel_signals(someone, FEW, n_frames=400, tr_s=2.0, rng=np.random.default_rng(seed))
        return np.corrcoef(x.T)[np.triu_indices(len(FEW), 1)]

    people = [person(SOMEONE, FEW, np.random.default_rng(seed)) for seed in (1, 2)]
    first = [connectome(one, 10) for one in people]
    second = [connectome(one, 11) for one in people]
    own = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    other = np.corrcoef(first[0], second[1])[0, 1], np.corrcoef(first[1], second[0])[0, 1]
    assert min(own) > max(other)


@pytest.mark.parametrize("tr_s", [0.8, 2.0])
def test_signals_are_smooth_and_have_unit_variance(tr_s: float) -> None:
    x = smooth(np.random.default_rng(0), 500, 300, tr_s)
    assert x.shape == (500, 300)
    assert x.var() == pytest.approx(1, abs=0.05)
    power = (np.abs(np.fft.rfft(x * np.hanning(500)[:, None], axis=0)) ** 2).mean(axis=1)
    hertz = np.fft.rfftfreq(500, tr_s)
    assert power[(hertz > 0.008) & (hertz < 0.11)].sum() > 0.9 * power.sum()


def test_an_unknown_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="Visual"):
        person(SOMEONE, ["Visual"], np.random.default_rng(0))


def test_participants_are_balanced_and_independent_of_each_other() -> None:
    table = participants("aurora", 48, 21)
    assert list(table.columns) == ["participant_id", "age", "sex", "site", "diagnosis", "coin"]
    assert (pd.crosstab([table["site"], table["diagnosis"]], table["sex"]) == 6).all(axis=None)
    assert (table["coin"] == "heads").sum() == 24
    assert table["age"].between(20, 80).all()
    assert np.histogram(table["age"], bins=6, range=(20, 80))[0].tolist() == [8] * 6
    pd.testing.assert_frame_equal(table, participants("aurora", 48, 21))
    assert not table.equals(participants("aurora", 48, 22))
    assert not table["age"].equals(participants("borealis", 48, 21)["age"])
    assert traits(table.iloc[0]).age_years == table.loc[0, "age"]


def test_an_unknown_dataset_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="aurora"):
        participants("aurorra", 4, 1)


def test_framewise_displacement_is_powers_formula() -> None:
    position = np.zeros((4, 6))
    position[1] = [0.1, -0.2, 0.3, 0, 0, 0]
    position[2] = [0.1, -0.2, 0.3, 0.01, 0, -0.02]
    fd = motion.framewise_displacement(position)
    assert np.isnan(fd[0])
    np.testing.assert_allclose(fd[1:], [0.6, 50 * 0.03, 0.6 + 50 * 0.03])
    jenkinson = motion.rmsd(position)
    assert np.isnan(jenkinson[0])
    assert jenkinson[1] == pytest.approx(np.sqrt(0.14))


def test_restless_people_move_more_and_movement_shows_in_the_signal() -> None:
    def moved(restless: float) -> float:
        runs = [motion.motion(np.random.default_rng(seed), 200, 2.0, restless) for seed in range(20)]
        return float(np.mean([np.nanmean(motion.framewise_displacement(run)) for run in runs]))

    assert moved(2.0) > 1.5 * moved(1.0) > 0.05
    position = motion.motion(np.random.default_rng(1), 200, 2.0, 3.0)
    fd = np.nan_to_num(motion.framewise_displacement(position))
    change = np.abs(np.diff(motion.artefact(np.random.default_rng(2), position, 50), axis=0)).mean(axis=1)
    assert change[fd[1:] > 0.5].mean() > 4 * change[fd[1:] < 0.2].mean()
    assert not motion.artefact(np.random.default_rng(2), np.zeros((10, 6)), 5).any()
