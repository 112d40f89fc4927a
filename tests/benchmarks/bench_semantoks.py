"""Brain-Semantoks in the published size beside a plain float32 implementation of the same recipe. Run by `make bench`.

Both start from the same weights, see the same runs, and take turns step by step, so that whatever else the machine does
meets both. The real training loop is measured, with its data, optimiser, teacher and log.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import plain_semantoks as plain
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from boldtable.models.base import InputSpec
from boldtable.models.flops import forward_flops
from boldtable.models.frozen import frozen
from boldtable.models.semantoks import Semantoks, semantoks_config
from boldtable.objectives.distillation import SelfDistillation, distillation_config
from boldtable.stages.pretrain import Pretrain
from boldtable.stages.pretrain.batches import Batches
from boldtable.stages.pretrain.data import Cohort
from boldtable.stages.pretrain.training import Training, exact

pytestmark = pytest.mark.bench

# Parcels per network of the published atlas, run length and window (frames).
SIZES, N_FRAMES, WINDOW = (61, 77, 46, 47, 26, 52, 91, 50, 7), 180, 100
THREADS, BATCH, WINDOWS, ROUNDS = 2, 32, 64, 4
TRAINING, EMBEDDING, COSINE, DATA_SHARE = 3.5, 3.0, 0.999, 0.03
STEPS, SEEDS, SPREAD_BATCH = 200, 3, 8
CPU = torch.device("cpu")


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def runs(count: int) -> Tensor:
    """Normalised signals (run, frame, parcel) that networks share in part, slow as BOLD is."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(count, N_FRAMES + 8, len(SIZES) + sum(SIZES), generator=g)
    slow = noise.unfold(1, 9, 1).mean(dim=-1)
    shared = slow[:, :, : len(SIZES)].repeat_interleave(torch.tensor(SIZES), dim=2)
    mixed = shared + slow[:, :, len(SIZES) :]
    return (mixed - mixed.mean(dim=1, keepdim=True)) / mixed.std(dim=1, keepdim=True)


def encoder(size: str) -> Semantoks:
    networks = tuple(f"network-{index}" for index, n in enumerate(SIZES) for _ in range(n))
    parcels = tuple(f"parcel-{index}" for index in range(len(networks)))
    torch.manual_seed(0)
    spec = InputSpec("bench", parcels, networks, 2.0, WINDOW, "zscore", "bench")
    return Semantoks(semantoks_config(size, networks), spec)


def training(size: str, batch: int, n_runs: int, steps: int, **more: Any) -> Training:
    """The package's own training over `n_runs` simulated participants, about `steps` long."""
    signals = runs(n_runs)
    settings = Pretrain.parse(
        {"recipe": "bench", "datasets": ["bench"], "size": size, "batch_size": batch, "device": "cpu",
         "precision": "bfloat16", "epochs": max(1, steps * batch // n_runs), **more}
    )  # fmt: skip
    index = torch.arange(n_runs)
    cohort = Cohort(
        frames=signals.flatten(0, 1).half(), starts=index * N_FRAMES, lengths=torch.full((n_runs,), N_FRAMES),
        present=torch.ones(n_runs, sum(SIZES), dtype=torch.bool), firsts=index, counts=torch.ones_like(index),
        labels=[f"run-{run}" for run in range(n_runs)], participants={}, tr_s=2.0, normalisation="zscore",
        fingerprint="",
    )  # fmt: skip
    objective = SelfDistillation(encoder(size), distillation_config(size))
    return Training(settings, objective, Batches(settings, cohort, settings.sampling(objective)), CPU)


class Plain:
    """The plain implementation, from the weights of `objective`, with its own loader and loop."""

    def __init__(self, objective: SelfDistillation, signals: Tensor, batch: int) -> None:
        config, head = objective.student.config, objective.config
        student = plain.Encoder(SIZES, config.width, config.depth, config.heads)
        projection = plain.Head(config.width, head.hidden, head.projection)
        student.load_state_dict(objective.student.state_dict())
        projection.load_state_dict(objective.head.state_dict())
        self.student = (student, projection)
        self.teacher = (copy.deepcopy(student).requires_grad_(False), copy.deepcopy(projection).requires_grad_(False))
        self.parameters = [p for part in self.student for p in part.parameters()]
        self.averages = [p for part in self.teacher for p in part.parameters()]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=1e-4)
        samples = plain.Samples(signals.transpose(1, 2).contiguous().numpy(), WINDOW, len(SIZES))
        self.loader = DataLoader(samples, batch_size=batch, shuffle=True, drop_last=True)
        self.batches: Iterator[Any] = iter(())

    def step(self, masked: bool, low: bool = False) -> None:
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            total = plain.losses(self.student, self.teacher, batch[:2], batch[2:] if masked else None, 0.0)
        self.optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        with torch.no_grad():
            for average, parameter in zip(self.averages, self.parameters, strict=True):
                average.mul_(0.99).add_(parameter, alpha=0.01)


class Turns:
    """Seconds that pieces of work take in turns, on the clock and of the processors: ours, plain, plain in autocast."""

    def __init__(self, **work: Callable[[], object]) -> None:
        self.work = work
        self.wall: dict[str, list[float]] = {name: [] for name in work}
        self.processor: dict[str, list[float]] = {name: [] for name in work}

    def take(self, rounds: int) -> Turns:
        for number in range(rounds + 1):
            for name, work in self.work.items():
                wall, processor = time.perf_counter(), time.process_time()
                work()
                if number > 0:  # the first round warms up
                    self.wall[name].append(time.perf_counter() - wall)
                    self.processor[name].append(time.process_time() - processor)
        return self

    def ratio(self, ours: str, theirs: str, of: str = "wall") -> float:
        """How many times as long `theirs` takes: the median over the rounds."""
        seconds: dict[str, list[float]] = getattr(self, of)
        return statistics.median(b / a for a, b in zip(seconds[ours], seconds[theirs], strict=True))

    def rate(self, name: str, samples: int) -> float:
        return samples / statistics.median(self.wall[name])

    def report(self, what: str, samples: int, target: float) -> str:
        lines = [f"{what}, {THREADS} threads, {len(self.wall['ours'])} rounds in turns, target {target} times plain"]
        for name in self.work:
            wall, processor = self.ratio(name, "plain"), self.ratio(name, "plain", "processor")
            rate = f"{self.rate(name, samples):7.2f} a second"
            lines.append(f"  {name:10s} {rate}, {wall:.2f} times plain (of processor time: {processor:.2f})")
        return "\n".join(lines)


def matrix_rates(rows: int = 46 * BATCH, narrow: int = 768, wide: int = 3072) -> dict[str, float]:
    """The fastest matrix product of the model's shape in float32 and bfloat16 (GFLOP a second): the limit of all."""
    found = {}
    for kind in (torch.float32, torch.bfloat16):
        x, weight = torch.randn(rows, narrow).to(kind), torch.randn(wide, narrow).to(kind)
        turns = Turns(product=lambda x=x, weight=weight: functional.linear(x, weight)).take(20)
        found[str(kind).removeprefix("torch.")] = 2e-9 * rows * narrow * wide / min(turns.wall["product"])
    return found


def say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n{text}")


def test_the_plain_implementation_computes_the_same() -> None:
    job = training("small", 4, 8, 20, precision="float32")
    objective, other = job.objective, Plain(job.objective, runs(8), 4)
    found = job.batches.batch(0)
    views, masks = tuple(found.views), [job.batches.batch(step) for step in range(20)]
    hidden = next(batch.masks for batch in masks if batch.masks is not None)
    for weight in (0.0, 0.5):
        for mask in (None, hidden):
            ours = objective.losses(*views, *(mask or (None, None)), network_weight=weight)["total"]
            theirs = plain.losses(other.student, other.teacher, views, mask, weight)
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0.0)
    for loss in (ours, theirs):
        loss.backward()
    reference = dict(other.student[0].named_parameters())
    for name, parameter in objective.student.named_parameters():
        torch.testing.assert_close(parameter.grad, reference[name].grad, atol=2e-5, rtol=1e-3, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(objective.student.embed(views[0]), other.student[0].embed(views[0]))


def test_training(capsys: pytest.CaptureFixture[str]) -> None:
    with threads(THREADS):
        job = training("base", BATCH, 2 * BATCH, 200)
        kinds = {
            share: Batches(
                job.settings,
                job.batches._cohort,
                job.settings.model_copy(update={"mask_probability": share}).sampling(job.objective),
            )
            for share in (0.0, 1.0)
        }
        other = Plain(job.objective, runs(2 * BATCH), BATCH)
        steps = iter(range(job.batches.total // 5 + 1, job.batches.total))

        def ours() -> None:
            for batches in kinds.values():
                job.batches = batches
                with exact(CPU):
                    job.step(next(steps))

        turns = Turns(
            ours=ours,
            plain=lambda: [other.step(masked) for masked in (False, True)],
            autocast=lambda: [other.step(masked, low=True) for masked in (False, True)],
        ).take(ROUNDS)
        rates = matrix_rates()
    table = job.log.frame().iloc[2:]
    share, rate = table["data_share"].median(), turns.rate("ours", 2 * BATCH)
    say(capsys, turns.report(f"training base, batch {BATCH}, a masked and an unmasked step", 2 * BATCH, TRAINING))
    say(
        capsys,
        f"  data preparation {share:.2%} of a step, target {DATA_SHARE:.0%}; peak {table['memory_mb'].max():.0f} MB",
    )
    # Student forward and backward and teacher forward, two views: what the plain implementation computes.
    work = 8e-9 * forward_flops(job.objective.student)
    say(capsys, f"  {rate * work:.0f} GFLOP/s in our training; matrix products alone, fastest: {rates}")
    assert share < DATA_SHARE


def test_embedding(capsys: pytest.CaptureFixture[str]) -> None:
    with threads(THREADS), torch.inference_mode():
        model = encoder("base").eval()
        other = plain.Encoder(SIZES, 768, 8, 12).eval()
        other.load_state_dict(model.state_dict())
        windows, ready = runs(WINDOWS)[:, :WINDOW].transpose(1, 2), frozen(model)
        everything = torch.ones(WINDOWS, sum(SIZES), dtype=torch.bool), torch.ones(WINDOWS, WINDOW, dtype=torch.bool)
        singles = [window.contiguous() for window in windows]

        def autocast() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return other.embed(torch.stack(singles))

        turns = Turns(
            ours=lambda: ready.embed(windows, *everything),
            plain=lambda: other.embed(torch.stack(singles)),
            autocast=autocast,
        ).take(ROUNDS)
        cosine = functional.cosine_similarity(ready.embed(windows, *everything), model.embed(windows)).min().item()
    say(capsys, turns.report(f"embedding base, {WINDOWS} windows", WINDOWS, EMBEDDING))
    say(capsys, f"  smallest cosine with float32: {cosine:.6f}, target {COSINE}")
    assert cosine > COSINE


def losses(precision: str, seed: int) -> np.ndarray[Any, Any]:
    """The losses of the first steps of a `small` model; every run starts from the same weights."""
    job = training("small", SPREAD_BATCH, 8 * SPREAD_BATCH, 5 * STEPS, precision=precision, seed=seed)
    with exact(CPU):
        for step in range(STEPS):
            job.step(step)
    return job.log.frame()["loss"].to_numpy()


def test_losses_in_bfloat16_lie_within_the_spread_of_float32(capsys: pytest.CaptureFixture[str]) -> None:
    with threads(THREADS):
        exactly = [losses("float32", seed) for seed in range(SEEDS)]
        low = losses("bfloat16", 0)
    spread = np.mean([np.abs(exactly[0] - other).mean() for other in exactly[1:]])
    off = np.abs(low - exactly[0])
    say(
        capsys,
        f"losses of the first {STEPS} steps (small, batch {SPREAD_BATCH}, {low[0]:.3f} to {low[-1]:.3f}): bfloat16 "
        f"differs from float32 by {off.mean():.4f} on average and {off.max():.4f} at most; runs in float32 with other "
        f"seeds differ by {spread:.4f}",
    )
    assert off.mean() < spread
