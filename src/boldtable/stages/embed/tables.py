"""What embed reads (the kept runs of a shard) and writes (a row group per shard)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError
from boldtable.progress import progress, say

Row = dict[str, Any]
Floats = npt.NDArray[np.float32]
_READ_AHEAD = 4  # shards read while another is embedded
_COLUMNS = (*store.KEYS, "tr_s", "n_frames", "signal", "std", "interpolated", "status", "reason")


@dataclass(frozen=True)
class Block:
    """Embeddings of one shard: `rows` with keys, window and start_s; `values` (row, feature)."""

    rows: list[Row]
    values: Floats


def records(found: pd.DataFrame) -> list[Row]:
    """The rows of a table as mappings from column to value."""
    return [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]


def _key(row: Mapping[str, Any]) -> tuple[str | None, ...]:
    return tuple(None if pd.isna(row[key]) else str(row[key]) for key in store.KEYS)


def keys(row: Mapping[str, Any], window: int, start_s: float | None) -> Row:
    """The columns of an embedding's row, except the embedding; `start_s` is counted from the start of `row`."""
    place = {"half": row.get("half"), "window": window, "start_s": start_s}
    if start_s is not None and row.get("half") == 2:
        place["start_s"] = start_s + row["half_s"]
    return {**dict(zip(store.KEYS, _key(row), strict=True)), **place}


def shard_paths(folder: Path, kept: pd.DataFrame) -> dict[str, Path]:
    """The tensors file of every shard with a kept run, in the order of shard names."""
    return {str(shard): folder / f"{shard}.parquet" for shard in sorted(kept["shard"].unique())}


def checked(paths: Mapping[str, Path], table: AtlasTable) -> list[Row]:
    """What each tensors file says of its making; raises `InputError` where it was made with another atlas."""
    found = []
    for path in paths.values():
        if not path.is_file():
            raise InputError(f"{path} is missing, but quality control kept runs of it: run clean and qc again")
        about = store.provenance(path)
        name = about.get("atlas") or about["settings"].get("atlas")
        if name != table.name:
            raise InputError(
                f"{path} was made with atlas '{name}', not '{table.name}': embed with the recipe's own atlas"
            )
        found.append(about)
    return found


def shards(
    paths: Mapping[str, Path], kept: pd.DataFrame, halves: bool = False, leave_out: bool = False
) -> Iterator[list[Row]]:
    """The kept runs, shard by shard, in the order of the tensors files; a few shards are read ahead.

    With `halves` every run is followed by its first and its second half, as rows of their own (`half` 1 and 2). A run
    that failed in this recipe raises `InputError`; with `leave_out` a line says that it is left out.
    """
    wanted = {str(shard): {_key(row) for row in records(rows)} for shard, rows in kept.groupby("shard")}
    with ThreadPoolExecutor(_READ_AHEAD) as pool:
        waiting: deque[Future[list[Row]]] = deque()
        for shard, path in paths.items():
            waiting.append(pool.submit(_read, path, wanted[shard], leave_out))
            if len(waiting) > _READ_AHEAD:
                yield from _filled(waiting.popleft().result(), halves)
        while waiting:
            yield from _filled(waiting.popleft().result(), halves)


def _filled(rows: list[Row], halves: bool) -> Iterator[list[Row]]:
    """The runs of a shard, if there is one, and their halves."""
    if rows:
        yield [piece for row in rows for piece in (row, *_halves(row))] if halves else rows


def _read(path: Path, wanted: set[tuple[str | None, ...]], leave_out: bool) -> list[Row]:
    rows = [row for row in store.rows(path, "tensors", _COLUMNS) if _key(row) in wanted]
    failed = [row for row in rows if row["status"] != "ok" or row["signal"] is None]
    for row in failed:
        why = f"status '{row['status']}' ({row['reason']})"
        if not leave_out:
            raise InputError(
                f"{path}: quality control kept {store.label(row)}, but it has {why}: run qc again or, where it "
                "measures another recipe, set absent: leave-out for this row of the table and for its tasks"
            )
        say(f"{store.label(row)} is left out: it has {why} in {path}")
    if len(rows) < len(wanted):
        lost = next(iter(sorted(wanted - {_key(row) for row in rows}, key=str)), None)
        name = store.label(dict(zip(store.KEYS, lost, strict=True))) if lost else "one of the runs"
        raise InputError(f"{path} lacks {name}, which quality control kept: run clean and qc again")
    return [row for row in rows if row["status"] == "ok" and row["signal"] is not None]


def _halves(row: Row) -> list[Row]:
    """The first and the second half of a run; the middle frame of an odd number is in neither."""
    n = len(row["signal"]) // 2
    pieces = ((1, slice(0, n)), (2, slice(len(row["signal"]) - n, None)))
    half_s = None if row["tr_s"] is None else (len(row["signal"]) - n) * row["tr_s"]
    cut = {name: row[name] for name in ("signal", "interpolated") if row[name] is not None}
    return [
        {**row, **{name: values[place] for name, values in cut.items()}, "n_frames": n, "half": half, "half_s": half_s}
        for half, place in pieces
    ]


def write(out: Path, blocks: Iterator[Block], size: int, provenance: store.Provenance, n_shards: int) -> None:
    """One row group per shard, so that neither writing nor reading needs the dataset in memory."""
    schema = store.schema("embeddings", size).with_metadata(provenance.metadata())
    with store.sealed(out) as temporary, _parquet(temporary, schema) as writer:
        for block in progress(blocks, "embedding shards", total=n_shards):
            writer.write_table(_table(block, schema))


def _parquet(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # Dictionaries and statistics of floats that never repeat cost time and space.
    return pq.ParquetWriter(
        path, schema, use_dictionary=list(store.KEYS), write_statistics=list(store.KEYS), **store.OPTIONS
    )


def _table(block: Block, schema: pa.Schema) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(block.values, dtype=np.float32).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, block.values.shape[1])
    plain = [
        pa.array([row[field.name] for row in block.rows], type=field.type)
        for field in schema
        if field.name in block.rows[0]
    ]
    return pa.Table.from_arrays([*plain, vectors], schema=schema)
