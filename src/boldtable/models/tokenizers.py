"""From patches of parcel signals to tokens: one convolutional tokenizer per network, or one linear map per parcel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# The long kernel: three scales of four learned taps, the last stretched to eight, so 16 taps over the frames
# t-7 .. t+8; each scale is twice as strong as the next longer one (recipe of the authors' code).
SCALE_TAPS = 4
SCALE_GAINS = (4.0, 2.0, 1.0)
TAPS_BEFORE, TAPS_AFTER = 7, 8
# In the table of columns below: ten single frames t-1 .. t+8, then four sums of two frames.
_SINGLES, _PAIRS = 10, 4


class LongConvolution(nn.Module):
    """A structured long convolution per parcel (Li et al. 2023, SGConv) with `heads` kernels each and a skip.

    `norm` holds the L2 norm of every kernel as it was initialised. It is a buffer, never recomputed from trained
    kernels: the authors freeze it at the first forward, when the kernels still are what they are here.
    """

    norm: Tensor

    def __init__(self, n_parcels: int, heads: int) -> None:
        super().__init__()
        self.scales = nn.ParameterList(torch.empty(heads, n_parcels, SCALE_TAPS).normal_() for _ in SCALE_GAINS)
        self.skip = nn.Parameter(torch.empty(heads, n_parcels).normal_())
        self.register_buffer("norm", stretched(list(self.scales)).detach().norm(dim=-1, keepdim=True))

    def taps(self) -> Tensor:
        """Return the normalised kernels without their repeats, (head, parcel, 13), in the order of `columns`.

        The skip (frame t), then the frames t+1 .. t+8, then the frame pairs (t-7, t-6) .. (t-1, t).
        """
        fine, middle, coarse = (gain * taps / self.norm for gain, taps in zip(SCALE_GAINS, self.scales, strict=True))
        return torch.cat([self.skip[..., None], middle.flip(-1), fine.flip(-1), coarse.flip(-1)], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, parcel·head, frame) for `x` (batch, parcel, frame): the definition, written as a convolution.

        Training never runs it: `NetworkTokenizer` folds these kernels and its projection into one product.
        """
        kernel = (stretched(list(self.scales)) / self.norm).flip(-1).transpose(0, 1).flatten(0, 1)
        padded = functional.pad(x, (TAPS_BEFORE, TAPS_AFTER))
        skip = x[:, :, None, :] * self.skip.T[..., None]
        return functional.conv1d(padded, kernel[:, None, :], groups=x.shape[1]) + skip.flatten(1, 2)


class NetworkTokenizer(nn.Module):
    """One network's patch to one token: dense and long convolution, GELU, mean over frames, layer norm.

    Both branches are linear before the GELU, so each is one matrix product over a shared table of shifted frames
    (`columns`): the long kernels and their projection are multiplied together first, which removes the wide
    intermediate signal (about 400 channels a network) from memory.
    """

    def __init__(self, n_parcels: int, width: int) -> None:
        super().__init__()
        half = width // 2
        heads = math.ceil(half / n_parcels)
        self.dense = nn.Conv1d(n_parcels, half, kernel_size=3, padding=1)
        self.long = LongConvolution(n_parcels, heads)
        self.project = nn.Linear(heads * n_parcels, half)
        self.norm = nn.LayerNorm(width)

    def forward(self, columns: Tensor, patch_frames: int) -> Tensor:
        """Return (patch, width) for the `columns` (patch·frame, 14·parcel) of all patches."""
        n_parcels = self.dense.in_channels
        dense, long = self.folded()
        near = functional.linear(columns[:, : 3 * n_parcels], dense, self.dense.bias)
        far = functional.linear(columns[:, n_parcels:], long, self.project.bias)
        # Not view(-1, ..): without any rows the size would be ambiguous.
        shape = (len(columns) // patch_frames, patch_frames, self.dense.out_channels)
        # Sum over n: mean() would convert to float32 and back first, which takes twice as long.
        means = [functional.gelu(half).view(shape).sum(dim=1) / patch_frames for half in (near, far)]
        return self.norm(torch.cat(means, dim=-1))  # type: ignore[no-any-return]

    def definition(self, patches: Tensor) -> Tensor:
        """Return (patch, width) for `patches` (patch, parcel, frame): the same, written as two convolutions."""
        long = self.project(self.long(patches).transpose(1, 2)).transpose(1, 2)
        both = functional.gelu(torch.cat([self.dense(patches), long], dim=1))
        return self.norm(both.mean(dim=-1))  # type: ignore[no-any-return]

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return the weights over the columns: dense (half, 3·parcel) and long times projection (half, 13·parcel)."""
        half, n_parcels = self.dense.out_channels, self.dense.in_channels
        dense = self.dense.weight.transpose(1, 2).flatten(1)
        # In float32 whatever the autocast: the product is rounded once, when it enters the matrix product.
        with torch.autocast(dense.device.type, enabled=False):
            project = self.project.weight.view(half, n_parcels, -1)
            long = torch.einsum("och,hck->okc", project, self.long.taps())
        return dense, long.flatten(1)


class NetworkTokenizers(nn.Module):
    """The tokenizers of all networks; parcels of one network need not be neighbours."""

    order: Tensor

    def __init__(self, groups: Sequence[Sequence[int]], width: int) -> None:
        super().__init__()
        self.kind: torch.dtype | None = None  # the type of the matrix products; None: as autocast says
        self.sizes = [len(group) for group in groups]
        self.networks = nn.ModuleList(NetworkTokenizer(size, width) for size in self.sizes)
        order = torch.tensor([index for group in groups for index in group])
        self.register_buffer("order", order, persistent=False)

    def forward(self, patches: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return tokens (batch, network, patch, width) for `patches` (batch, patch, frame, parcel).

        Tokens that are `hidden` (batch, network, patch) are zero and cost nothing.
        """
        batch, n_patches, frames, _ = patches.shape
        ordered = patches.flatten(0, 1).index_select(-1, self.order)
        padded = functional.pad(ordered, (0, 0, TAPS_BEFORE, TAPS_AFTER))
        parts, kind = torch.split(padded, self.sizes, dim=-1), self.kind or compute_dtype(padded)
        if hidden is None:
            tokens = [
                network(columns(part, frames, kind), frames) for network, part in zip(self.networks, parts, strict=True)
            ]
        else:
            shown = [(~rows).flatten().nonzero().squeeze(1) for rows in hidden.unbind(1)]
            tokens = [
                spread(network(columns(part.index_select(0, rows), frames, kind), frames), rows, len(part))
                for network, part, rows in zip(self.networks, parts, shown, strict=True)
            ]
        return torch.stack(tokens, dim=1).view(batch, n_patches, len(tokens), -1).transpose(1, 2)


class ParcelTokenizer(nn.Module):
    """Every parcel's patch to one token by one shared linear map."""

    def __init__(self, patch_frames: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(patch_frames, width)

    def forward(self, patches: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return tokens (batch, parcel, patch, width) for `patches` (batch, patch, frame, parcel), hidden ones too."""
        return self.linear(patches.permute(0, 3, 1, 2))  # type: ignore[no-any-return]


def spread(tokens: Tensor, rows: Tensor, n: int) -> Tensor:
    """Return (n, width) with `tokens` at the places `rows` and zeros between."""
    return tokens.new_zeros(n, tokens.shape[-1]).index_copy(0, rows, tokens)


def stretched(scales: Sequence[Tensor]) -> Tensor:
    """Return the kernels (head, parcel, 16) before their normalisation, the nearest frames first."""
    fine, middle, coarse = (gain * taps for gain, taps in zip(SCALE_GAINS, scales, strict=True))
    return torch.cat([fine, middle, coarse.repeat_interleave(2, dim=-1)], dim=-1)


def columns(padded: Tensor, frames: int, kind: torch.dtype) -> Tensor:
    """Return shifted copies side by side, (patch·frame, 14·parcel), of `padded` (patch, 7 + frame + 8, parcel).

    For every frame t: the frames t-1 .. t+8, then the sums of the frames (t-7, t-6), (t-5, t-4), (t-3, t-2), (t-1, t).
    The stretched scale of the long kernel repeats each tap, so its eight frames need only four columns.
    """
    pairs = (padded[:, : frames + 6] + padded[:, 1 : frames + 7]).to(kind)
    singles = padded[:, TAPS_BEFORE - 1 :].to(kind)
    parts = [singles[:, start : start + frames] for start in range(_SINGLES)]
    parts += [pairs[:, start : start + frames] for start in range(0, 2 * _PAIRS, 2)]
    return torch.cat(parts, dim=-1).flatten(0, 1)


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the type matrix products run in: the autocast type where autocast is on, else that of `x`."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
