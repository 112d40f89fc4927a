"""The models at their published input sizes: samples per second in training and embedding, peak memory, arithmetic.

Every row runs in a process of its own, so that its peak memory is its own: the package's training step (data, forward,
backward, optimiser, moving average) and its embedding, on one thread. Run by `make bench`.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from boldtable.atlas.table import AtlasTable
from boldtable.models.flops import forward_flops
from boldtable.stages.pretrain import Pretrain
from boldtable.stages.pretrain.batches import Batches
from boldtable.stages.pretrain.data import Cohort
from boldtable.stages.pretrain.job import build
from boldtable.stages.pretrain.training import Training, exact

pytestmark = pytest.mark.bench

CPU = torch.device("cpu")
ROUNDS, PEOPLE = 2, 40


@dataclass(frozen=True)
class Row:
    """A model (settings of its pretraining), the parcels it reads, and what is measured: training or embedding."""

    settings: dict[str, Any]
    n_parcels: int
    what: str
    precision: str
    batch: int = 2


def table(n_parcels: int) -> AtlasTable:
    """An atlas of parcels at random places, in nine networks."""
    index, places = np.arange(n_parcels), np.random.default_rng(0).uniform(-60, 60, size=(n_parcels, 3))
    columns = {
        "index": index + 1, "name": [f"p{i}" for i in index], "hemisphere": "B",
        "network": [f"network-{i * 9 // n_parcels}" for i in index], **dict(zip(("x_mm", "y_mm", "z_mm"), places.T)),
    }  # fmt: skip
    return AtlasTable("bench", "MNI", pd.DataFrame(columns).assign(n_voxels=1))


def cohort(n_parcels: int, n_frames: int) -> Cohort:
    """Noise for as many people as a model needs gradients or statistics of."""
    frames = torch.randn(PEOPLE * n_frames, n_parcels, generator=torch.Generator().manual_seed(0))
    index = torch.arange(PEOPLE)
    return Cohort(
        frames=frames, starts=index * n_frames, lengths=torch.full((PEOPLE,), n_frames),
        present=torch.ones(PEOPLE, n_parcels, dtype=torch.bool), firsts=index, counts=torch.ones_like(index),
        labels=[f"run-{run}" for run in range(PEOPLE)], participants={}, tr_s=2.0, normalisation="zscore",
        fingerprint="",
    )  # fmt: skip


def training(row: Row) -> Training:
    shared = {"recipe": "bench", "datasets": ["bench"], "device": "cpu", "buffer": "float32", "epochs": 100}
    settings = Pretrain.parse(
        {**shared, **row.settings, "batch_size": row.batch, "precision": row.precision}
    )  # fmt: skip
    data = cohort(row.n_parcels, settings.window_frames)
    objective = build(settings, table(row.n_parcels), data)
    return Training(settings, objective, Batches(settings, data, settings.sampling(objective)), CPU)


def work(row: Row) -> Callable[[int], object]:
    """What a row measures, as a function of the round."""
    job = training(row)
    if row.what == "training":
        return job.step
    encoder: Any = job.objective.encoder
    n_frames = job.settings.window_frames
    x = torch.randn(row.batch, row.n_parcels, n_frames, generator=torch.Generator().manual_seed(1))
    masks = torch.ones(row.batch, row.n_parcels, dtype=torch.bool), torch.ones(row.batch, n_frames, dtype=torch.bool)
    del job

    def embed(_: int) -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=row.precision == "bfloat16"):
            return encoder.embed(x, *masks)

    return embed


def figures(row: Row) -> tuple[float, float, float]:
    """Samples per second, peak memory (MB) and GFLOP of one window; called in a process of its own."""
    torch.set_num_threads(1)
    flops = forward_flops(training(row).objective.encoder) / 1e9 if row.what == "embedding" else float("nan")
    step, seconds = work(row), []
    with exact(CPU):
        for number in range(ROUNDS + 1):
            began = time.perf_counter()
            step(number)
            seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return row.batch / statistics.median(seconds[1:]), peak, flops  # the first round warms up


def report(capsys: pytest.CaptureFixture[str], title: str, rows: Sequence[Row]) -> list[tuple[float, float, float]]:
    """Measure the rows one after the other, each in a new process, and print a line for each."""
    found = []
    with capsys.disabled():
        print(f"\n{title}, one thread, {ROUNDS} rounds after one to warm up")
        for row in rows:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rate, peak, flops = pool.apply(figures, (row,))
            extra = ", ".join(f"{k} {v}" for k, v in row.settings.items() if k not in ("model", "recipe", "datasets"))
            counted = f", forward {flops:.1f} GFLOP a sample" if flops == flops else ""
            print(f"  {row.what:9s} batch {row.batch} {row.precision:8s} {extra}: {rate:.4f} samples/s, peak {peak:.0f} MB"
                  f"{counted}")  # fmt: skip
            found.append((rate, peak, flops))
    return found


@pytest.mark.parametrize(("size", "gflop"), [("small", 564), ("base", 1511)])
def test_brain_jepa(capsys: pytest.CaptureFixture[str], size: str, gflop: float) -> None:
    """450 parcels × 160 frames; activation checkpointing in training, off and on."""
    settings = {"model": "brain-jepa", "size": size, "micro_batch": None}
    rows = [
        Row({**settings, "activation_checkpointing": spare}, 450, "training", precision)
        for precision in ("float32", "bfloat16")
        for spare in (False, True)
    ]
    rows += [Row(settings, 450, "embedding", precision) for precision in ("float32", "bfloat16")]
    found = report(capsys, f"Brain-JEPA {size}, 450 × 160", rows)
    assert found[-1][2] == pytest.approx(gflop, abs=1)
    spared = [(found[first][1], found[first + 1][1]) for first in (0, 2)]
    assert all(with_it < without for without, with_it in spared)
