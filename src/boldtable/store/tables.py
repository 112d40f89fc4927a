"""Read and write the artefacts: atomically, row by row where they are large, and refusing wrong ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from boldtable.errors import InputError
from boldtable.store.files import Provenance
from boldtable.store.parquet import OPTIONS, opened, sealed
from boldtable.store.schemas import KEYS, OPEN, schema
from boldtable.writing import writing


class Writer:
    """Write an artefact row by row, one row group a row, so that a shard never sits in memory.

    Use as a context manager; the file appears under its name only after the block ended without an error.
    """

    def __init__(self, path: Path, artefact: str, provenance: Provenance, size: int = 1) -> None:
        self._schema = schema(artefact, size).with_metadata(provenance.metadata())
        self._path, self._file = path, sealed(path)

    def __enter__(self) -> Self:
        temporary = self._file.__enter__()
        try:
            with writing(self._path):
                self._writer = pq.ParquetWriter(temporary, self._schema, **OPTIONS)
        except BaseException as error:
            self._file.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one row; numpy arrays of shape (frame, parcel) and (parcel,) become nested lists without copies."""
        columns = [column(row.get(field.name), field.type) for field in self._schema]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
        except BaseException as late:
            self._file.__exit__(type(late), late, late.__traceback__)
            raise
        self._file.__exit__(kind, error, trace)


def column(value: Any, kind: pa.DataType) -> pa.Array:
    """One value as an Arrow column of one row; numpy arrays keep their shape in the nested list type."""
    if not isinstance(value, np.ndarray):
        return pa.array([value], type=kind)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(_flat(value), kind.list_size)
    inner = kind.value_type
    if pa.types.is_fixed_size_list(inner):
        items = pa.FixedSizeListArray.from_arrays(_flat(value), inner.list_size)
    else:
        items = pa.array(value, type=inner)
    return pa.ListArray.from_arrays(pa.array([0, len(value)], type=pa.int32()), items)


def _flat(value: npt.NDArray[Any]) -> pa.Array:
    return pa.array(np.ascontiguousarray(value, dtype=np.float32).reshape(-1))


def write(path: Path, artefact: str, rows: Sequence[Mapping[str, Any]] | pd.DataFrame, provenance: Provenance,
          size: int = 1) -> None:  # fmt: skip
    """Write a whole artefact atomically; every declared column exists, unknown columns are refused unless open."""
    columns, expected = _columns(rows), schema(artefact, size)
    further = sorted(set(columns) - set(expected.names))
    if further and artefact not in OPEN:
        raise ValueError(f"{path}: columns {further} are not part of '{artefact}'")
    absent = [None] * len(rows)
    arrays = [pa.array(columns.get(field.name, absent), type=field.type) for field in expected]
    arrays += [pa.array(columns[name]) for name in further]
    table = pa.Table.from_arrays(arrays, names=[*expected.names, *further])
    with sealed(path) as temporary:
        pq.write_table(table.replace_schema_metadata(provenance.metadata()), temporary, **OPTIONS)


def _columns(rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> dict[str, list[Any]]:
    """The values of every column, plain; None where a row lacks it."""
    if isinstance(rows, pd.DataFrame):
        return {str(name): [_plain(value) for value in values.tolist()] for name, values in rows.items()}
    names = dict.fromkeys(name for row in rows for name in row)
    return {str(name): [_plain(row.get(name)) for row in rows] for name in names}


def _plain(value: Any) -> Any:
    """Numpy scalars and missing values as Python ones; arrays as lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    missing = value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))
    return None if missing else value


def read(path: Path, artefact: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read an artefact; a missing, unreadable or different file raises `InputError` that names it."""
    try:
        with opened(path, columns) as file:
            table = file.read(columns=list(columns) if columns is not None else None)
    except FileNotFoundError:
        raise InputError(f"{artefact} file not found: {path}") from None
    wanted = columns or schema(artefact).names
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise InputError(f"{path} is no '{artefact}' table: column {missing[0]} is missing")
    return table


def frame(path: Path, artefact: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read an artefact of plain columns as a DataFrame (missing text is None)."""
    table = read(path, artefact, columns)
    texts = {name: table[name] for name in table.column_names if pa.types.is_string(table.schema.field(name).type)}
    found: pd.DataFrame = table.to_pandas()
    for name, values in texts.items():
        found[name] = pd.Series(values.to_pylist(), dtype=object)
    return found


def rows(path: Path, artefact: str, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield one row at a time, arrays as numpy: signal (frame, parcel), vectors (parcel,), confounds a dict."""
    read(path, artefact, ["status"] if "status" in schema(artefact).names else None)
    with opened(path, columns) as file:
        for batch in file.iter_batches(batch_size=1, columns=list(columns) if columns is not None else None):
            yield {name: array(batch.column(name)) for name in batch.schema.names}


def array(one: pa.Array) -> Any:
    """The Python or numpy value of an Arrow column of one row (the inverse of `column`)."""
    kind = one.type
    if one.null_count:
        return None
    if pa.types.is_fixed_size_list(kind):
        return one.flatten().to_numpy(zero_copy_only=False)
    if pa.types.is_map(kind):
        return {key: np.asarray(values, dtype=np.float32) for key, values in one[0].as_py()}
    if pa.types.is_list(kind):
        inner = one.flatten()
        if pa.types.is_fixed_size_list(inner.type):
            return inner.flatten().to_numpy(zero_copy_only=False).reshape(-1, inner.type.list_size)
        return inner.to_numpy(zero_copy_only=False)
    return one[0].as_py()


def label(row: Mapping[str, Any]) -> str:
    """A run's readable name, such as ``aurora sub-01 ses-2 task-rest run-1``."""
    short = {"participant": "sub", "session": "ses", "acquisition": "acq"}
    parts = [f"{short.get(key, key)}-{row[key]}" for key in KEYS[1:] if row.get(key)]
    return " ".join([str(row.get("dataset") or "?"), *parts])
