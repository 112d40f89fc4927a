"""Choose one value of a grid: on the validation part, or by nested cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import rankdata
from sklearn.model_selection import StratifiedGroupKFold

from boldtable.errors import InputError
from boldtable.stages.probe import metrics
from boldtable.stages.probe.heads.prepare import Array
from boldtable.stages.probe.heads.samples import Floats, Ints, Part

# Training participants → every value of the grid, the one to prefer among equals first, with what it gives everybody.
Outputs = Callable[[Ints], Iterator[tuple[float, Array]]]
_SMALLEST_SHARE = 1e-12


@dataclass(frozen=True)
class Fitted:
    """A chosen probe: its value of the grid and what it gives for every participant.

    `output` is (participant, class) probabilities for classes, (participant,) values for regression; `validation` the
    measure that it was chosen by, larger is better; `edge` says that the value is the smallest or the largest of its
    grid; `unseen` the sites that harmonisation had to take for the pooled one.
    """

    chosen: float
    validation: float
    output: Array
    edge: str | None = None
    unseen: tuple[str, ...] = ()


def goodness(measure: str, y: Floats | Ints, output: Array, spread: float = 1.0) -> float:
    """How good an output is, larger is better: minus infinity of what diverged, NaN where it cannot be told.

    `measure` is auroc (of several classes the mean of one against the rest), log_loss (the classes that occur weigh
    alike, as they do in fitting) or balanced_accuracy of class numbers `y` and probabilities (participant, class), or
    r2 (errors in units of the variance `spread` of all that may be seen) or mae of numbers.
    """
    if not np.isfinite(output).all():
        return -np.inf
    if measure == "balanced_accuracy":
        return metrics.balanced_accuracy(y, output.argmax(axis=1))
    if measure == "auroc":
        return _auroc(y.astype(np.int64), output)
    if measure == "log_loss":
        own = np.log(np.maximum(output[np.arange(len(y)), y.astype(np.int64)], _SMALLEST_SHARE))
        return float(np.mean([own[y == label].mean() for label in np.unique(y)]))
    if measure == "r2":
        return 1 - float(((output - y) ** 2).mean()) / spread
    return -float(np.abs(output - y).mean())


def _auroc(y: Ints, output: Array) -> float:
    """Mean over the classes that occur of one against the rest, by ranks; NaN where only one does."""
    present = np.unique(y)
    if len(present) < 2:
        return np.nan
    judged = present[1:] if output.shape[1] == 2 else present
    ranks = rankdata(output[:, judged], axis=0)
    own = y[:, None] == judged
    n_own = own.sum(axis=0)
    above = np.where(own, ranks, 0).sum(axis=0) - n_own * (n_own + 1) / 2
    return float((above / (n_own * (len(y) - n_own))).mean())


def on_validation(measure: str, outputs: Outputs, y: Floats | Ints, train: Ints, val: Ints) -> Fitted:
    """The first of the best values on the participants `val`, fitted on `train`."""
    spread = _variance(y[np.concatenate([train, val])])
    found = list(outputs(train))
    good = [goodness(measure, y[val], output[val], spread) for _, output in found]
    if np.isnan(good).all():  # one class alone is validated on
        good = [goodness("log_loss", y[val], output[val]) for _, output in found]
    fits = [Fitted(value, number, output) for (value, output), number in zip(found, good, strict=True)]
    best = max(fits, key=lambda fit: fit.validation)
    return replace(best, edge=_edge([fit.chosen for fit in fits], np.array([fit.validation for fit in fits])))


def nested(measure: str, outputs: Outputs, part: Part, seen: Ints, folds: int) -> Fitted:
    """The value best on average over inner folds of the participants `seen`, fitted on all of them.

    The folds are stratified by class (or by quantile of the target). They keep families together, and where the part
    has sites, whole sites, because the outer split does so too. There are as many folds as `folds`, or as the smallest
    class, the families or the sites allow. Raises `InputError` where that is fewer than two.
    """
    blocks = _blocks(part, seen)
    y = part.y
    fewest = int(np.bincount(part.classes[seen])[np.unique(part.classes[seen])].min()) if part.n_classes else folds
    folds = min(folds, len(np.unique(blocks)), max(2, fewest))
    if folds < 2:
        raise InputError("all participants to train on are of one family: nothing can be chosen; set inner_folds: null")
    strata = y[seen] if part.n_classes else _quantiles(y[seen], min(folds, len(seen) // folds))
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=part.seed)
    spread = _variance(y[seen])
    values: list[float] = []
    found, others, sizes = [], [], []
    for inside, outside in cut.split(seen, strata, blocks):
        if part.n_classes and len(np.unique(y[seen[inside]])) < 2:
            continue
        own = seen[outside]
        good = [(value, output[own]) for value, output in outputs(seen[inside])]
        values = [value for value, _ in good]
        found.append([goodness(measure, y[own], output, spread) for _, output in good])
        others.append([goodness("log_loss", y[own], output) if part.n_classes else np.nan for _, output in good])
        sizes.append(len(outside))
    means = _weighted(np.array(found), np.array(sizes))
    if np.isnan(means).all():  # every fold holds one class alone
        means = _weighted(np.array(others), np.array(sizes))
    if np.isnan(means).all():
        raise InputError("no inner folds leave two classes to train on; set inner_folds: null")
    chosen = values[int(np.nanargmax(means))]
    output = next(output for value, output in outputs(seen) if value == chosen)
    return Fitted(chosen, float(np.nanmax(means)), output, _edge(values, means))


def _variance(y: Floats | Ints) -> float:
    """The variance of a target over all that may be seen; 1 where it does not vary."""
    return float(np.var(y)) or 1.0


def _quantiles(y: Floats | Ints, n: int) -> Ints:
    """The quantile of each value among `n`."""
    return np.argsort(np.argsort(y, kind="stable")) * max(1, n) // len(y)


def _weighted(found: Array, sizes: Ints) -> Array:
    """The mean over folds (fold, value), each weighted by its participants; folds that cannot tell are left out."""
    if not found.size:
        return np.full(1, np.nan)
    known = ~np.isnan(found)
    weights = np.where(known, sizes[:, None], 0)
    total = weights.sum(axis=0)
    sums = (np.where(known, found, 0) * weights).sum(axis=0)
    return np.where(total > 0, sums / np.maximum(total, 1), np.nan)


def _blocks(part: Part, seen: Ints) -> Ints:
    """Who stays together in the inner folds (participant of `seen`,): families, or sites and the families in them."""
    groups = np.unique(part.groups[seen], return_inverse=True)[1]
    if part.sites is None:
        return groups
    sites = np.unique(part.sites[seen], return_inverse=True)[1]
    n_sites, n = int(sites.max()) + 1, int(sites.max()) + 1 + int(groups.max()) + 1
    links = coo_array((np.ones(len(seen)), (sites, n_sites + groups)), shape=(n, n))
    blocks = connected_components(links, directed=False)[1][sites]
    return blocks if len(np.unique(blocks)) > 1 else groups  # of one site only, or all sites share families


def _edge(grid: list[float], found: Array) -> str | None:
    """Whether an end of the grid is better than all of its other values: a still better one may lie beyond it."""
    if len(grid) < 2 or np.isnan(found).any():
        return None
    best = np.flatnonzero(found >= found.max() - 1e-12)
    ends = {int(np.argmin(grid)): "smallest", int(np.argmax(grid)): "largest"}
    return ends.get(int(best[0])) if len(best) == 1 else None


def constant(part: Part, train: Ints) -> Array:
    """What is known without features: the shares of the training classes (participant, class), or the mean."""
    if not part.n_classes:
        return np.full(len(part.y), part.y[train].mean())
    share = np.bincount(part.y[train], minlength=part.n_classes) / len(train)
    return np.tile(share, (len(part.y), 1))
