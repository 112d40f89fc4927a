"""One run as `collect` sees it, the stamp of its files, and the shard of its participant."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from boldtable import store


@dataclass
class Run:
    """A run on its way into the `runs` table: a row of the table plus what is needed to fill it in.

    `stamps` maps each file's path relative to the dataset to its (size, mtime_ns), or to None for a broken link.
    `sidecars` are the JSON files whose metadata the run inherits, nearest first. `entities` are all BIDS entities of
    its file, by their short names, for the filters; `atlas` is the parcellation of a ready series, and `gaps` says that
    frames were taken out of it.
    """

    participant: str
    session: str | None = None
    task: str | None = None
    run: str | None = None
    acquisition: str | None = None
    space: str | None = None
    resolution: str | None = None
    atlas: str | None = None
    bold: str | None = None
    mask: str | None = None
    confounds: str | None = None
    tr_s: float | None = None
    n_frames: int | None = None
    status: str = "found"
    reason: str | None = None
    stamps: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    sidecars: tuple[str, ...] = ()
    entities: dict[str, str] = field(default_factory=dict)
    gaps: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """What identifies the run within its dataset; a missing entity is ''. Sorts the table."""
        return tuple(getattr(self, key) or "" for key in store.KEYS[1:])

    @property
    def minutes(self) -> float | None:
        """Length in minutes; None while the frames or the repetition time are unknown."""
        return None if self.tr_s is None or self.n_frames is None else self.n_frames * self.tr_s / 60

    def exclude(self, reason: str) -> Self:
        """Mark the run as excluded; the first reason stands."""
        if self.status == "found":
            self.status, self.reason = "excluded", reason
        return self

    def check_links(self) -> Self:
        """Exclude a run of which a file is only a broken link, as in a DataLad dataset before ``datalad get``."""
        broken = [path for path, found in self.stamps.items() if found is None]
        if broken:
            self.exclude(f"content not here: {broken[0]} is a broken link; fetch it (with DataLad: datalad get)")
        return self

    def row(self, dataset: str, shard: str) -> dict[str, Any]:
        """The row of the `runs` table."""
        names = store.schema("runs").names
        plain = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {**plain, "dataset": dataset, "shard": shard, "fingerprint": self.fingerprint(dataset)}

    def fingerprint(self, dataset: str) -> str:
        """A sha256 over all that later stages take from this run.

        Keys, paths, sizes and modification times of the files, repetition time, frames and status: repairing a file
        changes it, adding another participant or moving the whole dataset does not.
        """
        files = [(path, self.stamps.get(path)) for path in (self.bold, self.mask, self.confounds) if path]
        return store.sha256_json([dataset, self.keys, files, self.tr_s, self.n_frames, self.status])


def shards(participants: Iterable[str], size: int) -> dict[str, str]:
    """Give each participant a shard name, such as ``03``, of equal width for all.

    The shard is sha256(participant) modulo 2^k, with the smallest k whose 2^k shards of `size` hold everybody: adding
    a participant moves nobody, except when the number of shards doubles.
    """
    names = sorted(set(participants))
    count = 1
    while count * size < len(names):
        count *= 2
    width = len(str(count - 1))
    return {name: f"{_bucket(name, count):0{width}d}" for name in names}


def _bucket(participant: str, count: int) -> int:
    return int.from_bytes(hashlib.sha256(participant.encode()).digest(), "big") % count
