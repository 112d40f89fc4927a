"""probe from files to scores: confounds and sites, windows, tangent connectomes, and a row that knows nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_probe import Cohort, mean, settings

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.models import connectome
from boldtable.stages import probe
from boldtable.stages.probe.heads import Samples


class Multisite(Cohort):
    """Sixty participants of three sites whose embeddings know site and motion; patients move more at site 'a'."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, signal=0.0)
        rng = np.random.default_rng(1)
        self.people["site"] = np.array(["a", "b", "c"])[np.arange(60) // 20]
        self.people["sex"] = np.where(rng.random(60) < 0.5, "f", "m")
        self.people["diagnosis"] = np.where(rng.random(60) < np.repeat([0.85, 0.5, 0.15], 20), "patient", "control")
        fd = 0.1 + 0.05 * rng.random(60) + 0.1 * (self.people["diagnosis"] == "patient")
        self.runs["fd_mm_mean"] = np.repeat(fd.to_numpy(), 2)
        latent = rng.normal(size=(60, 12))
        latent[:, 2] += 3 * np.repeat([1, 0, -1], 20)
        latent[:, 3] = 20 * (fd - fd.mean()) + 0.2 * latent[:, 3]
        self.vectors = np.repeat(latent, 2, axis=0)

    def score(self, task: str = "task", **values: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
        self.write_embeddings()
        paths, out, predictions = self.paths(), self.folder / "scores.parquet", self.folder / "predictions.parquet"
        probe.run(
            settings(**values), model="toy", task=task, embeddings=[paths["embeddings"]], qc=[paths["qc"]],
            participants=[paths["participants"]], splits=paths["splits"], out=out, predictions=predictions,
        )  # fmt: skip
        return store.frame(out, "scores"), store.frame(predictions, "predictions")


@pytest.fixture
def cohort(tmp_path: Path) -> Multisite:
    return Multisite(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"confounds": ["site"], "harmonise": "site"}, "takes the site out already"),
        ({"confounds": ["diagnosis"]}, "'diagnosis' is the target"),
        ({"probe": "linear-sgd", "inner_folds": 3}, "leave inner_folds null"),
        ({"probe": "knn", "neighbours": [0]}, "neighbours must be above 0"),
        ({"kind": "fingerprint", "target": None, "select": 3}, "takes no select"),
        ({"kind": "fingerprint", "target": None, "confounds": ["site"]}, "takes no confounds"),
        ({"kind": "regression", "probe": "logistic"}, "does not fit kind"),
    ],
)
def test_settings_that_contradict_each_other(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings(**values)


def test_what_only_confounds_know_falls_to_chance_once_they_are_taken_out(cohort: Multisite) -> None:
    plain = cohort.solve(splits=8)[0]
    assert mean(plain, "auroc") > 0.85
    for more in ({"confounds": ["site", "fd_mm_mean"]}, {"harmonise": "site", "confounds": ["fd_mm_mean", "sex"]}):
        scores = cohort.solve(splits=8, **more)[0]
        assert mean(scores, "auroc") < 0.68, more


def test_a_site_left_out_is_given_the_pooled_location_and_said(
    cohort: Multisite, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"scheme": "leave-one-site-out", "site_minimum": 1, "harmonise": "site"}
    scores, _ = cohort.solve(**values)
    pooled = scores.drop_duplicates("split")["hyperparameters"].map(json.loads)
    assert [choices["pooled_sites"] for choices in pooled] == [["a"], ["b"], ["c"]]
    line = "sites without two training participants get the pooled location and scale: a (split 0); b (split 1)"
    assert line in capsys.readouterr().err


def test_confounds_that_are_nowhere(cohort: Multisite) -> None:
    cohort.split()
    with pytest.raises(InputError, match=r"neither participants nor qc have a column 'fd_mean'.*'fd_mm_mean'"):
        cohort.score(confounds=["fd_mean"])


def test_confounds_of_participants_need_their_table(cohort: Multisite) -> None:
    cohort.split()
    with pytest.raises(InputError, match="the confounds need one of each"):
        Cohort.score(cohort, confounds=["age_years"])
    assert len(Cohort.score(cohort, confounds=["site", "fd_mm_mean"])[0])


def test_every_probe_writes_its_choice(cohort: Multisite) -> None:
    cohort.split()
    for values, name in (
        ({"probe": "knn"}, "neighbours"),
        ({"probe": "linear-sgd", "epochs": 3, "device": "cpu"}, "rate"),
        ({"inner_folds": 3, "select": 5}, "strength"),
    ):
        chosen = json.loads(cohort.score(**values)[0]["hyperparameters"].iloc[0])
        assert chosen[name] in settings(**values).grid
        assert chosen["probe"] == settings(**values).head


def test_windows_are_samples_of_linear_sgd(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path, signal=4.0)
    scores, predictions = cohort.solve(probe="linear-sgd", device="cpu")
    assert mean(scores, "balanced_accuracy") > 0.75
    assert scores[["n_train", "n_val", "n_test"]].drop_duplicates().to_numpy().tolist() == [[36, 12, 12]]
    assert len(predictions) == 3 * 12
    again = cohort.solve(probe="linear-sgd", device="cpu")[0]
    pd.testing.assert_frame_equal(scores, again)


@pytest.mark.parametrize("head", [None, "knn", "linear-sgd"])
@pytest.mark.filterwarnings("error")
def test_a_row_that_knows_nothing_is_at_chance(cohort: Multisite, head: str | None) -> None:
    """What the majority row is: one constant feature."""
    cohort.vectors = np.ones((120, 1))
    cohort.people["diagnosis"] = np.where(np.arange(60) % 3 == 0, "patient", "control")
    scores, predictions = cohort.solve(probe=head, device="cpu", epochs=2)
    for metric, value in {"balanced_accuracy": 0.5, "auroc": 0.5, "accuracy": 2 / 3}.items():
        assert mean(scores, metric) == pytest.approx(value, abs=0.01)
    assert set(predictions["prediction"]) == {"control"}
    numbers, _ = cohort.solve(kind="regression", target="age_years", probe=head, device="cpu", epochs=2)
    assert mean(numbers, "r2") == pytest.approx(0, abs=0.2)
    assert numbers.loc[numbers["metric"] == "pearson_r", "value"].isna().all()


# The tangent space


def covariances(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    spread = rng.normal(size=(n, 3 * size, size)) @ np.linalg.cholesky(np.eye(size) + 0.4).T
    return np.stack([np.cov(one.T) for one in spread])


def test_tangent_vectors_are_distances_at_the_reference() -> None:
    rng = np.random.default_rng(0)
    given = covariances(4, 6, rng)
    reference = connectome.log_mean(connectome.logarithms(given))
    np.testing.assert_allclose(connectome.tangent(reference[None], reference), 0, atol=1e-6)
    found = connectome.tangent(given, reference)
    for one, vector in zip(given, found, strict=True):  # the affine-invariant distance to the reference
        eigenvalues = np.linalg.eigvals(np.linalg.solve(reference, one)).real
        assert np.linalg.norm(vector) == pytest.approx(np.sqrt((np.log(eigenvalues) ** 2).sum()), rel=1e-5)
    values, vectors = np.linalg.eigh(reference)
    whitener = (vectors / np.sqrt(values)) @ vectors.T
    values, vectors = np.linalg.eigh(whitener @ given[0] @ whitener)
    by_hand = (vectors * np.log(values)) @ vectors.T
    rows, columns = np.triu_indices(6)
    np.testing.assert_allclose(found[0], by_hand[rows, columns] * np.where(rows == columns, 1, np.sqrt(2)), atol=1e-5)


def test_the_log_mean_is_the_geometric_mean_of_matrices_that_commute() -> None:
    diagonals = np.array([[1.0, 4.0], [4.0, 1.0], [2.0, 2.0]])
    mean_ = connectome.log_mean(connectome.logarithms(np.stack([np.diag(one) for one in diagonals])))
    np.testing.assert_allclose(mean_, np.diag(np.prod(diagonals, axis=0) ** (1 / 3)), atol=1e-12)


def test_a_missing_parcel_follows_the_reference() -> None:
    rng = np.random.default_rng(1)
    one, reference = covariances(2, 5, rng)
    gone = one.copy()
    gone[3], gone[:, 3] = np.nan, np.nan
    found = connectome.completed(gone, reference)
    known = [0, 1, 2, 4]
    np.testing.assert_array_equal(found[np.ix_(known, known)], one[np.ix_(known, known)])
    assert np.linalg.eigvalsh(found).min() > 0
    gone = reference.copy()
    gone[3], gone[:, 3] = np.nan, np.nan
    np.testing.assert_allclose(connectome.completed(gone, reference), reference)


def test_the_tangent_space_is_that_of_the_training_rows_whoever_lacks_a_parcel() -> None:
    rng = np.random.default_rng(2)
    values = connectome.matrix_to_vector(covariances(12, 6, rng)).astype(np.float32)
    train, test = np.arange(8), np.arange(8, 12)

    def features(changed: np.ndarray) -> np.ndarray:
        return Samples(changed, np.arange(12), transform="tangent").features(train)

    before = features(values)
    other = values.copy()
    other[test] *= 3
    np.testing.assert_array_equal(features(other)[train], before[train])
    assert np.abs(features(other)[test] - before[test]).max() > 0.5
    np.testing.assert_allclose(before[train].mean(axis=0), 0, atol=0.1)
    whole = connectome.vector_to_matrix(values)
    whole[9, 2], whole[9, :, 2] = np.nan, np.nan  # one parcel of one test participant
    missing = features(connectome.matrix_to_vector(whole))
    assert np.isfinite(missing).all()
    np.testing.assert_allclose(np.delete(missing, 9, axis=0), np.delete(before, 9, axis=0), atol=1e-4)
    whole[:, 2], whole[:, :, 2] = np.nan, np.nan  # a parcel that nobody has
    assert features(connectome.matrix_to_vector(whole)).shape == (12, 15)


def test_tangent_connectomes_are_probed(cohort: Multisite) -> None:
    """Patients' parcels 0 and 1 correlate more: the tangent space finds it, whatever else varies."""
    rng = np.random.default_rng(3)
    patient = (cohort.people["diagnosis"] == "patient").to_numpy()
    rows = []
    for row, sick in zip(cohort.runs.to_dict("records"), np.repeat(patient, 2), strict=True):
        mixing = np.eye(5)
        mixing[0, 1] = 0.6 * sick
        one = np.cov((rng.normal(size=(150, 5)) @ mixing).T)
        keys = {name: row[name] for name in ("dataset", "participant", "session", "run")}
        rows.append({**keys, "window": 0, "embedding": connectome.matrix_to_vector(one)})
    cohort.split()
    made = store.Provenance("embed", transform="tangent")
    store.write(cohort.paths()["embeddings"], "embeddings", rows, made, 15)
    cohort.write_embeddings = lambda: None  # type: ignore[method-assign]
    assert mean(cohort.score()[0], "balanced_accuracy") > 0.85
