"""What a probe is fitted on: embeddings, whose they are, and what else is known of these participants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from boldtable.models import connectome

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Samples:
    """Embeddings `values` (row, feature) of participants `owner` (row,), numbered from 0.

    One row per participant, or one per window. `confounds` are columns (participant,): numbers with NaN, or text with
    None; `site` (participant,) is text or None. `transform` 'tangent' says that the features are covariances (upper
    triangle with diagonal, row by row), which are moved to the tangent space at the mean of the training rows.
    """

    values: Floats
    owner: Ints
    confounds: Sequence[Floats | Texts] = ()
    site: Texts | None = None
    transform: Literal["tangent"] | None = None

    def rows(self, participants: Ints) -> Ints:
        """The rows of some participants, in the order of the rows."""
        return np.flatnonzero(np.isin(self.owner, participants))

    def features(self, train: Ints) -> Floats:
        """The features of every row, given the training rows; only a transform needs to know those."""
        return self.values if self.transform is None else self._tangent(train)

    def average(self, output: Floats) -> npt.NDArray[np.float64]:
        """The mean over each participant's rows of something per row (row, ...); shape (participant, ...)."""
        columns = output.reshape(len(output), -1).T
        total = np.stack([np.bincount(self.owner, weights=column) for column in columns], axis=1)
        mean = total / np.maximum(1, np.bincount(self.owner))[:, None]
        return mean.reshape(-1, *output.shape[1:])

    def _tangent(self, train: Ints) -> Floats:
        """Reference: the log-Euclidean mean of the training rows; a missing parcel follows their arithmetic mean.

        Parcels missing in all training rows are left out.
        """
        known = np.isfinite(self.values[train])
        total = np.where(known, self.values[train], 0).sum(axis=0, dtype=np.float64)
        mean = connectome.vector_to_matrix(
            np.where(known.any(axis=0), total / np.maximum(1, known.sum(axis=0)), np.nan)
        )
        parcels = np.flatnonzero(np.isfinite(np.diag(mean)))
        part = np.ix_(parcels, parcels)
        if len(parcels) == len(mean) and self._complete.all():
            return connectome.tangent(self._matrices, connectome.log_mean(self._logs[train]))
        filled = np.stack([connectome.completed(one[part], mean[part]) for one in self._matrices])
        logs = connectome.logarithms(filled[train])
        return connectome.tangent(filled.astype(np.float32), connectome.log_mean(logs))

    @cached_property
    def _matrices(self) -> npt.NDArray[np.float32]:
        return connectome.vector_to_matrix(self.values).astype(np.float32)

    @cached_property
    def _complete(self) -> npt.NDArray[np.bool_]:
        complete: npt.NDArray[np.bool_] = np.asarray(np.isfinite(self.values).all(axis=1))
        return complete

    @cached_property
    def _logs(self) -> npt.NDArray[np.float32]:
        """The same in every split, so they are taken once."""
        return connectome.logarithms(self._matrices).astype(np.float32)


@dataclass(frozen=True)
class Part:
    """One split: the participants `train` and `val`, and what all participants are.

    `y` (participant,) is class numbers, or numbers where `n_classes` is 0; `groups` (participant,) families; `sites`
    (participant,) where sites are what the scheme keeps together; `seed` draws what is random.
    """

    train: Ints
    val: Ints
    y: Floats | Ints
    n_classes: int
    groups: Ints
    seed: int
    sites: Ints | None = None

    @property
    def classes(self) -> Ints:
        """`y` where it is class numbers."""
        return self.y.astype(np.int64)

    @property
    def numbers(self) -> npt.NDArray[np.float64]:
        """`y` where it is numbers."""
        return self.y.astype(np.float64)
