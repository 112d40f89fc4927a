"""The runs that quality control keeps: the list that training and embedding depend on, and nothing else of qc."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from boldtable.errors import InputError
from boldtable.store.files import Provenance
from boldtable.store.parquet import parquet_schema
from boldtable.store.schemas import schema
from boldtable.store.tables import frame, write


def write_kept(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``kept`` from rows of qc with the fingerprints of their runs; equal lists are equal files to the byte."""
    names = schema("kept").names
    write(path, "kept", [{name: row.get(name) for name in names} for row in rows if row["keep"]], Provenance("kept"))


def kept_runs(path: Path, none: bool = False) -> pd.DataFrame:
    """The runs that are kept, by the list of them (``kept``) or by a whole table of quality control (``qc``).

    With the columns of the table given. Raises `InputError` where no run is kept, unless `none` is fine.
    """
    if not path.is_file():
        raise InputError(f"list of kept runs not found: {path}; run qc first")
    if "keep" in parquet_schema(path).names:
        found = frame(path, "qc")
        found = found[found["keep"].eq(True)].reset_index(drop=True)
    else:
        found = frame(path, "kept")
    if found.empty and not none:
        qc = path.with_name("qc.parquet")
        raise InputError(f"no run is kept in {path}; the columns 'stage' and 'reasons' of {qc} say why")
    return found
