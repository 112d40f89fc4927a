"""report: a task that is trained on one dataset and tested on another, and the notes that its splits carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from task_files import settings
from test_report import write_qc, write_scores

from boldtable import store
from boldtable.stages import report
from boldtable.stages.report import Report

CONFIG: dict[str, Any] = {"probe": {"sex": {}}}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    made = settings(scheme="transfer", test_dataset="borealis", target="sex")
    write_scores(tmp_path, "semantoks", "sex", made, {"balanced_accuracy": [0.7, 0.8], "auroc": [0.8, 0.8]})  # type: ignore[arg-type]
    report.ledger([write_qc(tmp_path, name) for name in ("aurora", "borealis")], tmp_path / "ledger.parquet")
    return tmp_path


def run(results: Path, snapshot: int | None = None) -> str:
    about = {"encoder": "semantoks", "snapshot": snapshot}
    report.run(
        Report(models=["semantoks"], reference="semantoks", tasks=["sex"]), table="t", results=results,
        config=json.dumps(CONFIG | {"embed": {"semantoks": about}}), out=results / "t",
    )  # fmt: skip
    return (results / "t.md").read_text(encoding="utf-8")


def saw(results: Path, participants: dict[str, list[str]]) -> None:
    about = {"trained": True, "participants": participants}
    store.write_text(results / "models/semantoks/data.json", json.dumps(about))


def test_only_who_is_tested_counts_as_seen_in_pretraining(results: Path) -> None:
    saw(results, {"aurora": ["00", "01", "02"], "elsewhere": ["03"]})
    assert "was pretrained on recordings" not in run(results)
    saw(results, {"aurora": ["00", "01", "02"], "borealis": ["03", "99"]})
    assert "semantoks was pretrained on recordings, not on targets, of test participants: 1 of 40 (sex)" in run(results)
    assert "was pretrained on recordings" in run(results, snapshot=1)
    assert "was pretrained on recordings" not in run(results, snapshot=0), "taken before the first step"


def test_both_datasets_stand_in_the_table_and_notes_of_splits_below(results: Path) -> None:
    rows = [{"task": "sex", "split": 0, "dataset": "borealis", "participant": "00", "part": "test"}]
    about = store.Provenance("split", notes=["site Oslo is not tested: all 3 participant(s) have sex M"])
    store.write(results / "splits/sex.parquet", "splits", rows, about)
    assert "- sex: site Oslo is not tested: all 3 participant(s) have sex M" in run(results)
    assert pd.read_csv(results / "t.csv")["dataset"].unique().tolist() == ["aurora borealis"]


def test_splits_without_their_predictions_carry_no_interval(results: Path) -> None:
    assert "- sex: intervals and p over repeated splits need 5 of them, there are 2" in run(results)
    row = pd.read_csv(results / "t.csv").iloc[0]
    assert row["inference"] == "none"
