"""Killed at any moment, the same command goes on to the same table; a failed task is left out of it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from boldtable.simulate import cohort

ROOT = Path(__file__).resolve().parents[2]
TABLE = "results/tables/small.csv"


def config() -> dict[str, Any]:
    return {
        "collect": {"aurora": {"derivatives": "data/aurora/derivatives/fmriprep", "shard_size": 6}},
        "parcellate": {"demo457": {"source": "demo457"}},
        "clean": {"semantoks": {"atlas": "demo457"}},
        "qc": {"recipe": "semantoks"},
        "pretrain": {
            "tiny": {
                "recipe": "semantoks", "datasets": ["aurora"], "size": "tiny", "epochs": 3, "window_frames": 60,
                "checkpoint_s": 0,
            }
        },
        "embed": {"tiny": {"recipe": "semantoks", "encoder": "tiny", "windows": 2}},
        "probe": {"sex": {"dataset": "aurora", "kind": "classification", "target": "sex", "splits": 2}},
        "report": {"small": {"models": ["tiny"], "baselines": ["connectome"], "untrained": 0, "tasks": ["sex"]}},
    }  # fmt: skip


class Run:
    """A study on a shared simulated cohort, started as the README says."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.config = folder, config()
        folder.mkdir()
        (folder / "data").symlink_to(data)

    def command(self) -> list[str]:
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))
        return [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder),
            "--workflow-profile", str(ROOT / "workflow/profiles/default"), "--configfile",
            str(self.folder / "study.yaml"), "--cores", "2",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}

    def start(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(), env=self.environment(), capture_output=True, text=True, timeout=900, check=False
        )

    def killed(self, seen: str, after_s: float = 0.0, tree: bool = True) -> bool:
        """Start, and kill the main process alone or the whole tree some time after a file was seen below the folder.

        Returns whether it was still running.
        """
        process = subprocess.Popen(
            self.command(), env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 600
        while process.poll() is None and not any(self.folder.glob(seen)):
            assert time.monotonic() < deadline, f"{seen} never came"
            time.sleep(0.05)
        time.sleep(after_s)
        if process.poll() is not None:
            return False
        os.killpg(process.pid, signal.SIGKILL) if tree else process.kill()
        process.wait()
        return True


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    cohort(folder, participants=24, datasets=("aurora",), workers=1)
    return folder


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("undisturbed") / "study", data)
    done = run.start()
    assert done.returncode == 0, done.stderr[-3000:]
    return run


def check(run: Run, reference: Run) -> None:
    done = run.start()
    assert done.returncode == 0, done.stderr[-3000:]
    assert "LockException" not in done.stderr
    assert (run.folder / TABLE).read_bytes() == (reference.folder / TABLE).read_bytes()
    assert list((run.folder / "results").rglob(".*.tmp")) == []
    assert not (run.folder / "results/models/.tiny.training").exists()


# What a run makes in turn, below its folder.
MOMENTS = (
    ".snakemake/locks/*", "results/aurora/runs.parquet", "results/aurora/parcels/demo457/*",
    "results/aurora/parcels/demo457/.*.tmp", "results/aurora/tensors/semantoks/*", "results/aurora/kept.parquet",
    "results/splits/sex.parquet", "results/models/.tiny.training/checkpoint.pt", "results/models/tiny",
    "results/embeddings/*/*", "results/scores/*/*",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "tree"),
    [("results/aurora/tensors/semantoks/*.parquet", True), ("results/models/.tiny.training/checkpoint.pt", False)],
)
def test_killed_once_it_goes_on_to_the_same_table(
    undisturbed: Run, data: Path, tmp_path: Path, moment: str, tree: bool
) -> None:
    run = Run(tmp_path / "study", data)
    assert run.killed(moment, tree=tree)
    check(run, undisturbed)


@pytest.mark.slow
def test_killed_at_twenty_moments_it_goes_on_to_the_same_table(undisturbed: Run, data: Path, tmp_path: Path) -> None:
    draw, killed, number = random.Random(3), 0, 0
    while killed < 20:
        run = Run(tmp_path / str(number), data)
        number += 1
        for moment in sorted(draw.sample(range(len(MOMENTS)), 5)):
            killed += run.killed(MOMENTS[moment], draw.uniform(0, 3), tree=draw.random() < 0.7)
        check(run, undisturbed)


@pytest.mark.slow
def test_a_failed_task_is_left_out_of_the_table_and_told(undisturbed: Run) -> None:
    """And nothing is trained or embedded again for the task that is new."""
    run = undisturbed
    trained = (run.folder / "results/models/tiny/model.safetensors").stat().st_mtime_ns
    embedded = (run.folder / "results/embeddings/connectome/aurora.parquet").stat().st_mtime_ns
    run.config["probe"]["old"] = {"dataset": "aurora", "kind": "regression", "target": "age"}
    run.config["report"]["small"]["tasks"] = ["sex", "old"]
    done = run.start()
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-2:]
    assert any("no column 'age' to predict: collect calls it 'age_years'" in line for line in last), last
    assert "table 'small' lacks task 'old', which failed" in last[-1]
    table = pd.read_csv(run.folder / TABLE)
    assert set(table["task"].dropna()) == {"sex"}
    assert "lacks task &#39;old&#39;" in (run.folder / "results/tables/small.html").read_text()
    assert (run.folder / "results/models/tiny/model.safetensors").stat().st_mtime_ns == trained
    assert (run.folder / "results/embeddings/connectome/aurora.parquet").stat().st_mtime_ns == embedded
    run.config["probe"]["old"]["target"] = "age_years"
    assert run.start().returncode == 0
    assert set(pd.read_csv(run.folder / TABLE)["task"].dropna()) == {"sex", "old"}
