"""Simulated BOLD on the real 2 mm grid with the real merged atlas: what was planted comes back."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from isal import igzip
from parcellate_files import SHARED_ATLASES, SPACE, write_nifti

from boldtable import store
from boldtable.atlas.image import load_labels, onto_grid
from boldtable.atlas.table import load_table
from boldtable.stages import parcellate

N_FRAMES = 60
# fMRIPrep's MNI152NLin6Asym:res-2 grid is stored RAS, the atlas files are LAS.
RAS_2MM = np.array([[2.0, 0, 0, -90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])
SHAPE = (91, 109, 91)


def cancelling(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whole-number noise per voxel that sums to zero within each parcel."""
    noise = np.zeros(labels.size, dtype=np.int16)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(1, labels.max() + 2))
    for start, stop in pairwise(bounds):
        half = (stop - start) // 2
        draw = rng.integers(1, 300, half)
        noise[order[start : start + half]], noise[order[start + half : start + 2 * half]] = draw, -draw
    return noise


@pytest.mark.slow
def test_planted_signals_come_back_on_the_real_grid(tmp_path: Path) -> None:
    if not SHARED_ATLASES.is_dir():
        pytest.skip("the published atlas files are not beside the repository (../shared/atlases)")
    settings = parcellate.Parcellate(source="schaefer400-tian3-buckner7", folder=SHARED_ATLASES)
    atlas = tmp_path / "atlases" / "real.parquet"
    parcellate.atlas(settings, "real", atlas)
    labels = onto_grid(*load_labels(atlas.with_suffix(".nii.gz")), SHAPE, RAS_2MM)
    rng = np.random.default_rng(7)
    planted = rng.integers(5_000, 12_000, (N_FRAMES, 457))
    flat = labels.ravel(order="F")
    root = tmp_path / "derivatives"
    head = write_nifti(root / "head.nii", np.zeros((*SHAPE, 0)), RAS_2MM, "<i2", scale=(0.25, 10.0)).read_bytes()
    with igzip.open(root / "bold.nii.gz", "wb") as file:
        file.write(head[:40] + np.array([4, *SHAPE, N_FRAMES, 1, 1, 1], dtype="<i2").tobytes() + head[56:])
        for frame in range(N_FRAMES):
            volume = np.where(flat > 0, np.r_[0, planted[frame]][flat] + cancelling(flat, rng), 40)
            file.write(volume.astype("<i2").tobytes())
    write_nifti(root / "mask.nii.gz", labels > 0, RAS_2MM, "|u1")
    row = {
        "dataset": "d", "participant": "01", "space": SPACE, "bold": "bold.nii.gz", "mask": "mask.nii.gz",
        "tr_s": 2.0, "n_frames": N_FRAMES, "shard": "0", "status": "found",
    }  # fmt: skip
    store.write(tmp_path / "runs.parquet", "runs", [row], store.Provenance("collect"))
    parcellate.run(settings, "d", root, tmp_path / "runs.parquet", "0", atlas, tmp_path / "out.parquet")
    (found,) = store.rows(tmp_path / "out.parquet", "parcels")
    assert (found["status"], load_table(atlas).n_parcels) == ("ok", 457)
    np.testing.assert_array_equal(found["signal"], (0.25 * planted + 10).astype(np.float32))
    np.testing.assert_array_equal(found["coverage"], 1)
