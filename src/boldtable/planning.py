"""Digests that the workflow plans by: a job runs again exactly when what it reads has changed.

File times are not enough. A file that is edited with its time kept is another file, and a table that is written again
with the same content is the same one. The rules therefore pass digests as params, of files that settings name and of
the columns that a job reads. Each is taken once per start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from boldtable.expansion import BASELINES

_WHOLE = 64_000_000  # bytes up to which a file counts by its content
_BLOCK = 65_536  # bytes of both ends of a larger one
_MOST_FILES = 1000  # of a folder
MISSING = "none"
_KEYS = ("dataset", "participant", "session", "task", "run", "acquisition")
# What rows that look at no signal read beside the list of kept runs: measures of qc, and columns of participants.
_MEASURED = ("nuisance",)
_VERDICT = ("keep", "stage", "status", "reasons", "signal_sha256")  # the columns of qc that are no measures
_PEOPLE = {"nuisance": ("site",), "demographics": ("age_years", "sex")}


@cache
def of_file(path: str) -> str:
    """A digest of a file, or of what lies in a folder; 'none' where nothing is there.

    Up to 64 MB the content decides, whatever the time says; of a larger file size, time and both ends do.
    """
    place = Path(path)
    try:
        if place.is_dir():
            inside = sorted(one for one in place.rglob("*") if one.is_file())[:_MOST_FILES]
            return _joined(f"{one.relative_to(place)}={of_file(str(one))}" for one in inside)
        return _of_file(place) if place.is_file() else MISSING
    except OSError:
        return MISSING


def _of_file(path: Path) -> str:
    about = path.stat()
    found = hashlib.sha256()
    with path.open("rb") as file:
        if about.st_size <= _WHOLE:
            found.update(file.read())
        else:
            found.update(f"{about.st_size} {about.st_mtime_ns} ".encode() + file.read(_BLOCK))
            file.seek(-_BLOCK, 2)
            found.update(file.read())
    return found.hexdigest()[:32]


def of_files(paths: Iterable[str | None]) -> str:
    """One digest of several files and folders, with their names; None stands for one that is not named."""
    named = [path for path in paths if path]
    return _joined(f"{path}={of_file(path)}" for path in named) if named else MISSING


def _joined(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


@cache
def _of_columns(path: str, mtime_ns: int, columns: tuple[str, ...], but: bool) -> str:
    import pyarrow.parquet

    wanted = [name for name in pyarrow.parquet.read_schema(path).names if (name in columns) != but]
    table = pyarrow.parquet.read_table(path, columns=wanted, partitioning=None)
    return _joined(json.dumps(row, sort_keys=True, default=str) for row in table.to_pylist())


def of_columns(path: str, columns: Sequence[str], but: bool = False) -> str:
    """A digest of some columns of a Parquet table, or of all `but` these; 'none' where it cannot be read."""
    try:
        return _of_columns(path, Path(path).stat().st_mtime_ns, tuple(columns), but)
    except (OSError, ValueError):
        return MISSING


def of_kept(path: str) -> str:
    """A digest of which runs quality control keeps, by a table ``kept``."""
    return of_columns(path, [*_KEYS, "shard", "fingerprint"])


def of_people(encoder: str | None, qc: str, participants: str) -> str:
    """A digest of what an encoder reads of quality control and participants beside the list of kept runs."""
    if encoder not in BASELINES:
        return MISSING
    told = of_columns(qc, _VERDICT, but=True) if encoder in _MEASURED else MISSING
    people = _PEOPLE.get(encoder, ())
    return f"{told} {of_columns(participants, ['participant', 'session', *people]) if people else MISSING}"


def of_training(path: str, split: str) -> str:
    """A digest of who is in the training part of a split (task/number), by a table ``splits``."""
    number = split.partition("/")[2]
    try:
        import pyarrow.parquet

        names = ["split", "dataset", "participant", "part"]
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path, columns=names, partitioning=None).to_pylist()
    except (OSError, ValueError):
        return MISSING
    chosen = {(row["dataset"], row["participant"]) for row in rows if row["part"] == "train"
              and str(row["split"]) == number}  # fmt: skip
    return _joined(f"{dataset}\t{participant}" for dataset, participant in sorted(chosen, key=str))
