"""The transformer layers of BrainLM's 13 M class: softmax attention, a convolution of the values, post-norm."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from boldtable.models.layers import attend

EPS = 1e-12
TAPS = 65


def interleaved_positions(n_positions: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return fixed positions (position, width): sine and cosine of a rate side by side, base 10000."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    angles = torch.arange(n_positions, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class ConvolvedAttention(nn.Module):
    """Multi-head softmax attention plus a convolution of the values along the tokens, one kernel per head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.taps = nn.Parameter(torch.empty(heads, TAPS))
        nn.init.kaiming_uniform_(self.taps, a=5**0.5)  # as PyTorch starts a convolution
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, keys: Tensor | None = None, rows: int | None = None) -> Tensor:
        """Return (batch, token, width), of the first `rows` tokens alone where given.

        Tokens that `keys` (batch, token) does not allow are not attended to, and zero in the convolution.
        """
        width, weight, bias = x.shape[-1], self.qkv.weight, self.qkv.bias
        if rows is None:
            q, k, v = self._heads(self.qkv(x), 3)
        else:
            (q,) = self._heads(functional.linear(x[:, :rows], weight[:width], bias[:width]), 1)
            k, v = self._heads(functional.linear(x, weight[width:], bias[width:]), 2)
        if keys is not None:
            v = torch.where(keys[:, None, :, None], v, 0.0)
        near = v if rows is None else v[:, :, : rows + TAPS // 2]
        mixed = attend(q, k, v, keys) + along_tokens(near, self.taps)[:, :, :rows]
        return self.proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(batch, token, part·width) → `parts` of (batch, head, token, width of a head)."""
        return tuple(x.view(*x.shape[:2], parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0))


def along_tokens(v: Tensor, taps: Tensor) -> Tensor:
    """Return `v` (batch, head, token, width) convolved along its tokens with `taps` (head, 65), zeros around it.

    As two products of blocks of 64 tokens with the two halves of a band matrix: a third of the time of PyTorch's
    depthwise convolution, forward and backward, for twice the multiplications (half of them with zeros).
    """
    block, n_tokens = TAPS - 1, v.shape[2]
    n_blocks = -(-n_tokens // block)
    padded = functional.pad(v, (0, 0, block // 2, n_blocks * block - n_tokens + block // 2))
    parts = padded.view(*v.shape[:2], n_blocks + 1, block, -1)
    place = torch.arange(2 * block, device=v.device) - torch.arange(block, device=v.device)[:, None]
    band = torch.where((place >= 0) & (place < TAPS), taps[:, place.clamp(0, TAPS - 1)], 0.0)
    first = torch.einsum("hoi,bhnid->bhnod", band[..., :block], parts[:, :, :-1])
    second = torch.einsum("hoi,bhnid->bhnod", band[..., block:], parts[:, :, 1:])
    return (first + second).flatten(2, 3)[:, :, :n_tokens]


class PostNormBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x))."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attn = ConvolvedAttention(width, heads)
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.norm2 = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor, keys: Tensor | None = None, rows: int | None = None) -> Tensor:
        """Return (batch, token, width), of the first `rows` tokens where given; see `ConvolvedAttention`."""
        x = self.norm1(x[:, :rows] + self.attn(x, keys, rows))
        return self.norm2(x + self.mlp(x))  # type: ignore[no-any-return]


def through(
    blocks: Iterable[nn.Module], cls: Tensor, tokens: Tensor, keys: Tensor | None, rows: int | None, spare_memory: bool
) -> Tensor:
    """Return CLS and `tokens` (batch, token, width) after all blocks; the last one gives the first `rows` alone.

    `keys` (batch, token) is True for the tokens that may be read; CLS always may, so that a window without any data
    gives finite features too. With `spare_memory` a block's activations are computed a second time in the backward pass
    instead of being kept.
    """
    x = torch.cat([cls.to(tokens.dtype).expand(len(tokens), 1, -1), tokens], dim=1)
    allowed = None if keys is None else functional.pad(keys.expand(len(x), -1), (1, 0), value=True)
    stack = list(blocks)
    for block in stack:
        first = rows if block is stack[-1] else None
        if spare_memory and torch.is_grad_enabled():
            x = checkpoint(block, x, allowed, first, use_reentrant=False)
        else:
            x = block(x, allowed, first)
    return x


def pooled(kind: str, tokens: Tensor, keys: Tensor | None) -> Tensor:
    """Return features (batch, feature) of final tokens, CLS first: ``cls``, ``avg`` of those allowed, or ``cls_avg``.

    ``cls_avg`` puts the average first.
    """
    cls, rest = tokens[:, 0], tokens[:, 1:]
    if kind == "cls":
        return cls
    if keys is None:
        mean = rest.mean(dim=1)
    else:
        weight = keys.to(rest.dtype).expand(len(rest), -1)[..., None]
        mean = torch.where(keys[..., None], rest, 0.0).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    return mean if kind == "avg" else torch.cat([mean, cls], dim=-1)
