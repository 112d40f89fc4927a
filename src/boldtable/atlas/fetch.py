"""Atlas files on this machine: from an offline folder, else the cache, else downloaded; always verified by sha256."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import pooch

from boldtable.atlas.catalogue import Source, source
from boldtable.errors import InputError
from boldtable.progress import say

FOLDER_VARIABLE = "BOLDTABLE_ATLAS_DIR"
CACHE_VARIABLE = "BOLDTABLE_CACHE"
_TIMEOUT_S = 60


class UnavailableError(InputError):
    """An atlas file is neither in the offline folder nor in the cache, and cannot be downloaded."""


def fetch(key: str, folder: Path | None = None) -> Path:
    """Return the verified local path of a catalogued file.

    Order: `folder` (else the environment variable BOLDTABLE_ATLAS_DIR), searched recursively by file name; the cache
    (BOLDTABLE_CACHE, else the user's cache folder); the published address. Raises `InputError` for a file with another
    sha256 or a folder that does not exist, and `UnavailableError` when the file cannot be had at all.
    """
    wanted = source(key)
    offline = offline_folder(folder)
    found = _offline(wanted, offline) if offline is not None else None
    return found or _download(wanted, offline)


def offline_folder(folder: Path | None) -> Path | None:
    """The offline folder in force: the one given, else BOLDTABLE_ATLAS_DIR; must exist where it is named."""
    named = folder or (Path(os.environ[FOLDER_VARIABLE]) if os.environ.get(FOLDER_VARIABLE) else None)
    if named is not None and not named.is_dir():
        origin = "setting 'folder'" if folder else FOLDER_VARIABLE
        raise InputError(f"the atlas folder {named} ({origin}) does not exist; correct or unset it")
    return named


def described(path: Path, entry: Source) -> dict[str, Any]:
    """What the atlas table says of a file it was made from."""
    about = {"file": path.name, "sha256": sha256(path)}
    return about | {"address": entry.address, "licence": entry.licence, "citation": entry.citation}


def sha256(path: Path) -> str:
    """The sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _offline(wanted: Source, folder: Path) -> Path | None:
    """The file of this name below `folder`; every copy with another hash is worse than none."""
    copies = sorted(path for path in folder.rglob(wanted.file) if path.is_file())
    for path in copies:
        if sha256(path) == wanted.sha256:
            return path
    if copies:
        raise InputError(
            f"{copies[0]} is not the published file: sha256 {sha256(copies[0])}, expected {wanted.sha256}; "
            f"replace it with {wanted.address}"
        )
    return None


def _download(wanted: Source, offline: Path | None) -> Path:
    """The file from pooch's cache, downloaded when needed; pooch refuses and deletes a download with another hash."""
    cache = Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("boldtable")) / "atlases"
    if not (cache / wanted.file).is_file():
        say(f"downloading {wanted.file} ({wanted.licence}) to {cache}")
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        path = pooch.retrieve(
            wanted.address,
            known_hash=f"sha256:{wanted.sha256}",
            fname=wanted.file,
            path=cache,
            downloader=pooch.HTTPDownloader(timeout=_TIMEOUT_S),
        )
    except (OSError, ValueError) as error:
        missing = f"{offline} has no {wanted.file} and " if offline is not None else ""
        raise UnavailableError(
            f"{missing}{wanted.address} cannot be downloaded ({_short(error)}); put the file into a folder and name it "
            f"in {FOLDER_VARIABLE} or the setting 'folder'"
        ) from None
    return Path(path)


def _short(error: Exception) -> str:
    """The first line of an error, cut where a library quotes whole objects."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= 160 else f"{line[:157]}..."
