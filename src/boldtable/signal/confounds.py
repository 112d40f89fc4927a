"""Choose and expand confound columns: names of fMRIPrep in, one (frame, confound) array out.

Columns are named as fMRIPrep names them. A derivative or power that the file lacks is computed from its base column
(backward difference, square), so any release from 1.0 on will do. Non-finite values at the start of a run (fMRIPrep
writes ``n/a`` where a difference has no predecessor) become 0 for differences and the mean of the kept frames for
everything else; a non-finite value in any later kept frame is an error, in a censored frame it is without effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from boldtable.errors import RunError

Array = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[np.floating]]

FD = "framewise_displacement"
DVARS = "std_dvars"
_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
_TISSUES = ("white_matter", "csf", "global_signal")
_EXPANSIONS = ("", "_derivative1", "_power2", "_derivative1_power2")
_DIFFERENCE = re.compile(r"_derivative1(_power2)?$|^framewise_displacement$|^rmsd$")


def names(strategy: str | Sequence[str], available: Iterable[str] = (), components: int | None = None) -> list[str]:
    """Return the column names that a strategy regresses, in a fixed order.

    - ``24P``: six motion parameters with derivatives, squares and squared derivatives (Satterthwaite et al. 2013).
    - ``27P``: 24P, white matter, CSF and global signal.
    - ``36P``: the same expansion of all nine (Ciric et al. 2017).
    - ``aCompCor``: 24P, the first `components` (None: all) principal components of white matter and CSF (Behzadi et
      al. 2007; Muschelli et al. 2014) and the cosines that fMRIPrep high-passed them with.
    - ``ICA-AROMA``: the components classified as motion (Pruim et al. 2015), white matter and CSF. Regressed with the
      others out ("aggressively"): the signal components are not among fMRIPrep's confounds.
    - ``none``: nothing. A list: those columns.

    The last two kinds depend on what is `available`; raises `RunError` where a run has none of it.
    """
    if not isinstance(strategy, str):
        return list(strategy)
    strategies = {
        "none": [],
        "24P": _expanded(_MOTION),
        "27P": [*_expanded(_MOTION), *_TISSUES],
        "36P": _expanded([*_MOTION, *_TISSUES]),
    }
    if strategy in strategies:
        return strategies[strategy]
    there = list(available)
    if strategy == "aCompCor":
        return [*strategies["24P"], *_acompcor(there, components)]
    return [*_aroma(there), "white_matter", "csf"]


def _acompcor(available: Sequence[str], components: int | None) -> list[str]:
    found = _numbered(available, "a_comp_cor_")
    if not found:
        raise RunError(
            "confounds lack the columns a_comp_cor_* of the combined mask (the JSON file beside the confounds says of "
            "which mask they are); restore it or choose another strategy"
        )
    cosines = _numbered(available, "cosine")
    if not cosines:
        raise RunError("confounds lack the columns cosine*, which aCompCor goes with; choose another strategy")
    return [*found[:components], *cosines]


def _aroma(available: Sequence[str]) -> list[str]:
    found = _numbered(available, "aroma_motion_")
    if not found:
        raise RunError(
            "confounds lack the columns aroma_motion_*: fMRIPrep writes them up to version 22, with --use-aroma; "
            "choose another strategy, such as aCompCor"
        )
    return found


def _numbered(available: Sequence[str], prefix: str) -> list[str]:
    """The columns of a numbered family, by number."""
    numbers = {name: name.removeprefix(prefix) for name in available if name.startswith(prefix)}
    return sorted((name for name, number in numbers.items() if number.isdigit()), key=lambda name: int(numbers[name]))


def _expanded(bases: Sequence[str]) -> list[str]:
    return [base + end for base in bases for end in _EXPANSIONS]


def design(chosen: Sequence[str], columns: Columns, kept: npt.NDArray[np.bool_], dummy_frames: int) -> Array:
    """Return the chosen confounds without dummy frames, (frame, confound), float64.

    `columns` cover the whole run; `kept` (frame,) the frames after the dummies. Differences are taken before the
    dummies go, so that the first frame left has a true one. Raises `RunError` naming a missing or broken column.
    """
    whole = [_column(name, columns) for name in chosen]
    for name, values in zip(chosen, whole, strict=True):
        if len(values) != len(kept) + dummy_frames:
            rows, frames = len(values), len(kept) + dummy_frames
            raise RunError(f"confound {name} has {rows} rows, the run has {frames} frames")
    filled = [_fill(name, v[dummy_frames:], kept) for name, v in zip(chosen, whole, strict=True)]
    return np.stack(filled, axis=1) if filled else np.empty((len(kept), 0))


def _column(name: str, columns: Columns) -> Array:
    """Return a column as it is, or computed from its base column; (frame,) float64."""
    if name in columns:
        return np.asarray(columns[name], dtype=np.float64)
    if name.endswith("_power2"):
        return np.square(_column(name.removesuffix("_power2"), columns))
    if name.endswith("_derivative1"):
        base = _column(name.removesuffix("_derivative1"), columns)
        return np.diff(base, prepend=np.nan)
    raise RunError(f"confounds lack the column {name}; choose another strategy or confounds: none")


def _fill(name: str, values: Array, kept: npt.NDArray[np.bool_]) -> Array:
    """Replace leading non-finite values; refuse later ones in kept frames."""
    finite = np.isfinite(values)
    if finite.all():
        return values
    usable = np.flatnonzero(finite & kept)
    if not usable.size:
        raise RunError(f"confound {name} is n/a in every kept frame")
    broken = np.flatnonzero(~finite & kept)
    late = broken[broken > usable[0]]
    if late.size:
        raise RunError(f"confound {name} is n/a at frame {late[0]} after the dummies")
    start = 0.0 if _DIFFERENCE.search(name) else float(values[usable].mean())
    return np.where(finite, values, start)
