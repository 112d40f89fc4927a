"""NIfTI headers from the first bytes of a file: nothing is believed before it is checked.

nibabel takes the fields apart; reading the rest of a file on the word of its header (extensions, an offset of
gigabytes) is left to nobody.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from boldtable.errors import InputError
from boldtable.reading.bounded import capacity, open_regular, read_start

MOST_VOXELS = 20_000_000  # of one volume; the finest grid in use, 0.8 mm of a whole head, has 16 million
_MOST_FRAMES = 1_000_000
_MOST_OFFSET = 64_000_000  # bytes of extensions before the data
_START_BYTES = 544
_KINDS: dict[int, tuple[str, Any]] = {
    348: ("n+1", nib.Nifti1Header),
    540: ("n+2", nib.Nifti2Header),
}  # by the size of the header
# NIfTI's names of units: what one unit of time is in seconds. Some tools leave the unit unset.
_SECONDS = {0: (1.0, 1e-3), 8: (1.0,), 16: (1e-3,), 24: (1e-6,)}


@dataclass(frozen=True)
class Header:
    """What a NIfTI header says of its image.

    `shape` has 1 to 7 dimensions; `affine` takes voxels to RAS mm, and `located` says that the file has one of its own;
    stored values times `slope` plus `inter` are the image's; `step` is pixdim[4] and `seconds` what a unit of it may be
    in seconds (none where it is no unit of time).
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    affine: npt.NDArray[np.float64]
    located: bool
    offset: int
    slope: float
    inter: float
    step: float
    seconds: tuple[float, ...]

    @property
    def n_bytes(self) -> int:
        """Bytes of the stored values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path, most_voxels: int = MOST_VOXELS) -> Header:
    """Read and check the header of a single-file NIfTI-1 or NIfTI-2 image, plain or gzipped.

    Raises `InputError` for anything that is none, for sizes that no such image has, and for values that are no plain
    numbers. A missing file and a refused permission stay the `OSError` they are.
    """
    try:
        start = read_start(path, _START_BYTES)
    except InputError as error:
        raise InputError(str(error).replace(" or damaged", " or damaged in its header")) from None
    raw = _fields(path, start)
    try:
        return _checked(path, raw, most_voxels)
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - nibabel raises whatever a hostile header makes of it
        raise InputError(f"{path} is not a readable NIfTI image ({type(error).__name__}: {_text(error)})") from None


def _fields(path: Path, start: bytes) -> Any:
    """The header as nibabel takes it apart, in its own byte order."""
    if not start:
        raise InputError(f"{path} is not a readable NIfTI image: it is empty; copy it again")
    for order in ("<", ">"):
        size = int(np.frombuffer(start[:4].ljust(4, b"\0"), f"{order}i4")[0])
        if size not in _KINDS:
            continue
        magic, kind = _KINDS[size]
        if len(start) < size:
            raise InputError(f"{path} is truncated within its header; copy it again")
        raw: Any = kind(start[:size], order, check=False)
        if raw.structarr["magic"].item() != magic.encode():
            raise InputError(f"{path} is not a NIfTI image in one file (.nii or .nii.gz); convert it")
        return raw
    raise InputError(f"{path} is not a readable NIfTI image (.nii or .nii.gz); restore or convert it")


def _checked(path: Path, raw: Any, most_voxels: int) -> Header:
    fields = raw.structarr
    n_dimensions = int(fields["dim"][0])
    shape = tuple(int(size) for size in fields["dim"][1 : 1 + n_dimensions]) if 1 <= n_dimensions <= 7 else ()
    if not shape or min(shape) < 1 or math.prod(shape[:3]) > most_voxels or math.prod(shape[3:]) > _MOST_FRAMES:
        said = " x ".join(str(int(size)) for size in fields["dim"][1 : 1 + min(max(n_dimensions, 1), 7)])
        raise InputError(f"{path} is no image: its header says {n_dimensions} dimensions of {said}")
    dtype = raw.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(
            f"{path} holds {_kind(dtype)} values (NIfTI datatype {int(fields['datatype'])}); store it as integer or "
            "float (up to 64 bit)"
        )
    offset = float(fields["vox_offset"])
    first = int(fields["sizeof_hdr"]) + 4
    if offset and not first <= offset <= _MOST_OFFSET:
        raise InputError(f"{path} is no image: its header says that the data begin at byte {offset:g}")
    if any(np.isinf(float(fields[name])) for name in ("scl_slope", "scl_inter")):
        raise InputError(f"{path} scales its values by infinity; correct its header")
    slope, inter = raw.get_slope_inter()
    unit = int(fields["xyzt_units"]) & 0x38
    return Header(
        path=path,
        shape=shape,
        dtype=dtype,
        affine=np.asarray(raw.get_best_affine(), dtype=float),
        located=bool(int(fields["sform_code"]) or int(fields["qform_code"])),
        offset=int(offset) or first,
        slope=1.0 if slope is None else float(slope),
        inter=0.0 if inter is None else float(inter),
        step=float(fields["pixdim"][4]),
        seconds=_SECONDS.get(unit, ()),
    )


def _kind(dtype: np.dtype[Any]) -> str:
    return "colour or other" if dtype.kind == "V" else dtype.name


def read_volume(header: Header) -> npt.NDArray[Any]:
    """Return the stored values of an image of one volume, (x, y, z), unscaled.

    No more is read than the header, which was checked, promises. Raises `InputError` where the file ends early.
    """
    path = header.path
    needed = header.offset + header.n_bytes
    if capacity(path) < needed:
        raise InputError(f"{path} is truncated; copy it again")
    try:
        with open_regular(path) as plain:
            if path.name.lower().endswith(".gz"):
                with gzip.GzipFile(fileobj=plain) as file:
                    content = file.read(needed)
            else:
                content = plain.read(needed)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); copy it again") from None
    if len(content) < needed:
        raise InputError(f"{path} is truncated; copy it again")
    values = np.frombuffer(content, header.dtype, math.prod(header.shape), header.offset)
    return values.reshape(header.shape[:3], order="F")


def _text(error: object) -> str:
    return " ".join(str(error).split())[:120]
