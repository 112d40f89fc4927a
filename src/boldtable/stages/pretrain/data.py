"""The tensors of all datasets in memory on the device: whole, or group by group of shards where they do not fit."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError
from boldtable.progress import progress
from boldtable.stages.pretrain.index import Index, Portion, Shard, build
from boldtable.stages.pretrain.stream import Stream


@dataclass(frozen=True)
class Cohort:
    """Every kept run, back to back.

    `frames` (frame, parcel) holds all runs, run r from `starts[r]` for `lengths[r]` frames; `present` (run, parcel) is
    False for parcels without coverage, which are zero in `frames`. The runs of participant p are the `counts[p]` runs
    from `firsts[p]`. `labels` names the runs, `participants` lists who is inside by dataset. Where the data exceed the
    buffer, `frames` is empty and `stream` gives them group by group.
    """

    frames: Tensor
    starts: Tensor
    lengths: Tensor
    present: Tensor
    firsts: Tensor
    counts: Tensor
    labels: list[str]
    participants: dict[str, list[str]]
    tr_s: float | None
    normalisation: str
    fingerprint: str
    stream: Stream | None = None

    @property
    def n_runs(self) -> int:
        """How many recordings there are."""
        return len(self.labels)

    @property
    def n_participants(self) -> int:
        """How many participants there are: the samples of an epoch."""
        return len(self.firsts)


def load(
    datasets: Sequence[str],
    tensors: Sequence[Path],
    qc: Sequence[Path],
    table: AtlasTable,
    dtype: torch.dtype,
    device: torch.device,
    *,
    buffer_gb: float | None = None,
    portion: Portion | None = None,
    seed: int = 0,
) -> Cohort:
    """Read every run that quality control kept, once, from Parquet into one buffer on `device`.

    The order is by dataset (as in the settings), then by the runs' keys. Where the data exceed `buffer_gb` every run is
    read and checked once too, but only its content's hash is kept, and a `Stream` reads the runs again as training
    comes to them; `seed` decides the order of its shards. Raises `InputError` where a file is missing, has another
    atlas or TR than the others, or does not hold a run that quality control kept.
    """
    index = build(datasets, tensors, qc, table, portion or Portion())
    reader = Reader(index, dtype, device)
    needed = int(index.lengths.sum()) * reader.bytes_per_frame
    if buffer_gb is None or needed <= buffer_gb * 1e9:
        return _cohort(reader, *reader.everything())
    stream = _stream(reader, buffer_gb, seed)
    reader.check()
    none = torch.empty((0, index.n_parcels), dtype=dtype, device=device)
    return _cohort(reader, none, torch.full((len(index.runs),), -1, device=device), stream)


def _stream(reader: Reader, buffer_gb: float, seed: int) -> Stream:
    """Groups of shards of which two fit into the buffer: one to train on, one to read."""
    index = reader.index
    owner = index.runs.groupby(["dataset", "participant"], sort=False)["file"].nunique()
    if (owner > 1).any():
        dataset, participant = owner.index[owner.gt(1)][0]
        raise InputError(
            f"the runs of participant '{participant}' of '{dataset}' lie in several shards: set 'buffer_gb: null', or "
            "run collect and what follows it again"
        )
    frames = [int(shard.n_frames.sum()) for shard in index.shards]
    capacity = int(buffer_gb * 1e9 / 2 / reader.bytes_per_frame)
    largest = int(np.argmax(frames))
    if frames[largest] > capacity:
        raise InputError(
            f"{index.shards[largest].path} takes {frames[largest] * reader.bytes_per_frame / 1e9:.3g} GB, and two such "
            f"shards must fit into 'buffer_gb: {buffer_gb:g}': raise it, or lower collect's 'shard_size'"
        )
    shard_of_run = np.zeros(len(index.runs), dtype=np.int64)
    for number, shard in enumerate(index.shards):
        shard_of_run[shard.positions] = number
    return Stream(reader.read, frames, torch.from_numpy(shard_of_run), capacity, seed, reader.stopped.set)


class Reader:
    """Brings the wanted runs of shards into memory, each checked as it comes; several threads fill their own slices."""

    def __init__(self, index: Index, dtype: torch.dtype, device: torch.device) -> None:
        self.index, self.dtype, self.device = index, dtype, device
        self.bytes_per_frame = index.n_parcels * dtype.itemsize
        self.present = torch.zeros((len(index.runs), index.n_parcels), dtype=torch.bool)
        self.digests = [b""] * len(index.runs)
        self.stopped = threading.Event()

    def everything(self) -> tuple[Tensor, Tensor]:
        """All runs in their order, with presence and content hashes noted."""
        starts = np.concatenate([[0], np.cumsum(self.index.lengths)[:-1]]).astype(np.int64)
        frames = torch.empty((int(self.index.lengths.sum()), self.index.n_parcels), dtype=self.dtype)
        self._pass(lambda shard: self._take(shard, frames, starts, note=True))
        return frames.to(self.device), torch.from_numpy(starts).to(self.device)

    def check(self) -> None:
        """Read every run once and note presence and content hash, keeping no signal."""
        self._pass(lambda shard: self._take(shard, None, None, note=True))

    def read(self, shards: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The runs of some shards, one after the other, and where each begins (-1 for the runs of other shards)."""
        chosen = [self.index.shards[number] for number in shards]
        places = np.sort(np.concatenate([shard.positions for shard in chosen]))
        lengths = self.index.lengths[places]
        starts = np.full(len(self.index.runs), -1, dtype=np.int64)
        starts[places] = np.cumsum(lengths) - lengths
        frames = torch.empty((int(lengths.sum()), self.index.n_parcels), dtype=self.dtype)
        with ThreadPoolExecutor(_threads()) as pool:
            list(pool.map(lambda shard: self._take(shard, frames, starts, note=False), chosen))
        return frames.to(self.device), torch.from_numpy(starts).to(self.device)

    def _pass(self, take: Callable[[Shard], None]) -> None:
        with ThreadPoolExecutor(_threads()) as pool:
            for _ in progress(pool.map(take, self.index.shards), "reading tensors", total=len(self.index.shards)):
                pass

    def _take(self, shard: Shard, frames: Tensor | None, starts: npt.NDArray[np.int64] | None, note: bool) -> None:
        """Bring the wanted runs of one file to their places."""
        for number, row in enumerate(store.rows(shard.path, "tensors", ["signal"])):
            if self.stopped.is_set():
                return
            if number not in shard.target:
                continue
            place = shard.target[number]
            signal, present = self._checked(shard, place, row["signal"])
            if note:
                self.digests[place] = hashlib.blake2b(row["signal"].tobytes(), digest_size=16).digest()
                self.present[place] = torch.from_numpy(present)
            if frames is not None and starts is not None:
                frames[int(starts[place]) : int(starts[place]) + len(signal)] = torch.from_numpy(signal)

    def _checked(
        self, shard: Shard, place: int, signal: npt.NDArray[np.float32] | None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """The signal with zeros in parcels that are not present, and which parcels are."""
        expected = (int(self.index.lengths[place]), self.index.n_parcels)
        if signal is None or signal.shape != expected:
            raise InputError(
                f"{shard.path}: the signal of {self.index.label(place)} has shape {getattr(signal, 'shape', None)}, "
                f"expected {expected} (frame, parcel): delete the file and run clean again"
            )
        present: npt.NDArray[np.bool_] = np.asarray(np.isfinite(signal).all(axis=0))
        clean = np.where(present, signal, np.float32(0))
        if np.abs(clean).max(initial=0) > torch.finfo(self.dtype).max:
            raise InputError(
                f"{shard.path}: {self.index.label(place)} has values beyond {self.dtype}; normalise in the recipe or "
                "set 'buffer: float32'"
            )
        return clean, present


def _threads() -> int:
    return min(8, os.cpu_count() or 1)


def _cohort(reader: Reader, frames: Tensor, starts: Tensor, stream: Stream | None = None) -> Cohort:
    """What is in memory, with its index by participant and the fingerprint of its content."""
    index, device = reader.index, reader.device
    labels = [index.label(place) for place in range(len(index.runs))]
    digest = hashlib.sha256()
    for label, signal in zip(labels, reader.digests, strict=True):
        digest.update(label.encode() + b"\0" + signal)
    counts = torch.tensor(index.runs.groupby(["dataset", "participant"], sort=False).size().tolist())
    people = index.runs.groupby("dataset", sort=False)["participant"]
    return Cohort(
        frames=frames,
        starts=starts,
        lengths=torch.from_numpy(index.lengths).to(device),
        present=reader.present.to(device),
        firsts=(counts.cumsum(0) - counts).to(device),
        counts=counts.to(device),
        labels=labels,
        participants={str(name): sorted(set(part)) for name, part in people},
        tr_s=index.tr_s,
        normalisation=index.normalisation,
        fingerprint=digest.hexdigest(),
        stream=stream,
    )
