"""Frames and repetition time of a NIfTI run, from its header and its sidecars; the data are not read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from boldtable.errors import InputError, RunError
from boldtable.reading.bounded import read_json
from boldtable.reading.nifti import read_header
from boldtable.reading.tables import shorten
from boldtable.stages.collect.record import Run

_LONGEST_S = 60.0  # nobody samples BOLD that slowly: such a number is in milliseconds
_MOST = 1e6  # larger numbers are no times
_TOLERANCE = 0.01  # relative; sidecars are often rounded to two or three digits


def read_timing(derivatives: Path, run: Run, tr_s: float | None, min_minutes: float) -> Run:
    """Fill in `n_frames` and `tr_s` (s); raises `RunError` with the reason where that cannot be done.

    `tr_s` overrules the files, but no ``VolumeTiming`` that says frames are not evenly spaced. Else the sidecar's
    RepetitionTime is taken once the header agrees within 1 %, or the header's where no sidecar has one.
    """
    if run.status != "found" or run.bold is None:
        return run
    run.n_frames, header = _header(derivatives, run)
    if tr_s is None:
        run.tr_s = _repetition_time(stated_tr(derivatives, run), header)
    else:
        refuse_uneven(derivatives, run)
        run.tr_s = tr_s
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
        found = read_header(derivatives / run.bold)
    except (OSError, InputError) as error:
        raise RunError(f"not a readable NIfTI file: {_one_line(error, derivatives)}") from None
    if len(found.shape) != 4:
        raise RunError(f"not a time series: the image has {len(found.shape)} dimensions, not 4")
    if not 0 <= found.step < _MOST or not found.seconds:
        raise RunError(f"no repetition time: the NIfTI header says {found.step:g} in no unit of time")
    return found.shape[3], tuple(found.step * scale for scale in found.seconds) if found.step > 0 else ()


def stated_tr(derivatives: Path, run: Run) -> float | None:
    """Repetition time (s) that the sidecars say: RepetitionTime, or the step of an evenly spaced VolumeTiming.

    Of each, the nearest sidecar that has it counts (BIDS inheritance). Raises `RunError` where the two disagree.
    """
    found = _in_force(derivatives, run)
    step = _even_tr(*found["VolumeTiming"], run.n_frames) if "VolumeTiming" in found else None
    if "RepetitionTime" not in found:
        return step
    path, stated = found["RepetitionTime"]
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 < stated < _MOST:
        raise RunError(f"no repetition time: RepetitionTime is {shorten(repr(stated))} in {path}")
    if step is not None and abs(step - stated) > _TOLERANCE * stated:
        raise RunError(f"repetition time disagrees: RepetitionTime {stated:g} s in {path}, VolumeTiming {step:g} s")
    return float(stated)


def refuse_uneven(derivatives: Path, run: Run) -> None:
    """Raise `RunError` where the sidecars in force say that the frames are not evenly spaced."""
    found = _in_force(derivatives, run)
    if "VolumeTiming" in found:
        _even_tr(*found["VolumeTiming"], run.n_frames)


def _in_force(derivatives: Path, run: Run) -> dict[str, tuple[str, Any]]:
    """What the sidecars say of timing: key to the path of the nearest sidecar that has it, and its value."""
    found: dict[str, tuple[str, Any]] = {}
    for path, content in _sidecars(derivatives, run):
        for key in ("RepetitionTime", "VolumeTiming"):
            if content.get(key) is not None:
                found.setdefault(key, (path, content[key]))
    return found


def _sidecars(derivatives: Path, run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sidecars of a run, nearest first: path and content."""
    for path in run.sidecars:
        try:
            content = read_json(derivatives / path, finite=False)
        except (OSError, InputError) as error:
            raise RunError(f"cannot read the sidecar {path}: {_one_line(error, derivatives)}") from None
        if not isinstance(content, dict):
            raise RunError(f"the sidecar {path} holds no metadata but {type(content).__name__}; restore it")
        yield path, content


def _even_tr(path: str, timing: Any, n_frames: int | None) -> float:
    """The repetition time (s) of frames acquired at the times of ``VolumeTiming``, which must be evenly spaced."""
    numbers = isinstance(timing, list) and all(isinstance(t, int | float) and abs(t) < _MOST for t in timing)
    if not numbers or len(timing) < 2:
        raise RunError(f"VolumeTiming in {path} is no list of two or more times (s)")
    if n_frames is not None and len(timing) != n_frames:
        raise RunError(f"VolumeTiming in {path} has {len(timing)} times, the image {n_frames} frames")
    steps = [later - earlier for earlier, later in pairwise(timing)]
    tr_s = (timing[-1] - timing[0]) / len(steps)
    if not tr_s > 0 or max(abs(step - tr_s) for step in steps) > _TOLERANCE * tr_s:
        raise RunError(
            f"frames are not evenly spaced: VolumeTiming in {path} has steps of {min(steps):g} to {max(steps):g} s "
            "(sparse acquisition), which no filter and no resampling here can handle"
        )
    return float(tr_s)


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
    return " ".join(str(error).replace(f"{folder}/", "").split()) or type(error).__name__
