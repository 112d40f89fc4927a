"""Whole batches on the device, a pure function of seed and step: nothing to save when training is interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from boldtable.errors import InputError
from boldtable.objectives.augment import Augmentation, augment, crop_starts, crops
from boldtable.objectives.masks import random_masks, slice_masks
from boldtable.stages.pretrain.data import Cohort
from boldtable.stages.pretrain.distributed import Processes
from boldtable.stages.pretrain.settings import Pretrain
from boldtable.stages.pretrain.stream import Group, Resident, overlapping

# Samples that share a random generator. Every process draws only the parts its samples lie in; the size of a part is
# fixed, so that a batch is the same however many processes share it.
PART = 64


class Batch(NamedTuple):
    """Two views (batch, parcel, frame) and what is hidden or absent in them; None: nothing."""

    view1: Tensor
    view2: Tensor
    mask1: Tensor | None
    mask2: Tensor | None
    parcel_mask: Tensor | None
    frame_mask1: Tensor | None
    frame_mask2: Tensor | None


class _Part(NamedTuple):
    """Samples: views (2, sample, frame, parcel), their frames (2, sample, frame), masks (2, sample, network, patch)."""

    views: Tensor
    frames: Tensor
    masks: Tensor | None


class _Epoch(NamedTuple):
    """The runs of an epoch in their order, and the groups they are read in (one where all is in memory)."""

    number: int
    runs: Tensor
    groups: list[Group]


class Batches:
    """The batches of one training: which runs, which crops, how augmented, what is masked.

    Every participant comes once an epoch with a random recording (the authors' rule); what is left over when an epoch
    does not divide into batches is dropped, and another part the next time. Among several processes each makes its
    share of the same batch; `size` is always that of the whole.
    """

    def __init__(
        self, settings: Pretrain, cohort: Cohort, grid: tuple[int, int], processes: Processes | None = None
    ) -> None:
        self._processes = processes or Processes()
        fewest = max(2, self._processes.size)
        if cohort.n_participants < fewest:
            raise InputError(f"pretraining needs at least {fewest} participants, found {cohort.n_participants}")
        self._settings, self._cohort, self._grid = settings, cohort, grid
        self.size = min(settings.batch_size, cohort.n_participants)
        if self.size < self._processes.size:
            raise InputError(f"batch_size {self.size} is less than the number of processes, {self._processes.size}")
        self.per_epoch = cohort.n_participants // self.size
        self.total = settings.epochs * self.per_epoch
        self._generator = torch.Generator(cohort.frames.device)
        self._epoch: _Epoch | None = None
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
        """The runs (batch,) of a step over all processes, as indices into the cohort."""
        epoch, place = divmod(step, self.per_epoch)
        return self._arranged(epoch).runs[place * self.size : (place + 1) * self.size]

    def names(self, step: int) -> list[str]:
        """The readable names of the runs of a step."""
        return [self._cohort.labels[run] for run in self.runs(step).tolist()]

    def batch(self, step: int) -> Batch:
        """Cut, augment and mask this process's share of the batch of a step, all on the device."""
        first, last = self._processes.share(self.size)
        masked = np.random.default_rng(self._seed("coin", step)).random() < self._settings.mask_probability
        parts = [self._part(step, number, masked) for number in range(first // PART, -(-last // PART))]
        mine = slice(first % PART, first % PART + last - first)
        views = _join([part.views for part in parts])[:, mine].transpose(2, 3)
        frames = _join([part.frames for part in parts])[:, mine] if self._short else (None, None)
        masks = _join([part.masks for part in parts if part.masks is not None])[:, mine] if masked else (None, None)
        present = self._cohort.present[self.runs(step)[first:last]] if self._holes else None
        return Batch(views[0], views[1], masks[0], masks[1], present, frames[0], frames[1])

    def _part(self, step: int, number: int, masked: bool) -> _Part:
        """The samples of one part of a step, drawn with their own generator."""
        epoch, place = divmod(step, self.per_epoch)
        first, last = number * PART, min((number + 1) * PART, self.size)
        runs = self.runs(step)[first:last]
        generator = self._seeded("batch", step, number)
        starts = crop_starts(self._cohort.lengths[runs], self._settings.window_frames, generator)
        views, frames = self._crops(epoch, place * self.size + first, place * self.size + last, starts)
        drawn = augment(views, self._how, generator)
        masks = None
        if masked:
            draw = slice_masks if self._settings.masks == "slice" else random_masks
            low, high = self._settings.mask_range
            masks = _by_view(draw(2 * (last - first), *self._grid, generator, low, high))
        return _Part(_by_view(drawn.transpose(1, 2)), _by_view(frames), masks)

    def _crops(self, epoch: int, first: int, last: int, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Both views of the samples [first, last) of an epoch, from the groups they lie in: see `crops`."""
        views, frames = [], []
        for number, begin, end in overlapping(self._arranged(epoch).groups, first, last):
            here, runs = self._resident(epoch, number), self._arranged(epoch).runs[begin:end].repeat(2)
            within = starts[:, begin - first : end - first].flatten()
            found = crops(
                here.frames, here.starts[runs], self._cohort.lengths[runs], within, self._settings.window_frames
            )
            del here  # the next group's memory may be this one's
            views.append(_by_view(found[0].transpose(1, 2)))
            frames.append(_by_view(found[1]))
        return _join(views).flatten(0, 1).transpose(1, 2), _join(frames).flatten(0, 1)

    def _resident(self, epoch: int, number: int) -> Resident:
        """The group's runs in memory, with the next group on its way."""
        stream = self._cohort.stream
        if stream is None:
            return Resident(self._cohort.frames, self._cohort.starts)
        groups = self._used(self._arranged(epoch).groups)
        after = groups[number + 1].shards if number + 1 < len(groups) else None
        if after is None and epoch + 1 < self._settings.epochs:
            after = stream.groups(epoch + 1)[0]
        return stream.load(groups[number].shards, after)

    def _used(self, groups: list[Group]) -> list[Group]:
        """Without the groups that lie wholly in what an epoch leaves over."""
        return [group for group in groups if group.first < self.per_epoch * self.size]

    def _arranged(self, epoch: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != epoch:
            order = epoch_order(self._cohort, self._seeded("order", epoch))
            stream = self._cohort.stream
            arranged = stream.arrange(epoch, order) if stream else (order, [Group((), 0, len(order))])
            self._epoch = _Epoch(epoch, *arranged)
        return self._epoch

    def _seeded(self, what: str, number: int, part: int = 0) -> torch.Generator:
        return self._generator.manual_seed(self._seed(what, number) + part)

    def _seed(self, what: str, number: int) -> int:
        """A seed of its own for every use and step, from the seed in the settings (63 bits)."""
        mixed = np.random.SeedSequence([self._settings.seed, number, *what.encode()])
        return int(mixed.generate_state(1, np.uint64)[0] >> np.uint64(1))


def _by_view(rows: Tensor) -> Tensor:
    """(2·sample, ...) → (view = 2, sample, ...)."""
    return rows.reshape(2, -1, *rows.shape[1:])


def _join(parts: Sequence[Tensor]) -> Tensor:
    """One after the other along the samples (the second dimension); a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def epoch_order(cohort: Cohort, generator: torch.Generator) -> Tensor:
    """The runs of one epoch (participant,): every participant once, shuffled, each with a random recording."""
    device = cohort.firsts.device
    order = torch.randperm(cohort.n_participants, generator=generator, device=device)
    draw = torch.rand(cohort.n_participants, generator=generator, device=device, dtype=torch.float64)
    return (cohort.firsts + (draw * cohort.counts).long())[order]
