"""A BOLD file as a stream of raw volumes: NIfTI-1 and -2, plain or gzipped, integer or float, either byte order.

Values stay as stored (unscaled), voxels in file order (x fastest), so that nothing is copied or converted that the
averaging does not need.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from isal import igzip, igzip_lib

from boldtable.errors import InputError, RunError
from boldtable.reading.bounded import capacity
from boldtable.reading.nifti import Header, read_header

_CHUNK_BYTES = 2_000_000  # about one 2 mm volume: small enough to stay in the processor's cache
_SMALL_BYTES = 4096
_ISAL_ERROR = cast(type[Exception], igzip_lib.IsalError)  # its types say instance, it is a class
_DAMAGED = (EOFError, gzip.BadGzipFile, _ISAL_ERROR, zlib.error)


class PassingError(RunError):
    """A run that cannot be read for a reason outside its files (missing, no permission): worth another try."""


@dataclass(frozen=True)
class Bold:
    """The header of a 4-D image: grid (x, y, z), frames, affine (voxel to RAS mm), and how values are stored."""

    path: Path
    shape: tuple[int, int, int]
    n_frames: int
    affine: npt.NDArray[np.float64]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float

    @property
    def n_voxels(self) -> int:
        """Voxels of one volume."""
        return int(np.prod(self.shape))


def header(path: Path) -> Header:
    """Read the header of a NIfTI image; raises `RunError` for anything that is none."""
    try:
        return read_header(path)
    except FileNotFoundError:
        gone = "a link to a file that is gone" if path.is_symlink() else "missing"
        raise PassingError(f"{path.name} is {gone}; restore it or leave the run out") from None
    except PermissionError:
        raise PassingError(f"{path.name} cannot be read: permission denied; allow reading it") from None
    except OSError as error:
        raise RunError(f"{path.name} cannot be read: {error.strerror or error}") from None
    except InputError as error:
        raise RunError(str(error).replace(str(path), path.name)) from None


def open_bold(path: Path) -> Bold:
    """Read and check the header of a BOLD file; raises `RunError` with the reason when it cannot be used."""
    found = header(path)
    if len(found.shape) != 4:
        raise RunError(f"{path.name} is {len(found.shape)}-D, expected 4-D (x, y, z, frame)")
    x, y, z, n_frames = found.shape
    if n_frames < 2:
        raise RunError(f"{path.name} has {n_frames} volume, a time series needs at least 2")
    if not found.located:
        raise RunError(f"{path.name} does not say where its voxels lie (sform and qform codes are 0)")
    if not np.isfinite(found.affine).all() or abs(np.linalg.det(found.affine)) < 1e-9:
        raise RunError(f"{path.name} has an affine that cannot be inverted")
    if not (np.isfinite(found.slope) and np.isfinite(found.inter)):
        raise RunError(f"{path.name} scales its values by {found.slope:g} and {found.inter:g}; correct its header")
    bold = Bold(path, (x, y, z), n_frames, found.affine, found.dtype, found.offset, found.slope, found.inter)
    _holds_enough(bold)
    return bold


def _holds_enough(bold: Bold) -> None:
    """Refuse a header that promises more than the file can hold, before memory is asked for on its word."""
    volume_bytes = bold.n_voxels * bold.dtype.itemsize
    room = capacity(bold.path)
    if room < bold.offset + bold.n_frames * volume_bytes:
        whole = max(0, room - bold.offset) // volume_bytes
        at_most = "at most " if bold.path.suffix == ".gz" else ""
        raise RunError(
            f"{bold.path.name} is truncated after {at_most}{whole} of {bold.n_frames} volumes; copy it again"
        )


def volumes(bold: Bold) -> Iterator[npt.NDArray[Any]]:
    """Yield (frames, voxels) blocks of stored values in order; a block is valid until the next one is asked for.

    The checksum at the end of a gzip is verified. Raises `RunError` when the file ends early or is damaged.
    """
    volume_bytes = bold.n_voxels * bold.dtype.itemsize
    block = max(1, min(bold.n_frames, _CHUNK_BYTES // volume_bytes))
    buffer = bytearray(block * volume_bytes)
    done = 0
    with _open(bold.path) as stream:
        _fill(stream, memoryview(bytearray(bold.offset)), bold)
        while done < bold.n_frames:
            frames = min(block, bold.n_frames - done)
            _fill(stream, memoryview(buffer)[: frames * volume_bytes], bold)
            yield np.frombuffer(buffer, bold.dtype, frames * bold.n_voxels).reshape(frames, bold.n_voxels)
            done += frames
        _finish(stream, bold)


def _open(path: Path) -> BinaryIO:
    unzip: Any = igzip.IGzipFile  # its constructor carries no types
    try:
        return cast(BinaryIO, unzip(path, "rb") if path.suffix == ".gz" else path.open("rb"))
    except OSError as error:
        raise PassingError(f"{path.name} cannot be read: {error.strerror}") from None


def _fill(stream: BinaryIO, target: memoryview, bold: Bold) -> None:
    """Fill `target` from the stream, or say how many volumes the file really holds."""
    filled = 0
    while filled < len(target):
        try:
            piece = cast(Any, stream).read1(len(target) - filled)
        except _DAMAGED as error:
            problem = "truncated" if isinstance(error, EOFError) else f"damaged ({_text(error)})"
            raise RunError(_broken(bold, problem)) from None
        if not piece:
            raise RunError(_broken(bold, "truncated"))
        target[filled : filled + len(piece)] = piece
        filled += len(piece)


def _broken(bold: Bold, problem: str) -> str:
    """Read the file again in small pieces: the large read that failed has lost what came before the fault."""
    readable = 0
    with _open(bold.path) as stream, suppress(*_DAMAGED):
        while piece := cast(Any, stream).read1(_SMALL_BYTES):
            readable += len(piece)
    whole = max(0, readable - bold.offset) // (bold.n_voxels * bold.dtype.itemsize)
    return f"{bold.path.name} is {problem} after {whole} of {bold.n_frames} volumes; copy it again"


def _finish(stream: BinaryIO, bold: Bold) -> None:
    """Read to the end, where gzip keeps its checksum: bytes lost or changed on the way show only here."""
    try:
        while stream.read(_CHUNK_BYTES):
            pass
    except _DAMAGED as error:
        state = "truncated" if isinstance(error, EOFError) else "damaged"
        raise RunError(f"{bold.path.name} is {state} at its end ({_text(error)}); copy it again") from None


def _text(error: Exception, path: Path | None = None) -> str:
    """An error in one line, with the file's name instead of its whole path."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line.replace(str(path), path.name) if path is not None else line
