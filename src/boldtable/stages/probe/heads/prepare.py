"""What happens to the features before a probe sees them, fitted on the training rows alone.

Order of operations: transform (tangent space), imputation of the training mean, harmonisation, regression of the
confounds, selection, standardisation. Everything is column by column, so that 100,000 features go through in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from boldtable.errors import InputError
from boldtable.stages.probe.heads import harmonise
from boldtable.stages.probe.heads.samples import Floats, Ints, Samples, Texts
from boldtable.stages.probe.settings import Probe

Array = npt.NDArray[np.float64]
_COLUMNS_AT_ONCE = 8192
_ROUNDING = 1e-7
_FEWEST = 2  # training participants of a site whose location and scale can be told from those of its participants


@dataclass(frozen=True)
class Prepared:
    """The features of every row after everything that was fitted on `train` (rows), piece by piece.

    `design` (row, confound) is centred and scaled on the training rows; `inverse` gives the regression coefficients;
    `chosen` are the selected columns, None for all. `site` (row,) numbers the fitted sites, -1 for others.
    """

    values: Floats
    train: Ints
    design: Array
    inverse: Array | None
    site: Ints
    sites: harmonise.Sites | None = None
    chosen: Ints | None = None

    @property
    def size(self) -> int:
        """How many features are left."""
        return self.values.shape[1] if self.chosen is None else len(self.chosen)

    def pieces(self) -> Iterator[Array]:
        """All features, some columns at a time; each (row, some features)."""
        chosen = np.arange(self.values.shape[1]) if self.chosen is None else self.chosen
        for first in range(0, self.size, _COLUMNS_AT_ONCE):
            yield self._columns(chosen[first : first + _COLUMNS_AT_ONCE])

    def all(self, kind: type[np.floating] = np.float64) -> npt.NDArray[np.floating]:
        """All features at once; (row, feature)."""
        found, first = np.empty((len(self.values), self.size), dtype=kind), 0
        for piece in self.pieces():
            found[:, first : first + piece.shape[1]] = piece
            first += piece.shape[1]
        return found

    def imputed(self, columns: Ints) -> Array:
        """Some columns, with the training mean where a value is missing."""
        x = np.asarray(self.values[:, columns], dtype=np.float64)
        known = np.isfinite(x)
        if known.all():
            return x
        here = known[self.train]
        mean = np.where(here, x[self.train], 0).sum(axis=0) / np.maximum(1, here.sum(axis=0))
        return np.where(known, x, mean)

    def _columns(self, columns: Ints) -> Array:
        x = self.imputed(columns)
        if self.sites is not None:
            x = self.sites.apply(x, self.site, self.design, columns)
        if self.inverse is None:
            return x
        rest = x - self.design @ (self.inverse @ x[self.train])
        # What the confounds explain altogether leaves rounding, and standardising would make noise of it.
        gone = rest[self.train].std(axis=0) <= _ROUNDING * x[self.train].std(axis=0)
        return np.where(gone, rest[self.train].mean(axis=0), rest)


def prepare(settings: Probe, samples: Samples, train: Ints, y: Floats | Ints, n_classes: int) -> Prepared:
    """Fit everything before the standardisation on the training participants `train`.

    `y` (participant,) is class numbers, or numbers where `n_classes` is 0; the selection alone looks at it. Raises
    `InputError` where the confounds have as many columns as there are training participants.
    """
    rows = samples.rows(train)
    design = _design(samples, rows)
    if design.shape[1] >= len(train):
        raise InputError(
            f"the confounds have {design.shape[1]} columns, {len(train)} training participants cannot tell them apart: "
            "leave some out, or harmonise: site instead of the confound site"
        )
    site = np.full(len(samples.owner), -1) if samples.site is None else _site_numbers(samples, train)
    inverse: Array | None = np.linalg.pinv(design[rows]).astype(np.float64) if design.shape[1] else None
    found = Prepared(samples.features(rows), rows, design, inverse, site)
    if settings.harmonise == "site" and site.max() >= 0:
        cuts = np.split(np.arange(found.size), range(_COLUMNS_AT_ONCE, found.size, _COLUMNS_AT_ONCE))
        pieces = (found.imputed(columns)[rows] for columns in cuts)
        found = replace(found, sites=harmonise.fit(pieces, site[rows], design[rows]))
    if settings.select is not None and settings.select < found.size:
        scores = np.concatenate(
            [_explained(piece[rows], y[samples.owner[rows]], n_classes) for piece in found.pieces()]
        )
        found = replace(found, chosen=np.sort(np.argsort(-scores, kind="stable")[: settings.select]))
    return found


def unseen_sites(samples: Samples, train: Ints) -> list[str]:
    """Names of the sites (and 'unknown') that get the pooled location and scale: none or one training participant."""
    if samples.site is None:
        return []
    others = samples.site[samples.owner[_site_numbers(samples, train) < 0]]
    return sorted({"unknown" if name is None else str(name) for name in others})


def _site_numbers(samples: Samples, train: Ints) -> Ints:
    """The number of each row's site, among those with enough training participants; -1 for others."""
    assert samples.site is not None
    names, counts = np.unique([str(name) for name in samples.site[train] if name is not None], return_counts=True)
    number = {name: index for index, name in enumerate(names[counts >= _FEWEST])}
    of_participants = np.array([number.get(name, -1) for name in samples.site], dtype=np.int64)
    return of_participants[samples.owner]


def _design(samples: Samples, rows: Ints) -> Array:
    """The confounds (row, column), centred and scaled on the training `rows`; unknown and unseen values are 0.

    Text becomes one indicator per value among the training rows. Columns that are constant there are left out.
    """
    columns = [column for values in samples.confounds for column in _encoded(values[samples.owner], rows)]
    design = np.stack(columns, axis=1) if columns else np.zeros((len(samples.owner), 0))
    centred = design - _nan_mean(design[rows])
    centred = np.where(np.isfinite(centred), centred, 0)
    sd = np.sqrt((centred[rows] ** 2).mean(axis=0))
    varies = sd > 1e-12
    found: Array = centred[:, varies] / sd[varies]
    return found


def _encoded(values: Floats | Texts, rows: Ints) -> list[Array]:
    if values.dtype.kind == "f":
        return [np.asarray(values, dtype=np.float64)]
    known = sorted({str(value) for value in values[rows] if value is not None})
    inside = np.isin(values.astype(str), known) & np.array([value is not None for value in values], dtype=bool)
    return [np.where(inside, (values == name).astype(float), np.nan) for name in known]


def _nan_mean(x: Array) -> Array:
    known = np.isfinite(x)
    mean: Array = np.where(known, x, 0).sum(axis=0) / np.maximum(1, known.sum(axis=0))
    return mean


def _explained(x: Array, y: Floats | Ints, n_classes: int) -> Array:
    """Share of each feature's variance that the target explains (feature,): in the order of the univariate F."""
    centred = x - x.mean(axis=0)
    total = (centred**2).sum(axis=0)
    if n_classes:
        members = np.eye(n_classes)[y]
        explained = ((members.T @ centred) ** 2 / np.maximum(1, members.sum(axis=0))[:, None]).sum(axis=0)
    else:
        target = y - y.mean()
        explained = (target @ centred) ** 2 / max(float(target @ target), np.finfo(np.float64).tiny)
    varies = total > (_ROUNDING * np.abs(x).max(axis=0, initial=0)) ** 2 * len(x)
    found: Array = np.where(varies, explained / np.where(varies, total, 1), 0)
    return found


def scale(prepared: Prepared) -> Array:
    """Standardise all rows with the training rows' mean and sd, and turn them into the training rows' space.

    A feature constant in training becomes 0; the result is divided by the square root of the number of features, so
    that one grid of strengths suits 10 features and 100,000. With more features than training rows the result has one
    column per direction the training rows span: an L2-penalised linear model has no weight elsewhere (representer
    theorem), so its predictions are exactly those of all features, at a fraction of the cost.
    """
    train, size = prepared.train, prepared.size
    if size <= len(train):
        small: Array = _standardised(np.asarray(prepared.all(), dtype=np.float64), train) / np.sqrt(size)
        return small
    kernel = np.zeros((len(prepared.values), len(train)))
    for piece in prepared.pieces():
        standard = _standardised(piece, train)
        kernel += standard @ standard[train].T
    kernel /= size
    values, directions = np.linalg.eigh(kernel[train])
    spanned = values > values.max(initial=0.0) * len(train) * np.finfo(np.float64).eps
    # The largest direction first, and each with a fixed sign: the same result whatever LAPACK returns.
    values, directions = values[spanned][::-1], directions[:, spanned][:, ::-1]
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
    rotated: Array = kernel @ (directions * signs / np.sqrt(values))
    return rotated if rotated.shape[1] else np.zeros((len(kernel), 1))


def _standardised(x: Array, train: Ints) -> Array:
    mean = x[train].mean(axis=0)
    centred = x - mean
    sd = np.sqrt((centred[train] ** 2).mean(axis=0))
    constant = (
        sd <= _ROUNDING * np.abs(mean) + np.finfo(np.float64).tiny
    )  # float32 features: noise of rounding is no signal
    return np.where(constant, 0, centred / np.where(constant, 1, sd))
