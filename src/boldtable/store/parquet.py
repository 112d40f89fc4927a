"""Parquet files whose every bit is vouched for: written with checksums, and refused by name where one does not hold.

Pages carry Parquet's own checksums, which any reader may verify. They leave out what stands around the pages, so the
gap before the footer, which readers skip, holds a checksum of every column chunk and of the footer itself.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from boldtable.errors import InputError, shortened
from boldtable.writing import atomic

# What every file of ours is written with.
OPTIONS: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
_MARK, _MAGIC = b"BOLDsum1", b"PAR1"
_COUNT = struct.Struct("<II")  # number of sums, checksum of the footer
_BLOCK = 1 << 22
_verified: dict[tuple[str, int, int], set[tuple[int, int]]] = {}  # chunks by file, size and time


@contextmanager
def sealed(path: Path) -> Iterator[Path]:
    """As `atomic`, for a Parquet file, which is given its checksums before it takes its name."""
    with atomic(path) as temporary:
        yield temporary
        _seal(temporary)


@contextmanager
def opened(path: Path, columns: Sequence[str] | None = None) -> Iterator[pq.ParquetFile]:
    """Yield a Parquet file to read some top-level columns from (all for None), after verifying their checksums.

    Pages are verified as they are read. Raises `InputError` that names the file and how to make it again where a bit
    has changed, inside the block too, and `FileNotFoundError`. Files of other makers have no checksums of chunks.
    """
    with _explained(path), path.open("rb") as raw:
        _verify(path, raw, columns)
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file


def parquet_schema(path: Path) -> pa.Schema:
    """The Arrow schema of a file with its metadata; errors as of `opened`."""
    with opened(path, []) as file:
        return file.schema_arrow


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except PermissionError:
        raise InputError(f"cannot read {path}: permission denied; allow reading it") from None
    except (pa.ArrowException, OSError, _DamageError, UnicodeDecodeError) as error:
        reason = shortened(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise InputError(
            f"cannot read {path}: {reason}; the file is damaged: delete it, then start the same command again, which "
            "makes it anew"
        ) from None


class _DamageError(Exception):
    """A checksum does not hold."""


def _chunks(metadata: pq.FileMetaData) -> Iterator[tuple[str, int, int]]:
    """Path, start and length (bytes) of every column chunk, in the order of the file."""
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for number in range(row_group.num_columns):
            one = row_group.column(number)
            start = one.data_page_offset
            if one.has_dictionary_page and one.dictionary_page_offset is not None:
                start = min(start, one.dictionary_page_offset)
            yield one.path_in_schema, start, one.total_compressed_size


def _sum(file: BinaryIO, start: int, length: int) -> int:
    """The CRC-32 of a stretch of a file."""
    file.seek(start)
    found = 0
    while length > 0:
        block = file.read(min(length, _BLOCK))
        if not block:
            raise _DamageError("it ends too early")
        found, length = zlib.crc32(block, found), length - len(block)
    return found


def _footer(file: BinaryIO) -> tuple[int, bytes]:
    """Where the footer begins, and the footer with its length and the magic word."""
    end = file.seek(0, 2)
    if end < 12:
        raise _DamageError("it is too short")
    file.seek(end - 8)
    length, magic = struct.unpack("<I4s", file.read(8))
    if magic != _MAGIC or length > end - 12:
        raise _DamageError("it has no Parquet footer")
    file.seek(end - 8 - length)
    return end - 8 - length, file.read()


def _seal(path: Path) -> None:
    """Put the checksums between the data and the footer of a finished file."""
    chunks = list(_chunks(pq.read_metadata(path)))
    with path.open("r+b") as file:
        place, footer = _footer(file)
        sums = [_sum(file, start, length) for _, start, length in chunks]
        file.seek(place)
        file.write(struct.pack(f"<{len(sums)}I", *sums) + _COUNT.pack(len(sums), zlib.crc32(footer)) + _MARK + footer)


def _verify(path: Path, file: BinaryIO, columns: Sequence[str] | None) -> None:
    """Compare the footer, and every chunk of some columns that this process has not seen yet, with the checksums."""
    place, footer = _footer(file)
    after = len(_MARK) + _COUNT.size
    file.seek(max(0, place - after))
    counts, mark = file.read(_COUNT.size), file.read(len(_MARK))
    if mark != _MARK:
        return  # of another maker
    n, expected = _COUNT.unpack(counts)
    if zlib.crc32(footer) != expected:
        raise _DamageError("its footer has changed")
    if columns is not None and not columns:
        return
    chunks = list(_chunks(pq.read_metadata(path)))
    if n != len(chunks):
        raise _DamageError("its checksums have changed")
    file.seek(place - after - 4 * n)
    sums = struct.unpack(f"<{n}I", file.read(4 * n))
    about = path.stat()
    seen = _verified.setdefault((str(path), about.st_size, about.st_mtime_ns), set())
    wanted = _wanted(columns)
    for (name, start, length), right in zip(chunks, sums, strict=True):
        if wanted(name) and (start, length) not in seen:
            if _sum(file, start, length) != right:
                raise _DamageError(f"column {name.split('.')[0]} has changed since it was written")
            seen.add((start, length))


def _wanted(columns: Sequence[str] | None) -> Callable[[str], bool]:
    if columns is None:
        return lambda path: True
    return lambda path: any(path == name or path.startswith(f"{name}.") for name in columns)
