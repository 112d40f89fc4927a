"""Small files from outside: regular ones only, up to a size, and JSON without twins, infinities or bottomless nests.

Whatever is wrong raises `InputError` with one line; a file that is not there raises `FileNotFoundError`, for what to do
about that depends on the caller.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from boldtable.errors import InputError, shortened

DEEPEST = 50  # brackets within brackets


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    A pipe or a device is never waited for. Raises `InputError`, and `FileNotFoundError` where nothing is there.
    """
    with regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise InputError(f"{path}: has {size} bytes, more than the {limit} that such a file may have")
        try:
            content = file.read(limit + 1)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > limit:
        raise InputError(f"{path}: has more than the {limit} bytes that such a file may have")
    return content


def regular(path: Path) -> BinaryIO:
    """Open a regular file for reading bytes; errors as of `read_bytes`."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputError(f"{path}: is no regular file, so it is not read; name a file")
    return os.fdopen(handle, "rb")


def read_text(path: Path, limit: int) -> str:
    """Return the UTF-8 text of a regular file of at most `limit` bytes; errors as of `read_bytes`."""
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def read_json(path: Path, limit: int) -> Any:
    """Return what a JSON file of at most `limit` bytes holds; errors as of `read_bytes`.

    A key that comes twice, a number that is not finite and more than `DEEPEST` levels are refused.
    """
    return parse_json(read_text(path, limit), str(path))


def parse_json(text: str, where: str) -> Any:
    """Return what JSON text holds; `where` names it in errors. Refusals as of `read_json`."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_not_finite, parse_float=_finite)
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where}: is no JSON that can be read: {shortened(error)}") from None
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
    raise InputError(f"{where}: is nested too deeply (more than {DEEPEST} levels)")


def _inside(node: Any) -> list[Any]:
    inner = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return [one for one in inner if isinstance(one, dict | list)]
