"""Which parcel of one label image is which of another: a one-to-one matching by the voxels they share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from boldtable.atlas.image import Labels, load_labels, onto_grid
from boldtable.atlas.table import AtlasTable, load_table
from boldtable.errors import InputError

SUBCORTEX = "Subcortex"
N_CORTEX, N_SUBCORTEX = 400, 50


def match_labels(labels: Labels, others: Labels) -> dict[int, int]:
    """Return, for every label of `others`, the label of `labels` that is the same parcel (both images of one grid).

    The same means that each holds more than half of the other's voxels: then no third parcel can. Raises `InputError`
    naming the label, its nearest one and the voxels they share where a label of `others` has no such partner.
    """
    if labels.shape != others.shape:
        raise InputError(f"label images of {labels.shape} and {others.shape} voxels: bring both to one grid")
    sizes, others_sizes = np.bincount(labels.ravel()), np.bincount(others.ravel())
    both = (labels > 0) & (others > 0)
    pairs, counts = np.unique(np.stack([others[both], labels[both]]), axis=1, return_counts=True)
    found = {}
    for other in np.unique(others[others > 0]).tolist():
        mine = np.flatnonzero(pairs[0] == other)
        best = mine[np.argmax(counts[mine])] if len(mine) else None
        if best is None:
            raise InputError(f"label {other} shares no voxel with any parcel of the atlas: are both in one space?")
        label, shared = int(pairs[1, best]), int(counts[best])
        if shared * 2 <= max(sizes[label], others_sizes[other]):
            raise InputError(
                f"label {other} ({others_sizes[other]} voxels) is no one parcel of the atlas: most of it, {shared} "
                f"voxels, lies in label {label} ({sizes[label]} voxels); more than half of both must be shared"
            )
        found[other] = label
    return found


def brain_jepa_order(atlas: Path, volume: Path) -> tuple[str, ...]:
    """Return the names of an atlas's parcels in the order of Brain-JEPA's: 50 subcortical ones, then the cortex.

    `atlas` is the atlas table, its label image beside it (``.nii.gz``). `volume` is a published label image of the
    same space: Schaefer's 400 parcels in 17-network order, or these after Tian's 50 as Tian's authors merge them (450
    labels). Parcels are told by their voxels, never by place or name. With 400 labels the subcortex is in the order of
    the atlas, whose network ``Subcortex`` must have 50 parcels. Raises `InputError` where the two do not fit together.
    """
    table = load_table(atlas)
    image = atlas.with_name(atlas.name.removesuffix(".parquet") + ".nii.gz")
    labels, affine = load_labels(image)
    others, theirs = load_labels(volume)
    names = dict(zip(table.parcels["index"].astype(int), table.names, strict=True))
    try:
        found = match_labels(labels, onto_grid(others, theirs, labels.shape, affine))
    except InputError as error:
        raise InputError(f"{volume} against {image}: {error}") from None
    matched = [names[found[other]] for other in sorted(found)]
    if len(matched) == N_CORTEX + N_SUBCORTEX:
        return tuple(matched)
    if len(matched) != N_CORTEX:
        raise InputError(
            f"{volume} has {len(matched)} labels; 400 (Schaefer, 17 networks) or 450 (Tian before) are wanted"
        )
    return (*_subcortex(table, set(matched)), *matched)


def _subcortex(table: AtlasTable, cortex: set[str]) -> list[str]:
    """The subcortical parcels of an atlas in its order."""
    networks: npt.NDArray[np.object_] = np.asarray(table.networks, dtype=object)
    found = [name for name, network in zip(table.names, networks, strict=True) if network == SUBCORTEX]
    if len(found) != N_SUBCORTEX or set(found) & cortex:
        raise InputError(
            f"atlas '{table.name}' has {len(found)} parcels of the network '{SUBCORTEX}' beside the cortex, 50 (Tian, "
            "scale III) are wanted: take an atlas that has them, or give a volume of all 450 labels"
        )
    return found
