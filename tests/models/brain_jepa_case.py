"""The stored Brain-JEPA numbers in models that carry the stored weights, and small models for other tests."""

from __future__ import annotations

import torch
from published_case import Stored
from torch import Tensor

from boldtable.models.base import InputSpec
from boldtable.models.brain_jepa import BrainJepa, BrainJepaConfig
from boldtable.models.published_jepa import encoder_weights, predictor_weights
from boldtable.objectives.joint_embedding import JointEmbedding, JointEmbeddingConfig, Loss

NAME = "brain_jepa_tiny.npz"
CONFIG = BrainJepaConfig(450, width=64, depth=2, heads=2)
SMALL = BrainJepaConfig(6, window_frames=16, patch_frames=4, n_components=3, width=16, depth=2, heads=2)


def spec_of(config: BrainJepaConfig) -> InputSpec:
    parcels = tuple(f"parcel-{index + 1}" for index in range(config.n_parcels))
    return InputSpec("test", parcels, parcels, 2.0, config.window_frames, "zscore", "test")


def stored_objective(stored: Stored, loss: Loss = "smooth-l1") -> JointEmbedding:
    encoder = BrainJepa(CONFIG, spec_of(CONFIG), stored["input/gradient"])
    objective = JointEmbedding(encoder, JointEmbeddingConfig(32, 2, loss))
    state = stored.below("state/")
    for name, part in (("encoder", objective.student), ("target_encoder", objective.teacher)):
        part.load_state_dict(encoder_weights(stored.below(f"state/{name}."), CONFIG, "test"), strict=False)
    objective.predictor.load_state_dict(predictor_weights(stored.below("state/predictor."), CONFIG, 32, 2, "test"))
    assert {name.split(".")[0] for name in state} == {"encoder", "target_encoder", "predictor"}
    return objective


def small_encoder(seed: int = 0, config: BrainJepaConfig = SMALL) -> BrainJepa:
    torch.manual_seed(seed)
    return BrainJepa(config, spec_of(config), torch.randn(config.n_parcels, config.n_components)).eval()


def window(batch: int = 2, config: BrainJepaConfig = SMALL) -> Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randn(batch, config.n_parcels, config.window_frames, generator=g)
