"""QC-FC: how strongly each edge of the connectome depends on motion, across participants.

For every edge, the Pearson correlation over participants between mean framewise displacement and edge strength
(Fisher z), as in Ciric et al. (NeuroImage 154, 2017), without covariates. Sums are kept per edge, never the
connectomes: memory grows with neither participants nor runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtr

Array = npt.NDArray[np.float64]

# Fisher z of identical signals is infinite: parcels with the same signal get the z of this correlation.
_LARGEST_CORRELATION = np.float32(1 - 1e-6)
MIN_PARTICIPANTS = 4  # fewer leave a correlation of FD with anything meaningless (one degree of freedom)


def strengths(signal: npt.NDArray[np.floating], upper: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """Fisher-z correlations between parcels, (edge,), at the flat positions `upper`; NaN for missing or constant ones.

    `signal` is (frame, parcel). Frames in which a present parcel has no value are left out. Single precision: the
    error of a z is below 1e-5, and a run of 300 frames and 457 parcels takes about a millisecond.
    """
    present = np.isfinite(signal).any(axis=0)
    whole = np.isfinite(signal[:, present]).all(axis=1)
    values = signal if whole.all() else signal[whole]
    means = values.mean(axis=0, dtype=np.float64)
    x = (values - means).astype(np.float32)
    norm = np.sqrt((x * x).sum(axis=0))
    norm[norm <= 1e-6 * np.sqrt(len(x)) * np.abs(means)] = np.nan  # constant up to rounding
    x /= norm
    correlation = (x.T @ x).ravel()[upper]
    return np.asarray(np.arctanh(np.clip(correlation, -_LARGEST_CORRELATION, _LARGEST_CORRELATION)))


@dataclass
class _Mean:
    """A participant's mean over runs: of FD, and of each edge over the runs that have it."""

    fd_mm: float
    n_runs: int
    total: npt.NDArray[np.float32]
    known: npt.NDArray[np.uint16]


@dataclass
class QCFC:
    """Sums over participants for the correlation of every edge with motion, before or after cleaning.

    `add` runs, `close` each participant after the last run, then ask for `correlations`.
    """

    n_parcels: int
    n_participants: int = 0
    upper: npt.NDArray[np.intp] = field(init=False)
    _open: dict[str, _Mean] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.upper = np.flatnonzero(np.triu(np.ones((self.n_parcels, self.n_parcels), dtype=bool), 1))
        self._sums = np.zeros((6, len(self.upper)))

    def add(self, participant: str, fd_mm: float, signal: npt.NDArray[np.floating]) -> None:
        """Add a run: its mean FD (mm) and its signal (frame, parcel)."""
        z = strengths(signal, self.upper)
        known = np.isfinite(z)
        z[~known] = 0
        mean = self._open.get(participant)
        if mean is None:
            self._open[participant] = _Mean(fd_mm, 1, z, known.astype(np.uint16))
            return
        mean.fd_mm += fd_mm
        mean.n_runs += 1
        mean.total += z
        mean.known += known

    def close(self, participant: str) -> None:
        """Take a participant into the sums, all runs averaged first: a participant counts once."""
        mean = self._open.pop(participant, None)
        if mean is None:
            return
        self.n_participants += 1
        motion = mean.fd_mm / mean.n_runs
        edge = mean.total / np.maximum(mean.known, 1).astype(np.float64)
        here = (mean.known > 0).astype(np.float64)
        for total, values in zip(
            self._sums,
            (here, here * motion, here * motion**2, edge, edge * edge, edge * motion),
            strict=True,
        ):
            total += values

    def correlations(self) -> tuple[Array, Array]:
        """The correlation of every edge with FD, (edge,), and its two-sided p (t with n - 2); NaN where unknown."""
        n, motion, motion2, edge, edge2, both = self._sums
        enough = n >= MIN_PARTICIPANTS
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = (motion2 - motion**2 / n) * (edge2 - edge**2 / n)
            r = (both - motion * edge / n) / np.sqrt(spread)
            r = np.where(enough & (spread > 1e-12), np.clip(r, -1, 1), np.nan)
            t = np.abs(r) * np.sqrt((n - 2) / (1 - r**2))
        p = np.where(np.isfinite(r), 2 * stdtr(np.maximum(n - 2, 1), -np.nan_to_num(t, nan=0.0)), np.nan)
        return r, p


def distances(centroids: Array, upper: npt.NDArray[np.intp]) -> Array:
    """Euclidean distance (mm) between the centroids (parcel, 3) of every edge, (edge,); NaN where one is unknown."""
    first, second = np.divmod(upper, len(centroids))
    return np.asarray(np.sqrt(((centroids[first] - centroids[second]) ** 2).sum(axis=1)))


def distance_dependence(r: Array, distance_mm: Array) -> float | None:
    """Spearman correlation over edges between QC-FC and distance; None where either is unknown or constant."""
    known = np.isfinite(r) & np.isfinite(distance_mm)
    if known.sum() < 3 or np.ptp(distance_mm[known]) == 0 or np.ptp(r[known]) == 0:
        return None
    return float(pd.Series(r[known]).rank().corr(pd.Series(distance_mm[known]).rank()))
