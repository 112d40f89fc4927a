"""Files that appear whole or not at all, and say where they come from."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from boldtable import __version__
from boldtable.errors import InputError
from boldtable.settings import Settings

METADATA_KEY = b"boldtable"


class Provenance:
    """What a file says of its making: stage, settings and inputs; becomes the metadata of the file."""

    def __init__(self, stage: str, settings: Settings | None = None, inputs: Iterable[Path] = (), **extra: Any) -> None:
        self.stage = stage
        self.settings = settings.model_dump(mode="json") if settings is not None else {}
        self.inputs = [fingerprint(path) for path in inputs]
        self.extra = extra

    def as_dict(self) -> dict[str, Any]:
        """The JSON that the file metadata key ``boldtable`` holds."""
        return {
            "version": __version__,
            "stage": self.stage,
            "settings": self.settings,
            "settings_sha256": sha256_json(self.settings),
            "inputs": self.inputs,
            **self.extra,
        }

    def metadata(self) -> dict[bytes, bytes]:
        """The Parquet file metadata."""
        return {METADATA_KEY: json.dumps(self.as_dict(), default=str).encode()}


def sha256_json(value: Any) -> str:
    """The sha256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def fingerprint(path: Path) -> dict[str, Any]:
    """Name a file by content (up to 64 MB: sha256) or by size and modification time."""
    stat = path.stat()
    if path.is_file() and stat.st_size <= 64_000_000:
        return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return {"name": path.name, "size": stat.st_size, "mtime": stat.st_mtime}


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes its name only when the block ends without an error.

    Raises `InputError` when the folder cannot be written.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        # One job writes one file: what another left behind was killed.
        for stale in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            stale.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _allow_readers(temporary)
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _allow_readers(path: Path) -> None:
    """Temporary files are private; a result gets the permissions any new file of this user would get."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (UTF-8, line feeds as given)."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def provenance(path: Path) -> dict[str, Any]:
    """The ``boldtable`` metadata of a file: version, stage, settings, settings_sha256, inputs and extras."""
    metadata = pq.read_schema(path).metadata or {}
    if METADATA_KEY not in metadata:
        raise InputError(f"{path} was not written by boldtable: it has no 'boldtable' metadata")
    found: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    return found
