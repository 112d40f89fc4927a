"""Give the parcels of one atlas the networks of another: each takes the network that most of its voxels lie in."""

from __future__ import annotations

import numpy as np
import pandas as pd

from boldtable.atlas.image import Floats, Labels, centroids, onto_grid
from boldtable.atlas.table import UNKNOWN_NETWORK, AtlasTable
from boldtable.errors import InputError

ONE_SIDE = 0.8  # a parcel with this share of its voxels on one side of the midline belongs to that hemisphere


def assign_networks(
    labels: Labels, affine: Floats, reference: AtlasTable, reference_labels: Labels, reference_affine: Floats
) -> pd.DataFrame:
    """One row per label of `labels` (x, y, z), sorted: a parcel table with the networks of `reference`.

    Both images lie in the same standard space; the reference (its labels are the indices of its table) is brought to
    the grid of `labels` by nearest neighbour. Columns: index, name (``parcel-001`` …), hemisphere (L or R where
    `ONE_SIDE` of the voxels are, else B), network (of the largest overlap; ``unknown`` where there is none), x_mm,
    y_mm, z_mm (the centroid, RAS) and overlap (the share of the parcel's voxels in its network). Raises `InputError`
    where the images do not meet at all.
    """
    inside = labels > 0
    found = onto_grid(reference_labels, reference_affine, labels.shape, affine)[inside]
    networks = sorted(set(reference.networks))
    codes = np.zeros(int(reference_labels.max(initial=0)) + 1, dtype=np.int64)
    codes[reference.parcels["index"].to_numpy()] = [networks.index(name) + 1 for name in reference.networks]
    own, kinds = labels[inside], codes[found]
    if not kinds.any():
        raise InputError(f"atlas '{reference.name}' and the image have no voxel in common: are they in one space?")
    index = np.unique(own)
    counts = np.zeros((len(index), len(networks) + 1), dtype=np.int64)
    np.add.at(counts, (np.searchsorted(index, own), kinds), 1)
    best = counts[:, 1:].argmax(axis=1)
    overlap = counts[np.arange(len(index)), best + 1] / counts.sum(axis=1)
    position, _ = centroids(labels, affine, index.astype(np.int64))
    width = len(str(index.max()))
    return pd.DataFrame(
        {
            "index": index,
            "name": [f"parcel-{number:0{width}d}" for number in index],
            "hemisphere": _sides(labels, affine, index),
            "network": [networks[k] if share > 0 else UNKNOWN_NETWORK for k, share in zip(best, overlap, strict=True)],
            **{name: position[:, axis].round(2) for axis, name in enumerate(("x_mm", "y_mm", "z_mm"))},
            "overlap": overlap.round(4),
        }
    )


def _sides(labels: Labels, affine: Floats, index: Labels) -> list[str]:
    """L, R or B for each label, by which side of the midline its voxels lie on."""
    voxels = np.argwhere(labels > 0)
    left = voxels @ affine[0, :3] + affine[0, 3] < 0
    place = np.searchsorted(index, labels[labels > 0])
    share = np.bincount(place, weights=left) / np.bincount(place)
    return ["L" if one >= ONE_SIDE else "R" if one <= 1 - ONE_SIDE else "B" for one in share]
