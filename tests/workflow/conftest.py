"""A small study in a temporary folder, run by Snakemake with a stand-in for the `boldtable` command."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STANDIN = Path(__file__).with_name("standin.py")

CONFIG = {
    "collect": {"aurora": {"derivatives": "derivatives"}},
    "parcellate": {"demo457": {"source": "demo457"}},
    "clean": {"semantoks": {"atlas": "demo457"}},
    "qc": {"recipe": "semantoks"},
    "pretrain": {"semantoks": {"recipe": "semantoks", "datasets": ["aurora"], "size": "tiny", "epochs": 1}},
    "embed": {"semantoks": {"recipe": "semantoks", "encoder": "semantoks"}},
    "probe": {"sex": {"dataset": "aurora", "kind": "classification", "target": "sex"}},
    "report": {"main": {"baselines": ["connectome"], "untrained": 0, "models": ["semantoks"], "tasks": ["sex"]}},
}


@dataclass
class Study:
    folder: Path
    config: dict

    def add_participants(self, *names: str) -> None:
        for name in names:
            (self.folder / f"derivatives/sub-{name}").mkdir(parents=True)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake on the study and return what it printed."""
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder),
            "--configfile", str(self.folder / "study.yaml"),
            "--workflow-profile", str(ROOT / "workflow/profiles/default"), "--cores", "2", *arguments,
        ]  # fmt: skip
        path = os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(self.folder / ".cache")}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

    def run(self) -> list[str]:
        """Run the workflow and return the calls of the stand-in: 'stage shard output'."""
        (self.folder / "calls.txt").unlink(missing_ok=True)
        done = self.snakemake()
        assert done.returncode == 0, done.stderr
        calls = self.folder / "calls.txt"
        return calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def study(tmp_path: Path) -> Study:
    folder = tmp_path / "a study, with spaces"
    (folder / "bin").mkdir(parents=True)
    command = folder / "bin/boldtable"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STANDIN}" "$@"\n')
    command.chmod(0o755)
    made = Study(folder, yaml.safe_load(yaml.safe_dump(CONFIG)))
    made.add_participants(*(f"{number:02d}" for number in range(1, 9)))
    return made
