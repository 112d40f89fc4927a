"""Which runs are learnt from and in which file each lies: quality control and shards, checked against each other."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError

_TR_TOLERANCE_S = 1e-3


@dataclass(frozen=True)
class Index:
    """The wanted `runs` (by dataset, then by keys), their `lengths` (frames) and the `shards` that hold them."""

    runs: pd.DataFrame
    lengths: npt.NDArray[np.int64]
    shards: list[Shard]
    tr_s: float | None
    normalisation: str
    n_parcels: int

    def label(self, place: int) -> str:
        """The readable name of a run."""
        return store.label(_records(self.runs.iloc[[place]])[0])


@dataclass(frozen=True)
class Portion:
    """A share of every dataset's participants, drawn with a seed of its own; small shares are parts of larger ones."""

    share: float = 1.0
    seed: int = 0

    def of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The runs of the chosen participants of one dataset; at least one participant, if there is any.

        Everybody's place in the queue is a hash of seed, dataset and participant: it stays when others join.
        """
        if self.share >= 1:
            return runs
        people = sorted(set(zip(runs["dataset"], runs["participant"], strict=True)), key=self._rank)
        chosen = {participant for _, participant in people[: max(1, math.ceil(self.share * len(people)))]}
        return runs[runs["participant"].isin(chosen)]

    def _rank(self, person: tuple[str, str]) -> bytes:
        return hashlib.sha256("\0".join([str(self.seed), *person]).encode()).digest()


def build(
    datasets: Sequence[str], tensors: Sequence[Path], qc: Sequence[Path], table: AtlasTable, portion: Portion
) -> Index:
    """Find every run that quality control kept; reads tables, no signals.

    Raises `InputError` where a file is missing, has another atlas, recipe or TR than the others, or does not hold a run
    that quality control kept.
    """
    if not len(datasets) == len(tensors) == len(qc):
        raise InputError(
            f"{len(datasets)} datasets, {len(tensors)} tensors folders and {len(qc)} qc tables: give one of each"
        )
    kept = [portion.of(_kept(*one)) for one in zip(datasets, tensors, qc, strict=True)]
    runs = pd.concat(kept, ignore_index=True)
    if runs.empty:
        raise InputError(f"no run is kept in {', '.join(map(str, qc))}; their columns 'stage' and 'reasons' say why")
    shards = [Shard(Path(str(path)), table, rows) for path, rows in runs.groupby("file", sort=False)]
    made = _one_recipe(shards)
    tr_s = _one_tr(shards)
    lengths = np.zeros(len(runs), dtype=np.int64)
    for shard in shards:
        lengths[shard.positions] = shard.n_frames
    return Index(runs, lengths, shards, tr_s, str(made.get("normalise", "unknown")), table.n_parcels)


def _kept(dataset: str, folder: Path, qc: Path) -> pd.DataFrame:
    """The kept runs of one dataset in order, with the file that holds each."""
    found = store.kept_runs(qc, none=True)[[*store.KEYS, "shard"]]
    others = sorted(set(found["dataset"].dropna()) - {dataset})
    if others:
        raise InputError(
            f"{qc} is about dataset '{others[0]}', not '{dataset}': give the qc tables in the order of 'datasets'"
        )
    kept = found.sort_values(list(store.KEYS), na_position="first", kind="stable")
    return kept.assign(file=[str(folder / f"{shard}.parquet") for shard in kept["shard"]])


class Shard:
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


def _one_recipe(shards: Sequence[Shard]) -> dict[str, Any]:
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


def _one_tr(shards: Sequence[Shard]) -> float | None:
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
