"""What both layouts need of the file system: stamps of files, checks of folders, labels without prefixes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from boldtable.errors import InputError
from boldtable.progress import progress, say
from boldtable.reading.tables import shorten

T = TypeVar("T")
R = TypeVar("R")
# Listing folders and reading headers waits for the file system, above all on network storage; more threads than
# this only fight over the interpreter where the disk is local.
_THREADS = 8
_LONGEST_NAME = 200  # characters; the longest BIDS paths are shorter


def examples(values: Iterable[str], most: int = 5) -> str:
    """The first few of the values, sorted, such as ``01, 02, 03 and 45 more``."""
    names = sorted(set(values))
    rest = len(names) - most
    return ", ".join(shorten(name, _LONGEST_NAME) for name in names[:most]) + (f" and {rest} more" if rest > 0 else "")


def stamp(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    """Return (size, mtime_ns) of a file, following links; None where the link leads nowhere, or to itself."""
    try:
        stat = entry.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or leads to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def listed(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder by name; names that are not UTF-8 are left out, and said: no table could hold them."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    odd = [entry.name for entry in found if not _is_utf8(entry.name)]
    if odd:
        names = ", ".join(name.encode(errors="surrogateescape").decode(errors="replace") for name in odd[:3])
        say(f"collect: {len(odd)} names in {folder} are not UTF-8 and left out ({names}); rename them")
    return [entry for entry in found if _is_utf8(entry.name)]


def _is_utf8(name: str) -> bool:
    return not any("\udc80" <= letter <= "\udcff" for letter in name)


def bare(value: str, prefix: str) -> str:
    """A label without its prefix: ``bare('sub-01', 'sub-')`` is ``'01'``."""
    return value.strip().removeprefix(prefix)


def parallel(work: Callable[[T], R], items: Iterable[T], what: str) -> list[R]:
    """Apply `work` to every item in a thread pool, showing progress; results keep the order of the items."""
    todo = list(items)
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(progress(pool.map(work, todo), what, total=len(todo)))


def check_folder(folder: Path) -> None:
    """Raise `InputError` unless `folder` is a folder with something in it that can be listed."""
    try:
        with os.scandir(folder) as entries:
            empty = next(entries, None) is None
    except FileNotFoundError:
        raise InputError(f"derivatives folder not found: {folder}; correct 'derivatives' in the config") from None
    except NotADirectoryError:
        raise InputError(f"derivatives is a file, not a folder: {folder}; name the folder it lies in") from None
    except OSError as error:
        raise InputError(f"cannot list the derivatives folder {folder}: {error.strerror}; allow reading it") from None
    if empty:
        raise InputError(f"derivatives folder is empty: {folder}; run fMRIPrep first or correct 'derivatives'")


def check_outputs(derivatives: Path, *outputs: Path) -> None:
    """Raise `InputError` before any work where an output cannot be written or would lie in the input folder."""
    inputs = derivatives.resolve()
    for path in outputs:
        folder = path.resolve().parent
        if folder.is_relative_to(inputs):
            raise InputError(f"{path} lies inside the input folder {derivatives}; choose another results folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from None
