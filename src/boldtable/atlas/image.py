"""Label images: read, bring to another grid by nearest neighbour, centroids, write. World coordinates are RAS, mm."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from boldtable import store
from boldtable.errors import InputError
from boldtable.reading.nifti import read_header, read_volume

Labels = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
MOST_VOXELS = 100_000_000  # a label image of 0.5 mm has 60 million
MNI_CODE = 4  # NIfTI-1 sform code NIFTI_XFORM_MNI_152


def load_labels(path: Path) -> tuple[Labels, Floats]:
    """Read a label image: labels (x, y, z) as int32 and the affine (4, 4), voxel index to RAS mm.

    Raises `InputError` if it is missing, no image, not 3-D, or holds values that are no labels.
    """
    try:
        header = read_header(path, MOST_VOXELS)
        if len(header.shape) < 3 or set(header.shape[3:]) - {1}:
            raise InputError(f"{path} is {len(header.shape)}-D; an atlas image is 3-D, one label per voxel")
        if not header.located:
            raise InputError(f"{path} does not say where its voxels lie (sform and qform codes are 0); set one")
        stored = read_volume(header)
    except FileNotFoundError:
        raise InputError(f"atlas image not found: {path}") from None
    except OSError as error:
        raise InputError(f"cannot read the atlas image {path}: {error.strerror}") from None
    plain = (header.slope, header.inter) == (1, 0)
    return as_labels(stored if plain else stored * header.slope + header.inter, path), header.affine


def as_labels(values: npt.NDArray[Any], path: Path) -> Labels:
    """Whole numbers from 0 on, as int32; anything else is no label image (`InputError`)."""
    if values.size == 0 or not np.isfinite(values).all() or (values != np.round(values)).any():
        raise InputError(f"{path} holds values that are not whole numbers; an atlas image has one label per voxel")
    if values.min() < 0 or values.max() > np.iinfo(np.int32).max:
        raise InputError(f"{path} holds labels from {values.min()} to {values.max()}; labels start at 0 (background)")
    return values.astype(np.int32)


def onto_grid(labels: Labels, affine: Floats, shape: tuple[int, ...], target: Floats) -> Labels:
    """The labels at the voxel centres of another grid, by nearest neighbour through both affines; 0 outside.

    `shape` (x, y, z) and `target` (4, 4) describe the grid wanted; grids may differ in size, spacing and orientation.
    """
    if shape == labels.shape and np.allclose(affine, target, atol=1e-4):
        return labels
    step = np.linalg.inv(affine) @ target
    # 'grid-constant' keeps voxels whose centre misses the border by rounding; plain 'constant' blanks them.
    moved = ndimage.affine_transform(
        labels, step[:3, :3], offset=step[:3, 3], output_shape=shape, order=0, mode="grid-constant", cval=0
    )
    return np.asarray(moved, dtype=np.int32)


def share_inside(labels: Labels, affine: Floats, shape: tuple[int, ...], target: Floats, n_labels: int) -> Floats:
    """For labels 0 … n_labels - 1: the share of their voxel centres that lie within another grid's field of view."""
    voxels = np.argwhere(labels > 0)
    step = np.linalg.inv(target) @ affine
    there = voxels @ step[:3, :3].T + step[:3, 3]
    inside = ((there > -0.5001) & (there < np.asarray(shape) - 0.4999)).all(axis=1)
    found = labels[labels > 0]
    total = np.bincount(found, minlength=n_labels)[:n_labels]
    kept = np.bincount(found[inside], minlength=n_labels)[:n_labels]
    return np.divide(kept, total, out=np.ones(n_labels), where=total > 0)


def centroids(labels: Labels, affine: Floats, indices: npt.NDArray[np.int64]) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The mean position (n, 3) of each label's voxels in RAS mm (NaN where it has none), and its voxel count (n,)."""
    voxels = np.argwhere(labels > 0)
    found = labels[labels > 0]
    size = int(max(found.max(initial=0), indices.max(initial=0))) + 1
    counts = np.bincount(found, minlength=size)
    sums = np.stack([np.bincount(found, weights=voxels[:, axis], minlength=size) for axis in range(3)], axis=1)
    means = np.full((size, 3), np.nan)
    np.divide(sums, counts[:, None], out=means, where=counts[:, None] > 0)
    return means[indices] @ affine[:3, :3].T + affine[:3, 3], counts[indices]


def label_image(labels: Labels, affine: Floats) -> nib.Nifti1Image:
    """The labels as a NIfTI image in a standard space: int16, or int32 where the labels need it."""
    kind = np.int16 if labels.max(initial=0) <= np.iinfo(np.int16).max else np.int32
    make: Any = nib.Nifti1Image  # nibabel's constructors carry no types
    image = make(labels.astype(kind), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=MNI_CODE)
    image.set_qform(affine, code=MNI_CODE)
    return cast(nib.Nifti1Image, image)


def save_image(image: nib.Nifti1Image, path: Path) -> None:
    """Write ``.nii.gz`` atomically and reproducibly (no time stamp inside)."""
    with store.atomic(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
