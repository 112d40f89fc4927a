"""Joint-embedding prediction in latent space, as in Brain-JEPA (arXiv 2409.19407) and I-JEPA (arXiv 2301.08243).

A student encoder sees the context tokens of a window; from them a predictor says, for the places of the target tokens,
what a teacher (the student's exponential moving average) makes of the whole window. Context and targets come from
`spatiotemporal_masks`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from boldtable.errors import SettingsError, nearest
from boldtable.models.brain_jepa import SIZES, BrainJepa, Predictor, attended, initialise, tokens_at
from boldtable.objectives.coding_rate import global_sum
from boldtable.objectives.monitors import effective_rank, token_similarity

Loss = Literal["smooth-l1", "mse"]


@dataclass(frozen=True)
class JointEmbeddingConfig:
    """Width and depth of the predictor, and the loss between prediction and target.

    Smooth L1 (beta 1) is what the authors' code minimises, ``mse`` is what their paper says. `rescale` starts the
    residual branches smaller the deeper they are, as the code means to and does not (see `initialise`).
    `spare_memory` computes activations twice instead of keeping them.
    """

    width: int = 384
    depth: int = 6
    loss: Loss = "smooth-l1"
    rescale: bool = True
    spare_memory: bool = False


def joint_embedding_config(
    size: str, loss: Loss = "smooth-l1", rescale: bool = True, spare_memory: bool = False
) -> JointEmbeddingConfig:
    """Return the objective for an encoder of this size; an unknown size raises `SettingsError`."""
    if size not in SIZES:
        raise SettingsError(f"brain-jepa: unknown size '{size}'{nearest(size, SIZES)}")
    width, depth = SIZES[size][3:]
    return JointEmbeddingConfig(width, depth, loss, rescale, spare_memory)


class JointEmbedding(nn.Module):
    """Student, predictor and teacher. Only the parameters of student and predictor require gradients."""

    def __init__(self, encoder: BrainJepa, config: JointEmbeddingConfig) -> None:
        super().__init__()
        self.config = config
        self.student = encoder
        self.predictor = Predictor(encoder.config, config.width, config.depth)
        for part in (self.student, self.predictor):
            initialise(part, config.rescale)
            part.spare_memory = config.spare_memory
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)

    def student_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what the optimiser trains: the student encoder, then the predictor."""
        yield from self.student.parameters()
        yield from self.predictor.parameters()

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher: momentum x teacher + (1 - momentum) x student."""
        average = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
        average(list(self.teacher.parameters()), list(self.student.parameters()), 0)

    def losses(
        self,
        x: Tensor,
        context: Tensor,
        targets: Tensor,
        parcel_mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
        monitor: bool = False,
    ) -> dict[str, Tensor]:
        """Return ``total`` (to minimise) and what to watch, all scalars.

        `x` is (batch, parcel, frame); `context` (batch, kept) and `targets` (batch, target) are places of tokens;
        `parcel_mask` (batch, parcel) and `frame_mask` (batch, frame) are True where a value is present: tokens without
        data are neither attended to nor predicted. Watch: ``token_similarity``, the mean cosine between a window's
        target tokens (towards 1: collapse), and with `monitor` ``feature_rank``, the effective rank over the batch of
        the teacher's features (towards 1: collapse). Over several processes the loss is global.
        """
        present = self.student.present(parcel_mask, frame_mask, x.shape[-1])
        counted = None if present is None else present.expand(len(x), -1).gather(1, targets)
        with torch.no_grad():
            tokens = self.teacher(x, None, parcel_mask, frame_mask)
            wanted = tokens_at(tokens, targets)
        predicted = self.predict(x, context, targets, parcel_mask, frame_mask)
        goal = functional.layer_norm(wanted.float(), wanted.shape[-1:])
        found = {"total": latent_loss(predicted, goal, self.config.loss, counted)}
        found["token_similarity"] = token_similarity(wanted, counted)
        if monitor:
            found["feature_rank"] = effective_rank(self.teacher.pool(tokens, present))
        return found

    def predict(
        self,
        x: Tensor,
        context: Tensor,
        targets: Tensor,
        parcel_mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
    ) -> Tensor:
        """Return what is predicted at the `targets` from the `context`, (batch, target, width)."""
        present, keys = self.student.present(parcel_mask, frame_mask, x.shape[-1]), None
        if present is not None:
            keys = attended(present.expand(len(x), -1).gather(1, torch.cat([targets, context], dim=1)), len(x))
        n_patches = -(-x.shape[-1] // self.student.config.patch_frames)
        positions = self.predictor.positions(self.student.gradients, n_patches).flatten(0, 1)
        seen = self.student(x, context, parcel_mask, frame_mask)
        return self.predictor(seen, context, targets, positions, keys)  # type: ignore[no-any-return]


def latent_loss(predicted: Tensor, goal: Tensor, kind: Loss, counted: Tensor | None = None) -> Tensor:
    """Return the loss of predictions (batch, token, width), averaged over the tokens that are `counted` (all if None).

    In float32; over the tokens of all processes.
    """
    measure = functional.smooth_l1_loss if kind == "smooth-l1" else functional.mse_loss
    each = measure(predicted.float(), goal.float(), reduction="none").mean(dim=-1)
    weight = torch.ones_like(each) if counted is None else counted.to(each.dtype)
    return global_sum((each * weight).sum()) / global_sum(weight.sum()).clamp(min=1)
