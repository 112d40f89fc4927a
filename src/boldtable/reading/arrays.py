"""Arrays in npy files, no larger than the file that holds them."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boldtable.errors import InputError
from boldtable.reading.bounded import capacity, read_bytes, read_start

SERIES_BYTES = 400_000_000  # of one run's parcel series; 1,200 frames of 1,000 parcels are a fortieth of it
_HEADER_BYTES = 16_384


def npy_shape(path: Path) -> tuple[int, ...]:
    """Return the shape that the header of an npy file declares, plain or gzipped; the values are not read."""
    shape, _, dtype = _header(path, BytesIO(read_start(path, _HEADER_BYTES)))
    if math.prod(shape) * dtype.itemsize > capacity(path):
        raise InputError(f"{path} is truncated: it declares {' x '.join(map(str, shape))} numbers; copy it again")
    return shape


def read_npy(path: Path) -> npt.NDArray[np.float64]:
    """Return the numbers of an npy file, plain or gzipped.

    Raises `InputError` for anything else than integers and floats, and where the file holds less than it declares.
    """
    content = read_bytes(path, SERIES_BYTES)
    stream = BytesIO(content)
    shape, in_columns, dtype = _header(path, stream)
    if math.prod(shape) * dtype.itemsize > len(content) - stream.tell():
        raise InputError(f"{path} is truncated: it declares {' x '.join(map(str, shape))} numbers; copy it again")
    values = np.frombuffer(content, dtype, math.prod(shape), stream.tell())
    return values.reshape(shape, order="F" if in_columns else "C").astype(np.float64)


def _header(path: Path, stream: BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape, whether it is stored by columns, and the type of an npy file; leaves the stream at the values."""
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, in_columns, dtype = read(stream)
    except Exception as error:  # noqa: BLE001 - the header is a Python literal, and may be any
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} cannot be read as numbers: it is no npy file ({reason}); save it again") from None
    if dtype.kind not in "fiu" or dtype.itemsize > 8 or any(size < 0 for size in shape):
        raise InputError(f"{path} cannot be read as numbers: it holds {dtype} values; save it as floats")
    return tuple(int(size) for size in shape), bool(in_columns), dtype
