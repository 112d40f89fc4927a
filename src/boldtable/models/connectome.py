"""The connectome baselines: what pairs of parcels share over a run. No weights, numpy and scikit-learn only.

All three start from parcels standardised over the kept frames, so that neither image units nor amplitudes enter.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# arctanh(1) is infinite: parcels with the same signal get the z of this correlation instead (7.25).
_LARGEST_CORRELATION = 1 - 1e-6
# Frames that all say the same need no shrinking, by the formula; a matrix without an inverse would be left.
_LEAST_SHRINKAGE = 1e-4
# What a matrix logarithm takes for zero, as a share of the largest eigenvalue: the precision of float32.
_SMALLEST_EIGENVALUE = 1e-6


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


def logarithms(covariances: npt.NDArray[np.floating]) -> Floats:
    """Matrix logarithms of positive definite matrices (..., parcel, parcel); tiny eigenvalues are raised to a floor."""
    return _spectral(covariances, np.log)


def log_mean(logs: npt.NDArray[np.floating]) -> Floats:
    """The log-Euclidean mean (parcel, parcel), given the `logarithms` (matrix, parcel, parcel) (Arsigny et al. 2007).

    It stands in for the geometric mean: closed form, unmoved by the order of the matrices, and near it for matrices
    that are near each other, as connectomes are.
    """
    values, vectors = np.linalg.eigh(logs.mean(axis=0))
    mean: Floats = (vectors * np.exp(values)) @ vectors.T
    return mean


def tangent(covariances: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Covariances as vectors in the tangent space at `reference` (Varoquaux et al. 2010, Pervaiz et al. 2020).

    `covariances` (matrix, parcel, parcel) and `reference` (parcel, parcel) are positive definite. Each is whitened by
    the reference (R^-1/2 C R^-1/2), its matrix logarithm taken, and the upper triangle with the diagonal returned,
    row by row, entries off the diagonal times √2, so that distances of vectors are those of matrices; (matrix,
    feature). The reference itself becomes 0. Computed in the precision of `covariances`: half the time in float32.
    """
    whitener = _spectral(reference, lambda values: 1 / np.sqrt(values)).astype(covariances.dtype)
    rows, columns = np.triu_indices(len(reference))
    weight = np.where(rows == columns, 1.0, np.sqrt(2.0))
    found = np.empty((len(covariances), len(rows)), dtype=np.float32)
    for index, covariance in enumerate(covariances):
        found[index] = logarithms(whitener @ covariance @ whitener)[rows, columns] * weight
    return found


def completed(covariance: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> Floats:
    """A covariance (parcel, parcel) whose missing parcels (NaN) relate to the known ones as they do in `reference`.

    What is missing has its conditional mean and covariance under a normal distribution with the reference's
    covariance, given the known parcels: the result is positive definite where both are.
    """
    known = np.isfinite(np.diag(covariance))
    if known.all():
        return np.asarray(covariance, dtype=np.float64)
    here, there = np.ix_(known, known), np.ix_(~known, known)
    weights = np.linalg.solve(reference[here], reference[there].T).T
    full = np.array(reference, dtype=np.float64)
    full[here] = covariance[here]
    full[there] = weights @ covariance[here]
    full[np.ix_(known, ~known)] = full[there].T
    full[np.ix_(~known, ~known)] += weights @ (covariance[here] - reference[here]) @ weights.T
    return full


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


def _spectral(symmetric: npt.NDArray[np.floating], function: Callable[[Floats], Floats]) -> Floats:
    """A function of symmetric matrices (..., parcel, parcel), applied to their eigenvalues."""
    values, vectors = np.linalg.eigh(symmetric)
    values = np.maximum(values, _SMALLEST_EIGENVALUE * values.max(axis=-1, keepdims=True))
    found: Floats = (vectors * function(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return found
