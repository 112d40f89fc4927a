"""Regress confounds out of signals: least squares on the kept frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
# Confounds are stored as float32: directions below this share of the largest are rounding, not signal.
_RELATIVE_RANK = 1e-6


def orthonormal(confounds: Array, kept: npt.NDArray[np.bool_], size: Array) -> Array:
    """Return a basis of the confounds that is orthonormal on the kept frames, (frame, rank).

    `confounds` is (frame, confound) after filtering; `size` (confound,) is the norm each had before filtering: one
    that filtering left nothing of is dropped. Censored frames are expressed in the same basis.
    """
    norm = np.linalg.norm(confounds[kept], axis=0)
    alive = norm > _RELATIVE_RANK * size
    if not alive.any():
        return np.empty((len(confounds), 0))
    scaled = confounds[:, alive] / norm[alive]
    _, strength, directions = np.linalg.svd(scaled[kept], full_matrices=False)
    rank = int((strength > _RELATIVE_RANK * strength[0]).sum())
    basis: Array = scaled @ (directions[:rank].T / strength[:rank])
    return basis


def regress(signal: Array, basis: Array, kept: npt.NDArray[np.bool_]) -> Array:
    """Return (frame, parcel) signals minus their projection on the basis of `orthonormal`.

    The weights come from kept frames alone, where the result is orthogonal to every confound; censored frames get
    the same weights.
    """
    cleaned: Array = signal - basis @ (basis[kept].T @ signal[kept])
    return cleaned
