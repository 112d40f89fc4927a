"""What shows that training collapses: tokens that are all alike, features of few dimensions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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
