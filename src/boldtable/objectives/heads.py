"""The head between an encoder and a loss on unit vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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
