"""Probes: everything fitted on the training participants, one choice made on the validation participants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from boldtable.stages.probe.heads import choose, knn, logistic, ridge
from boldtable.stages.probe.heads.choose import Fitted
from boldtable.stages.probe.heads.prepare import Array, prepare, scale, unseen_sites
from boldtable.stages.probe.heads.samples import Ints, Part, Samples
from boldtable.stages.probe.settings import Probe

__all__ = ["Fitted", "Part", "Samples", "fit"]


def fit(settings: Probe, samples: Samples, parts: Sequence[Part]) -> Iterator[Fitted]:
    """The chosen probe of every split, in order.

    Nothing looks at participants outside `train` and `val` but to give what the finished probe says of them. Where no
    feature varies over the training participants, every probe gives the shares of their classes, or their mean.
    """
    if settings.head == "linear-sgd":
        from boldtable.stages.probe.heads import windows  # torch takes a second: only who trains needs it

        found = windows.fit(settings, samples, parts)
    else:
        found = (_one(settings, samples, part) for part in parts)
    for part, fitted in zip(parts, found, strict=True):
        seen = part.train if settings.nested_folds is None else np.concatenate([part.train, part.val])
        unseen = unseen_sites(samples, seen) if settings.harmonise == "site" else []
        yield replace(fitted, unseen=tuple(unseen))


def _one(settings: Probe, samples: Samples, part: Part) -> Fitted:
    """A probe on one row per participant or per window; of several rows a participant gets the mean output.

    In nested selection what is done to the features is fitted once, on all that the probe may see: it takes most of the
    time, knows no target, and the test part has no share in it. Only the selection of features asks for the target, so
    that it is made anew in every inner fold.
    """
    seen = np.sort(np.concatenate([part.train, part.val]))

    @cache
    def of_seen() -> Array:
        return scale(prepare(settings, samples, seen, part.y, part.n_classes))

    def outputs(train: Ints) -> Iterator[tuple[float, Array]]:
        once = settings.nested_folds is not None and settings.select is None
        x = of_seen() if once else scale(prepare(settings, samples, train, part.y, part.n_classes))
        rows, owner = samples.rows(train), samples.owner
        if not x[rows].any():
            return ((value, choose.constant(part, train)) for value in settings.grid)
        found: Iterator[tuple[float, Array]]
        if settings.head == "knn":
            found = knn.outputs(x, part.y[owner], rows, settings.neighbours, part.n_classes, settings.balance)
        elif settings.head == "ridge":
            found = ridge.outputs(x, part.numbers[owner], rows, settings.strengths)
        else:
            classes = part.classes[owner]
            found = logistic.outputs(x, classes, rows, settings.strengths, part.n_classes, settings.balance)
        return ((value, samples.average(output)) for value, output in found)

    if settings.nested_folds is None:
        return choose.on_validation(settings.measure, outputs, part.y, part.train, part.val)
    return choose.nested(settings.measure, outputs, part, seen, settings.nested_folds)
