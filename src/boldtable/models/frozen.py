"""An encoder that only reads, in bfloat16 on a CPU: weights converted, folded and laid out once, not at every call.

Autocast converts every weight at every call and writes biases, GELU and layer scale in passes of their own; here
oneDNN's linear layer, the one that torch.compile calls too, does them while it writes its result.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from boldtable.models.base import Encoder
from boldtable.models.layers import Block, LayerScale, Rows, attend, pick
from boldtable.models.semantoks import Semantoks
from boldtable.models.tokenizers import NetworkTokenizer, NetworkTokenizers

_LOW = torch.bfloat16


def frozen(encoder: Encoder) -> Encoder:
    """Return a copy of `encoder` for embedding in bfloat16, without gradients; its features are float32.

    On a GPU, on a CPU without such instructions, and for other models than Semantoks the encoder itself comes back:
    there autocast does it. The copy can be neither moved nor saved.
    """
    if not isinstance(encoder, Semantoks) or encoder.cls_token.device.type != "cpu" or not _supported():
        return encoder
    with torch.no_grad():
        read = copy.deepcopy(encoder).eval().requires_grad_(False)
        blocks = [cast(Block, block) for block in read.blocks]
        read.blocks = nn.ModuleList(_FrozenBlock(block, last=block is blocks[-1]) for block in blocks)
        if isinstance(read.tokenizer, NetworkTokenizers):
            networks = [cast(NetworkTokenizer, network) for network in read.tokenizer.networks]
            read.tokenizer.networks = nn.ModuleList(_FrozenTokenizer(network) for network in networks)
            read.tokenizer.kind = _LOW
    return read


def _supported() -> bool:
    """Return whether oneDNN multiplies bfloat16 on this CPU and PyTorch offers the layer used here."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    needed = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    return all(hasattr(torch.ops.mkldnn, name) for name in needed) and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class _Linear:
    """A linear layer in bfloat16, its weight laid out for oneDNN; with GELU, or added to a residual."""

    def __init__(self, layer: nn.Linear, scale: Tensor | float = 1.0) -> None:
        weight = (layer.weight.T * scale).T
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(_LOW).contiguous())
        self.bias = None if layer.bias is None else (layer.bias * scale).to(_LOW)

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        after: tuple[Any, ...] = ("gelu", [], "none") if gelu else ("none", [], "")
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *after)
        return found

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        """Return residual + layer(x)."""
        found: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.weight, self.bias, "add")
        return found


class _FrozenBlock(nn.Module):
    """A block whose residual is bfloat16 and whose layer scale is in the weights."""

    def __init__(self, block: Block, last: bool) -> None:
        super().__init__()
        self.heads, self.last = block.attn.heads, last
        self.norm1, self.norm2 = block.norm1, block.norm2
        scales = [scale.gamma if isinstance(scale, LayerScale) else 1.0 for scale in (block.ls1, block.ls2)]
        first, second = cast(nn.Linear, block.mlp[0]), cast(nn.Linear, block.mlp[2])
        self.qkv, self.proj = _Linear(block.attn.qkv), _Linear(block.attn.proj, scales[0])
        self.first, self.second = _Linear(first), _Linear(second, scales[1])

    def forward(self, x: Tensor, keys: Tensor | None = None, rows: Rows = None) -> Tensor:
        """Return (batch, token, width) as `Block` does; in bfloat16, the last block in float32."""
        x = x.to(_LOW)
        batch, tokens, width = x.shape
        parts = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        x = self.proj.onto(x, attend(q, k, v, keys).transpose(1, 2).reshape(x.shape))
        x = pick(self.second.onto(x, self.first(self.norm2(x), gelu=True)), rows)
        return x.float() if self.last else x


class _FrozenTokenizer(NetworkTokenizer):
    """A network's tokenizer whose long kernels and projection are multiplied once."""

    def __init__(self, network: NetworkTokenizer) -> None:
        nn.Module.__init__(self)
        self.dense, self.project, self.norm = network.dense, network.project, network.norm
        for layer in (self.dense, self.project):
            layer.bias = nn.Parameter(cast(Tensor, layer.bias).to(_LOW), requires_grad=False)
        dense, long = network.folded()
        self.products = dense.to(_LOW), long.to(_LOW)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return the products made at the beginning."""
        return self.products
