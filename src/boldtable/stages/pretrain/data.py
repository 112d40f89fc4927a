"""The tensors of all datasets, read once from Parquet into one buffer on the device."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError
from boldtable.progress import progress

_TR_TOLERANCE_S = 1e-3


@dataclass(frozen=True)
class Cohort:
    """Every kept run, back to back.

    `frames` (frame, parcel) holds all runs, run r from `starts[r]` for `lengths[r]` frames; `present` (run, parcel) is
    False for parcels without coverage, which are zero in `frames`. The runs of participant p are the `counts[p]` runs
    from `firsts[p]`. `labels` names the runs, `participants` lists who is inside by dataset.
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
) -> Cohort:
    """Read every run that quality control kept, once, from Parquet into one buffer on `device`.

    The order is by dataset (as in the settings), then by the runs' keys. Raises `InputError` where a file is
    missing, has another atlas or TR than the others, or does not hold a run that quality control kept.
    """
    if not len(datasets) == len(tensors) == len(qc):
        raise InputError(
            f"{len(datasets)} datasets, {len(tensors)} tensors folders and {len(qc)} qc tables: give one of each"
        )
    kept = [_kept(*one) for one in zip(datasets, tensors, qc, strict=True)]
    runs = pd.concat(kept, ignore_index=True)
    if runs.empty:
        raise InputError(f"no run is kept in {', '.join(map(str, qc))}; their columns 'stage' and 'reasons' say why")
    shards = [_Shard(Path(str(path)), table, rows) for path, rows in runs.groupby("file", sort=False)]
    made = _one_recipe(shards)
    tr_s = _one_tr(shards)
    lengths = np.zeros(len(runs), dtype=np.int64)
    for shard in shards:
        lengths[shard.positions] = shard.n_frames
    space = _Space(runs, lengths, table.n_parcels, dtype)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for _ in progress(pool.map(space.take, shards), "reading tensors", total=len(shards)):
            pass
    return _cohort(space, tr_s, str(made.get("normalise", "unknown")), device)


def _kept(dataset: str, folder: Path, qc: Path) -> pd.DataFrame:
    """The kept runs of one dataset in order, with the file that holds each."""
    found = store.frame(qc, "qc", [*store.KEYS, "shard", "keep"])
    others = sorted(set(found["dataset"].dropna()) - {dataset})
    if others:
        raise InputError(
            f"{qc} is about dataset '{others[0]}', not '{dataset}': give the qc tables in the order of 'datasets'"
        )
    kept = found[found["keep"].eq(True)].sort_values(list(store.KEYS), na_position="first", kind="stable")
    return kept.assign(file=[str(folder / f"{shard}.parquet") for shard in kept["shard"]])


class _Shard:
    """One tensors file, checked against atlas and quality control: which rows are wanted, where they go."""

    def __init__(self, path: Path, table: AtlasTable, wanted: pd.DataFrame) -> None:
        self.path = path
        self.rows = store.frame(path, "tensors", [*store.KEYS, "tr_s", "n_frames", "status", "reason"])
        self.about = store.provenance(path)
        if self.about.get("atlas") != table.name:
            raise InputError(
                f"{path} was made with atlas '{self.about.get('atlas')}', the model's atlas is '{table.name}': "
                "train on tensors of one recipe"
            )
        have = {_key(row): position for position, row in enumerate(_records(self.rows))}
        self.target: dict[int, int] = {}
        for position, row in zip(wanted.index, _records(wanted), strict=True):
            if _key(row) not in have:
                raise InputError(
                    f"{path} lacks the run {store.label(row)} that quality control kept: run clean and qc again"
                )
            self.target[have[_key(row)]] = int(position)
        self._refuse_failed()

    def _refuse_failed(self) -> None:
        chosen = self.rows.iloc[list(self.target)]
        for row in _records(chosen[chosen["status"].ne("ok")]):
            raise InputError(
                f"{self.path}: quality control kept {store.label(row)}, but its status is '{row['status']}' "
                f"({row['reason']}): run qc again"
            )

    @property
    def positions(self) -> list[int]:
        """The places of the wanted rows among all runs."""
        return list(self.target.values())

    @property
    def n_frames(self) -> npt.NDArray[np.int64]:
        """Length of each wanted run (frames)."""
        lengths: npt.NDArray[np.int64] = self.rows["n_frames"].iloc[list(self.target)].to_numpy(dtype=np.int64)
        return lengths

    @property
    def trs(self) -> list[float | None]:
        """The different TRs of the wanted runs (s; None: unknown)."""
        values = self.rows["tr_s"].iloc[list(self.target)]
        return [None if pd.isna(value) else float(value) for value in values.unique()]


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain dictionaries, missing values None."""
    plain: Any = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return list(plain)


def _key(row: dict[str, Any]) -> tuple[str | None, ...]:
    return tuple(row[key] for key in store.KEYS)


def _one_recipe(shards: Sequence[_Shard]) -> dict[str, Any]:
    """The clean settings that all shards share."""
    first: dict[str, Any] = shards[0].about["settings"]
    for shard in shards:
        for name, value in shard.about["settings"].items():
            if first.get(name) != value:
                raise InputError(
                    f"{shard.path} was cleaned with {name}: {value}, {shards[0].path} with {first.get(name)}: train on "
                    "tensors of one recipe"
                )
    return first


def _one_tr(shards: Sequence[_Shard]) -> float | None:
    """The TR that all runs share (s), or None where no run knows its own."""
    first, where = shards[0].trs[0], shards[0].path
    for shard in shards:
        for tr_s in shard.trs:
            same = first == tr_s if first is None or tr_s is None else abs(first - tr_s) < _TR_TOLERANCE_S
            if not same:
                raise InputError(
                    f"{where} has a TR of {first} s, {shard.path} of {tr_s} s: give the recipe a 'tr_s' to resample to"
                )
    return first


@dataclass
class _Space:
    """Memory for all runs, filled shard by shard from several threads (their slices do not meet)."""

    runs: pd.DataFrame
    lengths: npt.NDArray[np.int64]
    n_parcels: int
    dtype: torch.dtype
    digests: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)
        self.frames = torch.empty((int(self.lengths.sum()), self.n_parcels), dtype=self.dtype)
        self.present = torch.zeros((len(self.runs), self.n_parcels), dtype=torch.bool)
        self.digests = [b""] * len(self.runs)

    def take(self, shard: _Shard) -> None:
        """Copy the wanted runs of one file to their places."""
        for number, row in enumerate(store.rows(shard.path, "tensors", ["signal"])):
            if number in shard.target:
                self._put(shard, shard.target[number], row["signal"])

    def _put(self, shard: _Shard, place: int, signal: npt.NDArray[np.float32] | None) -> None:
        expected = (int(self.lengths[place]), self.n_parcels)
        if signal is None or signal.shape != expected:
            raise InputError(
                f"{shard.path}: the signal of {self.label(place)} has shape {getattr(signal, 'shape', None)}, expected "
                f"{expected} (frame, parcel): delete the file and run clean again"
            )
        self.digests[place] = hashlib.blake2b(signal.tobytes(), digest_size=16).digest()
        present = np.isfinite(signal).all(axis=0)
        clean = np.where(present, signal, np.float32(0))
        if np.abs(clean).max(initial=0) > torch.finfo(self.dtype).max:
            raise InputError(
                f"{shard.path}: {self.label(place)} has values beyond {self.dtype}; normalise in the recipe or set "
                "'buffer: float32'"
            )
        self.present[place] = torch.from_numpy(present)
        begin = int(self.starts[place])
        self.frames[begin : begin + len(clean)] = torch.from_numpy(clean)

    def label(self, place: int) -> str:
        """The readable name of a run."""
        return store.label(_records(self.runs.iloc[[place]])[0])


def _cohort(space: _Space, tr_s: float | None, normalisation: str, device: torch.device) -> Cohort:
    """Send the filled memory to the device, with its index by participant and the fingerprint of its content."""
    labels = [space.label(place) for place in range(len(space.runs))]
    digest = hashlib.sha256()
    for label, signal in zip(labels, space.digests, strict=True):
        digest.update(label.encode() + b"\0" + signal)
    counts = torch.tensor(space.runs.groupby(["dataset", "participant"], sort=False).size().tolist())
    people = space.runs.groupby("dataset", sort=False)["participant"]
    return Cohort(
        frames=space.frames.to(device),
        starts=torch.from_numpy(space.starts).to(device),
        lengths=torch.from_numpy(space.lengths).to(device),
        present=space.present.to(device),
        firsts=(counts.cumsum(0) - counts).to(device),
        counts=counts.to(device),
        labels=labels,
        participants={str(name): sorted(set(part)) for name, part in people},
        tr_s=tr_s,
        normalisation=normalisation,
        fingerprint=digest.hexdigest(),
    )
