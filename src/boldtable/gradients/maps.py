"""From a connectome to gradients: affinity, diffusion map, alignment. Pure functions on (parcel, parcel) arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import linalg
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata
from sklearn.metrics.pairwise import cosine_similarity, rbf_kernel

from boldtable.errors import InputError
from boldtable.gradients.settings import GradientSettings

Floats = npt.NDArray[np.float64]


def gradients(connectome: Floats, settings: GradientSettings, reference: Floats | None = None) -> Floats:
    """Return the gradients (parcel, component) of a group connectome (parcel, parcel) of correlations.

    Parcels without any correlation (NaN) get NaN; the others are mapped without them. With a `reference` (parcel,
    component) the gradients are rotated onto it. Raises `InputError` where two parcels that have correlations have none
    with each other, where there are too few parcels, and where the parcels fall into groups without any affinity.
    """
    off = connectome.copy()
    np.fill_diagonal(off, np.nan)
    known = np.isfinite(off).any(axis=1)
    inner = connectome[np.ix_(known, known)]
    np.fill_diagonal(inner, 1.0)
    unknown = np.argwhere(~np.isfinite(inner))
    if len(unknown):
        first, second = np.flatnonzero(known)[unknown[0]] + 1
        raise InputError(
            f"parcels {first} and {second} are never present in the same run ({len(unknown) // 2} such pairs): keep "
            "runs with more parcels (max_empty_parcels of qc), or leave one of the datasets out"
        )
    found = np.full((len(connectome), settings.components), np.nan)
    alike = affinity(inner, settings)
    found[known] = diffusion_map(alike, settings.components, settings.alpha, settings.diffusion_time)[0]
    return found if reference is None else align(found, reference)


def affinity(connectome: Floats, settings: GradientSettings) -> Floats:
    """Return how alike the profiles of parcels are, (parcel, parcel), symmetric and not negative.

    Of each row the largest int(n (1 - sparsity)) values stay, the others are 0; then the kernel; what is negative
    becomes 0 (Margulies et al. 2016; the order of steps is that of BrainSpace, Vos de Wael et al. 2020).
    """
    profiles = connectome.copy()
    if settings.sparsity > 0:
        n_kept = max(1, int(len(profiles) * (1 - settings.sparsity)))
        smallest = np.partition(profiles, -n_kept, axis=1)[:, -n_kept, None]
        profiles[profiles < smallest] = 0
    alike = _kernel(profiles, settings.kernel)
    return np.maximum((alike + alike.T) / 2, 0.0)


def _kernel(profiles: Floats, kernel: str) -> Floats:
    if kernel == "none":
        return profiles
    if kernel == "gaussian":
        return np.asarray(rbf_kernel(profiles))
    if kernel in ("pearson", "spearman"):
        return np.asarray(np.corrcoef(rankdata(profiles, axis=1) if kernel == "spearman" else profiles))
    cosine = np.clip(cosine_similarity(profiles), -1, 1)
    return np.asarray(cosine if kernel == "cosine" else 1 - np.arccos(cosine) / np.pi)


def diffusion_map(alike: Floats, n_components: int, alpha: float, time: float) -> tuple[Floats, Floats]:
    """Return the diffusion map (parcel, component) of an affinity matrix, and what its components are scaled by.

    Coifman and Lafon 2006: W = A / (d_i d_j)^alpha with the degrees d of A, random walk P = W / degree; its right
    eigenvectors over the constant first one, times l^time, or l / (1 - l) at time 0; the largest entry of each is
    positive. Raises `InputError` where there are too few parcels, or where they fall into groups.
    """
    n = len(alike)
    if n_components >= n:
        raise InputError(f"{n} parcels have at most {n - 1} gradients, {n_components} are wanted: set components lower")
    n_groups = connected_components(alike > 0, directed=False)[0]
    if n_groups > 1:
        raise InputError(
            f"the parcels fall into {n_groups} groups without any affinity, whose order no gradient can tell: set "
            "sparsity lower, or take the kernel normalized-angle"
        )
    density = alike.sum(axis=1) ** -alpha
    weights = alike * density * density[:, None]
    root = np.sqrt(weights.sum(axis=1))
    # The symmetric matrix with the eigenvalues of the random walk.
    values, vectors = linalg.eigh(weights / root / root[:, None], subset_by_index=[n - n_components - 1, n - 1])
    values, vectors = values[::-1] / values[-1], vectors[:, ::-1] / root[:, None]
    values, vectors = values[1:], vectors[:, 1:] / vectors[:, :1]
    scale = values**time if time > 0 else values / (1 - values)
    found = vectors * scale
    return found * np.sign(found[np.abs(found).argmax(axis=0), np.arange(n_components)]), scale


def align(found: Floats, reference: Floats) -> Floats:
    """Return gradients (parcel, component) rotated onto those of a `reference` of the same shape (Procrustes).

    Rotation and reflection only: distances between parcels stay. Parcels that are NaN on either side do not count.
    """
    if found.shape != reference.shape:
        raise InputError(
            f"the gradients have the shape {found.shape}, their reference {reference.shape}: make them alike"
        )
    both = np.isfinite(found).all(axis=1) & np.isfinite(reference).all(axis=1)
    rotation, _ = linalg.orthogonal_procrustes(found[both], reference[both])
    return np.asarray(found @ rotation)
