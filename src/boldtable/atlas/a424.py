"""The atlas ``a424`` of BrainLM: 360 cortical (Glasser 2016), 36 subcortical and 28 cerebellar parcels.

Parcels are in the order of their labels, 1 … 424. Positions are the published ones: BrainLM has learnt them as numbers,
so centroids of the label image (3 mm away in the median, 13 mm at most) would not do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable.atlas.catalogue import source
from boldtable.atlas.fetch import described, fetch
from boldtable.atlas.image import Floats, centroids, label_image, load_labels
from boldtable.atlas.own import Move
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError

NAME, SPACE = "a424", "MNI152NLin6Asym"
IMAGE, POSITIONS = "a424-image", "a424-centroids"
# Name, number of parcels: the authors' file names no parcel, only these three groups are known.
GROUPS = (("Cortex", 360), ("Subcortex", 36), ("Cerebellum", 28))
N_PARCELS = sum(size for _, size in GROUPS)


def a424(
    folder: Path | None = None, move: Move | None = None
) -> tuple[AtlasTable, nib.Nifti1Image, list[dict[str, Any]]]:
    """Return table, label image and the published files they are from; `folder` is an offline folder.

    The hemisphere is the side of the published position (B on the midline, which only the cerebellum has), the network
    one of Cortex, Subcortex, Cerebellum. `move` brings labels and affine to another space, which the caller then names;
    positions stay as published. Raises `InputError` where a file is missing, altered or has other labels.
    """
    paths = {key: fetch(key, folder) for key in (IMAGE, POSITIONS)}
    index: npt.NDArray[np.int64] = np.arange(1, N_PARCELS + 1)
    position = _positions(paths[POSITIONS])
    labels, affine = load_labels(paths[IMAGE])
    if not np.array_equal(np.unique(labels[labels > 0]), index):
        raise InputError(f"{paths[IMAGE]} has not the labels 1 to {N_PARCELS}; use the file without changes")
    if move is not None:
        labels, affine = move(labels, affine)
    groups = [name for name, size in GROUPS for _ in range(size)]
    parcels = pd.DataFrame(
        {
            "index": index,
            "name": [f"A424_{group}_{number}" for number, group in zip(index, groups, strict=True)],
            "hemisphere": ["LBR"[int(np.sign(x)) + 1] for x in position[:, 0]],
            "network": groups,
            **{column: position[:, axis] for axis, column in enumerate(("x_mm", "y_mm", "z_mm"))},
            "n_voxels": centroids(labels, affine, index)[1],
        }
    )
    sources = [described(path, source(key)) for key, path in paths.items()]
    return AtlasTable(name=NAME, space=SPACE, parcels=parcels), label_image(labels, affine), sources


def _positions(path: Path) -> Floats:
    """The published positions (parcel, 3), RAS mm."""
    try:
        rows = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except ValueError as error:
        raise InputError(f"{path} is no table of numbers: {error}") from None
    if rows.shape != (N_PARCELS, 4) or not np.array_equal(rows[:, 0], np.arange(1, N_PARCELS + 1)):
        raise InputError(f"{path} has not the rows 1 to {N_PARCELS} of index, x, y, z; use the file without changes")
    return rows[:, 1:]
