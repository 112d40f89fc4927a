"""Data larger than their buffer: group after group of shards, the next read while the current one trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Resident(NamedTuple):
    """Runs that are in memory: `frames` (frame, parcel), and `starts` (run of the cohort,), where each begins in it."""

    frames: Tensor
    starts: Tensor


class Group(NamedTuple):
    """One group of an epoch: its shards, and the samples [`first`, `last`) of the epoch that lie in it."""

    shards: tuple[int, ...]
    first: int
    last: int


class Stream:
    """Epochs go over groups of shards, shuffled and grouped anew for every epoch by the seed alone.

    All runs of a participant lie in one shard, so every participant still comes once an epoch. A group has at most
    `capacity` frames, and at most two groups are in memory: one to train on, one being read in the background.
    """

    def __init__(
        self,
        read: Callable[[Sequence[int]], tuple[Tensor, Tensor]],
        frames: Sequence[int],
        shard_of_run: Tensor,
        capacity: int,
        seed: int,
        stop: Callable[[], None],
    ) -> None:
        self._stop = stop
        self._read, self._frames, self._shard_of_run = read, frames, shard_of_run
        self._capacity, self._seed = capacity, seed
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._current: tuple[tuple[int, ...], Resident] | None = None
        self._next: tuple[tuple[int, ...], Future[tuple[Tensor, Tensor]]] | None = None

    def arrange(self, epoch: int, order: Tensor) -> tuple[Tensor, list[Group]]:
        """Sort the runs of an epoch (participant,) by group, keeping their order within one."""
        groups = self.groups(epoch)
        group_of_shard = torch.empty(len(self._frames), dtype=torch.long)
        for number, group in enumerate(groups):
            group_of_shard[list(group)] = number
        group_of_sample = group_of_shard[self._shard_of_run[order.cpu()]]
        place = group_of_sample.argsort(stable=True)
        ends = torch.bincount(group_of_sample, minlength=len(groups)).cumsum(0).tolist()
        bounds = zip(groups, [0, *ends[:-1]], ends, strict=True)
        return order[place.to(order.device)], [Group(group, first, last) for group, first, last in bounds]

    def groups(self, epoch: int) -> list[tuple[int, ...]]:
        """The shards of an epoch in random order, packed one after the other into groups that fit."""
        rng = np.random.default_rng([self._seed, epoch, *b"shards"])
        groups: list[list[int]] = []
        room = 0
        for shard in rng.permutation(len(self._frames)).tolist():
            if self._frames[shard] > room:
                groups.append([])
                room = self._capacity
            groups[-1].append(shard)
            room -= self._frames[shard]
        return [tuple(group) for group in groups]

    def load(self, shards: tuple[int, ...], following: tuple[int, ...] | None) -> Resident:
        """Return the group of these shards, read in advance where it was announced, and begin to read the following.

        The group given before is dropped first: keep nothing of it but copies.
        """
        if self._current is None or self._current[0] != shards:
            self._current = None
            self._current = (shards, self._take(shards))
            if following is not None and following != shards:
                self._next = (following, self._pool.submit(self._read, following))
        return self._current[1]

    def close(self) -> None:
        """End the reading that is under way, for nobody waits for it any more."""
        self._stop()
        self._pool.shutdown()
        self._current = self._next = None

    def _take(self, shards: tuple[int, ...]) -> Resident:
        announced, self._next = self._next, None
        if announced is not None:
            found = announced[1].result()  # waited for even if unwanted: two groups at a time, never three
            if announced[0] == shards:
                return Resident(*found)
            del found, announced
        return Resident(*self._read(shards))


def overlapping(groups: Sequence[Group], first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Yield (group, first, last) for the groups that the samples [first, last) lie in, in order."""
    for number, group in enumerate(groups):
        begin, end = max(first, group.first), min(last, group.last)
        if begin < end:
            yield number, begin, end
