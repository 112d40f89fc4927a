"""The group connectome: the mean over runs of their Fisher-z correlations, one run in memory at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from boldtable.models.connectome import edges, n_edges


class GroupConnectome:
    """Sums Fisher-z correlations run by run; a pair of parcels is averaged over the runs that have both."""

    def __init__(self, n_parcels: int) -> None:
        self.n_parcels, self.n_runs = n_parcels, 0
        self._sum = np.zeros(n_edges(n_parcels))
        self._count = np.zeros(n_edges(n_parcels), dtype=np.int64)

    def add(self, signal: npt.NDArray[np.floating], kept: npt.NDArray[np.bool_] | None = None) -> None:
        """Take in a run: `signal` (frame, parcel), missing parcels NaN; `kept` (frame,) says which frames count."""
        z = edges(signal, kept)
        known = np.isfinite(z)
        self._sum[known] += z[known]
        self._count += known
        self.n_runs += 1

    def correlations(self) -> npt.NDArray[np.float64]:
        """Return the mean as correlations (parcel, parcel): ones on the diagonal, NaN where no run has the pair."""
        mean = np.divide(self._sum, self._count, out=np.full(len(self._sum), np.nan), where=self._count > 0)
        found = np.zeros((self.n_parcels, self.n_parcels))
        found[np.triu_indices(self.n_parcels, 1)] = np.tanh(mean)
        found += found.T
        np.fill_diagonal(found, 1.0)
        return found
