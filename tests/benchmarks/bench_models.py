"""The models at their published input sizes: samples per second in training and embedding, peak memory, arithmetic.

Every row runs in a process of its own, so that its peak memory is its own: the package's training step (forward,
backward, optimiser, moving average) for the first samples of a batch of 16, whose masks are those of the batch, and its
embedding, on one thread. Run by `make bench`.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from boldtable.atlas.table import AtlasTable
from boldtable.models import load_model, save_model
from boldtable.models.flops import forward_flops
from boldtable.stages.pretrain import Pretrain
from boldtable.stages.pretrain.batches import Batches
from boldtable.stages.pretrain.data import Cohort
from boldtable.stages.pretrain.distributed import quiet
from boldtable.stages.pretrain.job import build
from boldtable.stages.pretrain.training import Training, exact

pytestmark = pytest.mark.bench

CPU = torch.device("cpu")
ROUNDS, ENOUGH_S, PEOPLE, DRAWN = 3, 20.0, 40, 16


@dataclass(frozen=True)
class Row:
    """A model (settings of its pretraining), the parcels it reads, and what is measured: training or embedding."""

    settings: dict[str, Any]
    n_parcels: int
    what: str
    precision: str
    batch: int = 1


def table(n_parcels: int) -> AtlasTable:
    """An atlas of parcels at random places, in nine networks."""
    index, places = np.arange(n_parcels), np.random.default_rng(0).uniform(-60, 60, size=(n_parcels, 3))
    columns = {
        "index": index + 1, "name": [f"p{i}" for i in index], "hemisphere": "B",
        "network": [f"network-{i * 9 // n_parcels}" for i in index], "n_voxels": 1,
    }  # fmt: skip
    parcels = pd.DataFrame(columns).join(pd.DataFrame(places, columns=["x_mm", "y_mm", "z_mm"]))
    return AtlasTable("bench", "MNI", parcels)


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
        {**shared, **row.settings, "batch_size": DRAWN, "precision": row.precision}
    )  # fmt: skip
    data = cohort(row.n_parcels, settings.window_frames)
    with quiet():
        objective = build(settings, table(row.n_parcels), data)
    return Training(settings, objective, Batches(settings, data, settings.sampling(objective)), CPU)


def save(row: Row, folder: Path) -> None:
    """Write the model of a row with random weights."""
    save_model(folder, training(row).objective.encoder, "")


def work(row: Row, folder: Path) -> Callable[[int], object]:
    """What a row measures, as a function of the round; embedding takes the model in `folder`, as `boldtable embed`."""
    if row.what == "training":
        job = training(row)
        for parameter in job._parameters:  # so that the optimiser's moments are there from the first round on
            parameter.grad = torch.zeros_like(parameter)
        job._move()

        def step(number: int) -> object:
            values = job.settings.schedule(number, job.steps)
            job._optimiser.zero_grad(set_to_none=True)
            batch = job.batches.batch(number).part(0, row.batch)
            job._backward(batch, False, {name: values[name] for name in job.objective.scheduled})
            job._move()
            return job.objective.update(values.get("momentum", 1.0))

        return step
    encoder: Any = load_model(folder)
    n_frames = encoder.spec.n_frames
    x = torch.randn(row.batch, row.n_parcels, n_frames, generator=torch.Generator().manual_seed(1))
    masks = torch.ones(row.batch, row.n_parcels, dtype=torch.bool), torch.ones(row.batch, n_frames, dtype=torch.bool)

    def embed(_: int) -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=row.precision == "bfloat16"):
            return encoder.embed(x, *masks)

    return embed


class Figures(NamedTuple):
    """Samples per second on the clock, and of processor time (what others on the machine take away left out); MB."""

    rate: float
    processor: float
    peak_mb: float


def figures(row: Row, folder: Path) -> Figures:
    """Measure a row; called in a process of its own. The best of up to three rounds, no further one after 20 s."""
    torch.set_num_threads(1)
    step, wall, processor = work(row, folder), list[float](), list[float]()
    with exact(CPU):
        while len(wall) < ROUNDS and sum(wall) < ENOUGH_S:
            began, used = time.perf_counter(), time.process_time()
            step(len(wall))
            wall.append(time.perf_counter() - began)
            processor.append(time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return Figures(row.batch / min(wall), row.batch / min(processor), peak)


def report(
    capsys: pytest.CaptureFixture[str], folder: Path, title: str, rows: Sequence[Row]
) -> tuple[float, list[Figures]]:
    """Measure the rows one after the other, each in a new process, and print a line for each.

    Returns the GFLOP of a window's forward, and the figures of every row.
    """
    alone, found = multiprocessing.get_context("spawn"), list[Figures]()
    with alone.Pool(1) as pool:
        pool.apply(save, (rows[0], folder))
    gflop = forward_flops(load_model(folder)) / 1e9
    with capsys.disabled():
        print(f"\n{title}: {gflop:.1f} GFLOP a forward; one thread", flush=True)
        for row in rows:
            with alone.Pool(1) as pool:
                one = pool.apply(figures, (row, folder))
            spared = ", activation checkpointing" if row.settings.get("activation_checkpointing") else ""
            what = f"{row.what}, batch {row.batch}, {row.precision}{spared}"
            rates = f"{one.rate:.4f} samples/s ({one.processor:.4f} of processor time)"
            print(f"  {what}: {rates}, peak {one.peak_mb:.0f} MB", flush=True)
            found.append(one)
    return gflop, found


@pytest.mark.parametrize(("size", "expected"), [("small", 564), ("base", 1511)])
def test_brain_jepa(capsys: pytest.CaptureFixture[str], tmp_path: Path, size: str, expected: float) -> None:
    """450 parcels by 160 frames; activation checkpointing in training, off and on."""
    settings = {"model": "brain-jepa", "size": size, "micro_batch": None}
    rows = [
        Row({**settings, "activation_checkpointing": spare}, 450, "training", precision)
        for precision in ("float32", "bfloat16")
        for spare in (False, True)
    ]
    rows += [Row(settings, 450, "embedding", precision) for precision in ("float32", "bfloat16")]
    gflop, found = report(capsys, tmp_path, f"Brain-JEPA {size}, 450 parcels by 160 frames", rows)
    assert gflop == pytest.approx(expected, abs=1)
    assert all(found[first + 1].peak_mb < found[first].peak_mb for first in (0, 2))
