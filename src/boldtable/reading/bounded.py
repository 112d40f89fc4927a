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
from typing import Any, BinaryIO, NoReturn

from boldtable.errors import InputError, shortened

TEXT_BYTES = 200_000_000  # tables of people and of confounds; the largest real ones are a tenth of it
_MOST_DEFLATED = 1032  # no deflate stream grows by more
DEEPEST = 50  # brackets within brackets
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


def capacity(path: Path) -> int:
    """The most bytes that a file can hold, decompressed where it is gzipped."""
    size = path.stat().st_size
    return size * _MOST_DEFLATED if path.name.lower().endswith(".gz") else size


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


def read_json(path: Path, limit: int = JSON_BYTES, finite: bool = True) -> Any:
    """Return the value of a JSON file; refusals as of `parse_json`."""
    return parse_json(read_text(path, limit), str(path), finite)


def parse_json(text: str, where: str, finite: bool = True) -> Any:
    """Return what JSON text holds; `where` names it in errors.

    A key that comes twice and more than `DEEPEST` levels are refused, and where `finite` is true numbers that are not.
    """
    how: dict[str, Any] = {"parse_constant": _not_finite, "parse_float": _finite} if finite else {}
    try:
        found = json.loads(text, object_pairs_hook=_once, **how)
    except RecursionError:
        raise InputError(f"{where} is nested too deeply to be read as JSON; restore it") from None
    except ValueError as error:
        raise InputError(f"{where} is not JSON that can be read: {shortened(error)}; restore it") from None
    _shallow(found, where)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key '{next(name for name in names if names.count(name) > 1)}' comes twice")
    return found


def _not_finite(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{shortened(text)} is too large")
    return value


def _shallow(found: Any, where: str) -> None:
    """Refuse deep nests level by level, without going down them by recursion."""
    level = [found]
    for _ in range(DEEPEST):
        level = [inner for node in level for inner in _inside(node)]
        if not level:
            return
    raise InputError(f"{where} is nested too deeply (more than {DEEPEST} levels)")


def _inside(node: Any) -> list[Any]:
    inner = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return [one for one in inner if isinstance(one, dict | list)]
