"""The whole road, from raw BIDS to the table, by Snakemake: real everything, but for the container engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import engines
from boldtable import simulate, store

ROOT = Path(__file__).resolve().parents[2]
FAILS = "05"

CONFIG: dict[str, Any] = {
    "preprocess": {
        "borealis": {
            "bids": "raw data", "derivatives": "derived/fmriprep", "license_file": "license.txt", "min_free_gb": 0,
            "output_spaces": ["MNI152NLin6Asym"],
        }
    },
    "collect": {"borealis": {"derivatives": "derived/fmriprep", "participants": "raw data/participants.tsv"}},
    "parcellate": {"demo457": {"source": "demo457"}},
    "clean": {"semantoks": {"atlas": "demo457"}},
    "qc": {"recipe": "semantoks"},
    "embed": {
        "nuisance": {"recipe": "semantoks", "encoder": "nuisance"},
        "connectome": {"recipe": "semantoks", "encoder": "connectome"},
    },
    "probe": {"age": {"dataset": "borealis", "kind": "regression", "target": "age_years", "splits": 2}},
    "report": {"main": {"models": ["nuisance", "connectome"], "tasks": ["age"], "baselines": False}},
}  # fmt: skip


@dataclass
class Road:
    """A study that begins with raw data; ``engine`` in it holds the stand-ins and their calls."""

    folder: Path
    config: dict[str, Any]

    def start(self, *arguments: str, **environment: str) -> str:
        """Run Snakemake and return what it printed."""
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.config))
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder),
            "--configfile", str(self.folder / "study.yaml"),
            "--workflow-profile", str(ROOT / "workflow/profiles/default"), "--cores", "2", *arguments,
        ]  # fmt: skip
        path = [str(self.folder / "engine/bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        variables = {
            **os.environ, "PATH": os.pathsep.join(path), "XDG_CACHE_HOME": str(self.folder / ".cache"),
            "ENGINE_CALLS": str(self.folder / "engine/calls.jsonl"), "ENGINE_SOURCE": str(self.folder / "source"),
            "OMP_NUM_THREADS": "1", **environment,
        }  # fmt: skip
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stderr[-5000:]
        return done.stdout + done.stderr

    def ran(self) -> list[str]:
        """The participants that fMRIPrep was started on, in order."""
        calls = engines.fmriprep_calls(self.folder / "engine")
        return [engines.values(call, "--participant-label")[0] for call in calls]

    def derived(self) -> dict[str, int]:
        """Every file of the derivatives and when it was written."""
        root = self.folder / "derived"
        return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def road(tmp_path: Path) -> Road:
    """A raw skeleton of eight participants, and aside the derivatives that the stand-in container will hand out."""
    folder = tmp_path / "a study with spaces"
    simulate.cohort(tmp_path / "made", participants=8, datasets=("borealis",), workers=1)
    made = tmp_path / "made/borealis"
    folder.mkdir()
    (made / "derivatives/fmriprep").rename(folder / "source")
    (made / "derivatives").rmdir()
    made.rename(folder / "raw data")
    (folder / "license.txt").write_text("someone@example.org")
    engines.install(folder / "engine")
    return Road(folder, yaml.safe_load(yaml.safe_dump(CONFIG)))


def check_table_and_ledger(road: Road) -> None:
    table = pd.read_csv(road.folder / "results/tables/main.csv")
    assert set(table["model"]) == {"nuisance", "connectome"}
    assert (road.folder / "results/tables/main.html").exists()
    ledger = store.frame(road.folder / "results/ledger.parquet", "ledger")
    [failed] = ledger[ledger["participant"] == FAILS].to_dict("records")
    assert (failed["dataset"], failed["participant"], failed["status"]) == ("borealis", FAILS, "failed")
    assert failed["stage"] == "preprocess"
    assert "recon-all gave up" in failed["reason"]
    log = f"results/borealis/preprocess/{FAILS}.log"
    assert f"log: {log}" in failed["reason"]
    assert (road.folder / log).exists()
    assert {"02", "03", "04"} <= set(ledger["participant"])  # the planted faults
    made = store.provenance(road.folder / "results/ledger.parquet")["preprocess"]["borealis"]
    assert (made["records"], made["failed"], made["fmriprep"]) == (8, 1, ["25.2.7"])
    assert made["images"][0]
    runs = store.frame(road.folder / "results/borealis/runs.parquet", "runs")
    assert sorted(runs.loc[runs["status"] == "found", "participant"]) == ["01", "02", "03", "04", "06", "07", "08"]


def check_order(road: Road) -> None:
    """fsaverage came once and first; every participant ran once, with the limits of the profile."""
    calls = engines.calls(road.folder / "engine")
    copies = [position for position, call in enumerate(calls) if "cp" in call]
    [first, *_] = [position for position, call in enumerate(calls) if "--participant-label" in call]
    assert len(copies) == 1
    assert copies[0] < first
    assert sorted(road.ran()) == [f"{number:02d}" for number in range(1, 9)]
    assert engines.values(calls[first], "--nthreads") == ["2"]
    assert engines.values(calls[first], "--mem_mb") == ["24000"]


def test_from_raw_bids_to_the_table_with_docker(road: Road) -> None:
    road.start(ENGINE_FAIL=FAILS)
    check_table_and_ledger(road)
    check_order(road)
    derived = road.derived()
    assert "Nothing to be done" in road.start(ENGINE_FAIL=FAILS)
    road.start("--delete-all-output")
    assert not (road.folder / "results/ledger.parquet").exists()
    assert not (road.folder / "results/borealis/preprocess/01.json").exists()
    assert road.derived() == derived


def test_a_second_start_runs_the_repaired_participant_alone(road: Road) -> None:
    records = [f"results/borealis/preprocess/{name}.json" for name in ("01", "02", FAILS)]
    road.start(*records, ENGINE_FAIL=FAILS)
    derived, before = road.derived(), len(road.ran())
    (road.folder / records[2]).unlink()
    road.start(*records)
    assert road.ran()[before:] == [FAILS]
    road.config["preprocess"]["borealis"]["extra"] = ["--dummy-scans", "2"]
    road.start(*records)  # another setting: every job runs again, and finds its participant complete
    assert len(road.ran()) == before + 1
    found = json.loads((road.folder / records[0]).read_text())
    assert (found["status"], found["command"]) == ("ok", None)
    others = [name for name in derived if "/sub-" in name and f"sub-{FAILS}" not in name]
    assert len(others) >= 10
    assert {name: road.derived()[name] for name in others} == {name: derived[name] for name in others}


def test_nothing_starts_where_a_check_fails(road: Road) -> None:
    (road.folder / "license.txt").unlink()
    with pytest.raises(AssertionError) as caught:
        road.start()
    assert "boldtable: error: cannot read the FreeSurfer licence license.txt: No such file" in str(caught.value)
    assert road.ran() == []
    assert not (road.folder / "derived").exists()


@pytest.mark.slow
def test_from_raw_bids_to_the_table_with_apptainer(road: Road) -> None:
    (road.folder / "fmriprep.sif").write_text("an image")
    road.config["preprocess"]["borealis"] |= {"engine": "apptainer", "image": "fmriprep.sif"}
    road.start(ENGINE_FAIL=FAILS)
    check_table_and_ledger(road)
    check_order(road)
    assert {call[0] for call in engines.calls(road.folder / "engine")} == {"apptainer"}
