"""How long the heads of linear-sgd take together, beside one after another with torch's layers. Run with `make bench`.

1,000 participants with 8 windows of 1,536 features, 600 of them in the training part, 10 splits, 6 learning rates:
60 heads, 50 epochs of 19 minibatches of 256 windows. The plain side trains one head, in turns with ours, and counts 60
times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import plain_probe as plain
from boldtable.models import connectome
from boldtable.stages.probe import Probe, heads
from boldtable.stages.probe.heads import Part, Samples
from boldtable.stages.probe.heads.linear_sgd import Protocol

pytestmark = pytest.mark.bench

PARTICIPANTS, WINDOWS, FEATURES, SPLITS = 1000, 8, 1536, 10
RATES = (0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4)
EPOCHS, THREADS, ROUNDS, TARGET = 50, (1, 2), 3, 20


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def cohort() -> tuple[Samples, list[Part]]:
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(PARTICIPANTS), WINDOWS)
    y = np.arange(PARTICIPANTS) % 2
    x = rng.normal(size=(len(owner), FEATURES)).astype(np.float32)
    x[:, :50] += 0.3 * y[owner, None]
    parts = []
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(PARTICIPANTS)
        parts.append(Part(np.sort(order[:600]), np.sort(order[600:800]), y, 2, np.arange(PARTICIPANTS), split))
    return Samples(x, owner), parts


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """On the clock, and of the processors."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


@pytest.mark.parametrize("count", THREADS)
def test_all_heads_at_once(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    samples, parts = cohort()
    given = {"kind": "classification", "target": "sex", "probe": "linear-sgd", "device": "cpu", "epochs": EPOCHS}
    probe = Probe.parse({"dataset": "bench", **given})
    x = torch.from_numpy(samples.values)
    target = torch.eye(2)[torch.from_numpy(parts[0].y[samples.owner])]
    mask = torch.from_numpy(np.isin(samples.owner, parts[0].train))
    ours, theirs = [], []
    with threads(count):
        for number in range(ROUNDS + 1):
            one = seconds(lambda: list(heads.fit(probe, samples, parts)))
            other = seconds(lambda: plain.train(Protocol(RATES, EPOCHS, 256), 0.01, x, mask, target, False, 0, 0))
            if number:  # the first round warms up
                ours.append(one)
                theirs.append(tuple(SPLITS * len(RATES) * value for value in other))
    ratios = [statistics.median(b[kind] / a[kind] for a, b in zip(ours, theirs, strict=True)) for kind in (0, 1)]
    with capsys.disabled():
        print(f"\n{SPLITS} splits x {len(RATES)} rates, {count} thread(s), {EPOCHS} epochs, {ROUNDS} rounds in turns:")
        print(f"  together            {statistics.median(a for a, _ in ours):7.2f} s (with scaling and evaluation)")
        print(f"  one after another   {statistics.median(b for b, _ in theirs):7.2f} s (one head measured)")
        print(f"  ratio {ratios[0]:.1f}, of processor time {ratios[1]:.1f}; target {TARGET}")


def test_tangent_space_of_457_parcels(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    n, size = 20, 457
    matrices = [0.8 * np.cov(rng.normal(size=(300, size)).T) + 0.2 * np.eye(size) for _ in range(n)]
    values = np.stack([connectome.matrix_to_vector(one) for one in matrices]).astype(np.float32)
    samples = Samples(values, np.arange(n), transform="tangent")
    first = seconds(lambda: samples.features(np.arange(10)))[0]  # takes the logarithms, which all splits share
    later = min(seconds(lambda k=k: samples.features(np.arange(k, 10 + k)))[0] for k in range(1, 4))
    with capsys.disabled():
        print(f"\ntangent space of {size} parcels: {1e3 * later / n:.0f} ms a participant and split,", end=" ")
        print(f"{1e3 * (first - later) / n:.0f} ms a participant once")
