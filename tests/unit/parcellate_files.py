"""Small files for the tests of atlas and parcellate: NIfTI images byte by byte, tables, a little study on disk."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from boldtable import store
from boldtable.stages import parcellate

SHARED_ATLASES = Path(__file__).resolve().parents[2] / ".." / "shared" / "atlases"
SPACE = "MNI152NLin6Asym"
SHAPE = (12, 14, 10)
N_PARCELS, N_FRAMES = 6, 40
RAS = np.array([[3.0, 0, 0, -18], [0, 3, 0, -20], [0, 0, 3, -12], [0, 0, 0, 1]])


def write_nifti(
    path: Path,
    values: np.ndarray,
    affine: np.ndarray = RAS,
    dtype: str = "<f4",
    scale: tuple[float, float] | None = None,
    version: int = 1,
    gap: int = 0,
) -> Path:
    """Write stored `values` (x, y, z[, frame]) as they are, in the byte order and type of `dtype`."""
    kind = np.dtype(dtype)
    make = nib.Nifti1Header if version == 1 else nib.Nifti2Header
    header = make(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(kind)
    header.set_data_shape(values.shape)
    header.set_sform(affine, code=4)
    header["vox_offset"] = (352 if version == 1 else 544) + gap
    header["scl_slope"], header["scl_inter"] = scale or (np.nan, np.nan)
    head = header.binaryblock
    content = head + bytes(int(header["vox_offset"]) - len(head)) + values.astype(kind).tobytes(order="F")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def flip(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same image stored with x reversed (RAS ↔ LAS)."""
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = values.shape[0] - 1
    return values[::-1], affine @ turn


def little_labels() -> np.ndarray:
    """Six parcels of different sizes, with background between them."""
    labels = np.zeros(SHAPE, dtype=np.int32)
    for index in range(N_PARCELS):
        x, y = 1 + 5 * (index % 2), 1 + 4 * (index // 2)
        labels[x : x + 4, y : y + 3, 2 : 5 + index % 3] = index + 1
    return labels


def little_table(path: Path, n_parcels: int = N_PARCELS) -> Path:
    """The parcels' table as a user writes it."""
    lines = ["index\tname\themisphere\tnetwork"]
    lines += [f"{i}\tp{i}\t{'LR'[i % 2]}\t{['Vis', 'Cerebellum'][i > 4]}" for i in range(1, n_parcels + 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def planted(n_frames: int = N_FRAMES, seed: int = 3) -> np.ndarray:
    """Parcel signals (frame, parcel) in whole numbers, so that every storage type holds them exactly."""
    rng = np.random.default_rng(seed)
    return rng.integers(20, 100, (n_frames, N_PARCELS)).astype(float)


def paint(labels: np.ndarray, signal: np.ndarray, spread: float = 0.0) -> np.ndarray:
    """A 4-D image whose parcels carry `signal`, plus voxel offsets that cancel within each parcel."""
    image = np.zeros((*labels.shape, len(signal)))
    for index in range(signal.shape[1]):
        where = labels == index + 1
        offset = spread * (np.arange(where.sum()) % 2 * 2 - 1)
        image[where] = signal[:, index] + offset[:, None]
    return image


class Study:
    """A dataset folder, an atlas, and a runs table that grows run by run."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.root = folder / "derivatives"
        self.folder = folder
        write_nifti(folder / "own.nii.gz", little_labels(), dtype="<i2")
        table = little_table(folder / "own.tsv")
        own = {"source": "file", "image": str(folder / "own.nii.gz"), "table": str(table), "space": SPACE}
        self.settings = parcellate.Parcellate.parse(own | settings)
        self.atlas = folder / "atlases" / "own.parquet"
        self.rows: list[dict[str, Any]] = []
        parcellate.atlas(self.settings, "own", self.atlas)

    def add(self, bold: str, **entities: Any) -> None:
        """Register a run of this BOLD file."""
        row = {
            "dataset": "d", "participant": f"{len(self.rows):02d}", "task": "rest", "space": SPACE, "bold": bold,
            "tr_s": 2.0, "n_frames": N_FRAMES, "shard": "0000", "status": "found",
        }  # fmt: skip
        self.rows.append(row | entities)

    def run(self, shard: str = "0000") -> list[dict[str, Any]]:
        """Parcellate a shard and read it back."""
        runs, out = self.folder / "runs.parquet", self.folder / "parcels" / f"{shard}.parquet"
        store.write(runs, "runs", self.rows, store.Provenance("collect"))
        parcellate.run(self.settings, "d", self.root, runs, shard, self.atlas, out)
        return list(store.rows(out, "parcels"))
