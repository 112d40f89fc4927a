"""`boldtable check --data`: what is wrong with a task is said before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from boldtable.simulate import cohort


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("study")
    cohort(made / "data", participants=20, datasets=("aurora",), workers=1)
    return made


def check(folder: Path, **tasks: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    task = {"dataset": "aurora", "kind": "classification", "splits": 2}
    config = {
        "collect": {"aurora": {"derivatives": "data/aurora/derivatives/fmriprep"}},
        "parcellate": {"demo457": {"source": "demo457"}},
        "clean": {"semantoks": {"atlas": "demo457"}},
        "qc": {"recipe": "semantoks"},
        "probe": {name: {**task, **about} for name, about in tasks.items()},
        "report": {"main": {"models": [], "tasks": list(tasks)}},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "boldtable", "check", "study.yaml", "--data"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_what_is_fine_is_said_to_be(folder: Path) -> None:
    done = check(folder, sex={"target": "sex"}, age={"target": "age_years", "kind": "regression"})
    assert done.returncode == 0, done.stderr
    assert done.stdout == "study.yaml: fine\n"
    assert not (folder / "results").exists()


def test_everything_that_is_wrong_is_one_line_with_the_way_out(folder: Path) -> None:
    done = check(
        folder, sex={"target": "sex"}, age={"target": "age", "kind": "regression"}, nose={"target": "nose"},
        men={"target": "sex", "where": {"sex": "M"}},
    )  # fmt: skip
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("boldtable: error: task 'age': the participants of aurora has no column 'age' to predict")
    assert "collect calls it 'age_years'; write target: age_years" in last
    assert "task 'nose': " in last
    assert "task 'men': column 'sex' is 'M' for all" in last
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_not_there_is_named(folder: Path) -> None:
    (folder / "data").rename(folder / "moved")
    try:
        done = check(folder, sex={"target": "sex"})
    finally:
        (folder / "moved").rename(folder / "data")
    assert done.returncode == 2
    assert "collect.aurora.derivatives: no such folder" in done.stderr
