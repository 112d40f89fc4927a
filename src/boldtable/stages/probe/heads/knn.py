"""Nearest neighbours by cosine similarity, on features from `prepare.scale`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from boldtable.stages.probe.heads.prepare import Array
from boldtable.stages.probe.heads.samples import Floats, Ints


def outputs(
    x: Floats, y: Floats | Ints, train: Ints, neighbours: Sequence[int], n_classes: int, balance: bool
) -> Iterator[tuple[int, Array]]:
    """Each number of neighbours, largest first, with what they give all rows.

    Classes: shares of the votes (row, class), with `balance` each vote divided by the size of its class in the rows
    `train`; numbers (`n_classes` 0): the neighbours' mean (row,). A training row is no neighbour of itself. Numbers of
    neighbours beyond the other training rows mean all of them.
    """
    length = np.linalg.norm(x[train], axis=1)
    # A row's own length is the same for all its neighbours, so it does not change who is nearest.
    similarity = x @ (x[train] / np.where(length > 0, length, 1)[:, None]).T
    similarity[train, np.arange(len(train))] = -np.inf
    nearest = train[np.argsort(-similarity, axis=1, kind="stable")]
    for k in sorted(neighbours, reverse=True):
        found = nearest[:, : min(k, len(train) - 1)]
        if not n_classes:
            yield k, y[found].mean(axis=1)
            continue
        sizes = np.bincount(y[train], minlength=n_classes)
        weight = 1 / np.maximum(1, sizes) if balance else np.ones(n_classes)
        votes = np.stack([(y[found] == label).sum(axis=1) * weight[label] for label in range(n_classes)], axis=1)
        yield k, votes / votes.sum(axis=1, keepdims=True)
