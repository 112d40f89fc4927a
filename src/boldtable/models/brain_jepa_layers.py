"""Parts of Brain-JEPA that encoder and predictor share: positions by gradients, blocks, lists of tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from boldtable.errors import SettingsError
from boldtable.models.layers import Block, sincos_positions

EPS = 1e-6  # of every layer norm
STD = 0.02  # of the initial weights


class GradientPositions(nn.Module):
    """Positions (parcel, patch, width): time in the first half of the channels, place in the second."""

    def __init__(self, width: int, n_components: int) -> None:
        super().__init__()
        self.place = nn.Linear(n_components, width // 2)

    def forward(self, gradients: Tensor, n_patches: int) -> Tensor:
        """Return the positions for `gradients` (parcel, component).

        The places of all parcels together are scaled to [-1, 1] by their smallest and largest value at every call, as
        in the authors' code; gradients flow through both. In float32.
        """
        kind = gradients.device.type
        with torch.autocast(kind, enabled=False) if kind != "meta" else nullcontext():
            places: Tensor = self.place(gradients)
            low, high = places.min(), places.max()
            places = 2 * (places - low) / (high - low).clamp(min=torch.finfo(places.dtype).tiny) - 1
        times = sincos_positions(n_patches, places.shape[1], places.device).to(places.dtype)
        grid = (len(places), n_patches, -1)
        return torch.cat([times.expand(grid), places[:, None].expand(grid)], dim=-1)


def check_width(width: int, heads: int) -> None:
    """Raise `SettingsError` where a width cannot be split between heads, or between time and place."""
    if width % 4 or width % heads:
        raise SettingsError(f"brain-jepa: width {width} must be a multiple of 4 and of heads ({heads})")


def jepa_blocks(width: int, heads: int, depth: int) -> nn.ModuleList:
    """Return the blocks of encoder or predictor: pre-norm, with biases, hidden layers four times as wide."""
    return nn.ModuleList(Block(width, heads, 4 * width, qkv_bias=True, eps=EPS) for _ in range(depth))


def through(
    blocks: Iterable[nn.Module], x: Tensor, keys: Tensor | None, rows: int | None = None, spare_memory: bool = False
) -> Tensor:
    """Return `x` after all blocks, the last one for its first `rows` tokens alone; None: for all."""
    *others, last = blocks
    for block, wanted in [*((block, None) for block in others), (last, rows)]:
        spared = spare_memory and torch.is_grad_enabled()
        x = checkpoint(block, x, keys, wanted, use_reentrant=False) if spared else block(x, keys, wanted)
    return x


def attended(present: Tensor | None, batch: int) -> Tensor | None:
    """Return which tokens may be attended to, (batch, token); a window without data keeps all, to stay finite."""
    if present is None:
        return None
    present = present.expand(batch, -1)
    return present | ~present.any(dim=1, keepdim=True)


def tokens_at(tokens: Tensor, places: Tensor) -> Tensor:
    """Return the tokens of each window at its own `places` (batch, place), (batch, place, width)."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))


def rows_of(table: Tensor, places: Tensor) -> Tensor:
    """Return the rows of `table` (row, width) at `places` (batch, place), (batch, place, width)."""
    return table.index_select(0, places.flatten()).view(*places.shape, -1)


@torch.no_grad()
def initialise(module: nn.Module, rescale: bool = False) -> None:
    """Draw the linear layers of encoder or predictor anew: truncated normal (0.02), biases zero.

    With `rescale` the two layers that end the branches of block l are divided by sqrt(2 l). The authors' code does
    that too, but draws all weights anew afterwards: their models started without it.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=STD)
            nn.init.zeros_(layer.bias)
    blocks = [part for part in module.modules() if isinstance(part, Block)]
    for number, block in enumerate(blocks, 1) if rescale else ():
        block.attn.proj.weight.div_(math.sqrt(2 * number))
        cast(nn.Linear, block.mlp[2]).weight.div_(math.sqrt(2 * number))
