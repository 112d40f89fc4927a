"""A study through workflow/profiles/slurm on a real Slurm, started on this machine. Run by `make test-cluster`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import one_machine
import pandas as pd
import pytest
import yaml

from boldtable.simulate import cohort

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(one_machine.why_not() is not None, reason=one_machine.why_not() or ""),
]
ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 1200  # a workflow that waits for a cluster must not wait for ever
CONFIG: dict[str, Any] = {
    "collect": {"borealis": {"derivatives": "data/borealis/derivatives/fmriprep"}},
    "parcellate": {"demo457": {"source": "demo457"}},
    "clean": {"semantoks": {"atlas": "demo457"}},
    "qc": {"recipe": "semantoks"},
    "pretrain": {
        "semantoks": {
            "recipe": "semantoks", "datasets": ["borealis"], "size": "tiny", "window_frames": 60, "epochs": 1,
            "batch_size": 4,
        }
    },
    "embed": {
        "connectome": {"recipe": "semantoks", "encoder": "connectome"},
        "semantoks": {"recipe": "semantoks", "encoder": "semantoks"},
    },
    "probe": {"age": {"dataset": "borealis", "kind": "regression", "target": "age_years", "splits": 2}},
    "report": {
        "main": {"baselines": ["connectome"], "untrained": 0, "models": ["connectome", "semantoks"], "tasks": ["age"]}
    },
}  # fmt: skip
# Stops once, as a training does that the cluster takes the node from, and goes on when it is started again.
STOPS_ONCE = """#!/bin/sh
if [ "$1" = pretrain ] && [ ! -e stopped ]; then
  processors=$(squeue -h -j $SLURM_JOB_ID -o %C)
  echo "partition $SLURM_JOB_PARTITION, GPUs '$CUDA_VISIBLE_DEVICES', $processors processors" > stopped
  exit 75
fi
exec "{python}" -m boldtable "$@"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("slurm")
    with one_machine.slurm(folder):
        yield folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "a study"
    cohort(folder / "data", participants=10, datasets=("borealis",))
    (folder / "bin").mkdir()
    (folder / "bin/boldtable").write_text(STOPS_ONCE.format(python=sys.executable))
    (folder / "bin/boldtable").chmod(0o755)
    return folder


def snakemake(folder: Path, config: dict[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a study through the profile; without accounting the executor has to be told to ask squeue."""
    (folder / "study.yaml").write_text(yaml.safe_dump(config))
    command = [
        sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(ROOT / "Snakefile"),
        "--directory", str(folder), "--configfile", str(folder / "study.yaml"),
        "--workflow-profile", str(ROOT / "workflow/profiles/slurm"),
        "--slurm-status-command", "squeue", "--slurm-no-account", "--slurm-init-seconds-before-status-checks", "5",
        "--seconds-between-status-checks", "3", "--latency-wait", "10",
    ]  # fmt: skip
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder / ".cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def test_a_study_runs_through_the_profile(cluster: Path, study: Path) -> None:
    done = snakemake(study, CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(study / "results/tables/main.csv")
    assert set(table["model"]) == {"connectome", "semantoks"}
    # The training asked for the partition and the GPU of the profile, was stopped, was tried again, and found no GPU.
    assert (study / "stopped").read_text() == "partition gpu, GPUs '0', 8 processors\n"
    assert "no GPU here: training on the CPU" in (study / "results/logs/pretrain/semantoks.log").read_text()
    assert "Nothing to be done" in (again := snakemake(study, CONFIG)).stdout + again.stderr


def test_a_job_that_fails_ends_the_workflow_with_its_line(cluster: Path, study: Path) -> None:
    config = {**CONFIG, "collect": {"borealis": {**CONFIG["collect"]["borealis"], "tasks": ["nback"]}}}
    done = snakemake(study, config, "results/borealis/runs.parquet", "--retries", "0")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "boldtable: error: collect.borealis: tasks: 'nback' matches no run" in done.stderr
