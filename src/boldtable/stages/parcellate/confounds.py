"""The confounds of one run, as fMRIPrep writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable.errors import RunError

# Temporal, and per-tissue anatomical and edge component series run into hundreds of columns per run, which would be
# larger than the parcel signals themselves; no recipe reads them. The combined aCompCor (a_comp_cor) stays.
LEFT_OUT = ("t_comp_cor", "c_comp_cor", "w_comp_cor", "edge_comp")


def read_confounds(path: Path, n_frames: int) -> dict[str, npt.NDArray[np.float32]]:
    """Every numeric column (frame,) by name, ``n/a`` as NaN; raises `RunError` when the file does not fit the run."""
    try:
        table = pd.read_csv(path, sep="\t", na_values=["n/a"])
    except FileNotFoundError:
        raise RunError(f"confounds file {path.name} is missing; restore it or run collect again") from None
    except (OSError, ValueError) as error:
        raise RunError(f"confounds file {path.name} cannot be read: {' '.join(str(error).split())}") from None
    if len(table) != n_frames:
        raise RunError(f"confounds file {path.name} has {len(table)} rows, the run has {n_frames} volumes")
    numbers = table.select_dtypes("number")
    kept = [str(name) for name in numbers.columns if not str(name).startswith(LEFT_OUT)]
    return {name: numbers[name].to_numpy(dtype=np.float32) for name in kept}
