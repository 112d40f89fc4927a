"""How long `collect` takes on made-up datasets of 2,000 and 40,000 participants with real headers."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from boldtable import store
from boldtable.stages import collect
from trees import Tree, write_participants


@pytest.mark.bench
@pytest.mark.parametrize(("count", "limit_s"), [(2_000, 5.0), (40_000, 120.0)])
def test_collect_speed(tmp_path: Path, count: int, limit_s: float, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{number:06d}" for number in range(count)]
    derivatives = Tree(frames=200).write(tmp_path / "derivatives", names)
    write_participants(derivatives / "participants.tsv", names, age=["40"] * count, sex=["F"] * count)
    settings = collect.Collect(derivatives=derivatives)
    start = time.perf_counter()
    collect.run(settings, "made-up", tmp_path / "out/runs.parquet", tmp_path / "out/participants.parquet")
    seconds = time.perf_counter() - start
    runs = store.frame(tmp_path / "out/runs.parquet", "runs")
    with capsys.disabled():
        print(f"\ncollect: {count} participants, {runs['shard'].nunique()} shards: {seconds:.1f} s (limit {limit_s} s)")
    shutil.rmtree(derivatives)
    assert len(runs) == count
    assert (runs["status"] == "found").all()
    assert seconds < limit_s
