"""A user's own atlas: a label image and a TSV with the columns index, name, hemisphere, network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from boldtable.atlas.image import Floats, Labels, centroids, label_image, load_labels
from boldtable.atlas.table import COLUMNS, UNKNOWN_NETWORK, AtlasTable
from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.reading.tables import read_table

REQUIRED = ("index", "name", "hemisphere", "network")
POSITION = ("x_mm", "y_mm", "z_mm")
HEMISPHERES = ("L", "R", "B")
Move = Callable[[Labels, Floats], tuple[Labels, Floats]]


def own_atlas(
    name: str, image: Path, table: Path, space: str, move: Move | None = None
) -> tuple[AtlasTable, nib.Nifti1Image]:
    """Return the atlas of a label image and its table, parcels in the order of the table's rows.

    Every label of the image must be in the table. A row without a voxel stays (its signal will be missing) and is
    said. `space` is that of the result: of the image, or of where `move` brings labels and affine. Raises `InputError`
    naming the file, the values and the way out.
    """
    parcels = read_parcels(table)
    labels, affine = load_labels(image)
    found = np.unique(labels[labels > 0])
    if found.size == 0:
        raise InputError(f"{image} has no label above 0; an atlas image needs parcels")
    unnamed = sorted(set(found.tolist()) - set(parcels["index"]))
    if unnamed:
        raise InputError(f"{image} has labels that {table} does not name: {_some(unnamed)}; add a row for each")
    if move is not None:
        labels, affine = move(labels, affine)
    position, counts = centroids(labels, affine, parcels["index"].to_numpy())
    parcels = parcels.assign(**{column: position[:, axis] for axis, column in enumerate(POSITION)}, n_voxels=counts)
    empty = parcels.loc[parcels["n_voxels"] == 0, "index"].tolist()
    if empty:
        say(f"atlas {name}: no voxel in {image} for the rows {_some(empty)} of {table}; their signal will be missing")
    return AtlasTable(name=name, space=space, parcels=parcels[list(COLUMNS)]), label_image(labels, affine)


def series_atlas(name: str, table: Path, space: str | None) -> AtlasTable:
    """The atlas of ready parcel series: a table alone; centroids from x_mm, y_mm, z_mm where it has them."""
    parcels = read_parcels(table)
    for column in POSITION:
        values = parcels[column] if column in parcels else pd.Series(np.nan, index=parcels.index)
        try:
            parcels[column] = values.astype(float)
        except ValueError as error:
            raise InputError(f"{table}: column {column} holds something else than millimetres: {error}") from None
    parcels["n_voxels"] = 0
    return AtlasTable(name=name, space=space or "unknown", parcels=parcels[list(COLUMNS)])


def read_parcels(path: Path) -> pd.DataFrame:
    """Read and check a parcel table: whole unique indices from 1, unique names, hemisphere L, R or B.

    An unknown hemisphere (``n/a``) becomes B, an unknown network ``unknown``. Raises `InputError`.
    """
    try:
        table = read_table(path, "\t")
    except FileNotFoundError:
        raise InputError(f"atlas table not found: {path}") from None
    except OSError as error:
        raise InputError(f"cannot read the atlas table {path}: {error.strerror}") from None
    rows = pd.DataFrame(table.rows, columns=table.names, dtype=str)
    missing = [column for column in REQUIRED if column not in rows]
    if missing:
        raise InputError(
            f"{path}: column {', '.join(missing)} is missing (found: {', '.join(map(str, rows.columns))}); "
            f"an atlas table is tab-separated with the columns {', '.join(REQUIRED)}"
        )
    if rows.empty:
        raise InputError(f"{path} has no rows; an atlas table has one row per parcel")
    rows = rows.apply(lambda column: column.str.strip()).replace({"": "n/a"})
    rows["index"] = _indices(rows["index"], path)
    for column in ("index", "name"):
        _unique(rows[column], path)
    _hemispheres(rows["hemisphere"], path)
    rows["hemisphere"] = rows["hemisphere"].replace({"n/a": "B"})
    rows["network"] = rows["network"].replace({"n/a": UNKNOWN_NETWORK})
    checked: pd.DataFrame = rows.replace({"n/a": None})
    return checked


def _indices(values: pd.Series, path: Path) -> pd.Series:
    wrong = [value for value in values if not value.isdigit() or int(value) < 1]
    if wrong:
        raise InputError(f"{path}: index must be a whole number from 1 on, found {_some(wrong)}")
    return values.astype("int64")


def _unique(values: pd.Series, path: Path) -> None:
    twice = sorted(values[values.duplicated()].unique())
    if twice:
        raise InputError(f"{path}: {values.name} {_some(twice)} stands in more than one row; each parcel has its own")


def _hemispheres(values: pd.Series, path: Path) -> None:
    wrong = sorted(set(values) - {*HEMISPHERES, "n/a"})
    if wrong:
        raise InputError(f"{path}: hemisphere must be L, R, B (both) or n/a, found {_some(wrong)}")


def _some(values: Sequence[object]) -> str:
    """The first few values of a list, and how many more there are."""
    shown = ", ".join(str(value) for value in values[:5])
    return shown if len(values) <= 5 else f"{shown} and {len(values) - 5} more"
