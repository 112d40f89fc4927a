"""The header of a safetensors file: which tensors there are, read without reading any of them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boldtable.errors import InputError
from boldtable.reading.bounded import open_regular, parse_json

_LONGEST = 25_000_000  # bytes of JSON
_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "U16": 2, "U32": 4,
    "U64": 8, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip


def header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Return the shapes of all tensors by name, and the metadata, of a safetensors file whose sizes add up.

    Raises `InputError` naming the file.
    """
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            if length > min(_LONGEST, size - 8):
                raise InputError("its header is longer than the file, or than any")
            text = file.read(length).decode("utf-8")
        values = parse_json(text, "its header")
        return _checked(values, size - 8 - length)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; the model folder is incomplete") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}") from None


def settle(path: Path) -> None:
    """Put the metadata in the order of their names, which the library leaves to chance: equal models, equal bytes."""
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        values = json.loads(file.read(length))
        values["__metadata__"] = dict(sorted(values.get("__metadata__", {}).items()))
        text = json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))


def _checked(values: Any, n_bytes: int) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    if not isinstance(values, dict):
        raise InputError("its header is no mapping")
    metadata = values.pop("__metadata__", {})
    shapes = {name: _shape(name, about) for name, about in values.items()}
    stored = sum(_size(about) for about in values.values())
    if stored != n_bytes:
        raise InputError(f"its tensors take {stored} bytes, but the file has {n_bytes}")
    return shapes, metadata if isinstance(metadata, dict) else {}


def _shape(name: str, about: Any) -> tuple[int, ...]:
    shape = about.get("shape") if isinstance(about, dict) else None
    good = isinstance(shape, list) and len(shape) <= 8 and all(type(n) is int and 0 <= n < 2**40 for n in shape)
    if not good or shape is None or about.get("dtype") not in _BYTES:
        raise InputError(f"tensor '{name[:80]}' has no shape or kind that is known")
    return tuple(shape)


def _size(about: Mapping[str, Any]) -> int:
    total = _BYTES[about["dtype"]]
    for n in about["shape"]:
        total *= n
    return total
