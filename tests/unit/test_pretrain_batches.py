"""pretrain: batches are a pure function of seed and step, cut from where they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_pretrain_data import N_PARCELS, load, run_row, small, write_dataset

from boldtable.errors import InputError
from boldtable.objectives.base import Batch, Sampling
from boldtable.stages.pretrain import Pretrain
from boldtable.stages.pretrain.batches import Batches, epoch_order
from boldtable.stages.pretrain.methods.semantoks import PretrainSemantoks

PLAIN = {"drop_parcels": 0, "drop_frames": 0, "scale": 0, "noise": 0}


def settings(**more: Any) -> Pretrain:
    given = {"recipe": "toy", "datasets": ["a"], "size": "tiny", "window_frames": 20, "patch_frames": 5, "epochs": 2}
    return Pretrain.parse({**given, "batch_size": 4, **more})


def sampling(**more: Any) -> Sampling:
    """Two augmented views of three networks and four patches, and their masks."""
    found = settings(**more)
    assert isinstance(found, PretrainSemantoks)
    return found.two_views(3, 4)


def tensors(batch: Batch) -> list[torch.Tensor]:
    """Everything in a batch."""
    return [
        part for part in (batch.views, batch.parcel_mask, batch.frame_mask, *(batch.masks or ())) if part is not None
    ]


def test_an_epoch_has_every_participant_once_and_in_time_every_recording(tmp_path: Path) -> None:
    cohort = load(("a", small(tmp_path)))
    owner = torch.repeat_interleave(torch.arange(cohort.n_participants), cohort.counts)
    generator, seen = torch.Generator().manual_seed(1), set()
    for _ in range(30):
        runs = epoch_order(cohort, generator)
        assert sorted(owner[runs].tolist()) == list(range(6))
        seen.update(runs.tolist())
    assert seen == set(range(cohort.n_runs))


def test_views_are_windows_of_their_runs(tmp_path: Path) -> None:
    """Frame numbers are written into the signal, so that every view says where it came from."""
    rng = np.random.default_rng(1)
    rows = [run_row("a", p, 1, n, rng) for p, n in enumerate((25, 20, 12))]
    for p, row in enumerate(rows):
        row["signal"] = (np.arange(row["n_frames"])[:, None] + 100 * p + np.zeros(N_PARCELS)).astype(np.float32)
    batches = Batches(
        settings(epochs=40, batch_size=3, **PLAIN), load(("a", write_dataset(tmp_path, "a", rows))), sampling(**PLAIN)
    )
    begins = set()
    for step in range(batches.total):
        found = batches.batch(step)
        assert found.frame_mask is not None
        for view, valid in zip(found.views, found.frame_mask, strict=True):
            for run, sample, frames in zip(batches.runs(step).tolist(), view, valid, strict=True):
                begin = int(sample[0, 0]) - 100 * run
                length = min(20, (25, 20, 12)[run])
                expected = torch.arange(begin + 100 * run, begin + 100 * run + length).expand(N_PARCELS, -1)
                assert torch.equal(sample[:, :length], expected.float())
                assert (sample[:, length:] == 0).all()
                assert frames.tolist() == [True] * length + [False] * (20 - length)
                begins.add((run, begin))
    assert begins == {(0, begin) for begin in range(6)} | {(1, 0), (2, 0)}


def test_batches_repeat_in_any_order_and_differ_by_seed_and_step(tmp_path: Path) -> None:
    cohort = load(("a", small(tmp_path)))
    first, again = (Batches(settings(), cohort, sampling(mask_probability=1)) for _ in range(2))
    forward = [first.batch(step) for step in range(2)]
    backward = [again.batch(step) for step in (1, 0)][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert len(tensors(one)) == 3
        assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))
    other_seed = Batches(settings(seed=4), cohort, sampling()).batch(0)
    assert not torch.equal(forward[0].views, forward[1].views)
    assert not torch.equal(*forward[0].views)
    assert not torch.equal(forward[0].views, other_seed.views)


def test_masks_hide_the_share_of_batches_asked_for(tmp_path: Path) -> None:
    cohort = load(("a", small(tmp_path)))
    batches = Batches(settings(epochs=200), cohort, sampling(mask_probability=0.3))
    masked = [batches.batch(step).masks is not None for step in range(batches.total)]
    assert 0.2 < np.mean(masked) < 0.4
    assert Batches(settings(), cohort, sampling(mask_probability=0)).batch(0).masks is None


def test_data_without_gaps_need_no_masks(tmp_path: Path) -> None:
    batch = Batches(settings(), load(("a", small(tmp_path))), sampling()).batch(0)
    assert batch.parcel_mask is None
    assert batch.frame_mask is None


def test_what_is_left_over_is_dropped_unless_there_is_less_than_a_batch(tmp_path: Path) -> None:
    cohort = load(("a", small(tmp_path)))
    assert (Batches(settings(), cohort, sampling()).size, Batches(settings(), cohort, sampling()).per_epoch) == (4, 1)
    assert (Batches(settings(batch_size=512), cohort, sampling()).size) == 6


def test_one_participant_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 2 participants, found 1"):
        Batches(settings(), load(("a", small(tmp_path, n=1))), sampling())
