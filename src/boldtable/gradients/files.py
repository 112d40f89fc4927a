"""Gradient files: a Parquet table with parcels and provenance, or the plain CSV that Brain-JEPA's code reads."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError, nearest
from boldtable.reading.bounded import read_text

Floats = npt.NDArray[np.float64]


def write(path: Path, values: Floats, table: AtlasTable, provenance: store.Provenance) -> None:
    """Write gradients (parcel, component) of the parcels of `table`: index, name, gradient_1 and so on; NaN is null."""
    provenance.extra.update(atlas=table.name, space=table.space, parcels_sha256=table.sha256)
    rows = table.parcels[["index", "name"]].reset_index(drop=True)
    columns = pd.DataFrame(values, columns=[f"gradient_{number + 1}" for number in range(values.shape[1])])
    store.write(path, "gradients", pd.concat([rows, columns], axis=1), provenance, size=values.shape[1])


def write_csv(path: Path, values: Floats) -> None:
    """Write gradients as Brain-JEPA's code reads them: one row per parcel, commas, no header; NaN is 0 there."""
    rows = (",".join(f"{value:.9g}" for value in row) for row in np.nan_to_num(values))
    store.write_text(path, "".join(f"{row}\n" for row in rows))


def read(path: Path, names: Sequence[str]) -> Floats:
    """Return the gradients (parcel, component) of the parcels `names`, in this order.

    A Parquet table is joined by name; a CSV without header has one row per parcel and must be in this order already.
    Raises `InputError` where a parcel is missing, or the numbers of rows differ.
    """
    return _csv(path, len(names)) if path.suffix == ".csv" else _parquet(path, names)


def _parquet(path: Path, names: Sequence[str]) -> Floats:
    rows = store.frame(path, "gradients").set_index("name")
    missing = [name for name in names if name not in rows.index]
    if missing:
        raise InputError(
            f"{path} has no gradients for {len(missing)} of {len(names)} parcels, such as '{missing[0]}'"
            f"{nearest(missing[0], map(str, rows.index))}: make them for the same atlas with 'boldtable gradients'"
        )
    if rows.index.has_duplicates:
        raise InputError(f"{path} has two parcels of the name '{rows.index[rows.index.duplicated()][0]}'")
    columns = [name for name in rows if str(name).startswith("gradient_")]
    return rows.loc[list(names)][columns].to_numpy(dtype=np.float64)


def _csv(path: Path, n_parcels: int) -> Floats:
    try:
        found = np.loadtxt(StringIO(read_text(path)), delimiter=",", ndmin=2, dtype=np.float64)
    except FileNotFoundError:
        raise InputError(f"gradients file not found: {path}") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is no table of numbers (rows of parcels, commas, no header): {reason}") from None
    if len(found) != n_parcels:
        raise InputError(f"{path} has {len(found)} rows, expected one for each of {n_parcels} parcels")
    return found
