"""Self-distillation with coding-rate regularisation, as in Brain-Semantoks (arXiv 2512.11582) and SimDINO.

A student sees two crops of a run, a teacher (its exponential moving average) sees the same crops unmasked. Three
losses: CLS across views, hidden tokens within a view, and the time-averaged network tokens across views (the
teacher-guided temporal regulariser). Both views go through each network in one forward.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from boldtable.models.layers import Rows, varying
from boldtable.models.semantoks import Semantoks
from boldtable.objectives.base import Batch, Objective
from boldtable.objectives.coding_rate import coding_rate, global_sum
from boldtable.objectives.heads import ProjectionHead, head_size
from boldtable.objectives.monitors import effective_rank, token_similarity


@dataclass(frozen=True)
class DistillationConfig:
    """Weights and sizes of the objective; a weight of 0 switches its loss off and saves its cost.

    The temporal regulariser's weight changes with the step, so it is an argument of `losses` (see
    `schedules.network_weight`), not a constant here. Where paper, configuration file and code of the authors differ,
    the defaults follow the code: the CLS loss always counts 1 (their `cls_loss_weight` is never read), and in masked
    steps the temporal regulariser reads the masked student's tokens.
    """

    hidden: int = 1024
    projection: int = 128
    cls_weight: float = 1.0
    mask_weight: float = 0.5
    compression_weight: float = 1.0
    coding_eps: float = 0.05


def distillation_config(
    size: str, cls_weight: float = 1.0, mask_weight: float = 0.5, compression_weight: float = 1.0
) -> DistillationConfig:
    """Return the objective for an encoder of this size; an unknown size raises `SettingsError`."""
    hidden, projection = head_size(size)
    return DistillationConfig(hidden, projection, cls_weight, mask_weight, compression_weight)


_COLUMNS = {"cls": "cls_loss", "tokens": "token_loss", "network": "network_loss"}


class SelfDistillation(Objective):
    """Student, teacher and their projection heads. Only the student's parameters require gradients."""

    columns = (
        "cls_loss", "token_loss", "network_loss", "cls_compression", "cls_expansion", "network_compression",
        "network_expansion", "token_similarity", "cls_rank",
    )  # fmt: skip
    scheduled = ("network_weight",)

    def __init__(self, encoder: Semantoks, config: DistillationConfig) -> None:
        super().__init__()
        self.config = config
        self.student = encoder
        self.head = ProjectionHead(encoder.config.width, config.hidden, config.projection)
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(False)

    @property
    def encoder(self) -> Semantoks:
        """The teacher."""
        return self.teacher

    def compilable(self) -> list[nn.Module]:
        """Return student and teacher."""
        return [self.student, self.teacher]

    def student_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what the optimiser trains: the student encoder, then the head."""
        yield from self.student.parameters()
        yield from self.head.parameters()

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher's parameters: momentum x teacher + (1 - momentum) x student. Buffers stay."""
        teacher = [*self.teacher.parameters(), *self.teacher_head.parameters()]
        average = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
        average(teacher, list(self.student_parameters()), 0)

    update = update_teacher

    def forward(self, batch: Batch, monitor: bool = False, network_weight: float = 0.0) -> dict[str, Tensor]:
        """Return the `losses` of a batch of two views under the names of the training log, without those that are off.

        The masks of `batch`, where it has any, are those of the first and of the second view.
        """
        masks = batch.masks or (None, None)
        frames = (None, None) if batch.frame_mask is None else batch.frame_mask
        parts = self.losses(
            batch.views[0], batch.views[1], masks[0], masks[1], parcel_mask=batch.parcel_mask, frame_mask1=frames[0],
            frame_mask2=frames[1], network_weight=network_weight, monitor=monitor,
        )  # fmt: skip
        on = {
            "cls": self.config.cls_weight > 0,
            "tokens": self.config.mask_weight > 0 and batch.masks is not None,
            "network": network_weight > 0,
        }
        return {_COLUMNS.get(name, name): value for name, value in parts.items() if on.get(name, True)}

    def losses(
        self,
        view1: Tensor,
        view2: Tensor,
        mask1: Tensor | None = None,
        mask2: Tensor | None = None,
        *,
        parcel_mask: Tensor | None = None,
        frame_mask1: Tensor | None = None,
        frame_mask2: Tensor | None = None,
        network_weight: float = 0.0,
        monitor: bool = False,
    ) -> dict[str, Tensor]:
        """Return ``total`` (to minimise), its weighted parts and what to watch, all scalars.

        Views are (batch, parcel, frame); `mask1`, `mask2` (batch, network, patch) hide tokens from the student and
        switch the hidden-token loss on (both or none); `parcel_mask` (batch, parcel) and `frame_mask1`, `frame_mask2`
        (batch, frame) are True where a value is present. `network_weight` weighs the temporal regulariser, 0 skips it.

        Parts: ``cls``, ``network`` and ``tokens`` (weighted; 0 where off). Watch: ``cls_compression``,
        ``cls_expansion``, ``network_compression``, ``network_expansion`` and ``token_similarity``, the mean cosine
        between the tokens of a window (towards 1: collapse); with `monitor` also ``cls_rank``, the effective rank of
        the teacher's CLS features over the batch (towards 1: collapse). Over several processes the losses are global.
        Without `monitor` the last block computes only the tokens that the losses read; where these are not all,
        ``token_similarity`` is NaN.
        """
        views = torch.cat([view1, view2])
        hidden = _both(mask1, mask2, "masks")
        frames = _both(frame_mask1, frame_mask2, "frame masks")
        parcels = None if parcel_mask is None else torch.cat([parcel_mask, parcel_mask])
        present = self.student.present(parcels, frames, views.shape[-1])
        plan = self._plan(views, network_weight, hidden, present, monitor)
        with torch.no_grad():
            teacher = self.teacher(views, None, parcels, frames, plan.rows)
        student = self.student(views, hidden, parcels, frames, plan.rows)
        parts = self._parts(student, teacher, plan, network_weight)
        unknown = views.new_full((), math.nan, dtype=torch.float32)
        parts["token_similarity"] = token_similarity(teacher[:, 1:], present) if plan.rows is None else unknown
        if monitor:
            parts["cls_rank"] = effective_rank(teacher[:, 0])
        return parts

    def _plan(
        self, views: Tensor, network_weight: float, hidden: Tensor | None, present: Tensor | None, monitor: bool
    ) -> _Plan:
        """Return what the losses of this step read."""
        counted = None
        if hidden is not None and self.config.mask_weight > 0:
            counted = (hidden if present is None else hidden & present).flatten(1)
        rows = None if monitor or network_weight > 0 else _rows(views, counted)
        return _Plan(self.config.cls_weight > 0, network_weight > 0, counted, rows, present)

    def _parts(self, student: Tensor, teacher: Tensor, plan: _Plan, network_weight: float) -> dict[str, Tensor]:
        """Return total, weighted losses and coding-rate parts for the final tokens of both views."""
        n_networks = len(self.student.config.groups)
        ours = _project(self.head, student, plan, n_networks)
        with torch.no_grad():
            theirs = _project(self.teacher_head, teacher, plan, n_networks)
        zero = student.new_zeros((), dtype=torch.float32)
        parts = {"total": zero, "cls": zero, "network": zero, "tokens": zero}
        if plan.cls:
            self._add_rate(parts, "cls", self.config.cls_weight, ours.cls, theirs.cls, None)
        if plan.networks:
            rows = None if plan.present is None else _network_rows(plan.present, len(student))
            self._add_rate(parts, "network", network_weight, ours.networks, theirs.networks, rows)
        if plan.counted is not None:
            parts["tokens"] = self.config.mask_weight * hidden_token_loss(ours.tokens, theirs.tokens, plan.counted)
        parts["total"] = parts["cls"] + parts["network"] + parts["tokens"]
        return parts

    def _add_rate(
        self, parts: dict[str, Tensor], name: str, weight: float, ours: Tensor, theirs: Tensor, rows: Tensor | None
    ) -> None:
        rate = coding_rate(ours, theirs, rows, self.config.coding_eps, self.config.compression_weight)
        parts[name] = weight * rate.loss
        parts[f"{name}_compression"], parts[f"{name}_expansion"] = rate.compression.detach(), rate.expansion.detach()


class _Plan(NamedTuple):
    """What the losses of a step read.

    Whether CLS and network tokens count, which hidden tokens do (2·batch, token), which tokens the last block computes
    for that (None: all), and which have data.
    """

    cls: bool
    networks: bool
    counted: Tensor | None
    rows: Rows
    present: Tensor | None


def _rows(views: Tensor, counted: Tensor | None) -> Rows:
    """Return the tokens that CLS and hidden-token loss read: every window's CLS, then the `counted`, window by window.

    All where that number must not vary.
    """
    if counted is None:
        return 1
    if not varying(views):
        return None
    width = counted.shape[1] + 1
    first = torch.arange(len(counted), device=views.device) * width
    return torch.cat([first, functional.pad(counted, (1, 0)).flatten().nonzero().squeeze(1)])


class _Projected(NamedTuple):
    """Unit vectors of both views: CLS (2, batch, p), networks (2, batch·network, p), tokens for `hidden_token_loss`."""

    cls: Tensor
    networks: Tensor
    tokens: Tensor


def _project(head: ProjectionHead, tokens: Tensor, plan: _Plan, n_networks: int) -> _Projected:
    """Send what the losses need through the head in one call; kinds that are off come back with no rows."""
    if plan.rows is None:
        grid = tokens[:, 1:].view(len(tokens), n_networks, -1, tokens.shape[-1])
        networks = grid.mean(dim=2) if plan.present is None else _mean_present(grid, plan.present)
        found = (tokens[:, 0], networks.flatten(0, 1), tokens[:, 1:].flatten(0, 1))
    else:
        flat = tokens.reshape(-1, tokens.shape[-1])
        windows = len(flat) if plan.counted is None else len(plan.counted)
        found = (flat[:windows], flat[:0], flat[windows:])
    on = (plan.cls, plan.networks, plan.counted is not None)
    rows = [part if wanted else part[:0] for part, wanted in zip(found, on, strict=True)]
    cls, means, rest = torch.split(head(torch.cat(rows)), [len(part) for part in rows])
    if plan.rows is None and plan.counted is not None:
        rest = rest.view(*plan.counted.shape, -1)
    return _Projected(_per_view(cls), _per_view(means), rest)


def _per_view(rows: Tensor) -> Tensor:
    """(2·row, p) → (2, row, p)."""
    return rows.view(2, len(rows) // 2, rows.shape[-1])


def _mean_present(grid: Tensor, present: Tensor) -> Tensor:
    """Return the mean over the patches that are present, (batch, network, width); 0 where there is none."""
    weight = present.to(grid.dtype)[..., None]
    return (grid * weight).sum(dim=2) / weight.sum(dim=2).clamp(min=1)


def _network_rows(present: Tensor, batch: int) -> Tensor:
    """Return which rows (batch/2·network,) have data in both views."""
    return present.expand(batch, -1, -1).any(dim=2).view(2, -1).all(dim=0)


def _both(first: Tensor | None, second: Tensor | None, what: str) -> Tensor | None:
    if first is None and second is None:
        return None
    if first is None or second is None:
        raise ValueError(f"give {what} for both views or for none")
    return torch.cat([first, second])


def hidden_token_loss(student: Tensor, teacher: Tensor, hidden: Tensor) -> Tensor:
    """Return minus the mean cosine over hidden tokens: first within a window, then over windows that hide any.

    `student` and `teacher` are of unit length, (window, token, p), or of the hidden tokens alone, (row, p), window by
    window; `hidden` (window, token) is True where a token counts.
    """
    cosine = (student * teacher).sum(dim=-1)
    if cosine.dim() == 1:
        cosine = cosine.new_zeros(hidden.shape).masked_scatter(hidden, cosine)
    weight = hidden.to(cosine.dtype)
    counts = weight.sum(dim=1)
    means = (cosine * weight).sum(dim=1) / counts.clamp(min=1)
    return -global_sum(means.sum()) / global_sum((counts > 0).sum().to(means.dtype)).clamp(min=1)
