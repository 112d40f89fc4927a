"""Ready parcel series: one text (.txt, .tsv, .csv, .1D) or numpy (.npy) file per run, any of them gzipped."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable.errors import RunError
from boldtable.stages.parcellate.averaging import Averages

_SEPARATOR = {".txt": r"\s+", ".1d": r"\s+", ".tsv": "\t", ".csv": ","}


def read_series(path: Path, n_parcels: int, orientation: str) -> Averages:
    """Read the series of one run as (frame, parcel) float32; parcels without a varying signal are NaN with coverage 0.

    A header line is recognised by its words. Raises `RunError` when the file is no such table, has another number of
    parcels than the atlas, fewer than two frames, or single frames that are NaN or infinite.
    """
    values = _load(path)
    if values.ndim != 2:
        raise RunError(f"{path.name} is {values.ndim}-D, expected rows and columns ({orientation.replace('_', ', ')})")
    signal = values if orientation == "frame_parcel" else values.T
    if signal.shape[1] != n_parcels:
        turned = " (its rows fit: correct 'orientation')" if signal.shape[0] == n_parcels else ""
        raise RunError(f"{path.name} has {signal.shape[1]} parcels, the atlas table has {n_parcels}{turned}")
    if len(signal) < 2:
        raise RunError(f"{path.name} has {len(signal)} frame, a time series needs at least 2")
    return _checked(path, signal)


def _checked(path: Path, signal: npt.NDArray[np.float64]) -> Averages:
    empty = np.isnan(signal).all(axis=0)
    bad = np.flatnonzero(~np.isfinite(signal[:, ~empty]).all(axis=1))
    if bad.size:
        raise RunError(f"NaN or infinite values in {bad.size} of {len(signal)} frames, first frame {bad[0]}")
    empty |= (signal == signal[:1]).all(axis=0)
    if empty.all():
        raise RunError(f"{path.name} holds no signal: every parcel is constant or missing")
    kept = np.where(empty, np.nan, signal).astype(np.float32)
    return Averages(kept, (~empty).astype(np.float32))


def _load(path: Path) -> npt.NDArray[np.float64]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if suffixes[-1:] == [".gz"] else content
        if kind == ".npy":
            return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), dtype=np.float64)
        if kind in _SEPARATOR:
            return _text_table(content.decode("utf-8"), _SEPARATOR[kind])
    except FileNotFoundError:
        gone = "a link to a file that is gone" if path.is_symlink() else "missing"
        raise RunError(f"{path.name} is {gone}; restore it or leave the run out") from None
    except (EOFError, zlib.error) as error:
        raise RunError(f"{path.name} is truncated or damaged ({error}); copy it again") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path.name} cannot be read as numbers: {' '.join(str(error).split())}") from None
    raise RunError(f"{path.name}: unknown kind of series; known: {', '.join([*_SEPARATOR, '.npy'])}, each also .gz")


def _text_table(text: str, separator: str) -> npt.NDArray[np.float64]:
    """Parse a table of numbers; lines that start with ``#`` are comments, a line of words on top is a header."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ValueError("the file has no rows")
    words = pd.Series(lines[0].split(None if separator == r"\s+" else separator)).str.strip().replace("n/a", "nan")
    header = 0 if pd.to_numeric(words, errors="coerce").isna().all() and not words.str.lower().eq("nan").all() else None
    table = pd.read_csv(
        io.StringIO("\n".join(line.strip(" ") for line in lines)), sep=separator, header=header, na_values=["n/a"]
    )
    return table.to_numpy(dtype=np.float64)
