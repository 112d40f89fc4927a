"""BrainLM at its published input (424 parcels by 200 frames): speed, memory and arithmetic. Run by `make bench`.

Every row runs in a process of its own, so that its peak memory is its own, on one thread: a training step of the
objective (three quarters hidden) and an embedding. The 111 M class is a published model that no settings train.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch

from boldtable.models.base import InputSpec
from boldtable.models.brainlm import BrainLM, brainlm_config
from boldtable.models.brainlm_vit import BrainLMImages, ImageConfig
from boldtable.models.flops import forward_flops
from boldtable.objectives.base import Batch
from boldtable.objectives.masked_autoencoding import MaskedAutoencoding, MaskedModel, Masking
from boldtable.stages.pretrain.log import memory_mb

pytestmark = pytest.mark.bench

N_PARCELS, N_FRAMES, BATCH, ROUNDS = 424, 200, 2, 3
# Forward GFLOP of a window, as on the authors' code but for the 1.1 of the zeros of `along_tokens` (13M: 219.7).
EXPECTED = {"13M": 220.8, "111M": 144.5}
VIT_B = ImageConfig(N_PARCELS, 432, 16, 768, 12, 12, 3072, 512, 8, 16, 2048)


class Figures(NamedTuple):
    """Samples per second on the clock, and of processor time (what others on the machine take left out); MB."""

    rate: float
    processor: float
    peak_mb: float


def build(name: str) -> MaskedModel:
    parcels = tuple(f"p{index}" for index in range(N_PARCELS))
    spec = InputSpec("a424", parcels, ("net",) * N_PARCELS, 0.735, N_FRAMES, "population", "brainlm")
    torch.manual_seed(0)
    places = torch.rand(N_PARCELS, 3) * 140 - 70
    if name == "13M":
        return BrainLM(brainlm_config("base", N_PARCELS), spec, places)
    return BrainLMImages(VIT_B, spec, places)


def work(name: str, what: str) -> Callable[[], object]:
    model, x = build(name), torch.randn(BATCH, N_PARCELS, N_FRAMES, generator=torch.Generator().manual_seed(1))
    if what == "embedding":
        return torch.inference_mode()(lambda: model.eval().embed(x))
    dropout = 0.1 if isinstance(model, BrainLM) else 0.0
    objective = MaskedAutoencoding(model, Masking(0.75, "shuffled"), "mse", dropout)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-4, fused=True)
    draws = objective.draws(BATCH, torch.Generator().manual_seed(2))

    def step() -> None:
        optimiser.zero_grad()
        objective(Batch(x[None], None, None, draws))["total"].backward()
        optimiser.step()

    return step


def figures(name: str, what: str, precision: str) -> Figures:
    """The best of a few rounds; called in a process of its own."""
    torch.set_num_threads(1)
    step, wall, processor = work(name, what), list[float](), list[float]()
    for _ in range(ROUNDS):
        began, used = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            step()
        wall.append(time.perf_counter() - began)
        processor.append(time.process_time() - used)
    return Figures(BATCH / min(wall), BATCH / min(processor), memory_mb(torch.device("cpu")))


@pytest.mark.parametrize("name", EXPECTED)
def test_brainlm(capsys: pytest.CaptureFixture[str], name: str) -> None:
    gflop = forward_flops(build(name)) / 1e9
    with capsys.disabled():
        print(f"\nBrainLM {name}, 424 parcels by 200 frames: {gflop:.1f} GFLOP a forward; one thread", flush=True)
        for what in ("training", "embedding"):
            for precision in ("float32", "bfloat16"):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    one = pool.apply(figures, (name, what, precision))
                rates = f"{one.rate:.4f} samples/s ({one.processor:.4f} of processor time)"
                print(f"  {what}, batch {BATCH}, {precision}: {rates}, peak {one.peak_mb:.0f} MB", flush=True)
    assert gflop == pytest.approx(EXPECTED[name], abs=0.1)
