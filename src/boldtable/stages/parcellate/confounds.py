"""The confounds of one run, as fMRIPrep writes them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boldtable.errors import InputError, RunError
from boldtable.reading.bounded import read_json
from boldtable.reading.tables import read_numbers
from boldtable.stages.parcellate.bold import PassingError

# Temporal, and per-tissue anatomical and edge component series run into hundreds of columns per run, which would be
# larger than the parcel signals themselves; no recipe reads them. The combined aCompCor (a_comp_cor) stays.
LEFT_OUT = ("t_comp_cor", "c_comp_cor", "w_comp_cor", "edge_comp")
_ANATOMICAL = re.compile(r"^a_comp_cor_\d+$")
_FEW = 6  # fMRIPrep before 1.4 wrote six components, all of the combined mask, and no metadata


def read_confounds(path: Path, n_frames: int) -> dict[str, npt.NDArray[np.float32]]:
    """Every column (frame,) by name, ``n/a`` as NaN; raises `RunError` when the file does not fit the run.

    Every cell must be a number or ``n/a``, every row as long as the header: a column that moved by one or vanished
    would leave motion in the signals without a word.

    Of the aCompCor components only those of the combined mask that fMRIPrep retained stay, as the JSON file beside
    says: fMRIPrep 20.2 names those of every mask alike. Where there is none and the names do not tell either, they
    are left out, and a recipe that wants them says so.
    """
    try:
        columns = read_numbers(path, n_rows=n_frames)
    except FileNotFoundError:
        raise PassingError(f"confounds file {path.name} is missing; restore it or run collect again") from None
    except PermissionError:
        raise PassingError(f"confounds file {path.name} cannot be read: permission denied; allow reading it") from None
    except InputError as error:
        raise RunError(f"confounds file {str(error).replace(str(path), path.name)}") from None
    except OSError as error:
        raise RunError(f"confounds file {path.name} cannot be read: {error.strerror or error}") from None
    gone = _other_masks(path, list(columns))
    kept = [name for name in columns if not name.startswith(LEFT_OUT) and name not in gone]
    return {name: columns[name].astype(np.float32) for name in kept}


def _other_masks(path: Path, names: list[str]) -> set[str]:
    """The a_comp_cor columns that are not known to be retained components of the combined mask."""
    components = [name for name in names if _ANATOMICAL.match(name)]
    sidecar = path.with_suffix(".json")
    if components and os.path.lexists(sidecar):  # a link that leads nowhere is said, not passed over
        about = _metadata(sidecar)
        if any(name in about for name in components):
            return {name for name in components if not _combined(about.get(name))}
    named_by_mask = any(name.startswith(("c_comp_cor", "w_comp_cor")) for name in names)
    return set() if named_by_mask or len(components) <= _FEW else set(components)


def _metadata(sidecar: Path) -> dict[str, Any]:
    try:
        content = read_json(sidecar, finite=False)
    except FileNotFoundError:
        raise PassingError(f"confounds metadata {sidecar.name} is a link to a file that is gone; fetch it") from None
    except PermissionError:
        raise PassingError(f"confounds metadata {sidecar.name} cannot be read: permission denied") from None
    except InputError as error:
        raise RunError(f"confounds metadata {str(error).replace(str(sidecar), sidecar.name)}, or remove it") from None
    except OSError as error:
        raise RunError(f"confounds metadata {sidecar.name} cannot be read: {error.strerror or error}") from None
    return content if isinstance(content, dict) else {}


def _combined(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("Mask") == "combined" and entry.get("Retained") is not False
