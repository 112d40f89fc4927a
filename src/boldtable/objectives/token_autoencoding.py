"""Masked autoencoding over the semantic tokens: parcel signals of hidden tokens from those that are shown.

As in He et al. 2022 the encoder sees the tokens that are shown and nothing else; a light decoder gets a mask token in
the place of every hidden one and gives back the signals of its parcels. With Semantoks it answers what
self-distillation adds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from boldtable.models.layers import Block, sincos_positions
from boldtable.models.semantoks import Semantoks
from boldtable.objectives.base import Batch, Objective
from boldtable.objectives.coding_rate import global_sum, precise
from boldtable.objectives.monitors import effective_rank, token_similarity

# Width, depth and heads of the decoder for each size of the encoder: half as wide, and shallow.
DECODERS: dict[str, tuple[int, int, int]] = {"tiny": (48, 1, 2), "small": (192, 2, 3), "base": (384, 2, 6)}


class TokenDecoder(nn.Module):
    """From the encoder's tokens to the signals of their parcels."""

    order: Tensor

    def __init__(self, encoder: Semantoks, width: int, depth: int, heads: int) -> None:
        super().__init__()
        config, groups = encoder.config, encoder.config.groups
        self.patch_frames = config.patch_frames
        self.embed = nn.Linear(config.width, width)
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.network_embedding = nn.Parameter(torch.empty(len(groups), width).normal_(std=0.02))
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        # One map for all parcels where the encoder has one, else one for every network.
        shared = config.tokenizer == "parcel-linear"
        sizes = [1] if shared else [len(group) for group in groups]
        self.signals = nn.ModuleList(nn.Linear(width, size * config.patch_frames) for size in sizes)
        # Where each parcel stands when the networks come one after the other.
        order = torch.tensor([parcel for group in groups for parcel in group]).argsort()
        self.register_buffer("order", order, persistent=False)

    def forward(self, tokens: Tensor, hidden: Tensor, present: Tensor | None) -> Tensor:
        """Return signals (batch, parcel, frame) for `tokens` (batch, 1 + network·patch, width) of the encoder.

        What `tokens` hold where `hidden` (batch, network, patch) is True is not read.
        """
        batch, n_networks, n_patches = hidden.shape
        x = self.embed(tokens)
        cls, grid = x[:, :1], x[:, 1:].unflatten(1, (n_networks, n_patches))
        grid = torch.where(hidden[..., None], self.mask_token.to(grid.dtype), grid)
        grid = grid + (self.network_embedding[:, None] + sincos_positions(n_patches, grid.shape[-1], grid.device))
        x = torch.cat([cls.expand(batch, -1, -1), grid.flatten(1, 2)], dim=1)
        keys = None if present is None else functional.pad(present.flatten(1).expand(batch, -1), (1, 0), value=True)
        for block in self.blocks:
            x = block(x, keys)
        return self._series(self.norm(x[:, 1:]).unflatten(1, (n_networks, n_patches)))

    def _series(self, grid: Tensor) -> Tensor:
        """Return signals (batch, parcel, frame) for a grid of tokens (batch, network, patch, width)."""
        parts = [grid] if len(self.signals) == 1 else torch.chunk(grid, grid.shape[1], dim=1)
        series = [
            head(part).unflatten(-1, (-1, self.patch_frames)).transpose(2, 3).flatten(3).flatten(1, 2)
            for part, head in zip(parts, self.signals, strict=True)
        ]
        return torch.cat(series, dim=1).index_select(1, self.order)


class TokenAutoencoding(Objective):
    """An encoder and a decoder that is thrown away when training ends."""

    columns = ("reconstruction_loss", "r2", "token_similarity", "cls_rank")
    separable = True

    def __init__(self, model: Semantoks, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.model = model
        self.decoder = TokenDecoder(model, width, depth, heads)
        # The encoder never sees a mask token here, only the decoder has one.
        self.model.mask_token.requires_grad_(False)

    @property
    def encoder(self) -> Semantoks:
        """The trained encoder, without the decoder."""
        return self.model

    def forward(self, batch: Batch, monitor: bool = False) -> dict[str, Tensor]:
        """Return ``total``, which is ``reconstruction_loss`` (see `hidden_signal_loss`), and what to watch.

        ``r2`` is the share of the hidden signals' variance that is explained, ``cls_rank`` (with `monitor`) the
        effective rank of the summary tokens over the batch. The batch has masks (batch, network, patch), True where
        hidden.
        """
        if batch.masks is None:
            raise ValueError("masked autoencoding needs masks in every step")
        x, (hidden,) = batch.views[0], batch.masks
        frames = None if batch.frame_mask is None else batch.frame_mask[0]
        present = self.model.present(batch.parcel_mask, frames, x.shape[-1])
        shown = ~hidden if present is None else present & ~hidden
        # What is hidden is never attended to, so that the other tokens are those of an encoder that has not seen it.
        tokens = self.model.encode(self.model.tokenize(x, batch.parcel_mask, frames), None, shown)
        predicted = self.decoder(tokens, hidden, present)
        counted = self._counted(hidden, batch.parcel_mask, frames)
        loss, r2 = hidden_signal_loss(predicted, x, counted)
        parts = {"total": loss, "reconstruction_loss": loss, "r2": r2}
        parts["token_similarity"] = token_similarity(tokens[:, 1:], shown)
        if monitor:
            parts["cls_rank"] = effective_rank(tokens[:, 0])
        return parts

    def _counted(self, hidden: Tensor, parcels: Tensor | None, frames: Tensor | None) -> Tensor:
        """Return which values (batch, parcel, frame) are hidden and present."""
        by_parcel = torch.einsum("bnt,pn->bpt", hidden.float(), self.model.member.float()) > 0
        counted = by_parcel.repeat_interleave(self.model.config.patch_frames, dim=2)
        if parcels is not None:
            counted = counted & parcels[:, :, None]
        return counted if frames is None else counted & frames[:, None, :]


def hidden_signal_loss(predicted: Tensor, signal: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean squared error and R² over the values that are `counted`, all (batch, parcel, frame).

    The error is the mean within a window, then over the windows of all processes that have any such value.
    R² is one minus squared errors over squared deviations from the mean of all that is counted.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        predicted = precise(predicted)
        weight, signal = counted.to(predicted.dtype), signal.to(predicted.dtype)
        squares = (predicted - signal).square() * weight
        counts = weight.sum(dim=(1, 2))
        means = squares.sum(dim=(1, 2)) / counts.clamp(min=1)
        loss = global_sum(means.sum()) / global_sum((counts > 0).to(counts.dtype).sum()).clamp(min=1)
        n, total = global_sum(counts.sum()).clamp(min=1), global_sum((signal * weight).sum())
        variance = global_sum((signal.square() * weight).sum()) - total.square() / n
        r2 = 1 - global_sum(squares.detach().sum()) / variance.clamp(min=torch.finfo(variance.dtype).tiny)
    return loss, r2
