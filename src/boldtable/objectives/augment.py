"""Crops and augmentations for a whole batch at once, on the device of the data, without work per sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """The four augmentations, in the order in which they are applied to every crop; None or 0 switches one off.

    `parcel_share`: up to this share of the parcels is set to 0 (at least one parcel). `frame_share`: one block of up
    to this share of the frames is set to 0 in all parcels (at least one frame). `gain`: range of a factor per window.
    `noise_sd`: standard deviation of added Gaussian noise, in units of the normalised signal. Defaults as published.
    """

    parcel_share: float = 0.1
    frame_share: float = 0.3
    gain: tuple[float, float] | None = (0.8, 1.2)
    noise_sd: float = 0.1


def crop_starts(lengths: Tensor, window_frames: int, generator: torch.Generator, views: int = 2) -> Tensor:
    """Return first frames (view, run): independent, uniform over all places where a window fits; 0 in short runs.

    `lengths` (run,) are numbers of frames, on the generator's device.
    """
    places = (lengths - window_frames).clamp(min=0) + 1
    draws = torch.rand(views, len(lengths), generator=generator, device=generator.device, dtype=torch.float64)
    return (draws * places).long()


def crops(
    frames: Tensor, offsets: Tensor, lengths: Tensor, starts: Tensor, window_frames: int
) -> tuple[Tensor, Tensor]:
    """Cut one window per run out of a buffer that holds all runs one after the other.

    `frames` is (frame of all runs, parcel); `offsets`, `lengths` and `starts` (run,) say where each run begins, how
    many frames it has, and where in it the window starts. Returns windows (run, parcel, frame), a transposed view of
    frame-major memory, and the mask (run, frame), True where the run has a frame. Beyond the end of a run stand zeros.
    """
    within = starts[:, None] + torch.arange(window_frames, device=frames.device)
    present = within < lengths[:, None]
    rows = offsets[:, None] + torch.where(present, within, 0)
    windows = frames.index_select(0, rows.flatten()).view(*rows.shape, -1)
    return torch.where(present[:, :, None], windows, 0).transpose(1, 2), present


def augment(x: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Return augmented float32 windows (window, parcel, frame), each window with its own draws; `x` is left as it was.

    Order: zero parcels, zero a block of frames, multiply, add noise (also to what was zeroed), as in the authors'
    code. NaN (a missing parcel) stays NaN. The draws depend on the generator and the shape alone.
    """
    batch, n_parcels, n_frames = x.shape
    x = x.float()
    factor = x.new_ones(batch, 1, 1)
    if how.gain is not None:
        low, high = how.gain
        factor = factor * (low + (high - low) * _uniform(batch, 1, generator)[:, :, None])
    if how.parcel_share > 0:
        counts = _counts(batch, n_parcels, how.parcel_share, generator)
        order = _uniform(batch, n_parcels, generator).argsort(dim=1)
        factor = factor * (order >= counts)[:, :, None]
    if how.frame_share > 0:
        length = _counts(batch, n_frames, how.frame_share, generator)
        start = (_uniform(batch, 1, generator) * (n_frames - length + 1)).long()
        frame = torch.arange(n_frames, device=x.device)
        factor = factor * ((frame < start) | (frame >= start + length))[:, None, :]
    if how.noise_sd <= 0:
        return x * factor
    # Frame-major, as `crops` returns it; filling a strided view would be slow.
    noise = torch.empty(batch, n_frames, n_parcels, device=x.device).normal_(0.0, how.noise_sd, generator=generator)
    return noise.transpose(1, 2).addcmul_(x, factor)


def _uniform(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.rand(rows, columns, generator=generator, device=generator.device)


def _counts(batch: int, n: int, share: float, generator: torch.Generator) -> Tensor:
    """Return whole numbers (window, 1): floor(n r) with r uniform in [0, share], at least 1."""
    return (n * share * _uniform(batch, 1, generator)).long().clamp(min=1)
