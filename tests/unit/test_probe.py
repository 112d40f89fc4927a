"""probe: tasks, splits and scores on embeddings with known structure; nothing fitted ever sees the test part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.stages import probe
from boldtable.stages.probe import features, metrics
from boldtable.stages.probe.scoring import bin_edges

PROVENANCE = store.Provenance("x")


def settings(**values: Any) -> probe.Probe:
    return probe.Probe.parse(
        {"dataset": "aurora", "kind": "classification", "target": "diagnosis", "splits": 3, **values}
    )


class Cohort:
    """Sixty participants, two runs each, with phenotypes and embeddings that know the diagnosis and the age."""

    def __init__(self, folder: Path, n: int = 60, signal: float = 2.0) -> None:
        rng = np.random.default_rng(0)
        self.folder, self.names = folder, [f"{index:02d}" for index in range(n)]
        self.people = pd.DataFrame({"participant": self.names, "session": None, "site": "s", "family": None})
        self.people["diagnosis"] = np.where(np.arange(n) % 2, "patient", "control")
        self.people["age_years"] = rng.uniform(20, 80, n).round(1)
        self.runs = pd.DataFrame(
            [
                {"dataset": "aurora", "participant": name, "session": None, "run": run, "keep": True}
                for name in self.names
                for run in "12"
            ]
        )
        latent = rng.normal(size=(n, 12))
        latent[:, 0] += signal * (self.people["diagnosis"] == "patient")
        latent[:, 1] += (self.people["age_years"] - 50) / 5
        self.vectors = np.repeat(latent, 2, axis=0) + 0.1 * rng.normal(size=(2 * n, 12))

    def paths(self) -> dict[str, Path]:
        return {name: self.folder / f"{name}.parquet" for name in ("participants", "qc", "embeddings", "splits")}

    def split(self, task: str = "task", **values: Any) -> pd.DataFrame:
        paths = self.paths()
        store.write(paths["participants"], "participants", self.people, PROVENANCE)
        store.write(paths["qc"], "qc", self.runs, PROVENANCE)
        probe.split(
            settings(**values), task=task, participants=[paths["participants"]], qc=[paths["qc"]], out=paths["splits"]
        )
        return store.frame(paths["splits"], "splits")

    def write_embeddings(self) -> None:
        rows = self.runs[["dataset", "participant", "session", "run"]].assign(window=0).to_dict("records")
        rows = [{**row, "embedding": vector} for row, vector in zip(rows, self.vectors, strict=True)]
        store.write(self.paths()["embeddings"], "embeddings", rows, PROVENANCE, self.vectors.shape[1])

    def score(self, task: str = "task", **values: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
        self.write_embeddings()
        paths, out, predictions = self.paths(), self.folder / "scores.parquet", self.folder / "predictions.parquet"
        probe.run(
            settings(**values), model="toy", task=task, embeddings=[paths["embeddings"]], qc=[paths["qc"]],
            splits=paths["splits"], out=out, predictions=predictions,
        )  # fmt: skip
        return store.frame(out, "scores"), store.frame(predictions, "predictions")

    def solve(self, **values: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
        self.split(**values)
        return self.score(**values)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return Cohort(tmp_path)


def mean(scores: pd.DataFrame, metric: str) -> float:
    return float(scores.loc[scores["metric"] == metric, "value"].mean())


# Settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": None}, "needs a target"),
        ({"kind": "fingerprint"}, "has no target"),
        ({"val_share": 0.5, "test_share": 0.5}, "nobody to train on"),
        ({"probe": "ridge"}, "does not fit kind"),
        ({"binz": 3}, "did you mean 'bins'"),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings(**values)


# Tasks and splits


def test_only_labelled_participants_with_a_kept_run_enter(cohort: Cohort, capsys: pytest.CaptureFixture[str]) -> None:
    cohort.people.loc[0, "diagnosis"] = None
    cohort.runs.loc[cohort.runs["participant"] == "07", "keep"] = False
    made = cohort.split()
    assert set(made["participant"]) == set(cohort.names) - {"00", "07"}
    assert set(made["target"]) == {"control", "patient"}
    assert made.groupby(["split", "part"]).size().loc[0].to_dict() == {"test": 12, "train": 34, "val": 12}
    assert "58 participants; left out: 1 without diagnosis, 1 without a kept run" in capsys.readouterr().err
    assert store.provenance(cohort.paths()["splits"])["stage"] == "split"


def test_splits_do_not_depend_on_row_order_and_ignore_models(cohort: Cohort) -> None:
    first = cohort.split()
    cohort.people = cohort.people.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(first, cohort.split())


def test_families_stay_together(cohort: Cohort) -> None:
    cohort.people["family"] = [f"F{index // 2}" if index < 30 else None for index in range(60)]
    made = cohort.split()
    assert made.groupby(["split", "group"])["part"].nunique().max() == 1
    assert "family F3" in set(made["group"])


def test_several_sessions_give_the_first_known_target(cohort: Cohort) -> None:
    later = cohort.people.assign(session="10", diagnosis="patient")
    cohort.people = pd.concat([later, cohort.people.assign(session="2")])
    cohort.people.loc[cohort.people["participant"] == "04", "diagnosis"] = [None, "control"]
    made = cohort.split().drop_duplicates("participant").set_index("participant")["target"]
    assert made["02"] == "control"
    assert made["03"] == "patient"


def test_whole_numbers_are_class_names_without_a_fraction(cohort: Cohort) -> None:
    cohort.people["coin"] = [float(index % 2) if index else None for index in range(60)]
    assert set(cohort.split(target="coin")["target"]) == {"0", "1"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": "age"}, r"has no column 'age' to predict, did you mean 'age_years'\?"),
        ({"target": "session"}, "has no column 'session' to predict"),
        ({"target": "site"}, "is 's' for all 60 participants .* choose another target"),
        ({"target": "empty"}, "no participant with a kept run has a value in column 'empty'"),
        ({"target": "rare"}, "class 'yes' has 2 participant.*'no' 58, 'yes' 2"),
        ({"kind": "regression"}, "'control' in column 'diagnosis' .*is no number"),
        ({"kind": "binned", "target": "half"}, "has 2 different values, too few for 5 bins"),
        ({"dataset": "borealis"}, "is about dataset 'aurora', not 'borealis'"),
        ({"kind": "fingerprint", "target": None}, "0 participant.* in two sessions.*try across: run"),
    ],
)
def test_tasks_that_cannot_be_made(cohort: Cohort, values: dict[str, Any], message: str) -> None:
    cohort.people["empty"] = pd.Series([None] * 60, dtype=object)
    cohort.people["rare"] = ["yes" if index < 2 else "no" for index in range(60)]
    cohort.people["half"] = [float(index % 2) for index in range(60)]
    with pytest.raises(InputError, match=message):
        cohort.split(**values)
    assert not cohort.paths()["splits"].exists()


# Scores


def test_a_learnable_target_is_learnt_and_a_coin_is_not(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path, signal=4.0)
    cohort.people["coin"] = np.random.default_rng(3).permutation(np.repeat(["head", "tail"], 30))
    scores, predictions = cohort.solve(splits=5)
    assert mean(scores, "balanced_accuracy") > 0.75
    assert mean(scores, "auroc") > 0.85
    assert set(scores["metric"]) == {"balanced_accuracy", "accuracy", "f1", "auroc"}
    assert scores[["n_train", "n_val", "n_test"]].drop_duplicates().to_numpy().tolist() == [[36, 12, 12]]
    assert scores.loc[scores["split"] == 2, "seed"].unique().tolist() == [23]
    chosen = json.loads(scores["hyperparameters"].iloc[0])
    assert chosen["n_features"] == 12
    assert chosen["strength"] in settings().strengths
    right = (predictions["target"] == predictions["prediction"]).groupby(predictions["split"]).mean()
    accuracy = scores[scores["metric"] == "accuracy"].set_index("split")["value"]
    np.testing.assert_allclose(right, accuracy)
    assert ((predictions["score"] > 0.5) == (predictions["prediction"] == "patient")).all()
    chance, _ = cohort.solve(target="coin", splits=10)
    assert 0.3 < mean(chance, "balanced_accuracy") < 0.7


def test_regression_and_bins_recover_age(cohort: Cohort) -> None:
    scores, predictions = cohort.solve(kind="regression", target="age_years", strengths=[1e-2, 1.0, 1e2, 1e4])
    assert mean(scores, "pearson_r") > 0.9
    assert mean(scores, "mae") < 7
    assert mean(scores, "r2") > 0.7
    assert set(predictions["target"].astype(float)) <= set(cohort.people["age_years"])
    binned, labels = cohort.solve(kind="binned", target="age_years", bins=3)
    assert mean(binned, "balanced_accuracy") > 0.6
    assert set(labels["target"]) == {"bin 1", "bin 2", "bin 3"}
    made = store.frame(cohort.paths()["splits"], "splits").query("split == 0 and part == 'train'")
    edges = json.loads(binned["hyperparameters"].iloc[0])["edges"]
    np.testing.assert_allclose(edges, np.quantile(made["target"].astype(float), [1 / 3, 2 / 3]))


def test_scores_are_the_same_twice(cohort: Cohort) -> None:
    pd.testing.assert_frame_equal(cohort.solve()[0], cohort.solve()[0])


def test_a_planted_leak_is_refused(cohort: Cohort) -> None:
    made = cohort.split()
    leaked = made[(made["split"] == 0) & (made["part"] == "train")].iloc[[0]].assign(part="test")
    store.write(cohort.paths()["splits"], "splits", pd.concat([made, leaked]), PROVENANCE)
    name = leaked["participant"].iloc[0]
    with pytest.raises(InputError, match=f"participant '{name}' is in train and test of split 0"):
        cohort.score()
    assert not (cohort.folder / "scores.parquet").exists()


def test_splits_of_another_task_are_refused(cohort: Cohort) -> None:
    cohort.split(task="sex")
    with pytest.raises(InputError, match="holds the splits of task 'sex', not 'task'"):
        cohort.score()


def test_participants_without_embedding_are_listed(cohort: Cohort) -> None:
    cohort.split()
    gone = cohort.runs["participant"].isin(["03", "05"]).to_numpy()
    cohort.runs, cohort.vectors = cohort.runs[~gone], cohort.vectors[~gone]
    with pytest.raises(InputError, match=r"no embedding of 2 participant\(s\) \(03, 05\)"):
        cohort.score()


def test_embeddings_without_a_number_are_listed(cohort: Cohort) -> None:
    cohort.split()
    cohort.vectors[cohort.runs["participant"] == "03"] = np.nan
    with pytest.raises(InputError, match=r"no finite value in the embeddings of 1 participant\(s\) \(03\)"):
        cohort.score()


# One embedding per participant


def test_windows_are_averaged_before_runs(tmp_path: Path) -> None:
    rows = [
        {"participant": "01", "run": "1", "window": 0, "embedding": [1.0, 1.0]},
        {"participant": "01", "run": "1", "window": 1, "embedding": [3.0, 1.0]},
        {"participant": "02", "run": None, "window": 0, "embedding": [5.0, np.nan]},
        {"participant": "01", "run": "2", "window": 0, "embedding": [8.0, np.nan]},
        {"participant": "01", "run": "2", "window": 0, "half": 1, "embedding": [99.0, 99.0]},
    ]
    rows = [{**row, "dataset": "aurora", "embedding": np.array(row["embedding"])} for row in rows]
    store.write(tmp_path / "e.parquet", "embeddings", rows, PROVENANCE, 2)
    read = features.read([tmp_path / "e.parquet"])
    people = pd.DataFrame({"dataset": "aurora", "participant": ["02", "01"]})
    found = features.of_participants(read, people, read.keys)
    np.testing.assert_allclose(found, [[5, np.nan], [5, 1]])
    one_run = features.of_participants(read, people, read.keys[read.keys["run"] != "2"])
    np.testing.assert_allclose(one_run, [[5, np.nan], [2, 1]])
    vectors, owner = features.samples(read, people, read.keys)
    assert owner.tolist() == [1, 1, 0, 1]
    np.testing.assert_allclose(vectors[:, 0], [1, 3, 5, 8])


def test_bins_come_from_the_training_targets_alone() -> None:
    train = np.arange(100.0)
    assert bin_edges(train, 4).tolist() == [24.75, 49.5, 74.25]
    with pytest.raises(InputError, match=r"leave bin . empty"):
        bin_edges(np.array([1.0] * 50 + [2.0, 3.0]), 4)


# Metrics


def test_balanced_accuracy_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, 50), rng.integers(0, 4, 50)
    expected = recall_score(truth, predicted, labels=[0, 1, 2], average="macro")
    assert metrics.balanced_accuracy(truth, predicted) == pytest.approx(expected, abs=1e-15)


def test_auroc_and_recall_of_classes_that_occur() -> None:
    truth = np.array([0, 0, 2, 2])
    sure = np.eye(3)[truth] * 0.8 + 0.1
    found = metrics.classification(truth, sure / sure.sum(axis=1, keepdims=True))
    assert found == {"balanced_accuracy": 1.0, "accuracy": 1.0, "f1": 1.0, "auroc": 1.0}
    assert metrics.balanced_accuracy(np.array([0, 0, 0, 1]), np.zeros(4, int)) == 0.5
    assert np.isnan(metrics.classification(np.zeros(2, int), np.eye(2))["auroc"])
    assert np.isnan(metrics.regression(np.array([1.0, 2.0]), np.array([1.0, 1.0]))["pearson_r"])


# Fingerprint


def fingerprint(cohort: Cohort, sessions: Sequence[str], values: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    cohort.runs["session"] = [sessions[int(run) - 1] for run in cohort.runs["run"]]
    cohort.split(kind="fingerprint", target=None, **values)
    return cohort.score(kind="fingerprint", target=None, **values)


def test_fingerprint_finds_everybody_again(cohort: Cohort) -> None:
    cohort.vectors[7, 3] = np.nan
    scores, predictions = fingerprint(cohort, ["2", "10"], {})
    found = scores.set_index("metric")["value"]
    assert found["accuracy"] == 1.0
    assert found["mean_rank"] == 1.0
    assert scores["n_test"].tolist() == [60, 60]
    assert json.loads(scores["hyperparameters"].iloc[0])["n_features_missing"] == 1
    assert (predictions["target"] == predictions["prediction"]).all()
    assert len(predictions) == 120


def test_fingerprint_of_noise_is_at_chance_and_constant_embeddings_identify_nobody(cohort: Cohort) -> None:
    cohort.vectors = np.random.default_rng(5).normal(size=(120, 12))
    noise = fingerprint(cohort, ["1", "2"], {})[0].set_index("metric")["value"]
    assert noise["accuracy"] < 0.15
    assert 20 < noise["mean_rank"] < 40
    cohort.vectors[:] = np.arange(12.0)
    alike = cohort.score(kind="fingerprint", target=None)[0].set_index("metric")["value"]
    assert alike["accuracy"] == 0.0
    assert alike["mean_rank"] == 60


def test_fingerprint_across_runs_leaves_out_who_has_one(cohort: Cohort, capsys: pytest.CaptureFixture[str]) -> None:
    cohort.runs.loc[1, "keep"] = False
    made = cohort.split(kind="fingerprint", target=None, across="run")
    assert set(made["participant"]) == set(cohort.names) - {"00"}
    assert "59 participants with two runs, 1 with one left out" in capsys.readouterr().err
