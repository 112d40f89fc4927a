"""report: snapshots drawn against the step, imported weights, and intervals that end where the metric does."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from test_report import CONFIG, Task, write_model, write_qc, write_scores

from boldtable import store
from boldtable.errors import SettingsError
from boldtable.stages import report
from boldtable.stages.pretrain import Pretrain, card
from boldtable.stages.report import Report, curves, methods

STEPS = (0, 30, 60, 90)
EMBED: dict[str, dict[str, Any]] = {
    "connectome": {"recipe": "r", "encoder": "connectome"},
    "semantoks": {"recipe": "r", "encoder": "semantoks"},
    "semantoks-cls": {"recipe": "r", "encoder": "semantoks", "pooling": "cls"},
    **{f"at-{step}": {"recipe": "r", "encoder": "semantoks", "snapshot": i} for i, step in enumerate(STEPS)},
}
ROWS = [f"at-{step}" for step in STEPS]


def build(results: Path) -> Report:
    """Scores that rise with the step, of a model of 120 steps with four snapshots."""
    made = Task(dataset="aurora", kind="classification", target="sex")
    for i, row in enumerate(EMBED):
        spread = np.random.default_rng(i).normal(0, 0.01, 5)
        scores = list(np.array([0.5, 0.6, 0.55, 0.54, 0.56]) + 0.02 * i + spread - spread.mean())
        write_scores(results, row, "sex", made, {"balanced_accuracy": scores, "auroc": scores})
    write_model(results, "semantoks", steps=120)
    for step in STEPS:
        (results / f"models/semantoks/snapshots/{step:06d}").mkdir(parents=True)
    report.ledger([write_qc(results, "aurora")], results / "ledger.parquet")
    return Report(models=["connectome", "semantoks", "semantoks-cls"], tasks=["sex"], curves=ROWS)


def run(settings: Report, results: Path, **embed: Any) -> str:
    config = results / "config.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "embed": EMBED | embed}))
    report.run(settings, table="t", results=results, config=config, out=results / "t")
    return (results / "t.html").read_text(encoding="utf-8")


def test_snapshots_stand_at_their_steps_and_rows_of_another_kind_are_left_out(tmp_path: Path) -> None:
    settings = build(tmp_path)
    found = curves.steps(settings, tmp_path, {"embed": EMBED})
    assert found == {"semantoks": {"at-0": 0, "at-30": 30, "at-60": 60, "at-90": 90, "semantoks": 120}}


def test_curves_are_drawn_and_neither_listed_nor_tested(tmp_path: Path) -> None:
    html = run(build(tmp_path), tmp_path)
    assert html.count("semantoks, sex: balanced accuracy (%) against the step") == 1
    rows = pd.read_csv(tmp_path / "t.csv")
    assert set(rows.loc[rows["row"] == "score", "model"]) == {"connectome", "semantoks", "semantoks-cls"}
    assert rows["p"].notna().sum() == 2
    drawn = rows[rows["row"] == "curve"].set_index("model")
    assert drawn.index.tolist() == ROWS
    assert drawn["mean"].tolist() == pytest.approx([0.61, 0.63, 0.65, 0.67])
    assert drawn[["p", "p_holm", "difference", "reference"]].isna().all().all()


def test_points_are_the_means_of_the_scores(tmp_path: Path) -> None:
    from boldtable.stages.report.read import read_task

    task = read_task(build(tmp_path), tmp_path, "sex", {})
    found = curves.points(task, {"at-0": 0, "at-90": 90}, 0.95)
    assert found["x"].tolist() == [0, 90]
    assert found["mean"].tolist() == pytest.approx([0.61, 0.67])
    assert (found["ci_low"] < found["mean"]).all()


def test_imported_weights_are_described_where_they_lie(tmp_path: Path) -> None:
    settings = build(tmp_path / "results")
    folder = tmp_path / "elsewhere/published"
    about = {"kind": "semantoks", "architecture": {"width": 768}, "input": {"recipe": "semantoks", "tr_s": 2.0}}
    store.write_text(folder / "config.json", json.dumps(about))
    weights = {"recipe": "r", "weights": str(folder)}
    html = run(settings, tmp_path / "results", **{"semantoks-cls": weights})
    assert "<h3>published</h3>" in html
    assert "No training log: the weights were made elsewhere." in html
    assert "Not trained" not in html


def test_participants_are_found_in_what_pretrain_writes(tmp_path: Path) -> None:
    settings = build(tmp_path)
    cohort: Any = SimpleNamespace(fingerprint="f", participants={"aurora": ["00", "01", "99"]})
    trained = Pretrain.parse({"recipe": "r", "datasets": ["aurora"]})
    store.write_text(tmp_path / "models/semantoks/data.json", card.seen(trained, cohort))
    run(settings, tmp_path)
    assert "semantoks was pretrained on recordings, not on targets, of test participants: 2 of 40 (sex)" in (
        tmp_path / "t.md"
    ).read_text(encoding="utf-8")


def test_intervals_end_where_the_metric_does(tmp_path: Path) -> None:
    settings = Report(models=["connectome"], tasks=["sex", "age"])
    sex = Task(dataset="aurora", kind="classification", target="sex")
    age = Task(dataset="aurora", kind="regression", target="age_years")
    write_scores(
        tmp_path,
        "connectome",
        "sex",
        sex,
        {"balanced_accuracy": [1.0, 0.9, 1.0, 0.9, 1.0], "auroc": [0.0, 0.3, 0.6, 0.0, 0.6]},
    )
    write_scores(
        tmp_path, "connectome", "age", age, {"mae": [1.0, 9.0] * 3, "r2": [0.9, -0.9] * 3, "pearson_r": [0.9, -0.9] * 3}
    )
    report.ledger([write_qc(tmp_path, "aurora")], tmp_path / "ledger.parquet")
    report.run(settings, table="t", results=tmp_path, config=None, out=tmp_path / "t")
    found = pd.read_csv(tmp_path / "t.csv").set_index("metric")
    assert found.loc["balanced_accuracy", "ci_high"] == 1
    assert 0 < found.loc["balanced_accuracy", "ci_low"] < 1
    assert found.loc["auroc", "ci_low"] == 0
    assert found.loc["mae", "ci_low"] == 0
    assert found.loc["mae", "ci_high"] > 9
    assert found.loc["r2", "ci_high"] == 1
    assert found.loc["r2", "ci_low"] < -1
    assert found.loc["pearson_r", ["ci_low", "ci_high"]].tolist() == [-1, 1]
    assert "cut off where the metric ends" in (tmp_path / "t.md").read_text(encoding="utf-8")


def test_a_row_is_not_listed_and_drawn(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="models and curves lists 'semantoks' twice"):
        Report.parse({"models": ["connectome", "semantoks"], "tasks": ["sex"], "curves": ["semantoks"]})


def test_methods_say_how_the_runs_were_read_and_whose_weights_they_are() -> None:
    collect = {"aurora": {"derivatives": "a"}, "fep": {"derivatives": "b", "layout": "series"}}
    data = dict(methods.text({"collect": collect}, trained=False))["Data"]
    assert "The runs of aurora were read from derivatives in the layout of fMRIPrep" in data
    assert "The runs of fep were read as ready parcel series" in data
    only = methods.text({"collect": {"fep": collect["fep"]}}, trained=False)
    assert "fMRIPrep" not in dict(only)["Data"]
    assert [work.label for work in methods.cited(only) if "Esteban" in work.label] == []
    given = methods.text({"embed": {"published": {"weights": "folder"}}}, trained=True)
    assert "not trained here" in dict(given)["Models"]
    said = dict(methods.text({"embed": EMBED}, trained=True))["Models"]
    assert "not trained here" not in said
    assert "attribute scores to networks" not in said
    hidden = {"nuisance": {"encoder": "nuisance"}, "at-0": {**EMBED["at-0"], "only_networks": ["Vis"]}}
    said = dict(methods.text({"embed": hidden}, trained=True))["Models"]
    assert "attribute scores to networks" in said
    assert "temporal signal-to-noise" in said


def test_methods_say_how_tasks_were_split_and_probed() -> None:
    tasks = {
        "sex": {"dataset": "a", "kind": "classification", "target": "sex", "probe": "linear-sgd"},
        "age": {"dataset": "a", "kind": "regression", "target": "age_years", "scheme": "leave-one-site-out"},
        "twin": {"dataset": "a", "kind": "fingerprint"},
    }
    found = methods.text({"probe": tasks}, trained=False)
    words = dict(found)["Evaluation"]
    for said in (
        "Random splits",
        "sites are left out",
        "stochastic gradient descent",
        "ridge regression",
        "fingerprint",
    ):
        assert said in words
    for silent in ("k-fold", "logistic", "ComBat", "Confounds", "nested"):
        assert silent not in words
    assert "Gijsen et al. 2025" in [work.label for work in methods.cited(found)]
    more = {"harmonise": "site", "confounds": ["fd_mm_mean", "site"], "inner_folds": 5, "scheme": "kfold"}
    words = dict(methods.text({"probe": {"age": tasks["age"] | more}}, trained=False))["Evaluation"]
    assert "Confounds are regressed out of the features: fd_mm_mean, site." in words
    for said in ("k-fold", "Fortin et al. 2018", "nested cross-validation"):
        assert said in words


def test_what_motion_still_explains_is_shown_where_it_was_measured(tmp_path: Path) -> None:
    settings = build(tmp_path)
    assert "QC-FC" not in run(settings, tmp_path)
    edges = [{"measure": "qcfc_histogram", "level": f"{left:.2f}", "value": 0.25, "n": 10} for left in (-0.2, 0, 0.2)]
    bins = [{"measure": "qcfc_by_distance", "level": f"{mm}", "value": 0.1, "n": 10} for mm in (30, 60, 90)]
    wholes = [{"measure": f"qcfc_{name}", "value": 0.1, "n": 40} for name in ("median_abs", "share_significant")]
    wholes.append({"measure": "qcfc_distance_spearman", "value": -0.2, "n": 40})
    rows = [
        {"dataset": "aurora", "group": group, **row} for group in ("before", "after") for row in edges + bins + wholes
    ]
    store.write(tmp_path / "aurora/qc_summary.parquet", "qc_summary", rows, store.Provenance("qc"))
    html = run(settings, tmp_path)
    assert html.count("correlation of motion with connectivity, before and after cleaning") == 1
    assert "median |r| 0.10" in html
