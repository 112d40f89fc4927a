"""pretrain: data larger than their buffer are read group by group, and nothing else changes."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_pretrain import curves, interrupt, same, train
from test_pretrain_batches import PLAIN, sampling, tensors
from test_pretrain_data import N_PARCELS, atlas, run_row, write_dataset

from boldtable import store
from boldtable.errors import InputError
from boldtable.stages.pretrain import Pretrain, data
from boldtable.stages.pretrain.batches import Batches
from boldtable.stages.pretrain.index import Portion
from boldtable.stages.pretrain.training import Training

N_PARTICIPANTS = 18
# Nine shards of two participants; the largest has 4 runs of 45 frames in float16.
LARGEST_GB = 4 * 45 * N_PARCELS * 2 / 1e9
BUFFER_GB = 2.5 * 2 * LARGEST_GB
EPOCHS = 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs whose first parcel says which and when: 50 times the run's place, plus the frame (exact in float16)."""
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(1)
    runs = [(p, r) for p in range(N_PARTICIPANTS) for r in range(1 + p % 3)]
    rows = [run_row("a", p, r, 28 + p, rng, shard=f"{p // 2:04d}") for p, r in runs]
    for place, row in enumerate(rows):
        row["signal"][:, 0] = 50 * place + np.arange(row["n_frames"])
    write_dataset(folder, "a", rows)
    atlas().save(folder / "toy.parquet", store.Provenance("atlas"))
    return folder


def load(world: Path, buffer_gb: float | None = BUFFER_GB, **more: Any) -> data.Cohort:
    paths = [world / "a" / "tensors" / "toy"], [world / "a" / "qc.parquet"]
    return data.load(["a"], *paths, atlas(), torch.float16, torch.device("cpu"), buffer_gb=buffer_gb, seed=21, **more)


def settings(**more: Any) -> Pretrain:
    given = {"recipe": "toy", "datasets": ["a"], "size": "tiny", "window_frames": 20, "patch_frames": 5}
    return Pretrain.parse({**given, "epochs": EPOCHS, "batch_size": 4, **PLAIN, **more})


def batches(world: Path, **more: Any) -> Batches:
    return Batches(settings(**more), load(world), sampling(**PLAIN))


def test_every_participant_comes_once_an_epoch_in_groups_of_shards(world: Path) -> None:
    cohort = load(world)
    owner = torch.repeat_interleave(torch.arange(cohort.n_participants), cohort.counts)
    made = Batches(settings(batch_size=6), cohort, sampling(**PLAIN))
    orders, recordings = [], set()
    for epoch in range(EPOCHS):
        runs = torch.cat([made.runs(step) for step in range(epoch * made.per_epoch, (epoch + 1) * made.per_epoch)])
        people = owner[runs].tolist()
        assert sorted(people) == list(range(N_PARTICIPANTS))
        shards = [person // 2 for person in people]
        groups = made._arranged(epoch).groups
        assert len(groups) >= 3
        for group in groups:
            assert sorted(shards[group.first : group.last]) == sorted(2 * group.shards)
        orders.append(people)
        recordings.update(runs.tolist())
    assert len({tuple(order) for order in orders}) == EPOCHS
    assert len(recordings) > N_PARTICIPANTS


def test_views_are_windows_of_their_runs_also_across_groups(world: Path) -> None:
    made, frame, lengths = batches(world), torch.arange(20), load(world).lengths
    straddling = 0
    for step in range(made.total):
        found, runs = made.batch(step), made.runs(step)
        place = step % made.per_epoch * made.size
        straddling += any(place < group.last < place + 4 for group in made._arranged(step // made.per_epoch).groups)
        for view in found.views:
            begins = view[:, 0, 0].long() - 50 * runs
            assert torch.equal(view[:, 0], (50 * runs + begins)[:, None] + frame.float())
            assert (begins >= 0).all()
            assert (begins <= lengths[runs] - 20).all()
    assert straddling > 0


def test_streaming_changes_order_alone(world: Path) -> None:
    whole, parts = load(world, None), load(world)
    assert whole.stream is None
    assert parts.stream is not None
    assert (whole.fingerprint, whole.labels) == (parts.fingerprint, parts.labels)
    assert torch.equal(whole.present, parts.present)
    assert load(world, 1.0).stream is None


def test_batches_repeat_in_any_order_and_differ_by_seed(world: Path) -> None:
    first, again = batches(world), batches(world)
    forward = [first.batch(step) for step in range(first.total)]
    backward = [again.batch(step) for step in reversed(range(first.total))][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))
    assert not torch.equal(forward[0].views, batches(world, seed=22).batch(0).views)


def test_two_groups_are_in_memory_at_most_and_the_next_is_read_meanwhile(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    most, readers, times = [0], [], [0]
    read = data.Reader.read

    def watched(self: data.Reader, shards: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        found = read(self, shards)
        times[0] += 1
        readers.append(threading.current_thread().name)
        alive.append(weakref.ref(found[0]))
        most[0] = max(most[0], sum(one.nbytes for one in (ref() for ref in alive) if one is not None))
        return found

    monkeypatch.setattr(data.Reader, "read", watched)
    cohort = load(world)
    made = Batches(settings(batch_size=6), cohort, sampling(**PLAIN))
    for step in range(made.total):
        made.batch(step)
    assert 0 < most[0] <= BUFFER_GB * 1e9
    assert cohort.frames.nbytes == 0
    # Only the first group was waited for; every group of every epoch was read once.
    assert sum(not name.startswith("prefetch") for name in readers) == 1
    assert times[0] <= sum(len(made._arranged(epoch).groups) for epoch in range(EPOCHS))
    assert cohort.stream is not None
    cohort.stream.close()
    assert all(ref() is None for ref in alive)


def test_a_streamed_training_repeats_and_goes_on_to_the_same_bits(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streamed = {"buffer_gb": BUFFER_GB}
    alone, whole = train(world, "alone", **streamed), train(world, "whole")
    assert same(alone, train(world, "again", **streamed))
    assert not same(alone, whole)
    step = Training.step

    def dies(self: Training, number: int) -> None:
        if number == 5:
            raise RuntimeError("killed")
        step(self, number)

    monkeypatch.setattr(Training, "step", dies)
    with pytest.raises(RuntimeError, match="killed"):
        train(world, "killed", checkpoint_s=0, **streamed)
    monkeypatch.setattr(Training, "step", step)
    resumed = train(world, "killed", **streamed)
    assert same(alone, resumed)
    assert curves(alone).equals(curves(resumed))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_a_shard_must_fit_twice(world: Path) -> None:
    with pytest.raises(InputError, match=r"0008\.parquet takes .* GB, and two such shards must fit into 'buffer_gb: "):
        load(world, 1.2 * LARGEST_GB)


def test_participants_in_two_shards_cannot_be_streamed(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [run_row("a", p, r, 30, rng, shard=f"{r:04d}") for p in range(4) for r in range(2)]
    write_dataset(tmp_path, "a", rows)
    with pytest.raises(InputError, match="participant '00' of 'a' lie in several shards"):
        load(tmp_path, 1e-6)
    assert load(tmp_path, None).n_participants == 4


def test_portions_are_nested_deterministic_and_of_every_dataset(tmp_path: Path, world: Path) -> None:
    chosen = [set(load(world, None, portion=Portion(share, 3)).participants["a"]) for share in (0.05, 0.25, 0.5, 1.0)]
    assert [len(people) for people in chosen] == [1, 5, 9, 18]
    assert all(small < large for small, large in itertools.pairwise(chosen))
    again = load(world, None, portion=Portion(0.5, 3))
    assert set(again.participants["a"]) == chosen[2]
    assert set(load(world, None, portion=Portion(0.5, 4)).participants["a"]) != chosen[2]
    rng = np.random.default_rng(1)
    other = write_dataset(tmp_path, "b", [run_row("b", p, 0, 30, rng) for p in range(10)])
    both = data.load(
        ["a", "b"], [world / "a" / "tensors" / "toy", other[0]], [world / "a" / "qc.parquet", other[1]], atlas(),
        torch.float16, torch.device("cpu"), portion=Portion(0.5, 3),
    )  # fmt: skip
    assert set(both.participants["a"]) == chosen[2]
    assert len(both.participants["b"]) == 5
    # All runs of who is chosen, and no others.
    assert both.n_runs == sum(1 + int(p) % 3 for p in chosen[2]) + 5


def test_a_kept_checkpoint_is_not_that_of_another_portion(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = train(world, "half", portion=0.5)
    assert len(curves(half)) == 3 * 2
    interrupt(world, monkeypatch, "m", 3)
    assert same(half, train(world, "m", portion=0.5))
