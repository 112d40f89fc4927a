"""The head between an encoder and a loss on unit vectors."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from boldtable.errors import SettingsError, nearest
from boldtable.objectives.coding_rate import precise

# Hidden and output width for each size of the encoder; base is published.
_SIZES: dict[str, tuple[int, int]] = {"tiny": (128, 64), "small": (512, 128), "base": (1024, 128)}


def head_size(size: str) -> tuple[int, int]:
    """Return hidden and output width for an encoder of this size; an unknown size raises `SettingsError`."""
    if size not in _SIZES:
        raise SettingsError(f"projection head: unknown size '{size}'{nearest(size, _SIZES)}")
    return _SIZES[size]


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
        return functional.normalize(precise(self.mlp(x)), dim=-1)
