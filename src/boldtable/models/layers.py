"""Transformer parts shared by the models: attention, blocks, sine-cosine positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return (batch, token, width); `keys` (batch, token) is True for the tokens that may be attended to."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        allowed = None if keys is None else keys[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))  # type: ignore[no-any-return]


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

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """Return (batch, token, width); `keys` (batch, token) is True for the tokens that may be attended to."""
        x = x + self.ls1(self.attn(self.norm1(x), keys))
        return x + self.ls2(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]
