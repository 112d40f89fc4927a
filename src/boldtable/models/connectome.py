"""The connectome baselines: what pairs of parcels share over a run. No weights, numpy and scikit-learn only.

All three start from parcels standardised over the kept frames, so that neither image units nor amplitudes enter.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# arctanh(1) is infinite: parcels with the same signal get the z of this correlation instead (7.25).
_LARGEST_CORRELATION = 1 - 1e-6
# Frames that all say the same need no shrinking, by the formula; a matrix without an inverse would be left.
_LEAST_SHRINKAGE = 1e-4


def n_edges(n_parcels: int) -> int:
    """How many pairs of parcels there are."""
    return n_parcels * (n_parcels - 1) // 2


def edges(signal: npt.NDArray[np.floating], kept: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.float32]:
    """Fisher-z Pearson correlations of a run, shape (edge,): the upper triangle, row by row, without the diagonal.

    `signal` is (frame, parcel); `kept` (frame,) says which frames count, all when None. Edge order is
    ``numpy.triu_indices(n_parcels, 1)``. Edges of a missing parcel (any NaN) or of a constant one are NaN.
    Raises `ValueError` with fewer than three frames.
    """
    x, usable = _standardised(signal, kept)
    return _fisher_z(x.T @ x, usable)


def partial_edges(
    signal: npt.NDArray[np.floating], kept: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float32]:
    """Fisher-z partial correlations of a run, from the inverse of its shrunk `covariance`; otherwise as `edges`.

    Every pair given all other usable parcels (Marrelec et al. 2006, doi:10.1016/j.neuroimage.2005.12.057).
    """
    found = covariance(signal, kept)
    usable = np.isfinite(np.diagonal(found))
    partial = np.full_like(found, np.nan)
    if usable.any():
        precision = np.linalg.inv(found[np.ix_(usable, usable)])
        sd = np.sqrt(np.diagonal(precision))
        partial[np.ix_(usable, usable)] = -precision / np.outer(sd, sd)
    return _fisher_z(np.nan_to_num(partial), usable)


def covariance(signal: npt.NDArray[np.floating], kept: npt.NDArray[np.bool_] | None = None) -> Floats:
    """The shrunk covariance of a run's standardised parcels, (parcel, parcel), positive definite.

    `signal` and `kept` as in `edges`. The correlation matrix is pulled towards the identity by the share of Ledoit and
    Wolf (2004, doi:10.1016/S0047-259X(03)00096-4), which takes frames for independent: with neighbouring frames alike
    it is a lower bound. Rows and columns of missing and of constant parcels are NaN; the diagonal of the others is 1.
    Raises `ValueError` with fewer than three frames.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage  # a second to import: only who shrinks pays

    x, usable = _standardised(signal, kept)
    found = np.full((x.shape[1], x.shape[1]), np.nan)
    if usable.any():
        shown = x[:, usable]
        scaled = shown * math.sqrt(len(shown))  # unit variance, as the formula has it
        share = max(float(ledoit_wolf_shrinkage(scaled, assume_centered=True)), _LEAST_SHRINKAGE)
        shrunk = (1 - share) * (shown.T @ shown)
        np.fill_diagonal(shrunk, 1.0)
        found[np.ix_(usable, usable)] = shrunk
    return found


def matrix_to_vector(matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The upper triangles with diagonal, (..., parcel (parcel + 1) / 2), of symmetric matrices (..., parcel, parcel).

    The order is ``numpy.triu_indices(n_parcels)``: row by row. `vector_to_matrix` is the inverse.
    """
    rows, columns = np.triu_indices(matrix.shape[-1])
    return matrix[..., rows, columns]


def vector_to_matrix(vector: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The symmetric matrices (..., parcel, parcel) of upper triangles with diagonal (..., parcel (parcel + 1) / 2).

    Raises `ValueError` where the length belongs to no whole number of parcels.
    """
    length = vector.shape[-1]
    n_parcels = (math.isqrt(8 * length + 1) - 1) // 2
    if n_parcels * (n_parcels + 1) // 2 != length:
        raise ValueError(f"{length} values are no upper triangle with its diagonal")
    rows, columns = np.triu_indices(n_parcels)
    matrix = np.empty((*vector.shape[:-1], n_parcels, n_parcels), dtype=vector.dtype)
    matrix[..., rows, columns] = vector
    matrix[..., columns, rows] = vector
    return matrix


def _standardised(
    signal: npt.NDArray[np.floating], kept: npt.NDArray[np.bool_] | None
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Parcels centred and of length 1 over the kept frames, 0 where NaN or constant; and which are neither."""
    x = np.asarray(signal if kept is None else signal[kept], dtype=np.float64)
    if len(x) < 3:
        raise ValueError(f"a correlation needs at least 3 frames, found {len(x)}")
    x = x - x.mean(axis=0)
    norm = np.sqrt((x**2).sum(axis=0))
    usable = np.isfinite(norm) & (norm > 1e-7 * np.sqrt(len(x)) * np.abs(signal).max(axis=0, initial=0.0))
    return np.where(usable, x, 0.0) / np.where(usable, norm, 1.0), usable


def _fisher_z(correlation: Floats, usable: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """The upper triangle without the diagonal as z, (edge,); NaN for pairs that are not both usable."""
    rows, columns = np.triu_indices(len(usable), 1)
    z = np.arctanh(np.clip(correlation[rows, columns], -_LARGEST_CORRELATION, _LARGEST_CORRELATION))
    return np.where(usable[rows] & usable[columns], z, np.nan).astype(np.float32)
