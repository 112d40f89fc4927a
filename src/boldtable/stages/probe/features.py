"""Embeddings of runs and windows → one vector per participant (or per participant and session), in one pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from boldtable import store
from boldtable.errors import InputError

_VALUES_AT_ONCE = 2**24


def read_keys(path: Path) -> pd.DataFrame:
    """The keys and the window of every row, in the order of the file."""
    return store.frame(path, "embeddings", [*store.KEYS, "window"])


def means(path: Path, keys: pd.DataFrame, place: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.float32]:
    """Mean over windows, then over runs, of the rows that share a place; shape (n, feature).

    `keys` is `read_keys(path)`; `place` gives each row its place (0 to n-1) or -1 to leave it out. A feature that is
    missing (NaN) in one run is the mean over the others, and NaN where it is missing in all.
    """
    weight = _weights(keys, place, n)
    with pq.ParquetFile(path) as file:
        size = file.schema_arrow.field("embedding").type.list_size
        total = np.zeros((n, size), dtype=np.float32)
        seen = np.zeros((n, size), dtype=np.float32)
        row = 0
        for batch in file.iter_batches(batch_size=max(1, _VALUES_AT_ONCE // size), columns=["embedding"]):
            vectors = batch.column("embedding").flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
            for vector in vectors:
                if place[row] >= 0:
                    finite = np.isfinite(vector)
                    total[place[row]] += np.where(finite, vector, 0) * weight[row]
                    seen[place[row]] += finite * weight[row]
                row += 1
    return np.divide(total, seen, out=np.full_like(total, np.nan), where=seen > 0)


def _weights(keys: pd.DataFrame, place: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.float32]:
    """Share of each row in its place's mean: 1 / (windows of its run × runs of its place)."""
    run = keys.groupby(list(store.KEYS), dropna=False, sort=False).ngroup().to_numpy()
    windows = np.bincount(run)[run]
    inside = place >= 0
    pairs = np.unique(np.stack([run[inside], place[inside]]), axis=1)
    runs = np.bincount(pairs[1], minlength=n)
    return np.where(inside, 1 / (windows * np.maximum(1, runs[place])), 0).astype(np.float32)


def of_participants(path: Path, participants: list[str]) -> npt.NDArray[np.float32]:
    """One embedding per participant, in the given order; shape (participant, feature).

    Raises `InputError` listing the participants without any embedding, or with none that is finite.
    """
    keys = read_keys(path)
    place = _places(keys["participant"], participants)
    refuse_absent(path, [name for index, name in enumerate(participants) if not (place == index).any()])
    found = means(path, keys, place, len(participants))
    empty = [participants[index] for index in np.flatnonzero(~np.isfinite(found).any(axis=1))]
    if empty:
        raise InputError(f"{path}: no finite value in the embeddings of {_some(empty)}; look at the runs and the model")
    return found


def refuse_absent(path: Path, absent: list[str]) -> None:
    """Raise `InputError` naming participants of the task that the embeddings lack."""
    if absent:
        raise InputError(
            f"{path} has no embedding of {_some(absent)} of the task's splits; embed and split must read the same qc "
            "table: run both again"
        )


def _places(values: pd.Series, known: list[str]) -> npt.NDArray[np.int64]:
    index = {name: number for number, name in enumerate(known)}
    return np.array([index.get(value, -1) for value in values], dtype=np.int64)


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{len(names)} participant(s) ({', '.join(names[:5])}{rest})"
