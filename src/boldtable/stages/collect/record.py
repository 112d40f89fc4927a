"""One run as `collect` sees it, the stamp of its files, and the shard of its participant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from boldtable import store
from boldtable.errors import RunError
from boldtable.progress import log_fault


@dataclass
class Run:
    """A run on its way into the `runs` table: a row of the table plus what is needed to fill it in.

    `stamps` maps each file's path relative to the dataset to its (size, mtime_ns), or to None for a broken link.
    `sidecars` are the JSON files whose metadata the run inherits, nearest first; `metadata` the one beside its
    confounds. `digests` maps the path of every file that a number depends on to what `stamps.digest` says of its
    content. `entities` are all BIDS entities of its file, by their short names, for the filters; `atlas` is the
    parcellation of a ready series, and `gaps` says that frames were taken out of it.
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
    metadata: str | None = None
    digests: dict[str, str] = field(default_factory=dict)
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

    def leave_out(self, reason: str) -> Self:
        """Mark the run as not wanted, whatever else is said of it: the settings or a better file stand against it."""
        self.status, self.reason = "filtered", reason
        return self

    @property
    def files(self) -> list[str]:
        """Every file that a number of this run depends on, relative to the dataset."""
        named = (self.bold, self.mask, self.confounds, self.metadata, *self.sidecars)
        return [path for path in named if path]

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

        Keys, paths and contents of the files, repetition time, frames and status: repairing a file changes it, also
        where its size and time are kept; adding another participant or moving the whole dataset does not.
        """
        files = [(path, self.digests.get(path)) for path in self.files]
        return store.sha256_json([dataset, self.keys, files, self.tr_s, self.n_frames, self.status])


def guarded(work: Callable[[Run], Run]) -> Callable[[Run], Run]:
    """Return `work` with a boundary: whatever the files of a run raise excludes that run, and no other.

    Interruption and lack of memory go through: they are not the run's.
    """

    def safe(run: Run) -> Run:
        try:
            return work(run)
        except MemoryError:
            raise
        except RunError as error:
            return run.exclude(str(error))
        except Exception as error:  # noqa: BLE001 - the boundary of a run
            return run.exclude(f"{run.bold} cannot be read: {log_fault(error)}")

    return safe


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
