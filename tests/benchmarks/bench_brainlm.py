"""BrainLM at its published input (424 parcels x 200 frames): speed, memory and arithmetic. Run by `make bench`.

Every measurement is a process of its own, so that the peak memory is that of one thing alone. On a GPU where there is
one, else on the CPU; what is printed says which.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from boldtable.models.base import InputSpec
from boldtable.models.brainlm import BrainLM, brainlm_config
from boldtable.models.brainlm_vit import BrainLMImages, ImageConfig
from boldtable.objectives.base import Batch
from boldtable.objectives.masked_autoencoding import MaskedAutoencoding, MaskedModel, Masking
from boldtable.stages.pretrain.log import memory_mb

pytestmark = pytest.mark.bench

N_PARCELS, N_FRAMES, ROUNDS = 424, 200, 3
# Forward GFLOPs of a window as counted on the authors' code (13M: 219.7, and 1.1 for the zeros of `along_tokens`).
EXPECTED = {"13M": 220.8, "111M": 144.5}
VIT_B = ImageConfig(N_PARCELS, 432, 16, 768, 12, 12, 3072, 512, 8, 16, 2048)


def build(name: str) -> MaskedModel:
    parcels = tuple(f"p{index}" for index in range(N_PARCELS))
    spec = InputSpec("a424", parcels, ("net",) * N_PARCELS, 0.735, N_FRAMES, "population", "brainlm")
    torch.manual_seed(0)
    places = torch.rand(N_PARCELS, 3) * 140 - 70
    if name == "13M":
        return BrainLM(brainlm_config("base", N_PARCELS), spec, places)
    return BrainLMImages(VIT_B, spec, places)


def forward_gflops(name: str) -> float:
    with torch.device("meta"):
        model, x = build(name), torch.empty(1, N_PARCELS, N_FRAMES)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.encode(model.tokenize(x))
    return float(counter.get_total_flops()) / 1e9


def measure(name: str, what: str, batch: int) -> dict[str, float]:
    """Samples a second (median of a few rounds after a first one) and peak memory of training or embedding."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build(name).to(device)
    x = torch.randn(batch, N_PARCELS, N_FRAMES, generator=torch.Generator().manual_seed(1)).to(device)
    low = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    step = _training(model, x) if what == "training" else lambda: model.embed(x)
    times = []
    for _ in range(ROUNDS + 1):
        begin = time.perf_counter()
        with low, torch.set_grad_enabled(what == "training"):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return {"samples_per_s": batch / statistics.median(times[1:]), "peak_mb": memory_mb(device)}


def _training(model: MaskedModel, x: Tensor) -> Any:
    dropout = 0.1 if isinstance(model, BrainLM) else 0.0
    objective = MaskedAutoencoding(model.train(), Masking(0.75, "shuffled"), "mse", dropout)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-4, fused=True)
    draws = objective.draws(len(x), torch.Generator(x.device).manual_seed(2))

    def step() -> None:
        optimiser.zero_grad()
        objective(Batch(x[None], None, None, draws))["total"].backward()
        optimiser.step()

    return step


@pytest.mark.parametrize("name", EXPECTED)
def test_brainlm(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = torch.cuda.is_available()
    found: dict[str, Any] = {"gflops": round(forward_gflops(name), 1)}
    for what in ("training", "embedding"):
        call = f"bench_brainlm.measure({name!r}, {what!r}, {32 if gpu else 2})"
        code = f"import bench_brainlm, json; print(json.dumps({call}))"
        paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        found[what] = json.loads(done.stdout)
    with capsys.disabled():
        device = torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads"
        print(f"\nBrainLM-{name} on {device}: {found['gflops']} GFLOPs forward")
        for what in ("training", "embedding"):
            print(f"  {what}: {found[what]['samples_per_s']:.2f} samples/s, peak {found[what]['peak_mb']:.0f} MB")
    assert found["gflops"] == pytest.approx(EXPECTED[name], abs=0.1)
    assert found["embedding"]["samples_per_s"] > found["training"]["samples_per_s"] / 2
