"""The connectome baseline: Fisher-z Pearson correlations between parcels. No weights, numpy only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

# arctanh(1) is infinite: parcels with the same signal get the z of this correlation instead (7.25).
_LARGEST_CORRELATION = 1 - 1e-6


def n_edges(n_parcels: int) -> int:
    """How many pairs of parcels there are."""
    return n_parcels * (n_parcels - 1) // 2


def edges(signal: npt.NDArray[np.floating], kept: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.float32]:
    """Fisher-z Pearson correlations of a run, shape (edge,): the upper triangle, row by row, without the diagonal.

    `signal` is (frame, parcel); `kept` (frame,) says which frames count, all when None. Edge order is
    ``numpy.triu_indices(n_parcels, 1)``. Edges of a missing parcel (any NaN) or of a constant one are NaN.
    Raises `ValueError` with fewer than three frames.
    """
    x = np.asarray(signal if kept is None else signal[kept], dtype=np.float64)
    if len(x) < 3:
        raise ValueError(f"a correlation needs at least 3 frames, found {len(x)}")
    x = x - x.mean(axis=0)
    norm = np.sqrt((x**2).sum(axis=0))
    usable = np.isfinite(norm) & (norm > 1e-7 * np.sqrt(len(x)) * np.abs(signal).max(axis=0, initial=0.0))
    x = np.where(usable, x, 0.0) / np.where(usable, norm, 1.0)
    correlation = (x.T @ x)[np.triu_indices(x.shape[1], 1)]
    known = np.logical_and.outer(usable, usable)[np.triu_indices(x.shape[1], 1)]
    z = np.arctanh(np.clip(correlation, -_LARGEST_CORRELATION, _LARGEST_CORRELATION))
    return np.where(known, z, np.nan).astype(np.float32)


# What a matrix logarithm takes for zero, as a share of the largest eigenvalue: the precision of float32 input.
_SMALLEST_EIGENVALUE = 1e-6


def matrices(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Symmetric matrices (..., parcel, parcel) from their upper triangles with diagonal, row by row (..., feature).

    Raises `ValueError` where the number of features is that of no triangle.
    """
    n = int((np.sqrt(8 * vectors.shape[-1] + 1) - 1) // 2)
    if n * (n + 1) // 2 != vectors.shape[-1]:
        raise ValueError(f"{vectors.shape[-1]} features are no triangle of a matrix with its diagonal")
    full = np.empty((*vectors.shape[:-1], n, n))
    rows, columns = np.triu_indices(n)
    full[..., rows, columns] = vectors
    full[..., columns, rows] = vectors
    return full


def logarithms(covariances: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Matrix logarithms of positive definite matrices (..., parcel, parcel); tiny eigenvalues are raised to a floor."""
    return _spectral(covariances, np.log)


def log_mean(logs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The log-Euclidean mean (parcel, parcel), given the `logarithms` (matrix, parcel, parcel) (Arsigny et al. 2007).

    It stands in for the geometric mean: closed form, unmoved by the order of the matrices, and near it for matrices
    that are near each other, as connectomes are.
    """
    values, vectors = np.linalg.eigh(logs.mean(axis=0))
    mean: npt.NDArray[np.float64] = (vectors * np.exp(values)) @ vectors.T
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


def completed(covariance: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
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


def _spectral(
    symmetric: npt.NDArray[np.floating], function: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
) -> npt.NDArray[np.float64]:
    """A function of symmetric matrices (..., parcel, parcel), applied to their eigenvalues."""
    values, vectors = np.linalg.eigh(symmetric)
    values = np.maximum(values, _SMALLEST_EIGENVALUE * values.max(axis=-1, keepdims=True))
    found: npt.NDArray[np.float64] = (vectors * function(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return found
