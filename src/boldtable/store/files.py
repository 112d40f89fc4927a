"""What a file says of its making."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from boldtable import __version__
from boldtable.errors import InputError
from boldtable.settings import Settings
from boldtable.store.parquet import parquet_schema

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


def sha256_file(path: Path) -> str:
    """The sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: Path) -> dict[str, Any]:
    """Name a file by content (up to 64 MB: sha256) or by size and modification time."""
    stat = path.stat()
    if path.is_file() and stat.st_size <= 64_000_000:
        return {"name": path.name, "sha256": sha256_file(path)}
    return {"name": path.name, "size": stat.st_size, "mtime": stat.st_mtime}


def provenance(path: Path) -> dict[str, Any]:
    """The ``boldtable`` metadata of a file: version, stage, settings, settings_sha256, inputs and extras."""
    metadata = parquet_schema(path).metadata or {}
    if METADATA_KEY not in metadata:
        raise InputError(f"{path} was not written by boldtable: it has no 'boldtable' metadata")
    found: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    return found
