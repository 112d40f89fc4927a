"""One record per metric: its name, label, unit, range, direction, chance level and digits.

Every stage and every format reads these records; nothing else in the package lists metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Name = Literal["balanced_accuracy", "auroc", "accuracy", "f1", "mae", "r2", "pearson_r"]


@dataclass(frozen=True)
class Metric:
    """What a metric is called, where its values lie, and how they are printed.

    `guess` is what guessing yields: a number, ``classes`` (1 / classes), ``people`` (1 / participants), ``middle``
    (the middle rank), or None where it depends on the distribution of the target.
    """

    name: str
    label: str
    short: str
    low: float
    high: float
    guess: float | Literal["classes", "people", "middle"] | None = None
    higher_is_better: bool = True
    percent: bool = False
    digits: int = 1

    @property
    def scale(self) -> int:
        """What a value is multiplied by when it is printed."""
        return 100 if self.percent else 1

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.higher_is_better else -1

    def chance(self, n_classes: int | None = None, n_people: int = 0) -> float:
        """Return what guessing yields; NaN where that is not known."""
        if self.guess == "classes":
            return 1 / n_classes if n_classes else math.nan
        if self.guess == "people":
            return 1 / n_people if n_people else math.nan
        if self.guess == "middle":
            return (n_people + 1) / 2 if n_people else math.nan
        return math.nan if self.guess is None else float(self.guess)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("balanced_accuracy", "balanced accuracy (%)", "balanced accuracy", 0, 1, "classes", percent=True),
        Metric("auroc", "AUROC (%)", "AUROC", 0, 1, 0.5, percent=True),
        Metric("accuracy", "accuracy (%)", "accuracy", 0, 1, "people", percent=True),
        Metric("f1", "macro F1 (%)", "macro F1", 0, 1, percent=True),
        Metric("mae", "mean absolute error", "MAE", 0, math.inf, higher_is_better=False, digits=2),
        Metric("r2", "R²", "R²", -math.inf, 1, 0.0, digits=3),
        Metric("pearson_r", "Pearson r", "Pearson r", -1, 1, 0.0, digits=3),
        Metric("mean_rank", "mean rank", "mean rank", 1, math.inf, "middle", higher_is_better=False, digits=2),
    )
}

# The first metric of each kind leads unless the task names another; the second stands beside it on the page.
KINDS: Mapping[str, tuple[str, ...]] = {
    "classification": ("balanced_accuracy", "auroc", "accuracy", "f1"),
    "binned": ("balanced_accuracy", "auroc", "accuracy", "f1"),
    "regression": ("mae", "r2", "pearson_r"),
    "fingerprint": ("accuracy", "mean_rank"),
}


def ordered(kind: str, leading: str | None = None) -> tuple[str, ...]:
    """Return the metrics of a kind of task, the leading one first; None leads with the kind's own."""
    names = KINDS[kind]
    return names if leading is None else (leading, *(name for name in names if name != leading))


def leading(kind: str, chosen: str | None = None) -> str:
    """Return the metric that is printed first and tested."""
    return chosen or KINDS[kind][0]


def headlines(names: Sequence[str] = tuple(KINDS)) -> set[str]:
    """Return the metrics that lead by default in these kinds of task."""
    return {KINDS[name][0] for name in names}
