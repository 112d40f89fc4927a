"""The demo atlas: 457 parcels in 9 networks with the real counts, made by geometry alone."""

from __future__ import annotations

from functools import lru_cache

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable.atlas.image import centroids, label_image
from boldtable.atlas.table import COLUMNS, AtlasTable
from boldtable.errors import SettingsError

NAME = "demo457"
SPACE = "MNI152NLin6Asym"
SUBCORTEX, CEREBELLUM = "Subcortex", "Cerebellum"
# Parcels of Schaefer-400 (7-network order) per network: left and right hemisphere.
CORTEX = {
    "Vis": (31, 30),
    "SomMot": (37, 40),
    "DorsAttn": (23, 23),
    "SalVentAttn": (22, 25),
    "Limbic": (13, 13),
    "Cont": (22, 30),
    "Default": (52, 39),
}
NETWORKS = (*CORTEX, SUBCORTEX, CEREBELLUM)
N_PER_SIDE, N_CEREBELLUM = 25, 7
# Where a network lies, roughly: |x|, y, z in mm. A voxel goes to the network of its nearest anchor, with offsets
# that give every network its share of the cortex.
ANCHORS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "Vis": ((15, -85, 3),),
    "SomMot": ((40, -22, 55), (10, -25, 65), (55, -12, 25)),
    "DorsAttn": ((27, -62, 52), (48, -62, 0)),
    "SalVentAttn": ((40, 5, 3), (58, -35, 28), (8, 10, 45)),
    "Limbic": ((22, 28, -18), (38, 5, -32)),
    "Cont": ((40, 38, 20), (42, -52, 42)),
    "Default": ((8, 50, 12), (8, -52, 28), (58, -18, -15), (20, 30, 45)),
}
CUT_MM = 6.0
VOXEL_SIZES_MM = (2, 3, 4, 5, 6)  # whole ones, as nilearn resamples; coarser grids lose small parcels

Points = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def demo457(voxel_mm: float = 6.0) -> tuple[AtlasTable, nib.Nifti1Image]:
    """Build the demo atlas: a table of 457 parcels and an int16 label image on an MNI grid of `voxel_mm`.

    The order is that of the recipe ``semantoks``: labels 1-200 left and 201-400 right cortex in 7-network order,
    401-425 right and 426-450 left subcortex, 451-457 cerebellum. Only the counts are those of Schaefer-400, Tian-S3
    and Buckner-7: the parcels are boxes of equal volume cut from nilearn's MNI152 grey matter, so this is not a
    published atlas and must not be used on real data. nilearn's template is the 2009c asymmetric one; the space is
    called MNI152NLin6Asym so that simulated derivatives look like those of the recommended setting, and no real
    image is ever compared with it. Every parcel has at least 8 voxels; any `voxel_mm` but a whole
    number from 2 to 6 raises `SettingsError`.
    """
    labels, affine = build(voxel_mm)
    return AtlasTable(NAME, SPACE, _table(labels, affine)), label_image(labels, affine)


@lru_cache(maxsize=4)
def brain(voxel_mm: float) -> tuple[Flags, Points]:
    """The brain mask (x, y, z) on the MNI grid of `voxel_mm` and its affine, as nilearn resamples it."""
    from nilearn.datasets import load_mni152_brain_mask

    image = load_mni152_brain_mask(resolution=int(voxel_mm))
    return np.asarray(image.dataobj) > 0, np.asarray(image.affine, dtype=np.float64)


@lru_cache(maxsize=4)
def build(voxel_mm: float) -> tuple[npt.NDArray[np.int32], Points]:
    """The label volume (x, y, z) of `demo457` and its affine (read-only: shared by every caller).

    The parcels are cut once, at 6 mm; any other grid takes the label of the nearest 6 mm voxel, so that a parcel is at
    the same place on all of them.
    """
    if voxel_mm not in VOXEL_SIZES_MM:
        raise SettingsError(f"voxel_mm: demo457 is made for {VOXEL_SIZES_MM} mm (given: {voxel_mm:g})")
    inside, affine = brain(voxel_mm)
    points = _points(inside, affine)
    labels = np.zeros(inside.shape, dtype=np.int32)
    if voxel_mm == CUT_MM:
        labels[inside] = _label(points, _grey()[inside])
    else:
        cut, origin = build(CUT_MM)
        nearest = np.rint((points - origin[:3, 3]) @ np.linalg.inv(origin[:3, :3]).T).astype(int)
        labels[inside] = cut[tuple(np.clip(nearest, 0, np.array(cut.shape) - 1).T)]
    labels.setflags(write=False)
    return labels, affine


def _grey() -> Flags:
    """The grey matter (x, y, z) on the grid that the parcels are cut on."""
    from nilearn.datasets import load_mni152_gm_mask

    return np.asarray(load_mni152_gm_mask(resolution=int(CUT_MM), threshold=0.5, n_iter=1).dataobj) > 0


def _points(inside: Flags, affine: Points) -> Points:
    """The positions in mm (voxel, 3) of the voxels inside a mask."""
    return np.asarray(np.argwhere(inside) @ affine[:3, :3].T + affine[:3, 3])


def _label(points: Points, grey: Flags) -> npt.NDArray[np.int32]:
    """The label of each brain voxel (voxel, 3): 0 where it belongs to no parcel."""
    labels = np.zeros(len(points), dtype=np.int32)
    left = points[:, 0] < 0
    deep, cerebellum, stem = _subcortex(points), _cerebellum(points), _brainstem(points)
    cortex = grey & ~deep & ~cerebellum & ~stem
    first = 1
    for side, column in ((left, 0), (~left, 1)):
        where = np.flatnonzero(cortex & side)
        counts = np.array([count[column] for count in CORTEX.values()])
        network = _networks(np.abs(points[where] * [1, 0, 0]) + points[where] * [0, 1, 1], counts)
        for number, count in enumerate(counts):
            first = _fill(labels, where[network == number], points, int(count), first)
    for flags, count in ((deep & ~left, N_PER_SIDE), (deep & left, N_PER_SIDE), (cerebellum, N_CEREBELLUM)):
        first = _fill(labels, np.flatnonzero(flags), points, count, first)
    return labels


def _subcortex(points: Points) -> Flags:
    """One ellipsoid per hemisphere around thalamus, striatum, amygdala and hippocampus."""
    away = np.abs(points[:, 0])
    return np.asarray(
        ((away - 16.5) / 17.5) ** 2 + ((points[:, 1] + 10) / 31) ** 2 + ((points[:, 2] - 1) / 22) ** 2 < 1
    )


def _cerebellum(points: Points) -> Flags:
    """An ellipsoid in the posterior fossa; all of it lies below z = -22 mm."""
    inside = (points[:, 0] / 54) ** 2 + ((points[:, 1] + 64) / 32) ** 2 + ((points[:, 2] + 38) / 27) ** 2 < 1
    return np.asarray(inside & (points[:, 2] < -22) & (points[:, 1] < -40))


def _brainstem(points: Points) -> Flags:
    return np.asarray((np.abs(points[:, 0]) < 15) & (points[:, 1] < -8) & (points[:, 2] < -18))


def _networks(points: Points, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The network of each voxel (voxel, 3): nearest anchor, with one offset per network until the shares fit.

    A power diagram: its cells stay connected around their anchors, whatever the offsets.
    """
    cost = np.stack(
        [np.min([((points - anchor) ** 2).sum(axis=1) for anchor in anchors], axis=0) for anchors in ANCHORS.values()],
        axis=1,
    )
    wanted = counts / counts.sum()
    offset = np.zeros(len(counts))
    for step in range(300):
        found = np.bincount((cost - offset).argmin(axis=1), minlength=len(counts)) / len(points)
        offset += 8000 * (wanted - found) / (1 + step / 30)
    return np.asarray((cost - offset).argmin(axis=1))


def _fill(labels: npt.NDArray[np.int32], where: npt.NDArray[np.int64], points: Points, count: int, first: int) -> int:
    """Give `count` labels from `first` on to the voxels `where`; returns the next free label."""
    if len(where) < count:
        raise ValueError(f"{count} parcels cannot share {len(where)} voxels")
    for number, part in enumerate(_split(where, points, count)):
        labels[part] = first + number
    return first + count


def _split(where: npt.NDArray[np.int64], points: Points, count: int) -> list[npt.NDArray[np.int64]]:
    """Cut voxels into `count` parts of equal size (up to one voxel), always across the longest side."""
    if count == 1:
        return [where]
    own = points[where]
    axis = int(np.ptp(own, axis=0).argmax())
    # Ties along the axis are broken by the other two coordinates, so that parts stay compact and the cut unique.
    order = where[np.lexsort((own[:, (axis + 2) % 3], own[:, (axis + 1) % 3], own[:, axis]))]
    few = count // 2
    cut = len(where) * few // count
    return [*_split(order[:cut], points, few), *_split(order[cut:], points, count - few)]


def _table(labels: npt.NDArray[np.int32], affine: Points) -> pd.DataFrame:
    """One row per parcel with the columns of the atlas table; centroids in mm."""
    parcels = pd.DataFrame(_names(), columns=["name", "hemisphere", "network"])
    parcels["index"] = np.arange(1, len(parcels) + 1)
    positions, parcels["n_voxels"] = centroids(labels, affine, parcels["index"].to_numpy())
    parcels[["x_mm", "y_mm", "z_mm"]] = positions
    return parcels[list(COLUMNS)]


def _names() -> list[tuple[str, str, str]]:
    """Name, hemisphere and network of every parcel in label order."""
    blocks = [(side, net, counts[column]) for column, side in enumerate("LR") for net, counts in CORTEX.items()]
    blocks += [("R", SUBCORTEX, N_PER_SIDE), ("L", SUBCORTEX, N_PER_SIDE)]
    named = [(f"{NAME}_{side}H_{net}_{n + 1}", side, net) for side, net, count in blocks for n in range(count)]
    return named + [(f"{NAME}_{CEREBELLUM}_{n + 1}", "B", CEREBELLUM) for n in range(N_CEREBELLUM)]
