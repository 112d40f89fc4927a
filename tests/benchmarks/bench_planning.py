"""Planning 10,000 participants once `collect` has run: a Snakemake dry run on a made-up table of runs."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.bench
ROOT = Path(__file__).resolve().parents[2]
N_PARTICIPANTS, N_SHARDS = 10_000, 512
CONFIG = """
collect: {aurora: {derivatives: derivatives}}
parcellate: {demo457: {source: demo457}}
clean: {semantoks: {atlas: demo457}}
qc: {recipe: semantoks}
pretrain: {semantoks: {recipe: semantoks, datasets: [aurora]}}
embed:
  connectome: {recipe: semantoks, encoder: connectome}
  semantoks: {recipe: semantoks, encoder: semantoks}
probe: {sex: {dataset: aurora, kind: classification, target: sex}}
report: {main: {models: [connectome, semantoks], tasks: [sex]}}
"""


def made_up_runs(folder: Path) -> None:
    (folder / "derivatives/sub-01").mkdir(parents=True)
    (folder / "study.yaml").write_text(CONFIG)
    out = folder / "results/aurora"
    out.mkdir(parents=True)
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(N_PARTICIPANTS)]
    shards = [f"{number % N_SHARDS:03d}" for number in range(N_PARTICIPANTS)]
    runs = pa.table({"shard": shards, "status": ["found"] * N_PARTICIPANTS, "fingerprint": digests})
    pq.write_table(runs, out / "runs.parquet")
    (out / "participants.parquet").touch()


def test_planning_ten_thousand_participants(tmp_path, capsys):
    made_up_runs(tmp_path)
    command = [
        sys.executable, "-m", "snakemake", "-n", "--quiet", "--snakefile", str(ROOT / "Snakefile"), "--directory",
        str(tmp_path), "--configfile", str(tmp_path / "study.yaml"), "--workflow-profile",
        str(ROOT / "workflow/profiles/default"),
    ]  # fmt: skip
    log = tmp_path / "log.txt"
    started = time.perf_counter()
    with log.open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        # The peak of this process: RUSAGE_CHILDREN would be that of the largest benchmark before it.
        status, usage = os.wait4(process.pid, 0)[1:]
    seconds = time.perf_counter() - started
    assert os.waitstatus_to_exitcode(status) == 0, log.read_text()
    peak_mb = usage.ru_maxrss / 1024
    with capsys.disabled():
        print(f"\nplanning {N_PARTICIPANTS} participants in {N_SHARDS} shards: {seconds:.1f} s (limit 30), "
              f"{peak_mb:.0f} MB (limit 1000), {os.cpu_count()} cores")  # fmt: skip
    assert seconds < 30
    assert peak_mb < 1000
