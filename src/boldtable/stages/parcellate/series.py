"""Ready parcel series: one text (.txt, .tsv, .csv, .1D) or numpy (.npy) file per run, any gzipped, or HDF5 recordings.

Series with the names of their parcels are joined to the atlas by name, all others by position.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable.errors import InputError, RunError, nearest
from boldtable.reading.arrays import SERIES_BYTES, read_npy
from boldtable.reading.bounded import open_regular, read_text
from boldtable.reading.tables import shorten
from boldtable.stages.parcellate.averaging import Averages
from boldtable.stages.parcellate.bold import PassingError

_SEPARATOR = {".txt": r"\s+", ".1d": r"\s+", ".tsv": "\t", ".csv": ","}
_MISSING = ("", "n/a", "nan", "na")
_TEXT_BYTES = 100_000_000  # 1,200 frames of 1,000 parcels take a fifth of it
_MOST_LINES = 200_000
_COUNTED = 8  # columns from which on a line 0, 1, 2, ... is taken for a header and not for a frame
_RECORDING = re.compile(r"(.+)#([0-9]+)")  # as collect names a recording of an HDF5 file
_HDF5_ORDER = ("schaefer400", "tian3", "buckner7")  # how the authors of Semantoks put their atlases together

Values = npt.NDArray[np.float64]


def is_series(name: str) -> bool:
    """Whether a run's file is no image but a ready series."""
    return not name.lower().endswith((".nii", ".nii.gz"))


def read_series(path: Path, parcels: Sequence[str], orientation: str) -> Averages:
    """Read the series of one run as (frame, parcel) float32 in the order of `parcels`, the names of the atlas.

    Where the file names its parcels (a header line, or with ``parcel_frame`` a first column of words) they are joined
    by name: a parcel the file does not have is NaN with coverage 0. A file without names has every parcel, in order.
    Parcels without a varying signal are NaN with coverage 0 too. Raises `RunError` when the file is no such table, has
    names the atlas does not know or another number of parcels, fewer than two frames, or single frames that are NaN
    or infinite.
    """
    if found := _RECORDING.fullmatch(path.name):
        return _checked(path, _by_position(path, _recording(path.with_name(found[1]), int(found[2])), len(parcels)))
    values, names = _load(path, orientation)
    if values.ndim != 2:
        raise RunError(f"{path.name} is {values.ndim}-D, expected rows and columns ({orientation.replace('_', ', ')})")
    signal = values if orientation == "frame_parcel" else values.T
    if names is None:
        return _checked(path, _by_position(path, signal, len(parcels)))
    return _checked(path, _by_name(path, signal, names, parcels))


def _by_position(path: Path, signal: Values, n_parcels: int) -> Values:
    if signal.shape[1] != n_parcels:
        turned = " (its rows fit: correct 'orientation')" if signal.shape[0] == n_parcels else ""
        raise RunError(f"{path.name} has {signal.shape[1]} parcels, the atlas table has {n_parcels}{turned}")
    return signal


def _by_name(path: Path, signal: Values, names: Sequence[str], parcels: Sequence[str]) -> Values:
    """The columns in the order of the atlas; NaN where the file has none."""
    if len(names) != signal.shape[1]:
        raise RunError(f"{path.name} has {len(names)} names for {signal.shape[1]} parcels")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RunError(f"{path.name} has the parcel '{shorten(twice[0])}' more than once")
    place = {name: column for column, name in enumerate(parcels)}
    unknown = [name for name in names if name not in place]
    if unknown:
        hint = nearest(unknown[0], parcels)
        hint = hint if "did you mean" in hint else f" (there: {parcels[0]}, ...)"
        raise RunError(
            f"{path.name} names {len(unknown)} of {len(names)} parcels that the atlas table does not have, such as "
            f"'{shorten(unknown[0])}'{hint}"
        )
    ordered = np.full((len(signal), len(parcels)), np.nan)
    ordered[:, [place[name] for name in names]] = signal
    return ordered


def _checked(path: Path, signal: Values) -> Averages:
    if len(signal) < 2:
        raise RunError(f"{path.name} has {len(signal)} frame, a time series needs at least 2")
    empty = np.isnan(signal).all(axis=0)
    bad = np.flatnonzero(~np.isfinite(signal[:, ~empty]).all(axis=1))
    if bad.size:
        raise RunError(f"NaN or infinite values in {bad.size} of {len(signal)} frames, first frame {bad[0]}")
    empty |= (signal == signal[:1]).all(axis=0)
    if empty.all():
        raise RunError(f"{path.name} holds no signal: every parcel is constant or missing")
    kept = np.where(empty, np.nan, signal).astype(np.float32)
    return Averages(kept, (~empty).astype(np.float32))


def _load(path: Path, orientation: str) -> tuple[Values, list[str] | None]:
    """The values as they stand in the file, and the names of the parcels where it has them."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    try:
        if kind == ".npy":
            return read_npy(path), None
        if kind in _SEPARATOR:
            return _text_table(read_text(path, _TEXT_BYTES), _SEPARATOR[kind], orientation)
    except FileNotFoundError:
        gone = "a link to a file that is gone" if path.is_symlink() else "missing"
        raise RunError(f"{path.name} is {gone}; restore it or leave the run out") from None
    except PermissionError:
        raise PassingError(f"{path.name} cannot be read: permission denied; allow reading it") from None
    except InputError as error:
        raise RunError(str(error).replace(str(path), path.name)) from None
    except (OSError, ValueError, OverflowError) as error:
        raise RunError(f"{path.name} cannot be read as numbers: {' '.join(str(error).split())[:200]}") from None
    raise RunError(f"{path.name}: unknown kind of series; known: {', '.join([*_SEPARATOR, '.npy'])}, each also .gz")


def _text_table(text: str, separator: str, orientation: str) -> tuple[Values, list[str] | None]:
    """Parse a table of numbers with the names it may have; lines that start with ``#`` are comments."""
    if text.count("\n") > _MOST_LINES:
        raise ValueError(f"it has more than {_MOST_LINES} lines")
    lines = [line.strip(" ") for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ValueError("the file has no rows")
    header = [
        word.strip().strip('"') for word in (lines[0].split() if separator == r"\s+" else lines[0].split(separator))
    ]
    words = [word for word in header if word.lower() not in _MISSING]
    named = bool(words) and not any(_is_number(word) for word in words)
    counted = _is_counted(header[not _is_number(header[0]) :])
    body = lines[1:] if named or counted else lines
    _refuse_ragged(body, separator)
    table = pd.read_csv(io.StringIO("\n".join(body)), sep=separator, header=None, na_values=["n/a"])
    first = None
    if not pd.api.types.is_numeric_dtype(table[0]) and table[0].notna().all():
        first = [str(name).strip() for name in table[0]]
        table = table.iloc[:, 1:]
    if orientation == "parcel_frame":
        return table.to_numpy(dtype=np.float64), first
    if first is not None:
        raise ValueError(f"its first column holds words, such as '{first[0]}'")
    return _without_counter(table.to_numpy(dtype=np.float64), header if named else None)


def _refuse_ragged(lines: list[str], separator: str) -> None:
    """Refuse rows of different lengths: pandas would fill the short ones, or take a column for an index."""
    lengths = (
        [len(line.split()) for line in lines] if separator == r"\s+" else [line.count(separator) for line in lines]
    )
    wrong = next((number for number, length in enumerate(lengths) if length != lengths[0]), None)
    if wrong is not None:
        raise ValueError(f"row {wrong + 1} has another number of fields than row 1")


def _without_counter(values: Values, names: list[str] | None) -> tuple[Values, list[str] | None]:
    """Drop the nameless first column in which pandas writes the row numbers."""
    if names and names[0] == "" and np.array_equal(values[:, 0], np.arange(len(values))):
        return values[:, 1:], names[1:]
    return values, names


def _is_counted(words: list[str]) -> bool:
    """The column numbers that pandas writes where it was given no names."""
    return len(words) >= _COUNTED and words == [str(number) for number in range(len(words))]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return word.lower() in _MISSING
    return True


def _recording(path: Path, place: int) -> Values:
    """One recording (frame, parcel) of an HDF5 file, its atlases side by side, without the NaN at its end."""
    try:
        import h5py  # an extra: only this layout needs it
    except ImportError:
        raise InputError("HDF5 series need h5py; install it with: pip install 'boldtable[hdf5]'") from None
    try:
        open_regular(path).close()
        with h5py.File(path, "r") as file:
            there = list(file["timeseries"])
            unknown = sorted(set(there) - set(_HDF5_ORDER))
            if unknown:
                raise RunError(f"{path.name} has timeseries/{unknown[0]}; known: {', '.join(_HDF5_ORDER)}")
            parts = [_one(file["timeseries"][name], place) for name in _HDF5_ORDER if name in there]
            length = int(file["ts_len"][place]) if "ts_len" in file else None
    except FileNotFoundError:
        raise RunError(f"{path.name} is missing; restore it or leave its runs out") from None
    except PermissionError:
        raise PassingError(f"{path.name} cannot be read: permission denied; allow reading it") from None
    except RunError:
        raise
    except Exception as error:  # noqa: BLE001 - h5py raises whatever a damaged file makes of it
        raise RunError(f"{path.name} cannot be read at recording {place}: {' '.join(str(error).split())}") from None
    return _without_tail(np.concatenate(parts).T[:length])


def _one(series: Any, place: int) -> npt.NDArray[Any]:
    """The values (parcel, frame) of one recording, no more than a run may have."""
    n_bytes = math.prod(int(size) for size in series.shape[1:]) * series.dtype.itemsize
    if series.dtype.kind not in "fiu" or n_bytes > SERIES_BYTES:
        raise RunError(f"{series.name} declares {series.shape} {series.dtype} values, more than a run has; restore it")
    return np.asarray(series[place])


def _without_tail(signal: npt.NDArray[Any]) -> Values:
    frames = np.flatnonzero(~np.isnan(signal).all(axis=1))
    return signal[: frames[-1] + 1 if frames.size else 0].astype(np.float64)
