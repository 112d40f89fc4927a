"""What fMRIPrep did not finish reaches the ledger, with the path of its log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from boldtable import store
from boldtable.errors import InputError
from boldtable.stages import report


def record(folder: Path, label: str, **further: Any) -> Path:
    """A record as preprocess writes it."""
    participant, _, session = label.partition("_ses-")
    plain = {
        "dataset": "aurora", "participant": participant, "session": session or None, "status": "ok", "reason": None,
        "missing": [], "digest": "nipreps/fmriprep@sha256:1", "log": f"{label}.log", "versions": {"fmriprep": "25.2.7"},
    }  # fmt: skip
    store.write_text(folder / f"{label}.json", json.dumps({**plain, **further}))
    return folder / f"{label}.json"


def qc(path: Path, *rows: dict[str, Any]) -> Path:
    store.write(path, "qc", [{"dataset": "aurora", "keep": False, **row} for row in rows], store.Provenance("qc"))
    return path


def test_failed_participants_and_runs_left_out_are_rows(tmp_path: Path) -> None:
    folder = tmp_path / "preprocess"
    record(folder, "01")
    record(folder, "02", status="failed", reason="fMRIPrep ended with exit code 1; log: 02.log")
    record(folder, "03_ses-2", status="failed", reason="the disk was full; log: 03_ses-2.log")
    gone = {"session": "1", "task": "rest", "run": "2", "acquisition": None, "file": "sub-04_run-2_bold.nii.gz"}
    record(folder, "04", missing=[gone])
    table = qc(
        tmp_path / "qc.parquet",
        {"participant": "01", "task": "rest", "status": "dropped", "stage": "qc", "reasons": "motion"},
        {"participant": "02", "status": "excluded", "stage": "collect", "reasons": "no BOLD"},
        {"participant": "05", "status": "excluded", "stage": "collect", "reasons": "no BOLD"},
        {"participant": "04", "task": "rest", "status": "ok", "stage": None, "reasons": None},
    )
    report.ledger([table], tmp_path / "ledger.parquet", preprocess=[folder])
    found = store.frame(tmp_path / "ledger.parquet", "ledger")
    rows = found[["participant", "session", "task", "run", "stage", "status"]].to_numpy().tolist()
    assert rows == [
        ["01", None, "rest", None, "qc", "dropped"],
        ["02", None, None, None, "preprocess", "failed"],
        ["03", "2", None, None, "preprocess", "failed"],
        ["04", "1", "rest", "2", "preprocess", "failed"],
        ["05", None, None, None, "collect", "excluded"],
    ]
    assert found["reason"].tolist()[1] == "fMRIPrep ended with exit code 1; log: 02.log"
    assert "no preprocessed BOLD of sub-04_run-2_bold.nii.gz; log: 04.log" in found["reason"].tolist()[3]
    made = store.provenance(tmp_path / "ledger.parquet")["preprocess"]["aurora"]
    assert made == {"records": 4, "failed": 2, "images": ["nipreps/fmriprep@sha256:1"], "fmriprep": ["25.2.7"]}


def test_single_records_and_no_failures(tmp_path: Path) -> None:
    table = qc(tmp_path / "qc.parquet")
    assert report.ledger([table], tmp_path / "ledger.parquet", preprocess=[record(tmp_path, "01")]).empty
    failed = [record(tmp_path, label, status="failed", reason="x") for label in ("02", "01")]
    found = report.ledger([table], tmp_path / "ledger.parquet", preprocess=failed)
    assert found["participant"].tolist() == ["01", "02"]


@pytest.mark.parametrize(("content", "told"), [("{", "cannot read the preprocess record"), ("[]", "is no record of")])
def test_a_file_that_is_no_record(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "01.json"
    path.write_text(content)
    with pytest.raises(InputError, match=told) as caught:
        report.ledger([qc(tmp_path / "qc.parquet")], tmp_path / "ledger.parquet", preprocess=[path])
    assert str(path) in str(caught.value)
    assert not (tmp_path / "ledger.parquet").exists()
