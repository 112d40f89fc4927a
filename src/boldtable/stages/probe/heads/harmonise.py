"""ComBat: location and scale of every site, fitted on the training rows (Johnson, Li and Rabinovic 2007)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from boldtable.stages.probe.heads.samples import Ints

Array = npt.NDArray[np.float64]
_STEPS, _TOLERANCE = 100, 1e-6


@dataclass(frozen=True)
class Sites:
    """What is known of every site and feature after fitting.

    `mean` (feature,) and `slope` (covariate, feature) of the pooled model and its residual `sd` (feature,); `shift`
    and `spread` (site + 1, feature) of the standardised residuals, the last row (0 and 1) for sites that were not
    fitted.
    """

    mean: Array
    slope: Array
    sd: Array
    shift: Array
    spread: Array

    def apply(self, x: Array, site: Ints, covariates: Array, columns: Ints) -> Array:
        """Some `columns` of the features, `x` (row, some features), without what the sites add.

        `site` (row,) is the number of a site or -1: a site that was not fitted keeps the pooled location and scale.
        """
        pooled = self.mean[columns] + covariates @ self.slope[:, columns]
        place, sd = np.ix_(site, columns), self.sd[columns]
        found: Array = ((x - pooled) / sd - self.shift[place]) / self.spread[place] * sd + pooled
        return found


def fit(pieces: Iterable[Array], site: Ints, covariates: Array) -> Sites:
    """Fit sites 0, 1, ... on training rows: `pieces` (row, some features) side by side, `site` (row,) or -1.

    Order of operations: least squares on site indicators and the centred `covariates` (row, covariate), whose effect
    is thereby kept; pooled mean and residual sd; mean and variance of every site's standardised residuals; both drawn
    towards their distribution over the features (parametric empirical Bayes, iterated to `_TOLERANCE`).
    """
    inside = site >= 0
    number, covariates = site[inside], covariates[inside]
    indicators = np.eye(number.max() + 1)[number]
    share, count = indicators.mean(axis=0), indicators.sum(axis=0)
    inverse = np.linalg.pinv(np.hstack([indicators, covariates]))
    parts = []
    for piece in pieces:
        x = piece[inside]
        coefficients = inverse @ x
        of_sites, slope = np.split(coefficients, [len(share)])
        residual = x - indicators @ of_sites - covariates @ slope
        mean, sd = share @ of_sites, np.sqrt((residual**2).mean(axis=0))
        sd = np.where(sd > 1e-7 * np.abs(mean) + np.finfo(np.float64).tiny, sd, 1)
        z = (x - mean - covariates @ slope) / sd
        shift = indicators.T @ z / count[:, None]
        variance = indicators.T @ (z - indicators @ shift) ** 2 / np.maximum(1, count - 1)[:, None]
        parts.append((mean, slope, sd, shift, variance))
    mean, slope, sd, shift, variance = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    drawn = [_drawn(*of_site) for of_site in zip(shift, variance, count, strict=True)]
    shift = np.stack([*(one[0] for one in drawn), np.zeros_like(mean)])
    spread = np.sqrt(np.stack([*(one[1] for one in drawn), np.ones_like(mean)]))
    return Sites(mean, slope, sd, shift, spread)


def _drawn(shift: Array, variance: Array, n: float) -> tuple[Array, Array]:
    """The posterior means of one site's shifts and variances (feature,), estimated on n rows.

    Prior of the shifts: normal; of the variances: inverse gamma; both by moments over the features. Without spread
    over the features (such as with a single one) there is nothing to borrow, and the estimates stay.
    """
    centre, width = shift.mean(), shift.var()
    mean, spread = variance.mean(), variance.var()
    if width <= np.finfo(np.float64).tiny or spread <= np.finfo(np.float64).tiny:
        return shift, np.where(variance > 0, variance, 1)
    shape, rate = (mean**2 + 2 * spread) / spread, (mean**3 + mean * spread) / spread
    location, scale = shift, variance
    for _ in range(_STEPS):
        before = location, scale
        location = (n * width * shift + scale * centre) / (n * width + scale)
        squares = (n - 1) * variance + n * (shift - location) ** 2
        scale = (rate + squares / 2) / (n / 2 + shape - 1)
        if all(np.abs(new - old).max() <= _TOLERANCE for new, old in zip((location, scale), before, strict=True)):
            break
    return location, scale
