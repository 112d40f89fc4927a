"""What the baselines may say of a task: chance for majority, nothing of the target, and sites only among themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from boldtable import store
from boldtable.stages import embed, probe
from boldtable.stages.probe import features

MADE = store.Provenance("x")
SITES = {"Bonn": 0.2, "Lund": 0.8, "Oslo": 0.3, "Pisa": 0.7, "Rome": 0.4, "Sofia": 0.6}  # share of patients
ON_SITE = 100


class Cohort:
    """Six sites that differ in their share of patients, in motion, in length and in signal; no brain is looked at."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(7)
        self.folder = folder
        rows: list[dict[str, Any]] = []
        for number, (site, share) in enumerate(SITES.items()):
            for index in range(ON_SITE):
                patient = index < share * ON_SITE
                rows.append({"participant": f"{site}{index}", "site": site, "number": number, "patient": patient})
        people = pd.DataFrame(rows)
        people["diagnosis"] = np.where(people["patient"], "patient", "control")
        people["sex"] = rng.permutation(np.where(np.arange(len(people)) % 2, "F", "M"))
        people["age_years"] = rng.uniform(20, 60, len(people)).round(1)
        self.people = people[["participant", "site", "diagnosis", "sex", "age_years"]]
        n, site = len(people), people["number"].to_numpy()
        self.runs = pd.DataFrame(
            {
                "dataset": "aurora", "participant": people["participant"], "shard": "0", "keep": True,
                "fd_mm_mean": 0.1 + 0.03 * site + 0.05 * rng.random(n), "fd_mm_max": 1 + rng.random(n),
                "fd_share_over": 0.1 * rng.random(n), "n_spikes": rng.integers(0, 9, n), "dvars": 1 + rng.random(n),
                "minutes": 5.0 + site, "minutes_kept": 4.0 + site, "n_frames": 150 + 30 * site,
                "tsnr": 50 + 5 * site + rng.normal(size=n),
            }
        )  # fmt: skip
        store.write(folder / "participants.parquet", "participants", self.people, MADE)
        store.write(folder / "qc.parquet", "qc", self.runs, MADE)

    def score(self, encoder: str, **task: Any) -> pd.DataFrame:
        """Scores of a baseline on a task; rows are splits, columns metrics."""
        settings = probe.Probe.parse({"dataset": "aurora", "kind": "classification", "splits": 5, **task})
        paths = {name: self.folder / f"{name}.parquet" for name in ("participants", "qc")}
        out = {name: self.folder / f"{encoder}-{name}.parquet" for name in ("embeddings", "splits", "scores", "said")}
        embed.run(
            embed.Embed(recipe="any", encoder=encoder), atlas=Path(), tensors=Path(), weights=None,
            out=out["embeddings"], **paths,
        )  # fmt: skip
        probe.split(settings, task="t", participants=[paths["participants"]], qc=[paths["qc"]], out=out["splits"])
        probe.run(
            settings, model=encoder, task="t", embeddings=[out["embeddings"]], qc=[paths["qc"]], splits=out["splits"],
            out=out["scores"], predictions=out["said"],
        )  # fmt: skip
        return store.frame(out["scores"], "scores").pivot(index="split", columns="metric", values="value")


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return Cohort(tmp_path)


def test_majority_is_chance_in_every_split(cohort: Cohort) -> None:
    found = cohort.score("majority", target="diagnosis")
    assert found["balanced_accuracy"].eq(0.5).all()
    assert found["auroc"].eq(0.5).all()
    numbers = cohort.score("majority", kind="regression", target="age_years")
    assert (numbers["r2"] <= 0).all()


def test_sex_is_not_predicted_from_sex_and_a_leak_would_show(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = cohort.score("demographics", target="sex")
    assert 0.4 < honest["balanced_accuracy"].mean() < 0.6
    monkeypatch.setattr(features, "_gives_away", lambda task, feature: False)
    assert cohort.score("demographics", target="sex")["balanced_accuracy"].mean() == 1


@pytest.mark.parametrize(
    ("task", "lost"),
    [({"target": "diagnosis"}, 0), ({"target": "site"}, len(SITES)), ({"kind": "fingerprint"}, len(SITES) + 1)],
)
def test_the_features_of_the_target_are_left_out(cohort: Cohort, task: dict[str, Any], lost: int) -> None:
    cohort.score("nuisance", target="diagnosis")
    paths = [cohort.folder / "nuisance-embeddings.parquet"]
    settings = probe.Probe.parse({"dataset": "aurora", "kind": "classification", **task})
    assert features.read(paths, settings).size == features.read(paths).size - lost


def test_age_is_not_predicted_from_age(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    task = {"kind": "regression", "target": "age_years"}
    assert cohort.score("demographics", **task)["r2"].mean() < 0.1
    monkeypatch.setattr(features, "_gives_away", lambda task, feature: False)
    assert cohort.score("demographics", **task)["r2"].mean() > 0.99


def test_demographics_tell_what_they_can(cohort: Cohort) -> None:
    cohort.people["diagnosis"] = np.where(cohort.people["age_years"] > 40, "patient", "control")
    store.write(cohort.folder / "participants.parquet", "participants", cohort.people, MADE)
    assert cohort.score("demographics", target="diagnosis")["auroc"].mean() > 0.95


def test_nuisance_predicts_under_random_splits_and_falls_to_chance_when_sites_are_left_out(cohort: Cohort) -> None:
    """What it knows is which sites have many patients, and that says nothing of a site it has not seen."""
    random = cohort.score("nuisance", target="diagnosis", splits=10)["auroc"]
    left_out = cohort.score("nuisance", target="diagnosis", scheme="leave-one-site-out")["auroc"]
    assert len(left_out) == len(SITES)
    assert random.mean() > 0.65
    assert abs(left_out.mean() - 0.5) < 0.07
