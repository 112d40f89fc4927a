"""pretrain from the command line: killed in any way and started again, it ends with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from test_pretrain import TINY, command, curves, same, train, weights
from test_pretrain_data import atlas, small

from boldtable import store
from boldtable.models import load_model
from boldtable.stages.pretrain.checkpoint import Stop

LONG = {**TINY, "epochs": 40, "checkpoint_s": 0.1, "snapshots": 4}
STEPS = ("000000", "000020", "000040", "000060")
EX_TEMPFAIL = 75


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    small(folder, n=9)
    atlas().save(folder / "toy.parquet", store.Provenance("atlas"))
    return folder


@pytest.fixture(scope="module")
def alone(world: Path) -> Path:
    return train(world, "alone", **LONG)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, EX_TEMPFAIL), (signal.SIGKILL, -signal.SIGKILL)])
def test_killed_and_started_again_it_ends_with_the_same_bits(
    world: Path, alone: Path, how: signal.Signals, code: int
) -> None:
    name = how.name.lower()
    line = [sys.executable, "-m", *command(world, name, LONG)]
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    job = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=threads)
    # Past the second snapshot, so that finished ones must outlive the kill.
    bench = world / "models" / f".{name}.training"
    wanted = (bench / "checkpoint.pt", bench / "snapshots" / STEPS[1])
    while job.poll() is None and not all(path.exists() for path in wanted):
        time.sleep(0.005)
    job.send_signal(how)
    _, log = job.communicate(timeout=60)
    assert job.returncode == code, log
    assert ("goes on from there" in log) == (how == signal.SIGTERM)
    assert not (world / "models" / name).exists()
    again = subprocess.run(line, capture_output=True, text=True, env=threads, check=False)
    assert again.returncode == 0, again.stderr
    assert "going on from" in again.stderr
    model = world / "models" / name
    assert same(alone, model)
    assert curves(alone).equals(curves(model))
    for step in STEPS:
        assert same(alone / "snapshots" / step, model / "snapshots" / step)


def test_snapshots_are_models_from_the_untrained_one_on(world: Path, alone: Path) -> None:
    assert sorted(path.name for path in (alone / "snapshots").iterdir()) == list(STEPS)
    untrained = train(world, "untrained", epochs=0)
    assert same(alone / "snapshots" / STEPS[0], untrained)
    folders = [*(alone / "snapshots" / step for step in STEPS), alone]
    distances = []
    for one, other in pairwise(folders):
        first, second = weights(one), weights(other)
        distances.append(sum(float((first[name] - second[name]).square().sum()) for name in first))
    assert all(distance > 0 for distance in distances)
    for folder in folders[:-1]:
        assert load_model(folder).spec == load_model(alone).spec
        assert (folder / "data.json").read_bytes() == (alone / "data.json").read_bytes()
    assert "after 20 of 80 steps" in (folders[1] / "README.md").read_text()
    assert not (untrained / "snapshots").exists()


def test_snapshots_of_other_settings_do_not_stay(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = world / "models" / ".fresh.training" / "snapshots" / "000007"
    stale.mkdir(parents=True)
    fresh = train(world, "fresh", snapshots=1)
    assert [path.name for path in (fresh / "snapshots").iterdir()] == ["000000"]


def test_a_second_sigterm_changes_nothing_and_a_second_ctrl_c_stops_at_once() -> None:
    """A cluster and the launcher may each send one; the checkpoint is still being written."""
    with Stop() as stop:
        stop.training = True
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.received == signal.SIGTERM
    with Stop() as stop:
        stop.training = True
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with Stop() as stop:
        stop.training = stop.patient = True
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert stop.received == signal.SIGINT
