"""The coding-rate loss (Wu et al. 2025, SimDINO), over the rows of all processes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, distributed


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


def precise(x: Tensor) -> Tensor:
    """Return `x` in float32 where it is of half precision, else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
