"""The stored numbers of BrainLM's 13 M class, and the model that carries the stored weights."""

from __future__ import annotations

import torch
from published_case import Stored
from torch import Tensor

from boldtable.models.base import InputSpec
from boldtable.models.brainlm import BrainLM, BrainLMConfig
from boldtable.models.brainlm_published import from_published

PARITY = BrainLMConfig(424, 200, 20, 64, 2, 2, 128, 1, 2, 128)


def make_spec(n_parcels: int, n_frames: int = 200) -> InputSpec:
    parcels = tuple(f"p{index}" for index in range(n_parcels))
    return InputSpec("a424", parcels, ("Cortex",) * n_parcels, 0.735, n_frames, "population", "brainlm")


def stored_model(stored: Stored) -> BrainLM:
    model = BrainLM(PARITY, make_spec(424), stored["input/xyz"][0])
    ours = from_published(stored.below("state/"), PARITY)
    model.load_state_dict({**ours, "coordinates": model.coordinates})
    return model.eval()


def little_model(seed: int = 0, **changes: object) -> BrainLM:
    """7 parcels, 4 patches of 5 frames, 24 wide."""
    torch.manual_seed(seed)
    little = {"window_frames": 20, "patch_frames": 5, "width": 24, "depth": 2, "heads": 2, "hidden": 48}
    decoder = {"decoder_depth": 1, "decoder_heads": 2, "decoder_hidden": 48}
    config = BrainLMConfig(7, **{**little, **decoder, **changes})
    return BrainLM(config, make_spec(7, 20), torch.randn(7, 3) * 3).eval()


def in_order(batch: int, n_tokens: int) -> Tensor:
    """The noise that keeps the tokens in the order of the atlas."""
    return torch.arange(n_tokens, dtype=torch.float32).expand(batch, n_tokens)
