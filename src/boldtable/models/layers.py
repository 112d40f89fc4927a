"""Transformer parts shared by the models: attention, blocks, sine-cosine positions."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

# Which tokens a block is asked for: all, the first few of each window, or those at flat places in (batch·token).
Rows = Tensor | int | None
# Up to here the batched matrix products of `attend` need little memory (3 MB a window at 12 heads).
_FEW_TOKENS = 256


def sincos_positions(n_positions: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return fixed positions (position, width): sines in the first half, cosines in the second, base 10000."""
    rates = 10000.0 ** (-torch.arange(width // 2, device=device, dtype=torch.float32) / (width // 2))
    angles = torch.arange(n_positions, device=device, dtype=torch.float32)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class Attention(nn.Module):
    """Multi-head self-attention with one matrix product for queries, keys and values."""

    def __init__(self, width: int, heads: int, qkv_bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, keys: Tensor | None = None, rows: Rows = None) -> Tensor:
        """Return (batch, token, width); `keys` (batch, token) is True for the tokens that may be attended to.

        With `rows` only the tokens that `pick` takes are computed, in its shape.
        """
        if isinstance(rows, int):
            return self._first(x, keys, rows)
        q, k, v = self._split(self.qkv(x), 3)
        mixed = attend(q, k, v, keys).transpose(1, 2).reshape(x.shape)
        return self.proj(pick(mixed, rows))  # type: ignore[no-any-return]

    def _first(self, x: Tensor, keys: Tensor | None, rows: int) -> Tensor:
        """Return the first `rows` tokens; the others give keys and values alone."""
        width, bias = x.shape[-1], self.qkv.bias
        queries = functional.linear(x[:, :rows], self.qkv.weight[:width], None if bias is None else bias[:width])
        others = functional.linear(x, self.qkv.weight[width:], None if bias is None else bias[width:])
        (q,), (k, v) = self._split(queries, 1), self._split(others, 2)
        mixed = attend(q, k, v, keys)
        return self.proj(mixed.transpose(1, 2).reshape(queries.shape))  # type: ignore[no-any-return]

    def _split(self, x: Tensor, parts: int) -> Iterable[Tensor]:
        """(batch, token, part·width) → `parts` of (batch, head, token, width of a head)."""
        return x.view(*x.shape[:2], parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor | None = None) -> Tensor:
    """Return softmax(q k' / sqrt(width)) v, all (batch, head, token, width), over the tokens that `keys` allows.

    The fused kernel, except for few tokens in half precision on a CPU: there its backward takes eight times as long as
    the batched matrix products (46 tokens, PyTorch 2.13), which are written out instead, with the softmax in float32.
    """
    allowed = None if keys is None else keys[:, None, None, :]
    if q.device.type != "cpu" or q.dtype not in (torch.bfloat16, torch.float16) or k.shape[-2] > _FEW_TOKENS:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    logits = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).float()
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -math.inf)
    weights: Tensor = logits.softmax(dim=-1).to(v.dtype)
    return weights @ v


def pick(x: Tensor, rows: Rows) -> Tensor:
    """Return the tokens `rows` of `x` (batch, token, width).

    All, the first few of each window, or those at flat places. The first few keep their batch, (batch, row, width);
    those at places come one after the other, (row, width).
    """
    if rows is None:
        return x
    return x[:, :rows] if isinstance(rows, int) else x.flatten(0, 1).index_select(0, rows)


def varying(x: Tensor) -> bool:
    """Return whether shapes may depend on values without cost: on a CPU, outside of a compiler."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


class LayerScale(nn.Module):
    """A learned factor per channel on a residual branch (Touvron et al. 2021, CaiT)."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` times the factors."""
        return x * self.gamma


class Block(nn.Module):
    """A pre-norm transformer block: x + scale(attention(norm(x))), then x + scale(mlp(norm(x)))."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        qkv_bias: bool = False,
        eps: float = 1e-5,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, qkv_bias)
        self.ls1 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.ls2 = nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)

    def forward(self, x: Tensor, keys: Tensor | None = None, rows: Rows = None) -> Tensor:
        """Return (batch, token, width); `keys` (batch, token) is True for the tokens that may be attended to.

        With `rows` only the tokens that `pick` takes are computed, in its shape.
        """
        x = pick(x, rows) + self.ls1(self.attn(self.norm1(x), keys, rows))
        return x + self.ls2(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]
