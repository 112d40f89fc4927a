"""A made-up raw dataset with its settings, and stand-in engines, for the tests of preprocess."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import engines
from boldtable.stages import preprocess


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-in engines first on the PATH; the folder for `engines.calls`."""
    folder = engines.install(tmp_path / "engine")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ENGINE_CALLS", str(tmp_path / "engine/calls.jsonl"))
    return tmp_path / "engine"


def raw(bids: Path, participant: str, *names: str, session: str | None = None) -> Path:
    """Raw BOLD series of a participant; returns its func folder."""
    func = bids / f"sub-{participant}" / (f"ses-{session}" if session else "") / "func"
    func.mkdir(parents=True, exist_ok=True)
    entities = f"sub-{participant}" + (f"_ses-{session}" if session else "")
    for name in names or ("task-rest",):
        (func / f"{entities}_{name}_bold.nii.gz").touch()
    return func


def settings(tmp_path: Path, **further: Any) -> preprocess.Preprocess:
    """Settings for a made-up BIDS dataset with two participants and a licence."""
    for name in ("01", "02"):
        raw(tmp_path / "bids", name)
    (tmp_path / "bids/dataset_description.json").write_text("{}")
    (tmp_path / "license.txt").write_text("someone@example.org")
    (tmp_path / "image.sif").write_text("an image")
    given = {
        "bids": tmp_path / "bids",
        "derivatives": tmp_path / "derivatives",
        "license_file": tmp_path / "license.txt",
        "work": tmp_path / "work",
        "min_free_gb": 0,
    }
    apptainer = {"image": str(tmp_path / "image.sif")} if further.get("engine") == "apptainer" else {}
    return preprocess.Preprocess.parse({**given, **apptainer, **further})
