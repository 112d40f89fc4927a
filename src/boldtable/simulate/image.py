"""Planted parcel signals → 4-D NIfTI files, in the storage a scanner or fMRIPrep would have chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import igzip

from boldtable import store

Array = npt.NDArray[Any]

_MNI = 4  # NIfTI code of "coordinates of the MNI152 space"
_HEADER_BYTES = 352
_INT16 = np.iinfo(np.int16)
LEVEL = 1  # of gzip: the noise of real images hardly shrinks, whatever the effort


@dataclass(frozen=True)
class Storage:
    """How an image is stored: data type, axis order (first axis to the left or right), scaling of integers.

    int16 values are ``(value - intercept) / slope``, rounded; float32 values are rounded to whole units, which is
    0.01 % of the baseline, so that they compress. float32 with ``rounded=False`` stores what it is given.
    """

    dtype: Literal["int16", "float32"] = "float32"
    orientation: Literal["LAS", "RAS"] = "RAS"
    slope: float = 2.0
    intercept: float = 10000.0
    rounded: bool = True

    @property
    def scale(self) -> tuple[float, float]:
        """Slope and intercept as the header states them."""
        return (self.slope, self.intercept) if self.dtype == "int16" else (1.0, 0.0)


def write_bold(
    path: Path,
    signals: Array,
    labels: nib.Nifti1Image,
    tr_s: float,
    *,
    dtype: Literal["int16", "float32"] = "float32",
    orientation: Literal["LAS", "RAS"] = "RAS",
    indices: Sequence[int] | None = None,
    noise_sd: float = 0.0,
    rng: np.random.Generator | None = None,
    rounded: bool = False,
) -> None:
    """Write one BOLD run with known parcel signals on the grid of `labels` (any resolution and orientation).

    `signals` (frame, parcel) in image units, baseline included; column k belongs to the voxels whose label is
    ``indices[k]`` (1, 2, … when None). Every voxel of a parcel gets its parcel's signal plus white noise of `noise_sd`;
    voxels without a label are zero. The file is gzipped NIfTI-1, written atomically, the same bytes for the same input.
    """
    voxels = [*range(1, signals.shape[1] + 1)] if indices is None else list(indices)
    volume = np.asarray(labels.dataobj)
    column = np.zeros(int(max(volume.max(), *voxels)) + 1, dtype=np.int64)
    column[voxels] = np.arange(1, len(voxels) + 1)
    storage = Storage(dtype, orientation, rounded=rounded)
    positions = column[volume.astype(np.int64)]
    content = encode(signals, positions, labels.affine, tr_s, storage, noise_sd=noise_sd, rng=rng)
    write_bytes(path, content)


def encode(
    signals: Array,
    positions: npt.NDArray[np.int64],
    affine: Array,
    tr_s: float,
    storage: Storage,
    *,
    noise_sd: float = 0.0,
    rng: np.random.Generator | None = None,
    offsets: Array | None = None,
) -> bytes:
    """The uncompressed NIfTI bytes of a run.

    `positions` (x, y, z): 1 + the column of `signals` (frame, column) that a voxel shows, 0 for none. `offsets`, a
    volume of constants, makes some voxels brighter than others. The order of random draws is frame by frame.
    """
    positions, affine, flip = oriented(positions, affine, storage.orientation)
    flat = positions.reshape(-1, order="F")
    where = np.flatnonzero(flat)
    values = signals.astype(np.float32)[:, flat[where] - 1]
    if noise_sd:
        draw = rng if rng is not None else np.random.default_rng(0)
        values += draw.standard_normal(values.shape, dtype=np.float32) * np.float32(noise_sd)
    if offsets is not None:
        values += np.flip(offsets, 0).reshape(-1, order="F")[where] if flip else offsets.reshape(-1, order="F")[where]
    volume = np.full((len(values), flat.size), _pack(np.zeros(1, dtype=np.float32), storage)[0])
    volume[:, where] = _pack(values, storage)
    header = _header((*positions.shape, len(values)), affine, storage.dtype, tr_s, storage.scale)
    return header + volume.tobytes()


def oriented(volume: Array, affine: Array, orientation: Literal["LAS", "RAS"]) -> tuple[Array, Array, bool]:
    """`volume` and its affine with the first axis as `orientation` says (the other two are left as they are)."""
    flip = (affine[0, 0] < 0) != (orientation == "LAS")
    if not flip:
        return volume, affine, False
    turned = affine.copy()
    turned[:3, 3] += affine[:3, 0] * (volume.shape[0] - 1)
    turned[:3, 0] *= -1
    return np.flip(volume, 0), turned, True


def _pack(values: npt.NDArray[np.float32], storage: Storage) -> Array:
    """Values as they are stored."""
    if storage.dtype == "int16":
        raw = np.rint((values - np.float32(storage.intercept)) / np.float32(storage.slope))
        if raw.min() < _INT16.min or raw.max() > _INT16.max:
            raise ValueError(f"signals from {values.min():g} to {values.max():g} do not fit int16 {storage}")
        return np.asarray(raw.astype(np.int16))
    return np.asarray(np.rint(values) if storage.rounded else values)


def _header(shape: tuple[int, ...], affine: Array, dtype: str, tr_s: float | None, scale: tuple[float, float]) -> bytes:
    """A NIfTI-1 header with MNI coordinates, millimetres and seconds, and the four bytes that follow it."""
    make: Any = nib.Nifti1Header  # nibabel's classes carry few types
    header = make()
    header.set_data_shape(shape)
    header.set_data_dtype(np.dtype(dtype))
    header.set_xyzt_units("mm", "sec")
    header.set_sform(affine, code=_MNI)
    header.set_qform(affine, code=_MNI)
    if tr_s is not None:
        header.set_zooms((*header.get_zooms()[:3], tr_s))
    header.set_slope_inter(*scale)
    header["vox_offset"] = _HEADER_BYTES
    return bytes(header.binaryblock) + b"\0" * 4


def encode_mask(inside: npt.NDArray[np.bool_], affine: Array, orientation: Literal["LAS", "RAS"]) -> bytes:
    """The uncompressed NIfTI bytes of a brain mask (unsigned 8-bit, 0 and 1)."""
    inside, affine, _ = oriented(inside, affine, orientation)
    header = _header(inside.shape, affine, "uint8", None, (1, 0))
    return header + inside.astype(np.uint8).tobytes(order="F")


def encode_placeholder(n_frames: int, tr_s: float) -> bytes:
    """A valid NIfTI of 2 × 2 × 2 empty voxels: it stands for a raw image in a BIDS skeleton."""
    header = _header((2, 2, 2, n_frames), np.diag([3.0, 3.0, 3.0, 1.0]), "int16", tr_s, (1, 0))
    return header + bytes(2 * 8 * n_frames)


def write_bytes(path: Path, content: bytes, *, keep: float = 1.0) -> None:
    """Gzip and write atomically (no time stamp in the file); `keep` < 1 cuts the compressed file off there."""
    packed = igzip.compress(content, LEVEL, mtime=0)
    with store.atomic(path) as temporary:
        temporary.write_bytes(packed[: int(len(packed) * keep)])
