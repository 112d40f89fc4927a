"""Masked autoencoding (He et al. 2022): most tokens are hidden, and their signal is to be told from the others.

As in BrainLM: tokens are hidden one by one, whatever their parcel or time; the error counts hidden tokens alone. A
token without data (missing parcel, frames past the end) is neither read nor counted, nor does it take the place of
another: the share hidden is of those that have data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from boldtable.models.brainlm import BrainLM, Drop
from boldtable.models.brainlm_vit import BrainLMImages
from boldtable.objectives.base import Batch, Objective
from boldtable.objectives.coding_rate import global_sum
from boldtable.objectives.monitors import effective_rank, token_similarity

Error = Literal["mse", "mae"]
Order = Literal["shuffled", "atlas"]
MaskedModel = BrainLM | BrainLMImages


@dataclass(frozen=True)
class Masking:
    """How much is hidden, and in which order the tokens that are kept are read.

    ``shuffled`` is the authors' code: the order of the noise, which the value convolution of BrainLM sees; ``atlas``
    keeps the order of parcels and patches.
    """

    ratio: float
    order: Order


class Kept(NamedTuple):
    """Which tokens are read: `places` (batch, kept), one past the last token where there are fewer, then `allowed` is
    False there (None: all are); `hidden` (batch, token) is True for those that have data and are not read.
    """

    places: Tensor
    allowed: Tensor | None
    hidden: Tensor


class Reconstruction(NamedTuple):
    """The signal as reconstructed, (batch, parcel, frame), and which of its values were hidden and are known.

    `latent` (batch, 1 + kept, width) are the tokens that were read, `allowed` (batch, kept) which of them have data.
    """

    signal: Tensor
    counted: Tensor
    latent: Tensor
    allowed: Tensor | None


def keep(noise: Tensor, masking: Masking, present: Tensor | None = None) -> Kept:
    """Keep the tokens of least `noise` (batch, token), int(n (1 - ratio)) of the n that are `present`, at least one."""
    n_tokens = noise.shape[1]
    most = max(int(n_tokens * (1 - masking.ratio)), 1)
    if present is not None:
        noise = noise.masked_fill(~present, torch.inf)
    places = noise.argsort(dim=1)[:, :most]
    if present is not None:
        counts = (present.sum(dim=1, keepdim=True).double() * (1 - masking.ratio)).long().clamp(min=1)
        first = torch.arange(most, device=noise.device) < counts
        places = torch.where(first & present.gather(1, places), places, n_tokens)
    if masking.order == "atlas":
        places = places.sort(dim=1).values
    shown = torch.zeros(len(noise), n_tokens + 1, dtype=torch.bool, device=noise.device).scatter(1, places, True)
    hidden = ~shown[:, :n_tokens]
    return Kept(places, None, hidden) if present is None else Kept(places, places < n_tokens, hidden & present)


def reconstruct(
    model: MaskedModel,
    x: Tensor,
    noise: Tensor,
    masking: Masking,
    parcel_mask: Tensor | None = None,
    frame_mask: Tensor | None = None,
    drop: Drop = None,
) -> Reconstruction:
    """Hide tokens of `x` (batch, parcel, frame) by `noise` (batch, token) and reconstruct them from the others.

    Masks are True where a value is present, (batch, parcel) and (batch, frame); `drop` is applied to the tokens with
    their positions, before the encoder and before the decoder.
    """
    n_frames = x.shape[-1]
    tokens = model.tokenize(x, parcel_mask, frame_mask)
    present = model.present(parcel_mask, frame_mask, n_frames)
    present = None if present is None else present.expand(tokens.shape[:2])
    kept = keep(noise, masking, present)
    tokens = tokens if drop is None else drop(tokens)
    rows = kept.places.clamp(max=tokens.shape[1] - 1)[..., None].expand(-1, -1, tokens.shape[-1])
    latent = model.encode(tokens.gather(1, rows), kept.allowed)
    signal = model.decode(latent, kept.places, n_frames, present, drop)
    counted = model.within(kept.hidden, n_frames)
    if parcel_mask is not None:
        counted = counted & parcel_mask[:, :, None]
    if frame_mask is not None:
        counted = counted & frame_mask[:, None, :]
    return Reconstruction(signal, counted, latent, kept.allowed)


def masked_error(signal: Tensor, target: Tensor, counted: Tensor, kind: Error = "mse") -> Tensor:
    """Return the mean squared (or absolute) error over the values `counted`, in float32 at least, a scalar.

    The mean is over the values of each sample (of the first dimension), then over the samples of all processes: the
    same as the authors' mean over all values where no parcel or frame is missing. Values that do not count may be
    anything, NaN included.
    """
    with torch.autocast(signal.device.type, enabled=False):
        found = torch.where(counted, signal.float() if signal.dtype.itemsize < 4 else signal, 0.0)
        error = (found - torch.where(counted, target, 0.0)).flatten(1)
        totals = error.square().sum(dim=1) if kind == "mse" else error.abs().sum(dim=1)
        means = totals / counted.flatten(1).sum(dim=1).clamp(min=1)
        return global_sum(means.sum()) / global_sum(torch.full_like(means[0], len(means)).detach())


@torch.no_grad()
def explained(signal: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Return the four sums (4,), float64, that R² over the values `counted` follows from; see `r_squared`.

    They add up over batches: squared errors, values, squared values, and their number.
    """
    known = torch.where(counted, target, 0.0).double()
    error = torch.where(counted, signal.double() - known, 0.0)
    return torch.stack([error.square().sum(), known.sum(), known.square().sum(), counted.sum().double()])


def r_squared(sums: Tensor) -> Tensor:
    """Return 1 - squared error / squared deviation from the mean of all values, from the sums of `explained`.

    Not clipped: a reconstruction worse than the mean is below 0. NaN where nothing varies.
    """
    error, total, squares, count = sums.unbind()
    spread = squares - total.square() / count
    return torch.where(spread > 0, 1 - error / spread, torch.nan)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def per_sample_dropout(share: float, seeds: list[int], device: torch.device) -> Drop:
    """Return a dropout whose draws belong to the sample: the same however the batch is shared among processes.

    `seeds` has one number a sample; every call draws anew.
    """
    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def drop(tokens: Tensor) -> Tensor:
        draws = [torch.rand(tokens.shape[1:], generator=generator, device=device) for generator in generators]
        return torch.where(torch.stack(draws) < share, 0.0, tokens / (1 - share))

    return drop


class MaskedAutoencoding(Objective):
    """A model with its decoder, trained to reconstruct what is hidden. `dropout` is of the tokens with their positions.

    A batch brings the noise (sample, token) that decides what is hidden, then a seed (sample,) for dropout.
    """

    columns = ("reconstruction_loss", "r2", "token_similarity", "cls_rank")
    separable = True

    def __init__(self, model: MaskedModel, masking: Masking, error: Error, dropout: float = 0.0) -> None:
        super().__init__()
        self.model, self.masking, self.error, self.dropout = model, masking, error, dropout

    @property
    def encoder(self) -> MaskedModel:
        """The model itself: its decoder is stored with it, for reconstructions."""
        return self.model

    def draws(self, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the noise and the seeds of so many samples (`Sampling.masks`)."""
        n_tokens = self.model.n_tokens
        noise = torch.rand(samples, n_tokens, generator=generator, device=generator.device)
        return noise, torch.randint(2**62, (samples,), generator=generator, device=generator.device)

    def forward(self, batch: Batch, monitor: bool = False) -> dict[str, Tensor]:
        """Return total, its one part, and what is watched; `monitor` adds the rank of the summary tokens."""
        if batch.masks is None:
            raise ValueError("masked autoencoding needs the draws of every step")
        noise, seeds = batch.masks
        x, frames = batch.views[0], None if batch.frame_mask is None else batch.frame_mask[0]
        drop = per_sample_dropout(self.dropout, seeds.tolist(), x.device) if self.dropout and self.training else None
        made = reconstruct(self.model, x, noise, self.masking, batch.parcel_mask, frames, drop)
        loss = masked_error(made.signal, x, made.counted, self.error)
        found = {"total": loss, "reconstruction_loss": loss.detach()}
        found["r2"] = r_squared(explained(made.signal, x, made.counted))
        found["token_similarity"] = token_similarity(made.latent[:, 1:], made.allowed)
        if monitor:
            found["cls_rank"] = effective_rank(made.latent[:, 0])
        return found
