"""From simulated cohorts to the table: the real commands through Snakemake, small; the demo in `make test-slow`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from boldtable import store
from boldtable.simulate import cohort

ROOT = Path(__file__).resolve().parents[2]
BASELINES = ["majority", "nuisance", "demographics", "connectome", "connectome-partial"]
MODELS = [*BASELINES, "semantoks-untrained", "semantoks"]


def small_study(folder: Path) -> dict:
    """The demo's config with few participants, two tasks and two epochs."""
    config = yaml.safe_load((ROOT / "config/demo/config.yaml").read_text())
    tasks = {
        name: {**task, "splits": 5, "inner_folds": 2}
        for name, task in config["probe"].items()
        if name == "aurora-diagnosis"
    }
    config["pretrain"]["semantoks"] |= {"epochs": 2}
    table = {**config["report"]["demo"], "tasks": list(tasks), "controls": [], "permutations": 199}
    return {**config, "probe": tasks, "report": {"demo": table}}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


def missing_faults(folder: Path) -> list[dict]:
    """Planted faults without a ledger row of their stage that says the expected words."""
    ledger = store.frame(folder / "results/ledger.parquet", "ledger")
    faults = json.loads((folder / "data/truth.json").read_text())["faults"]
    assert len(faults) >= 6

    def found(fault):
        keys = (ledger["dataset"] == fault["dataset"]) & (ledger["participant"] == fault["participant"])
        rows = ledger[keys & (ledger["stage"] == fault["stage"])]
        return rows["reason"].str.contains(fault["words"], regex=False).any()

    return [fault for fault in faults if not found(fault)]


def test_from_cohorts_to_the_table(study):
    (study.folder / "bin/boldtable").unlink()
    cohort(study.folder / "data", participants=12)
    before = snapshot(study.folder / "data")
    study.config = small_study(study.folder)
    done = study.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    assert missing_faults(study.folder) == []
    table = pd.read_csv(study.folder / "results/tables/demo.csv")
    scores = table[(table["row"] == "score") & table["primary"]]
    assert scores["model"].tolist() == MODELS
    assert scores["mean"].notna().all()
    varies = scores["sd"] > 0  # splits that all say the same carry no interval
    assert varies.any()
    assert scores[["ci_low", "ci_high"]].notna().all(axis=1).eq(varies).all()
    assert scores["settings_sha256"].nunique() == scores["data_sha256"].nunique() == 1
    page = (study.folder / "results/tables/demo.html").read_text()
    assert all(model in page for model in MODELS)
    assert snapshot(study.folder / "data") == before, "an input folder was written to"
    assert "Nothing to be done" in "".join(study.snakemake().stderr)


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "boldtable", "demo", str(folder), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)


def killed_demo(folder: Path, wanted: str) -> None:
    """Start the demo and kill the whole process group as soon as a file that matches `wanted` is there."""
    command = [sys.executable, "-m", "boldtable", "demo", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not list(folder.glob(wanted)):
        assert process.poll() is None, f"the demo ended before {wanted} was there"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_the_demo_twice_once_killed_gives_the_same_table(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert demo(first).returncode == 0
    for wanted in ("data/aurora/derivatives/fmriprep/sub-2*", "results/aurora/tensors/semantoks/*.parquet"):
        killed_demo(second, wanted)
    resumed = demo(second)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on after an interruption" in resumed.stderr
    name = "results/tables/demo.csv"
    assert (first / name).read_bytes() == (second / name).read_bytes()
    assert missing_faults(first) == []
    again = demo(second)
    assert "nothing to do" in again.stderr
    table = pd.read_csv(first / name)
    means = table[(table["row"] == "score") & table["primary"]].set_index(["task", "model"])["mean"]
    for dataset in ("aurora", "borealis"):
        assert means[f"{dataset}-diagnosis", "connectome"] > 0.65
        assert means.filter(like=f"{dataset}-coin").between(0.3, 0.7).all()
