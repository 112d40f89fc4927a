"""Read whole small files without trusting them: regular files only, never more than a limit.

A named pipe would hang for ever, a device never ends, and a small gzip may hold gigabytes. Every function raises
`InputError` with one line that names the file; a missing file and a refused permission stay the `OSError` they are, for
the caller knows what to do about them.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from boldtable.errors import InputError

TEXT_BYTES = 200_000_000  # tables of people and of confounds; the largest real ones are a tenth of it
JSON_BYTES = 16_000_000  # the JSON file beside the confounds, the largest, has about 100 kB


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, following links; refuse folders, named pipes, devices and sockets."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise InputError(f"{path} is {_kind(mode)}, not a file; replace it or leave it out")
    return os.fdopen(handle, "rb")


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def read_bytes(path: Path, limit: int = TEXT_BYTES) -> bytes:
    """Return the content of a file of at most `limit` bytes; of a ``.gz`` the decompressed content, bounded alike."""
    with open_regular(path) as file:
        zipped = path.name.lower().endswith(".gz")
        content = _unzipped(path, file, limit) if zipped else file.read(limit + 1)
    if len(content) > limit:
        raise InputError(f"{path} holds more than {limit / 1e6:g} MB, the most that is read of such a file; shorten it")
    return content


def read_start(path: Path, n_bytes: int) -> bytes:
    """Return the first bytes of a file, of a ``.gz`` those of the decompressed content."""
    with open_regular(path) as file:
        return _unzipped(path, file, n_bytes - 1) if path.name.lower().endswith(".gz") else file.read(n_bytes)


def _unzipped(path: Path, file: BinaryIO, limit: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:
            return unzipped.read(limit + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); copy it again") from None


def read_text(path: Path, limit: int = TEXT_BYTES) -> str:
    """Return the text of a UTF-8 file (a byte order mark is dropped)."""
    try:
        text = read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it again as UTF-8") from None
    if "\0" in text:
        raise InputError(f"{path} is not text: it holds NUL characters; save it again as UTF-8")
    return text


def read_json(path: Path, limit: int = JSON_BYTES) -> Any:
    """Return the value of a JSON file."""
    try:
        return json.loads(read_text(path, limit))
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be read as JSON; restore it") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {' '.join(str(error).split())}; restore it") from None
