"""Whole batches on the device, a pure function of seed and step: nothing to save when training is interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from boldtable.errors import InputError
from boldtable.objectives.augment import augment, crop_starts, crops
from boldtable.objectives.base import Batch, Sampling
from boldtable.stages.pretrain.data import Cohort
from boldtable.stages.pretrain.distributed import Processes
from boldtable.stages.pretrain.settings import Pretrain
from boldtable.stages.pretrain.stream import Group, Resident, overlapping

# Samples that share a random generator. Every process draws only the parts its samples lie in; the size of a part is
# fixed, so that a batch is the same however many processes share it.
PART = 64


class _Part(NamedTuple):
    """Samples: views (view, sample, frame, parcel), their frames (view, sample, frame), masks (sample, ...)."""

    views: Tensor
    frames: Tensor
    masks: tuple[Tensor, ...] | None


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
        self, settings: Pretrain, cohort: Cohort, sampling: Sampling, processes: Processes | None = None
    ) -> None:
        self._processes = processes or Processes()
        fewest = max(2, self._processes.size)
        if cohort.n_participants < fewest:
            raise InputError(f"pretraining needs at least {fewest} participants, found {cohort.n_participants}")
        self._settings, self._cohort, self._sampling = settings, cohort, sampling
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
        masked = self._masked(step)
        parts = [self._part(step, number, masked) for number in range(first // PART, -(-last // PART))]
        mine = slice(first % PART, first % PART + last - first)
        views = _join([part.views for part in parts])[:, mine].transpose(2, 3)
        frames = _join([part.frames for part in parts])[:, mine] if self._short else None
        present = self._cohort.present[self.runs(step)[first:last]] if self._holes else None
        drawn = [part.masks for part in parts if part.masks is not None]
        masks = tuple(_join(one, dim=0)[mine] for one in zip(*drawn, strict=True)) if drawn else None
        if masked and self._sampling.together:
            masks = self._together(step, slice(first, last))
        return Batch(views, present, frames, masks)

    def _masked(self, step: int) -> bool:
        """Whether the samples of a step are masked."""
        if self._sampling.masks is None:
            return False
        return bool(np.random.default_rng(self._seed("coin", step)).random() < self._sampling.mask_share)

    def _together(self, step: int, mine: slice) -> tuple[Tensor, ...] | None:
        """This process's share of the masks that are drawn for the whole batch."""
        draw = self._sampling.masks
        return None if draw is None else tuple(one[mine] for one in draw(self.size, self._seeded("masks", step)))

    def _part(self, step: int, number: int, masked: bool) -> _Part:
        """The samples of one part of a step, drawn with their own generator."""
        epoch, place = divmod(step, self.per_epoch)
        first, last = number * PART, min((number + 1) * PART, self.size)
        runs, how = self.runs(step)[first:last], self._sampling
        generator = self._seeded("batch", step, number)
        starts = crop_starts(self._cohort.lengths[runs], self._settings.window_frames, generator, how.views)
        views, frames = self._crops(epoch, place * self.size + first, place * self.size + last, starts)
        drawn = views.float() if how.augmentation is None else augment(views, how.augmentation, generator)
        masks = how.masks(last - first, generator) if masked and how.masks and not how.together else None
        return _Part(self._by_view(drawn.transpose(1, 2)), self._by_view(frames), masks)

    def _crops(self, epoch: int, first: int, last: int, starts: Tensor) -> tuple[Tensor, Tensor]:
        """The views of the samples [first, last) of an epoch, from the groups they lie in: see `crops`."""
        views, frames = [], []
        for number, begin, end in overlapping(self._arranged(epoch).groups, first, last):
            here = self._resident(epoch, number)
            runs = self._arranged(epoch).runs[begin:end].repeat(self._sampling.views)
            within = starts[:, begin - first : end - first].flatten()
            found = crops(
                here.frames, here.starts[runs], self._cohort.lengths[runs], within, self._settings.window_frames
            )
            del here  # the next group's memory may be this one's
            views.append(self._by_view(found[0].transpose(1, 2)))
            frames.append(self._by_view(found[1]))
        return _join(views).flatten(0, 1).transpose(1, 2), _join(frames).flatten(0, 1)

    def _by_view(self, rows: Tensor) -> Tensor:
        """(view·sample, ...) → (view, sample, ...)."""
        return rows.reshape(self._sampling.views, -1, *rows.shape[1:])

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


def _join(parts: Sequence[Tensor], dim: int = 1) -> Tensor:
    """One after the other along the samples; a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=dim)


def epoch_order(cohort: Cohort, generator: torch.Generator) -> Tensor:
    """The runs of one epoch (participant,): every participant once, shuffled, each with a random recording."""
    device = cohort.firsts.device
    order = torch.randperm(cohort.n_participants, generator=generator, device=device)
    draw = torch.rand(cohort.n_participants, generator=generator, device=device, dtype=torch.float64)
    return (cohort.firsts + (draw * cohort.counts).long())[order]
