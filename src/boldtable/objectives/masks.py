"""Token masks for a whole batch at once, on the device of the generator. True means hidden."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# The published range of the hidden share. What it hides in effect (9 networks: 5 or 6; 5 patches: 3 or 4) is below it.
LOW, HIGH = 0.65, 0.85


def slice_masks(
    batch: int,
    n_networks: int,
    n_patches: int,
    generator: torch.Generator,
    low: float = LOW,
    high: float = HIGH,
    nominal: bool = False,
) -> Tensor:
    """Return masks (batch, network, patch): per window, half network slices and half temporal slices.

    With one network there are only temporal slices, with one patch only network slices: never is all hidden. With
    `nominal` (the paper's words) round(r n) networks or patches are hidden, r uniform in [low, high]; else as many as
    the authors' code hides, which is fewer.
    """
    networks = network_masks(batch, n_networks, n_patches, generator, low, high, nominal)
    times = temporal_masks(batch, n_networks, n_patches, generator, low, high, nominal)
    if n_networks == 1 or n_patches == 1:
        return networks if n_patches == 1 else times
    by_network = torch.rand(batch, 1, 1, generator=generator, device=generator.device) < 0.5
    return torch.where(by_network, networks, times)


def network_masks(
    batch: int,
    n_networks: int,
    n_patches: int,
    generator: torch.Generator,
    low: float = LOW,
    high: float = HIGH,
    nominal: bool = False,
) -> Tensor:
    """Return masks (batch, network, patch) that hide random networks over all patches.

    How many: uniform over the whole numbers from floor(low n) up to, not including, floor(high n), as in the authors'
    code, or by `nominal` (see `slice_masks`); at least one network is hidden and at least one is shown.
    """
    if nominal:
        counts = _nominal(batch, n_networks, generator, low, high)
    else:
        fewest = math.floor(low * n_networks)
        most = max(fewest, math.floor(high * n_networks) - 1)
        counts = torch.randint(fewest, most + 1, (batch, 1), generator=generator, device=generator.device)
    order = torch.rand(batch, n_networks, generator=generator, device=generator.device).argsort(dim=1)
    hidden = order < _within(counts, n_networks)
    return hidden[:, :, None].expand(batch, n_networks, n_patches)


def temporal_masks(
    batch: int,
    n_networks: int,
    n_patches: int,
    generator: torch.Generator,
    low: float = LOW,
    high: float = HIGH,
    nominal: bool = False,
) -> Tensor:
    """Return masks (batch, network, patch) that hide a block of consecutive patches in all networks.

    Its length is ceil(r n) - 1 with r uniform in [low, high], as in the authors' code, or by `nominal` (see
    `slice_masks`), at least one patch and at most all but one; its start is uniform.
    """
    device = generator.device
    if nominal:
        length = _within(_nominal(batch, n_patches, generator, low, high), n_patches)
    else:
        share = low + (high - low) * torch.rand(batch, 1, generator=generator, device=device, dtype=torch.float64)
        length = _within((share * n_patches).ceil().long() - 1, n_patches)
    places = n_patches - length + 1
    start = (torch.rand(batch, 1, generator=generator, device=device, dtype=torch.float64) * places).long()
    patch = torch.arange(n_patches, device=device)
    hidden = (patch >= start) & (patch < start + length)
    return hidden[:, None, :].expand(batch, n_networks, n_patches)


def random_masks(
    batch: int, n_networks: int, n_patches: int, generator: torch.Generator, low: float = LOW, high: float = HIGH
) -> Tensor:
    """Return masks (batch, network, patch) that hide round(r tokens) single tokens, r uniform in [low, high].

    The ablation of slice masks. At least one token is hidden and at least one is shown.
    """
    n_tokens = n_networks * n_patches
    share = low + (high - low) * torch.rand(batch, 1, generator=generator, device=generator.device)
    order = torch.rand(batch, n_tokens, generator=generator, device=generator.device).argsort(dim=1)
    hidden = order < _within((share * n_tokens).round().long(), n_tokens)
    return hidden.view(batch, n_networks, n_patches)


def _nominal(batch: int, n: int, generator: torch.Generator, low: float, high: float) -> Tensor:
    """Return whole numbers (window, 1): round(r n) with r uniform in [low, high]."""
    share = torch.rand(batch, 1, generator=generator, device=generator.device, dtype=torch.float64)
    return ((low + (high - low) * share) * n).round().long()


def _within(counts: Tensor, n: int) -> Tensor:
    """Clip counts to 1 .. n-1 (0 where n is 1)."""
    return counts.clamp(min=1).clamp(max=n - 1)
