"""Self-distillation with coding-rate regularisation, as in Brain-Semantoks (arXiv 2512.11582) and SimDINO.

A student sees two crops of a run, a teacher (its exponential moving average) sees the same crops unmasked. Three
losses: CLS across views, hidden tokens within a view, and the time-averaged network tokens across views (the
teacher-guided temporal regulariser). Both views go through each network in one forward.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from boldtable.errors import SettingsError, nearest
from boldtable.models.semantoks import Semantoks


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


# Hidden and output width of the projection head for each size of the encoder; base is published.
_HEADS: dict[str, tuple[int, int]] = {"tiny": (128, 64), "small": (512, 128), "base": (1024, 128)}


def distillation_config(
    size: str, cls_weight: float = 1.0, mask_weight: float = 0.5, compression_weight: float = 1.0
) -> DistillationConfig:
    """Return the objective for an encoder of this size; an unknown size raises `SettingsError`."""
    if size not in _HEADS:
        raise SettingsError(f"self-distillation: unknown size '{size}'{nearest(size, _HEADS)}")
    hidden, projection = _HEADS[size]
    return DistillationConfig(hidden, projection, cls_weight, mask_weight, compression_weight)


class ProjectionHead(nn.Module):
    """Linear, GELU, Linear, then unit length; one head serves CLS, network and hidden tokens alike."""

    def __init__(self, width: int, hidden: int, projection: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, projection))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return projections of unit length; float32 also under autocast."""
        y: Tensor = self.mlp(x)
        return functional.normalize(y.float() if y.dtype in (torch.bfloat16, torch.float16) else y, dim=-1)


class CodingRate(NamedTuple):
    """The coding-rate loss and its two parts: ``loss = -weight * compression - expansion``."""

    loss: Tensor
    compression: Tensor
    expansion: Tensor


def coding_rate(
    student: Tensor,
    teacher: Tensor,
    present: Tensor | None = None,
    eps: float = 0.05,
    compression_weight: float = 1.0,
) -> CodingRate:
    """Return the coding-rate loss of two views, over the rows of all processes (Wu et al. 2025, SimDINO).

    `student` and `teacher` are (view = 2, row, dimension) of unit length; `present` (row,) leaves rows out.
    Compression is the mean cosine of the teacher's row in one view and the student's in the other; expansion is the
    coding rate of their mean, half the log-determinant of I + p / (m eps) Z'Z, times (p + m) / (p m). In float32.
    """
    views, rows, dims = student.shape
    with torch.autocast(student.device.type, enabled=False):
        keep = student.new_ones(rows) if present is None else present.to(student.dtype)
        count = global_sum(keep.sum()).clamp(min=1)
        cross = (teacher.flip(0) * student).sum(dim=-1)
        compression = global_sum((cross * keep).sum()) / (views * count)
        mean = (student + teacher) / 2 * keep[:, None]
        gram = global_sum(mean.transpose(1, 2) @ mean)
        identity = torch.eye(dims, dtype=gram.dtype, device=gram.device)
        factor = torch.linalg.cholesky_ex(identity + gram * (dims / (count * eps))).L
        half_logdet = factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        expansion = half_logdet.mean() * (dims + count) / (dims * count)
    return CodingRate(-compression_weight * compression - expansion, compression, expansion)


def global_sum(x: Tensor) -> Tensor:
    """Return the sum of `x` over all processes; its gradient is scaled so that *averaged* gradients are exact.

    Each process keeps only its own rows in the graph. Data-parallel training averages gradients over the processes;
    the factor `world` undoes that average, so N processes with batch B/N equal one process with batch B.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return x
    world = distributed.get_world_size()
    total = x.detach().clone()
    distributed.all_reduce(total)
    return total + world * (x - x.detach())


class SelfDistillation(nn.Module):
    """Student, teacher and their projection heads. Only the student's parameters require gradients."""

    def __init__(self, encoder: Semantoks, config: DistillationConfig) -> None:
        super().__init__()
        self.config = config
        self.student = encoder
        self.head = ProjectionHead(encoder.config.width, config.hidden, config.projection)
        self.teacher = copy.deepcopy(encoder).requires_grad_(False)
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(False)

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
        """
        views = torch.cat([view1, view2])
        hidden = _both(mask1, mask2, "masks")
        frames = _both(frame_mask1, frame_mask2, "frame masks")
        parcels = None if parcel_mask is None else torch.cat([parcel_mask, parcel_mask])
        present = self.student.present(parcels, frames, views.shape[-1])
        with torch.no_grad():
            teacher = self.teacher(views, None, parcels, frames)
        student = self.student(views, hidden, parcels, frames)
        parts = self._parts(student, teacher, hidden, present, network_weight)
        parts["token_similarity"] = token_similarity(teacher[:, 1:], present)
        if monitor:
            parts["cls_rank"] = effective_rank(teacher[:, 0])
        return parts

    forward = losses

    def _parts(
        self, student: Tensor, teacher: Tensor, hidden: Tensor | None, present: Tensor | None, network_weight: float
    ) -> dict[str, Tensor]:
        """Return total, weighted losses and coding-rate parts for the final tokens of both views."""
        shape = (len(self.student.config.groups), -1)
        kinds = (self.config.cls_weight > 0, network_weight > 0, hidden is not None and self.config.mask_weight > 0)
        ours = _project(self.head, student, shape, present, kinds)
        with torch.no_grad():
            theirs = _project(self.teacher_head, teacher, shape, present, kinds)
        zero = student.new_zeros((), dtype=torch.float32)
        parts = {"total": zero, "cls": zero, "network": zero, "tokens": zero}
        if kinds[0]:
            self._add_rate(parts, "cls", self.config.cls_weight, ours.cls, theirs.cls, None)
        if kinds[1]:
            rows = None if present is None else _network_rows(present, len(student))
            self._add_rate(parts, "network", network_weight, ours.networks, theirs.networks, rows)
        if kinds[2]:
            assert hidden is not None
            shown = hidden if present is None else hidden & present
            parts["tokens"] = self.config.mask_weight * hidden_token_loss(ours.tokens, theirs.tokens, shown.flatten(1))
        parts["total"] = parts["cls"] + parts["network"] + parts["tokens"]
        return parts

    def _add_rate(
        self, parts: dict[str, Tensor], name: str, weight: float, ours: Tensor, theirs: Tensor, rows: Tensor | None
    ) -> None:
        rate = coding_rate(ours, theirs, rows, self.config.coding_eps, self.config.compression_weight)
        parts[name] = weight * rate.loss
        parts[f"{name}_compression"], parts[f"{name}_expansion"] = rate.compression.detach(), rate.expansion.detach()


class _Projected(NamedTuple):
    """Unit vectors of both views: CLS (2, batch, p), networks (2, batch·network, p), tokens (2·batch, token, p)."""

    cls: Tensor
    networks: Tensor
    tokens: Tensor


def _project(
    head: ProjectionHead,
    tokens: Tensor,
    shape: tuple[int, int],
    present: Tensor | None,
    kinds: tuple[bool, bool, bool],
) -> _Projected:
    """Send what the losses need through the head in one call; kinds that are off come back with no rows."""
    cls, rest = tokens[:, :1], tokens[:, 1:]
    grid = rest.view(len(rest), *shape, rest.shape[-1])
    networks = grid.mean(dim=2) if present is None else _mean_present(grid, present)
    rows = [part if on else part[:, :0] for part, on in zip((cls, networks, rest), kinds, strict=True)]
    first, second, third = torch.split(head(torch.cat(rows, dim=1)), [part.shape[1] for part in rows], dim=1)
    return _Projected(_per_view(first), _per_view(second), third)


def _per_view(rows: Tensor) -> Tensor:
    """(2·batch, row, p) → (2, batch·row, p)."""
    return rows.reshape(2, -1, rows.shape[-1])


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

    `student` and `teacher` are (window, token, p) of unit length, `hidden` (window, token) is True where counted.
    """
    weight = hidden.to(student.dtype)
    counts = weight.sum(dim=1)
    cosine = ((student * teacher).sum(dim=-1) * weight).sum(dim=1) / counts.clamp(min=1)
    return -global_sum(cosine.sum()) / global_sum((counts > 0).sum().to(cosine.dtype)).clamp(min=1)


@torch.no_grad()
def token_similarity(tokens: Tensor, present: Tensor | None = None) -> Tensor:
    """Return the mean cosine between different tokens of a window, averaged over windows; 1 means collapse."""
    units = functional.normalize(tokens.float(), dim=-1)
    if present is not None:
        units = units * present.flatten(1)[..., None]
    count = torch.full_like(units[:, 0, 0], tokens.shape[1]) if present is None else present.flatten(1).float().sum(1)
    together = units.sum(dim=1).square().sum(dim=-1) - count
    return (together / (count * (count - 1)).clamp(min=1)).mean()


@torch.no_grad()
def effective_rank(features: Tensor) -> Tensor:
    """Return exp(entropy) of the variance shares of the principal axes of `features` (row, feature); 1 means collapse.

    Roy and Vetterli 2007, on centred features.
    """
    centred = features.float() - features.float().mean(dim=0)
    variance = torch.linalg.svdvals(centred).square()
    share = variance / variance.sum().clamp(min=torch.finfo(variance.dtype).tiny)
    entropy: Tensor = torch.special.entr(share).sum()
    return entropy.exp()
