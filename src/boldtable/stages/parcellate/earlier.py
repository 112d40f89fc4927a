"""Rows of a shard's former file that need no second reading: same run, same settings, same atlas, same version."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from boldtable import store
from boldtable.errors import InputError
from boldtable.progress import say

Row = dict[str, Any]
# What must agree between the former file and the new one; the runs differ, which is why there is a new one.
_MADE_BY = ("version", "stage", "settings_sha256", "atlas", "space", "atlas_sha256", "inputs")


class Earlier:
    """The rows of a former file by fingerprint, read one at a time; a context manager, which closes the file.

    There are none when the file is missing, unreadable (which is said) or was made by another version, with other
    settings or with another atlas. A row without a fingerprint is never given back.
    """

    def __init__(self, path: Path, provenance: store.Provenance, size: int) -> None:
        self._path, self._file = path, None
        self._places: dict[str, int] = {}
        if path.is_file():
            self._open(provenance.as_dict(), size)

    def _open(self, now: dict[str, Any], size: int) -> None:
        try:
            made = store.provenance(self._path)
            if any(made.get(name) != now.get(name) for name in _MADE_BY):
                return
            with store.opened(self._path):
                pass  # every checksum holds, or no row of it is copied
            file: Any = pq.ParquetFile(self._path, page_checksum_verification=True)
            if not file.schema_arrow.equals(store.schema("parcels", size)) or file.num_row_groups != len(
                prints := file.read(columns=["fingerprint"])["fingerprint"].to_pylist()
            ):
                return
        except (InputError, pa.ArrowException, OSError, ValueError) as error:
            say(f"{self._path} cannot be read ({' '.join(str(error).split())}): every run is read again")
            return
        self._file = file
        self._places = {name: place for place, name in enumerate(prints) if name is not None}

    def row(self, fingerprint: str | None) -> Row | None:
        """The row (signal (frame, parcel), coverage (parcel,), confounds as pairs) of this fingerprint, if there."""
        place = self._places.get(fingerprint) if fingerprint is not None else None
        if place is None or self._file is None:
            return None
        try:
            batch = self._file.read_row_group(place).to_batches()[0]
        except (pa.ArrowException, OSError) as error:
            say(f"{self._path} is damaged ({' '.join(str(error).split())}): the run is read again")
            return None
        row: Row = {name: store.array(batch.column(name)) for name in batch.schema.names}
        return row | {"confounds": None if row["confounds"] is None else list(row["confounds"].items())}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
