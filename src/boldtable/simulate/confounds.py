"""The confounds table of one run, with the columns and the ``n/a`` of fMRIPrep, computed from what was simulated."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable.simulate.motion import PARAMETERS, framewise_displacement, rmsd
from boldtable.simulate.scan import CSF, WHITE_MATTER, Head, Scan

Array = npt.NDArray[np.float64]

FD_SPIKE_MM, DVARS_SPIKE = 0.5, 1.5  # fMRIPrep's own thresholds for motion outliers
CUTOFF_S: Final = 128.0  # of the discrete cosine basis
_COMPCOR: Final = (("t", "tCompCor", None, 3), ("c", "aCompCor", "CSF", 3), ("w", "aCompCor", "WM", 3),
                   ("a", "aCompCor", "combined", 5))  # fmt: skip


def confounds(run: Scan, anatomy: Head, rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """The table of confounds (one row per frame) and the metadata of its columns.

    Columns as fMRIPrep names them: tissue signals and motion parameters with derivatives and squares, DVARS, FD,
    RMSD, CompCor components, cosines and one column per motion outlier (FD > 0.5 mm or standardised DVARS > 1.5).
    """
    columns: dict[str, Array] = {}
    for name, values in _tissues(run, anatomy).items():
        columns |= expand(name, values)
    dvars = _dvars(run, anatomy)
    columns["std_dvars"], columns["dvars"] = dvars / np.nanmedian(dvars), dvars
    columns["framewise_displacement"] = framewise_displacement(run.position)
    columns["rmsd"] = rmsd(run.position)
    components, about = _compcor(run, rng)
    columns |= components
    columns |= _cosines(len(run.position), run.tr_s)
    for number, name in enumerate(PARAMETERS):
        columns |= expand(name, run.position[:, number])
    spikes = (columns["framewise_displacement"] > FD_SPIKE_MM) | (columns["std_dvars"] > DVARS_SPIKE)
    for number, frame in enumerate(np.flatnonzero(spikes)):
        columns[f"motion_outlier{number:02d}"] = (np.arange(len(spikes)) == frame).astype(float)
    return pd.DataFrame(columns), {name: {"Method": "Mean"} for name in _tissues(run, anatomy)} | about


def to_tsv(table: pd.DataFrame) -> str:
    """The table as tab-separated text, missing values as ``n/a``."""
    text: str = table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.9g", lineterminator="\n")
    return text


def expand(name: str, values: Array) -> dict[str, Array]:
    """A signal with its derivative (first frame missing), its square and the square of its derivative."""
    derivative = np.concatenate([[np.nan], np.diff(values)])
    return {
        name: values,
        f"{name}_derivative1": derivative,
        f"{name}_power2": values**2,
        f"{name}_derivative1_power2": derivative**2,
    }


def _tissues(run: Scan, anatomy: Head) -> dict[str, Array]:
    """Mean signals over the brain, CSF and white matter (frame,)."""
    n_parcels = len(anatomy.networks)
    return {
        "global_signal": np.einsum("tp,p->t", run.signals, anatomy.weights / anatomy.weights.sum()),
        "csf": run.signals[:, n_parcels + CSF],
        "white_matter": run.signals[:, n_parcels + WHITE_MATTER],
    }


def _dvars(run: Scan, anatomy: Head) -> Array:
    """Root mean square change over the brain (frame,), the first NaN (Power et al. 2012).

    The voxels' white noise enters by its expectation: with thousands of voxels it is that up to a percent.
    """
    change = np.diff(run.signals, axis=0) ** 2
    mean = np.einsum("tp,p->t", change, anatomy.weights / anatomy.weights.sum())
    return np.concatenate([[np.nan], np.sqrt(mean + 2 * run.noise_sd**2)])


def _cosines(n_frames: int, tr_s: float) -> dict[str, Array]:
    """The discrete cosine basis below 1/128 Hz."""
    count = int(np.floor(2 * n_frames * tr_s / CUTOFF_S))
    middle = np.arange(n_frames) + 0.5
    return {
        f"cosine{k - 1:02d}": np.sqrt(2 / n_frames) * np.cos(np.pi * k * middle / n_frames) for k in range(1, count + 1)
    }


def _compcor(run: Scan, rng: np.random.Generator) -> tuple[dict[str, Array], dict[str, dict[str, Any]]]:
    """Principal components of simulated tissue voxels: physiology seen through noise, one set per mask."""
    columns: dict[str, Array] = {}
    about: dict[str, dict[str, Any]] = {}
    for letter, method, mask, count in _COMPCOR:
        voxels = np.einsum("tk,kv->tv", run.physiology, rng.standard_normal((run.physiology.shape[1], 30)))
        voxels += rng.standard_normal(voxels.shape)
        left, singular, _ = np.linalg.svd(voxels - voxels.mean(axis=0), full_matrices=False)
        explained = singular**2 / (singular**2).sum()
        for k in range(count):
            name = f"{letter}_comp_cor_{k:02d}"
            columns[name] = left[:, k]
            about[name] = {"Method": method, **({"Mask": mask} if mask else {}), "Retained": True,
                           "SingularValue": round(float(singular[k]), 6),
                           "VarianceExplained": round(float(explained[k]), 6),
                           "CumulativeVarianceExplained": round(float(explained[: k + 1].sum()), 6)}  # fmt: skip
    return columns, about
