"""pretrain on several processes: the same batches, losses and weights as on one, and one decision for all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_pretrain import TINY, command, curves, same, train
from test_pretrain_batches import sampling
from test_pretrain_data import atlas, load, run_row, small, write_dataset

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.stages.pretrain import Pretrain, batches
from boldtable.stages.pretrain.batches import Batches
from boldtable.stages.pretrain.distributed import Processes, choose, place

# Five samples of two processes: shares of two and three. One seed in which steps with and without masks alternate.
SHARED = {**TINY, "batch_size": 5, "epochs": 24, "temporal_share": 0.5, "mask_probability": 0.5, "checkpoint_s": 0.1}
WATCHED = ["token_similarity", "cls_rank"]  # of the first process alone


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort with short runs and missing parcels, which the processes do not share evenly."""
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(5)
    rows = [run_row("a", p, 1, 14 if p == 2 else 40, rng) for p in range(9)]
    for row in rows[:3]:
        row["signal"][:, [1, 9, 10, 11]] = np.nan
    write_dataset(folder, "a", rows)
    atlas().save(folder / "toy.parquet", store.Provenance("atlas"))
    return folder


@pytest.fixture(scope="module")
def alone(world: Path) -> Path:
    return train(world, "alone", **SHARED)


@pytest.fixture(scope="module")
def launched(world: Path) -> tuple[Path, str]:
    """The model that the documented command makes, and what it said."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = subprocess.run(
        [*torchrun, *command(world, "launched", SHARED)], capture_output=True, text=True, env=one_thread(), check=False
    )
    assert done.returncode == 0, done.stderr
    return world / "models" / "launched", done.stderr


def one_thread(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def test_two_processes_give_what_one_gives(alone: Path, launched: tuple[Path, str]) -> None:
    one, two = curves(alone).drop(columns=WATCHED), curves(launched[0]).drop(columns=WATCHED)
    assert 5 < one["token_loss"].notna().sum() < 20
    assert 5 < one["network_loss"].notna().sum() < 20
    np.testing.assert_allclose(two, one, rtol=2e-4, atol=2e-6)
    first, second = load_file(alone / "model.safetensors"), load_file(launched[0] / "model.safetensors")
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=1e-4, atol=1e-5)


def test_only_the_first_process_speaks(launched: tuple[Path, str]) -> None:
    lines = launched[1].splitlines()
    for said in ("2 processes train together", "steps 0 to 24 of 5 samples", "epoch 24/24", "wrote "):
        assert sum(line.startswith(said) for line in lines) == 1, launched[1]


def start(world: Path, name: str, settings: dict[str, Any]) -> list[subprocess.Popen[str]]:
    """Two processes with the variables a launcher sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    line = [sys.executable, "-m", *command(world, name, settings)]
    return [
        subprocess.Popen(
            line, stderr=subprocess.PIPE, text=True, env=one_thread(RANK=str(rank), LOCAL_RANK=str(rank), **shared)
        )
        for rank in range(2)
    ]


def finished(jobs: list[subprocess.Popen[str]]) -> tuple[list[int], list[str]]:
    said = [job.communicate(timeout=60)[1] for job in jobs]
    return [job.returncode for job in jobs], said


def wait_for(there: Callable[[], bool], jobs: list[subprocess.Popen[str]]) -> None:
    for _ in range(6000):
        if there():
            return
        if any(job.poll() is not None for job in jobs):
            pytest.fail(f"ended too early: {finished(jobs)}")
        time.sleep(0.005)
    pytest.fail("nothing happened")


def test_sigterm_on_one_process_stops_all_and_they_go_on_to_the_same_bits(
    world: Path, launched: tuple[Path, str]
) -> None:
    jobs = start(world, "stopped", SHARED)
    wait_for((world / "models" / ".stopped.training" / "checkpoint.pt").exists, jobs)
    jobs[1].send_signal(signal.SIGTERM)
    codes, said = finished(jobs)
    assert codes == [75, 75], said
    assert "goes on from there" in said[0]
    assert said[1] == ""
    codes, said = finished(start(world, "stopped", SHARED))
    assert codes == [0, 0], said
    assert "going on from" in said[0]
    assert same(launched[0], world / "models" / "stopped")
    assert curves(launched[0]).equals(curves(world / "models" / "stopped"))


@pytest.mark.parametrize("size", [2, 3])
def test_shares_make_up_the_whole_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(batches, "PART", 3)
    rng = np.random.default_rng(1)
    rows = [run_row("a", p, 1, 15 + 3 * p, rng) for p in range(9)]
    rows[4]["signal"][:, 3] = np.nan
    cohort = load(("a", write_dataset(tmp_path, "a", rows)))
    settings = Pretrain.parse({**TINY, "batch_size": 8, "mask_probability": 1})
    whole = Batches(settings, cohort, sampling(mask_probability=1))
    shares = [Batches(settings, cohort, sampling(mask_probability=1), Processes(rank, size)) for rank in range(size)]
    for step in range(whole.total):
        found = [share.batch(step) for share in shares]
        assert all(share.names(step) == whole.names(step) for share in shares)
        expected = whole.batch(step)
        assert torch.equal(torch.cat([batch.views for batch in found], dim=1), expected.views)
        assert torch.equal(torch.cat([batch.frame_mask for batch in found], dim=1), expected.frame_mask)
        assert torch.equal(torch.cat([batch.parcel_mask for batch in found]), expected.parcel_mask)
        for view in range(2):
            assert torch.equal(torch.cat([batch.masks[view] for batch in found]), expected.masks[view])


def test_one_participant_for_each_process_at_least(tmp_path: Path) -> None:
    cohort = load(("a", small(tmp_path, n=3)))
    with pytest.raises(InputError, match="at least 4 participants, found 3"):
        Batches(Pretrain.parse(TINY), cohort, sampling(), Processes(0, 4))
    with pytest.raises(InputError, match="batch_size 2 is less than the number of processes, 3"):
        Batches(Pretrain.parse({**TINY, "batch_size": 2}), cohort, sampling(), Processes(0, 3))


def test_the_launcher_says_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert place() == Processes(0, 1, 0)
    given = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert place() == Processes(rank=5, size=8, local=1)
    monkeypatch.setenv("RANK", "8")
    with pytest.raises(SettingsError, match=r"RANK=8, WORLD_SIZE=8, LOCAL_RANK=1: start with torchrun"):
        place()


def test_every_process_takes_the_gpu_of_its_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert choose("auto", 1) == choose("cuda", 1) == torch.device("cuda", 1)
    assert chosen == [1, 1]
    assert choose("cpu", 1) == torch.device("cpu")
    with pytest.raises(SettingsError, match=r"process 3 on this node, but it has 2 GPUs"):
        choose("auto", 2)
