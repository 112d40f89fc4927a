"""Atlases of small blocks, and the same parcels under other numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from boldtable import store
from boldtable.atlas.image import Labels, label_image, save_image
from boldtable.atlas.table import COLUMNS, AtlasTable

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def blocks(n: int) -> Labels:
    """Labels 1 to n in columns of ten voxels."""
    return np.repeat(np.arange(1, n + 1), 10).reshape(n, 10, 1).astype(np.int32)


def permuted(labels: Labels, seed: int = 0) -> tuple[Labels, dict[int, int]]:
    """The same parcels under other numbers, and the new number → the old one."""
    old = np.unique(labels[labels > 0])
    new = np.random.default_rng(seed).permutation(len(old)) + 1
    table = np.zeros(old.max() + 1, dtype=np.int32)
    table[old] = new
    return table[labels], {int(n): int(o) for n, o in zip(new, old, strict=True)}


def write_atlas(folder: Path, subcortex: int = 50, further: int = 7) -> Path:
    """An atlas as the built-in one: 400 cortical parcels, the subcortex, the cerebellum; table and image."""
    n = 400 + subcortex + further
    networks = ["Vis"] * 400 + ["Subcortex"] * subcortex + ["Cerebellum"] * further
    parcels = pd.DataFrame({"index": range(1, n + 1), "name": [f"p{i}" for i in range(1, n + 1)], "network": networks})
    table = AtlasTable("merged", "MNI", parcels.reindex(columns=list(COLUMNS)).assign(hemisphere="B", n_voxels=1))
    table.save(folder / "merged.parquet", store.Provenance("atlas"))
    save_image(label_image(blocks(n), AFFINE), folder / "merged.nii.gz")
    return folder / "merged.parquet"


def write_volume(path: Path, labels: Labels) -> Path:
    """On another grid of the same space: flipped along the first axis."""
    flipped = AFFINE.copy()
    flipped[0, 0], flipped[0, 3] = -2.0, 2.0 * (len(labels) - 1)
    save_image(label_image(labels[::-1].copy(), flipped), path)
    return path
