"""Labels from MNI152NLin6Asym to MNI152NLin2009cAsym through TemplateFlow's transform, by nearest neighbour.

The two templates differ by several millimetres in places: an affine is not enough. The transform is an ITK composite
(HDF5) of an affine and a displacement field; nitransforms reads and maps it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from boldtable.atlas.fetch import offline_folder
from boldtable.atlas.image import Floats, Labels
from boldtable.atlas.templateflow import transform_from_templateflow
from boldtable.errors import InputError, SpaceError
from boldtable.progress import say

FROM_SPACE, TO_SPACE = "MNI152NLin6Asym", "MNI152NLin2009cAsym"
TRANSFORM = f"tpl-{TO_SPACE}_from-{FROM_SPACE}_mode-image_xfm.h5"
# The grid that fMRIPrep writes for MNI152NLin2009cAsym:res-2, and of Tian's images in this space.
SHAPE_2MM = (97, 115, 97)
AFFINE_2MM: Floats = np.array([[2.0, 0, 0, -96.5], [0, 2, 0, -132.5], [0, 0, 2, -78.5], [0, 0, 0, 1]])


def onto_2009c(
    labels: Labels, affine: Floats, transform: Path, shape: tuple[int, ...] = SHAPE_2MM, target: Floats = AFFINE_2MM
) -> Labels:
    """Return the labels (x, y, z; `affine` to RAS mm, in MNI152NLin6Asym) on a grid in MNI152NLin2009cAsym; 0 outside.

    Each voxel centre of the grid is mapped to the other template and takes the label of the nearest voxel there.
    `transform` is the file of `transform_file`. Raises `SpaceError` where it cannot be read.
    """
    centres = np.indices(shape).reshape(3, -1).T @ target[:3, :3].T + target[:3, 3]
    there = _mapped(transform, centres)
    inverse = np.linalg.inv(affine)
    voxels = np.floor(there @ inverse[:3, :3].T + inverse[:3, 3] + 0.5).astype(int)
    inside = ((voxels >= 0) & (voxels < labels.shape)).all(axis=1)
    moved = np.zeros(len(voxels), dtype=np.int32)
    moved[inside] = labels[tuple(voxels[inside].T)]
    say(f"labels brought from {FROM_SPACE} to {TO_SPACE} through {transform.name}")
    return moved.reshape(shape)


def transform_file(folder: Path | None) -> Path:
    """The transform: from the offline folder (`folder`, else BOLDTABLE_ATLAS_DIR), else from TemplateFlow.

    Raises `SpaceError` where neither has it.
    """
    offline = offline_folder(folder)
    there = sorted(offline.rglob(TRANSFORM)) if offline is not None else []
    if there:
        return there[0]
    try:
        return transform_from_templateflow(FROM_SPACE, TO_SPACE)
    except InputError as error:
        raise SpaceError(_refusal(str(error))) from None


def _mapped(path: Path, points: Floats) -> Floats:
    """Points (n, 3) of the target space, in the source space; RAS mm."""
    try:
        reader: Any = import_module("nitransforms.manip")  # an extra that nothing else needs
    except ImportError:
        raise SpaceError(_refusal("the package nitransforms is missing: pip install 'boldtable[spaces]'")) from None
    try:
        chain: Any = reader.TransformChain.from_filename(path, fmt="itk")
        mapped = np.asarray(chain.map(points), dtype=np.float64)
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise SpaceError(_refusal(f"{path} is no ITK composite transform: {reason}; fetch it again")) from None
    if mapped.shape != points.shape or not np.isfinite(mapped).all():
        raise SpaceError(_refusal(f"{path} maps points to nowhere; fetch it again"))
    return mapped


def _refusal(reason: str) -> str:
    return (
        f"no way from {FROM_SPACE} to {TO_SPACE}: {reason}. Put {TRANSFORM} into a folder and name it in "
        f"BOLDTABLE_ATLAS_DIR or the setting 'folder', or have fMRIPrep write {FROM_SPACE}:res-2"
    )
