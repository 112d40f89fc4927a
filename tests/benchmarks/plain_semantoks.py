"""A plain float32 implementation of Brain-Semantoks, as one would write it down: what the benchmark compares with.

One convolutional branch after another for each network, one forward per view and network, a loader that cuts and
augments sample by sample, AdamW as PyTorch gives it. Parameters carry the names of `boldtable.models.semantoks`, so
that both start from the same weights; `bench_semantoks` checks that both give the same losses and embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

Floats = npt.NDArray[np.float32]


class LongConvolution(nn.Module):
    """Grouped convolution with three scales of four taps, and a skip."""

    norm: Tensor

    def __init__(self, n_parcels: int, heads: int) -> None:
        super().__init__()
        self.scales = nn.ParameterList(torch.randn(heads, n_parcels, 4) for _ in range(3))
        self.skip = nn.Parameter(torch.randn(heads, n_parcels))
        self.register_buffer("norm", torch.ones(heads, n_parcels, 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = [
            functional.interpolate(taps, scale_factor=2 ** max(0, index - 1)) * 2 ** (2 - index)
            for index, taps in enumerate(self.scales)
        ]
        kernel = (torch.cat(parts, dim=-1) / self.norm).transpose(0, 1).flatten(0, 1)
        y = functional.conv1d(functional.pad(x, (7, 8)), kernel.flip(-1)[:, None], groups=x.shape[1])
        return y + torch.einsum("bcl,hc->bchl", x, self.skip).flatten(1, 2)


class Tokenizer(nn.Module):
    """One network: dense branch, long branch, GELU, mean over frames, layer norm."""

    def __init__(self, n_parcels: int, width: int) -> None:
        super().__init__()
        half = width // 2
        heads = math.ceil(half / n_parcels)
        self.dense = nn.Conv1d(n_parcels, half, kernel_size=3, padding=1)
        self.long = LongConvolution(n_parcels, heads)
        self.project = nn.Linear(heads * n_parcels, half)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        long = self.project(self.long(x).transpose(1, 2)).transpose(1, 2)
        both = torch.cat([self.dense(x), long], dim=1)
        return self.norm(functional.gelu(both).mean(dim=-1))


class Tokenizers(nn.Module):
    """A loop over the networks; their parcels lie one after the other."""

    def __init__(self, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.networks = nn.ModuleList(Tokenizer(size, width) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        batch, n_patches = x.shape[:2]
        parts = x.flatten(0, 1).split(self.sizes, dim=1)
        tokens = [network(part) for network, part in zip(self.networks, parts, strict=True)]
        return torch.stack(tokens, dim=1).view(batch, n_patches, len(tokens), -1).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head attention through PyTorch's own function."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(width), Attention(width, heads), Scale(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm2, self.ls2 = nn.LayerNorm(width), Scale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Encoder(nn.Module):
    """Patches of 20 frames to tokens, then a transformer; (batch, parcel, frame) to (batch, 1 + token, width)."""

    def __init__(self, sizes: Sequence[int], width: int, depth: int, heads: int, patch: int = 20) -> None:
        super().__init__()
        self.patch = patch
        self.tokenizer = Tokenizers(sizes, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.cls_token = nn.Parameter(0.02 * torch.randn(width))
        self.network_embedding = nn.Parameter(0.02 * torch.randn(len(sizes), width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens = self.tokenizer(x.unfold(-1, self.patch, self.patch).transpose(1, 2))
        batch, _, n_patches, width = tokens.shape
        if mask is not None:
            tokens = torch.where(mask[..., None], self.mask_token, tokens)
        rates = 10000.0 ** (-torch.arange(width // 2) / (width // 2))
        angles = torch.arange(n_patches)[:, None] * rates
        times = torch.cat([angles.sin(), angles.cos()], dim=-1)
        tokens = tokens + self.network_embedding[:, None] + times
        y = torch.cat([self.cls_token.expand(batch, 1, width), tokens.flatten(1, 2)], dim=1)
        for block in self.blocks:
            y = block(y)
        return self.norm(y)

    def embed(self, x: Tensor) -> Tensor:
        tokens = self(x)
        return torch.cat([tokens[:, 1:].mean(dim=1), tokens[:, 0]], dim=-1)


class Head(nn.Module):
    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(self.mlp(x).float(), dim=-1)


@torch.autocast("cpu", enabled=False)
def coding_rate(student: Sequence[Tensor], teacher: Sequence[Tensor], eps: float = 0.05) -> Tensor:
    """Minus the mean cosine across views, minus the coding rate of the mean of student and teacher."""
    rows, dims = student[0].shape
    compression = ((teacher[0] * student[1]).sum(-1).mean() + (teacher[1] * student[0]).sum(-1).mean()) / 2
    expansion = torch.zeros(())
    for ours, theirs in zip(student, teacher, strict=True):
        mean = (ours + theirs) / 2
        factor = torch.linalg.cholesky(torch.eye(dims) + dims / (rows * eps) * mean.T @ mean)
        expansion = expansion + factor.diagonal().log().sum() / 2
    return -compression - expansion * (dims + rows) / (dims * rows)


def losses(
    student: tuple[Encoder, Head],
    teacher: tuple[Encoder, Head],
    views: Sequence[Tensor],
    masks: Sequence[Tensor] | None,
    network_weight: float,
) -> Tensor:
    """The total of one step: CLS across views, network tokens across views, hidden tokens within views."""
    ours = [student[0](view, None if masks is None else mask) for view, mask in zip(views, masks or views, strict=True)]
    with torch.no_grad():
        theirs = [teacher[0](view) for view in views]
        cls = [teacher[1](tokens[:, 0]) for tokens in theirs]
    total = coding_rate([student[1](tokens[:, 0]) for tokens in ours], cls)
    if network_weight:
        n_networks = len(student[0].tokenizer.sizes)
        both = []
        for (_, head), found in ((student, ours), (teacher, theirs)):
            means = [t[:, 1:].unflatten(1, (n_networks, -1)).mean(dim=2).flatten(0, 1) for t in found]
            both.append([head(mean) for mean in means])
        total = total + network_weight * coding_rate(both[0], [one.detach() for one in both[1]])
    if masks is not None:
        means = []
        for mask, s, t in zip(masks, ours, theirs, strict=True):
            hidden = mask.flatten(1)
            with torch.no_grad():
                target = teacher[1](t[:, 1:][hidden])
            cosine = (student[1](s[:, 1:][hidden]) * target).sum(dim=-1)
            weight = 1 / hidden.sum(dim=1, keepdim=True).expand_as(hidden)[hidden]
            means.append((cosine * weight).sum() / len(mask))
        total = total - 0.5 * (means[0] + means[1]) / 2
    return total


class Samples(Dataset[tuple[Tensor, ...]]):
    """Two augmented crops of a run and their slice masks, one run at a time."""

    def __init__(self, runs: Floats, window: int, n_networks: int, patch: int = 20, seed: int = 0) -> None:
        self.runs, self.window, self.grid = runs, window, (n_networks, window // patch)
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        run = self.runs[index]
        starts = self.rng.integers(0, run.shape[1] - self.window + 1, size=2)
        views = [self.augmented(run[:, start : start + self.window]) for start in starts]
        return *map(torch.from_numpy, views), *(torch.from_numpy(self.mask()) for _ in views)

    def augmented(self, crop: Floats) -> Floats:
        rng, x = self.rng, crop.copy()
        count = max(1, int(len(x) * rng.uniform(0, 0.1)))
        x[rng.choice(len(x), count, replace=False)] = 0
        length = max(1, int(x.shape[1] * rng.uniform(0, 0.3)))
        start = rng.integers(0, x.shape[1] - length + 1)
        x[:, start : start + length] = 0
        x *= np.float32(rng.uniform(0.8, 1.2))
        return x + np.float32(0.1) * rng.standard_normal(x.shape, dtype=np.float32)

    def mask(self) -> npt.NDArray[np.bool_]:
        n_networks, n_patches = self.grid
        hidden = np.zeros(self.grid, dtype=bool)
        if self.rng.random() < 0.5:
            count = self.rng.integers(int(0.65 * n_networks), int(0.85 * n_networks))
            hidden[self.rng.permutation(n_networks)[:count]] = True
        else:
            length = math.ceil(self.rng.uniform(0.65, 0.85) * n_patches) - 1
            start = self.rng.integers(0, n_patches - length + 1)
            hidden[:, start : start + length] = True
        return hidden
