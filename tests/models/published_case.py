"""The stored parity numbers, and models that carry the stored weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from boldtable.models.base import InputSpec
from boldtable.models.published import from_published
from boldtable.models.semantoks import Semantoks, SemantoksConfig
from boldtable.objectives.distillation import DistillationConfig, SelfDistillation

DATA = Path(__file__).parent / "data"


class Stored:
    """One file of stored numbers, as tensors."""

    def __init__(self, name: str) -> None:
        with np.load(DATA / name) as file:
            self.arrays = {key: file[key] for key in file.files}

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    def below(self, prefix: str) -> dict[str, Tensor]:
        return {key.removeprefix(prefix): self[key] for key in self.arrays if key.startswith(prefix)}


def make_spec(networks: tuple[str, ...], n_frames: int = 100) -> InputSpec:
    parcels = tuple(f"parcel-{index + 1}" for index in range(len(networks)))
    return InputSpec("test", parcels, networks, 2.0, n_frames, "zscore", "semantoks")


def tiny_config(stored: Stored) -> SemantoksConfig:
    networks = tuple(f"network-{index}" for index in stored.arrays["input/network_ids"])
    return SemantoksConfig(networks, width=64, depth=2, heads=2)


def stored_encoder(stored: Stored, prefix: str = "") -> Semantoks:
    config = tiny_config(stored)
    encoder = Semantoks(config, make_spec(config.networks))
    encoder.load_state_dict(from_published(stored.below("state/"), config, prefix))
    return encoder


def stored_objective(stored: Stored, mask_weight: float = 0.5) -> SelfDistillation:
    objective = SelfDistillation(
        stored_encoder(stored, "student_encoder."), DistillationConfig(96, 32, mask_weight=mask_weight)
    )
    objective.teacher.load_state_dict(from_published(stored.below("state/"), tiny_config(stored), "teacher_encoder."))
    for head, prefix in ((objective.head, "student"), (objective.teacher_head, "teacher")):
        head.load_state_dict(stored.below(f"state/{prefix}_predictor."))
    return objective
