"""Joint-embedding prediction in latent space, as in Brain-JEPA (arXiv 2409.19407) and I-JEPA (arXiv 2301.08243).

A student encoder sees the context tokens of a window; from them a predictor says, for the places of the target tokens,
what a teacher (the student's exponential moving average) makes of the whole window. Context and targets come from
`spatiotemporal_masks`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from boldtable.errors import SettingsError, nearest
from boldtable.models.brain_jepa import SIZES, BrainJepa, Predictor
from boldtable.models.brain_jepa_layers import attended, initialise, tokens_at
from boldtable.objectives.base import Batch, Objective
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


class JointEmbedding(Objective):
    """Student, predictor and teacher. Only the parameters of student and predictor require gradients."""

    columns = ("latent_loss", "token_similarity", "feature_rank")
    separable = True

    def __init__(self, encoder: BrainJepa, config: JointEmbeddingConfig) -> None:
        super().__init__()
        self.config = config
        self.student = encoder
        self.predictor = Predictor(encoder.config, config.width, config.depth)
        for part in (self.student, self.predictor):
            initialise(part, config.rescale)
            part.spare_memory = config.spare_memory
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)

    @property
    def encoder(self) -> BrainJepa:
        """The teacher."""
        return self.teacher

    def compilable(self) -> Sequence[nn.Module]:
        """Return student, teacher and predictor."""
        return (self.student, self.teacher, self.predictor)

    def student_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what the optimiser trains: the student encoder, then the predictor."""
        yield from self.student.parameters()
        yield from self.predictor.parameters()

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher: momentum x teacher + (1 - momentum) x student."""
        average = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
        average(list(self.teacher.parameters()), list(self.student.parameters()), 0)

    update = update_teacher

    def forward(self, batch: Batch, monitor: bool = False) -> dict[str, Tensor]:
        """Return the `losses` of a batch of one view, whose masks are context and targets."""
        assert batch.masks is not None
        frames = None if batch.frame_mask is None else batch.frame_mask[0]
        context, targets = batch.masks
        return self.losses(batch.views[0], context, targets, batch.parcel_mask, frames, monitor)

    def losses(
        self,
        x: Tensor,
        context: Tensor,
        targets: Tensor,
        parcel_mask: Tensor | None = None,
        frame_mask: Tensor | None = None,
        monitor: bool = False,
    ) -> dict[str, Tensor]:
        """Return ``total`` (to minimise), which is ``latent_loss``, and what to watch, all scalars.

        `x` is (batch, parcel, frame); `context` (batch, kept) and `targets` (batch, target) are places of tokens, -1
        for none; `parcel_mask` (batch, parcel) and `frame_mask` (batch, frame) are True where a value is present:
        tokens without data are neither attended to nor predicted. Watch: ``token_similarity``, the mean cosine between
        a window's target tokens (towards 1: collapse), and with `monitor` ``feature_rank``, the effective rank over the
        batch of the teacher's features (towards 1: collapse). Over several processes the loss is global.
        """
        present = self.student.present(parcel_mask, frame_mask, x.shape[-1])
        seen, sought = listed(context, present), listed(targets, present)
        with torch.no_grad():
            tokens = self.teacher.encode(self.teacher.patches(x, parcel_mask, frame_mask), None, present)
            wanted = tokens_at(tokens, sought.places)
        predicted = self.predict(self.student.patches(x, parcel_mask, frame_mask), seen, sought)
        goal = functional.layer_norm(wanted.float(), wanted.shape[-1:])
        total = latent_loss(predicted, goal, self.config.loss, sought.present)
        found = {"total": total, "latent_loss": total}
        found["token_similarity"] = token_similarity(wanted, sought.present)
        if monitor:
            found["feature_rank"] = effective_rank(self.teacher.pool(tokens, present))
        return found

    def predict(self, patches: Tensor, context: Listed, targets: Listed) -> Tensor:
        """Return what is predicted at the `targets` from the `context`, (batch, target, width).

        `patches` are those of the windows, (batch, token, frame of a patch).
        """
        n_patches = patches.shape[1] // self.student.config.n_parcels
        positions = self.predictor.positions(self.student.gradients, n_patches).flatten(0, 1)
        keys = None
        if context.present is not None or targets.present is not None:
            keys = attended(torch.cat([targets.known(), context.known()], dim=1), len(patches))
        seen = self.student.encode(patches, context.places, context.present)
        return self.predictor(seen, context.places, targets.places, positions, keys)  # type: ignore[no-any-return]


class Listed(NamedTuple):
    """Places of tokens (batch, place), and which of them stand for a token with data; None: all."""

    places: Tensor
    present: Tensor | None

    def known(self) -> Tensor:
        """Return which places stand for a token with data."""
        return torch.ones_like(self.places, dtype=torch.bool) if self.present is None else self.present


def listed(places: Tensor, present: Tensor | None) -> Listed:
    """Return a list of `places` (batch, place), -1 for none, without what is -1 in all of its rows.

    `present` (batch or 1, token) says which tokens have data, None: all.
    """
    there = places >= 0
    longest = int(there.sum(dim=1).max())
    places, there = places[:, :longest].clamp(min=0), there[:, :longest]
    if present is not None:
        there = there & present.expand(len(places), -1).gather(1, places)
    elif bool(there.all()):
        return Listed(places, None)
    return Listed(places, there)


def latent_loss(predicted: Tensor, goal: Tensor, kind: Loss, counted: Tensor | None = None) -> Tensor:
    """Return the loss of predictions (batch, token, width): the mean over a window's tokens, then over all windows.

    `counted` (batch, token) says which tokens count, None: all. In float32; over the windows of all processes.
    """
    measure = functional.smooth_l1_loss if kind == "smooth-l1" else functional.mse_loss
    each = measure(predicted.float(), goal.float(), reduction="none").mean(dim=-1)
    weight = torch.ones_like(each) if counted is None else counted.to(each.dtype)
    means = (each * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    return global_sum(means.sum()) / global_sum(means.new_tensor(float(len(means))))
