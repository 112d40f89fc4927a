"""Whole batches on the device, a pure function of seed and step: nothing to save when training is interrupted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from boldtable.errors import InputError
from boldtable.objectives.augment import Augmentation, augment, crop_starts, crops
from boldtable.objectives.masks import random_masks, slice_masks
from boldtable.stages.pretrain.data import Cohort
from boldtable.stages.pretrain.settings import Pretrain


class Batch(NamedTuple):
    """Two views (batch, parcel, frame) and what is hidden or absent in them; None: nothing."""

    view1: Tensor
    view2: Tensor
    mask1: Tensor | None
    mask2: Tensor | None
    parcel_mask: Tensor | None
    frame_mask1: Tensor | None
    frame_mask2: Tensor | None


class Batches:
    """The batches of one training: which runs, which crops, how augmented, what is masked.

    Every participant comes once an epoch with a random recording (the authors' rule); what is left over when an epoch
    does not divide into batches is dropped, and another part the next time.
    """

    def __init__(self, settings: Pretrain, cohort: Cohort, grid: tuple[int, int]) -> None:
        if cohort.n_participants < 2:
            raise InputError(f"pretraining needs at least 2 participants, found {cohort.n_participants}")
        self._settings, self._cohort, self._grid = settings, cohort, grid
        self.size = min(settings.batch_size, cohort.n_participants)
        self.per_epoch = cohort.n_participants // self.size
        self.total = settings.epochs * self.per_epoch
        self._generator = torch.Generator(cohort.frames.device)
        self._order: tuple[int, Tensor] | None = None
        # Data without gaps need no masks, and attention without a mask is faster.
        self._short = bool((cohort.lengths < settings.window_frames).any())
        self._holes = not bool(cohort.present.all())
        self._how = Augmentation(
            parcel_share=settings.drop_parcels,
            frame_share=settings.drop_frames,
            gain=(1 - settings.scale, 1 + settings.scale) if settings.scale else None,
            noise_sd=settings.noise,
        )

    def runs(self, step: int) -> Tensor:
        """The runs (batch,) of a step, as indices into the cohort."""
        epoch, place = divmod(step, self.per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, epoch_order(self._cohort, self._seeded("order", epoch)))
        return self._order[1][place * self.size : (place + 1) * self.size]

    def names(self, step: int) -> list[str]:
        """The readable names of the runs of a step."""
        return [self._cohort.labels[run] for run in self.runs(step).tolist()]

    def batch(self, step: int) -> Batch:
        """Cut, augment and mask the batch of a step, all on the device."""
        runs, cohort, window = self.runs(step), self._cohort, self._settings.window_frames
        generator = self._seeded("batch", step)
        lengths = cohort.lengths[runs]
        starts = crop_starts(lengths, window, generator).flatten()
        views, frames = crops(cohort.frames, cohort.starts[runs].repeat(2), lengths.repeat(2), starts, window)
        view1, view2 = augment(views.float(), self._how, generator).chunk(2)
        frame1, frame2 = frames.chunk(2) if self._short and frames is not None else (None, None)
        mask1, mask2 = self._masks(step, generator)
        return Batch(view1, view2, mask1, mask2, cohort.present[runs] if self._holes else None, frame1, frame2)

    def _masks(self, step: int, generator: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
        """Token masks for both views or for none, by a coin of the whole batch."""
        coin = np.random.default_rng(self._seed("coin", step)).random()
        if coin >= self._settings.mask_probability:
            return None, None
        draw = slice_masks if self._settings.masks == "slice" else random_masks
        low, high = self._settings.mask_range
        mask1, mask2 = draw(2 * self.size, *self._grid, generator, low, high).chunk(2)
        return mask1, mask2

    def _seeded(self, what: str, number: int) -> torch.Generator:
        return self._generator.manual_seed(self._seed(what, number))

    def _seed(self, what: str, number: int) -> int:
        """A seed of its own for every use and step, from the seed in the settings (63 bits)."""
        mixed = np.random.SeedSequence([self._settings.seed, number, *what.encode()])
        return int(mixed.generate_state(1, np.uint64)[0] >> np.uint64(1))


def epoch_order(cohort: Cohort, generator: torch.Generator) -> Tensor:
    """The runs of one epoch (participant,): every participant once, shuffled, each with a random recording."""
    device = cohort.firsts.device
    order = torch.randperm(cohort.n_participants, generator=generator, device=device)
    draw = torch.rand(cohort.n_participants, generator=generator, device=device, dtype=torch.float64)
    return (cohort.firsts + (draw * cohort.counts).long())[order]
