"""Frames and repetition time of a NIfTI run, from its header and its sidecars; the data are not read."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import nibabel
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from boldtable.errors import RunError
from boldtable.stages.collect.record import Run

# NIfTI-1 xyzt_units: what one unit of pixdim[4] is in seconds. Some tools leave the unit unset.
_SECONDS = {"sec": (1.0,), "msec": (1e-3,), "usec": (1e-6,), "unknown": (1.0, 1e-3)}
_LONGEST_S = 60.0  # nobody samples BOLD that slowly: such a number is in milliseconds
_TOLERANCE = 0.01  # relative; sidecars are often rounded to two or three digits


def read_timing(derivatives: Path, run: Run, tr_s: float | None, min_minutes: float) -> Run:
    """Fill in `n_frames` and `tr_s` (s), or exclude the run with the reason why that cannot be done.

    `tr_s` overrules the files. Else the sidecar's RepetitionTime is taken once the header agrees within 1 %, or the
    header's where no sidecar has one.
    """
    if run.status != "found" or run.bold is None:
        return run
    try:
        run.n_frames, header = _header(derivatives, run)
        run.tr_s = tr_s if tr_s is not None else _repetition_time(stated_tr(derivatives, run), header)
    except RunError as error:
        return run.exclude(str(error))
    return check_length(run, min_minutes)


def check_length(run: Run, min_minutes: float) -> Run:
    """Exclude a run that is too short; not asked where the repetition time is unknown."""
    if run.minutes is not None and run.minutes < min_minutes:
        run.exclude(f"too short: {run.minutes:.1f} min, the minimum is {min_minutes:.1f}")
    return run


def _header(derivatives: Path, run: Run) -> tuple[int, tuple[float, ...]]:
    """Number of frames and the possible repetition times (s); none where the header leaves it at 0."""
    assert run.bold is not None
    if (run.stamps.get(run.bold) or (0, 0))[0] == 0:
        raise RunError("not a NIfTI file (empty)")
    try:
        header: Any = nibabel.load(derivatives / run.bold).header
        shape, zooms = header.get_data_shape(), header.get_zooms()
        unit = header.get_xyzt_units()[1]
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError, KeyError) as error:
        raise RunError(f"not a readable NIfTI file: {_one_line(error, derivatives)}") from None
    if len(shape) != 4:
        raise RunError(f"not a time series: the image has {len(shape)} dimensions, not 4")
    step = float(zooms[3])
    if step < 0 or unit not in _SECONDS:
        raise RunError(f"no repetition time: the NIfTI header says {step:g} {unit}")
    return int(shape[3]), tuple(step * scale for scale in _SECONDS[unit]) if step > 0 else ()


def stated_tr(derivatives: Path, run: Run) -> float | None:
    """RepetitionTime (s) of the nearest sidecar that has one (BIDS inheritance)."""
    for path in run.sidecars:
        try:
            content = json.loads((derivatives / path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read the sidecar {path}: {_one_line(error, derivatives)}") from None
        stated = content.get("RepetitionTime") if isinstance(content, dict) else None
        if stated is None:
            continue
        if isinstance(stated, bool) or not isinstance(stated, int | float) or not stated > 0:
            raise RunError(f"no repetition time: RepetitionTime is {stated!r} in {path}")
        return float(stated)
    return None


def _repetition_time(stated: float | None, header: tuple[float, ...]) -> float:
    """The repetition time (s) both sources agree on, or the only one there is."""
    if stated is None and not header:
        raise RunError("no repetition time: 0 in the NIfTI header, none in a sidecar; set tr_s if you know it")
    if stated is not None and header and not any(abs(value - stated) <= _TOLERANCE * stated for value in header):
        raise RunError(f"repetition time disagrees: {stated:g} s in the sidecar, {header[0]:g} s in the NIfTI header")
    # The header holds 32-bit floats: 0.8 would come out as 0.800000012.
    found = stated if stated is not None else round(header[0], 6)
    if found > _LONGEST_S:
        where = "NIfTI header" if stated is None else "sidecar"
        raise RunError(f"repetition time of {found:g} s in the {where}; milliseconds? Correct it, or set tr_s")
    return found


def _one_line(error: object, folder: Path) -> str:
    """The message without line breaks and without the folder, which the reader of the ledger knows."""
    return " ".join(str(error).replace(f"{folder}/", "").split())
