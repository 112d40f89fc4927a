"""What the table prints, as texts: numbers, intervals, marks, headings and captions, the same in every format."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from boldtable.stages.report.settings import Report
from boldtable.stages.report.table import LOWER_IS_BETTER, Table

PERCENT = {"balanced_accuracy", "accuracy", "auroc", "f1"}
METRIC_NAMES = {
    "balanced_accuracy": "balanced accuracy (%)",
    "accuracy": "accuracy (%)",
    "auroc": "AUROC (%)",
    "f1": "macro F1 (%)",
    "mae": "mean absolute error",
    "r2": "R²",
    "pearson_r": "Pearson r",
    "mean_rank": "mean rank",
}
SCHEMES = {
    "leave-one-site-out": "sites left out",
    "kfold": "k-fold",
    "transfer": "other dataset",
    "files": "given splits",
}
_DIGITS = {"mae": 2, "mean_rank": 2, "r2": 3, "pearson_r": 3}
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Entry:
    """One printed cell: texts of mean, sd and interval, and its marks."""

    mean: str
    sd: str
    interval: str
    best: bool
    near: bool
    chance: bool
    n: str
    few: str

    @property
    def marks(self) -> str:
        """† not significantly worse than the best, ° not above chance."""
        return f"{'†' if self.near else ''}{'°' if self.chance else ''}"

    @property
    def spread(self) -> str:
        """``± sd`` and the interval; empty where a single split has neither."""
        return " ".join(part for part in (f"± {self.sd}" if self.sd else "", self.interval) if part)


def number(value: float, metric: str, signed: bool = False) -> str:
    """A value as printed: accuracies in percent with one digit; an empty text for a missing value."""
    if not math.isfinite(value):
        return ""
    digits = _DIGITS.get(metric, 1)
    text = f"{value * 100 if metric in PERCENT else value:{'+' if signed else ''}.{digits}f}"
    return text.replace("-", MINUS)


def interval(low: float, high: float, metric: str) -> str:
    """``[low, high]`` as printed, or an empty text."""
    return f"[{number(low, metric)}, {number(high, metric)}]" if math.isfinite(low) and math.isfinite(high) else ""


def p_value(p: float) -> str:
    """A p value as printed: three digits, never zero."""
    if not math.isfinite(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def entries(table: Table) -> dict[tuple[str, str], Entry]:
    """The printed cells by (model, task)."""
    usual = columns(table).set_index("task")["n_test"]
    return {
        (row["model"], row["task"]): _entry(row, table.alpha, usual[row["task"]]) for _, row in table.scores.iterrows()
    }


def _entry(row: pd.Series, alpha: float, n_test: int) -> Entry:
    metric = str(row["metric"])
    counts = [f"{int(row[name])} {part}" for name, part in _PARTS.items() if row[name]]
    return Entry(
        mean=number(row["mean"], metric) or "n/a",
        sd=number(row["sd"], metric),
        interval=interval(row["ci_low"], row["ci_high"], metric),
        best=bool(row["best"]),
        near=bool(row["p_best_holm"] >= alpha),
        chance=bool(row["p_chance_holm"] >= alpha),
        n=f"{' / '.join(counts)}, {int(row['n_splits'])} split{'s' if row['n_splits'] != 1 else ''}; "
        f"{int(row['n'])} participants tested",
        few=f"n = {int(row['n_test'])}" if row["n_test"] != n_test else "",
    )


_PARTS = {"n_train": "train", "n_val": "validation", "n_test": "test"}


def heading(task: str, dataset: str) -> tuple[str, str]:
    """A task's name on two lines: its dataset, and what remains of the name without it."""
    rest = task.removeprefix(f"{dataset}-")
    return (dataset, rest) if dataset else ("", task)


def columns(table: Table) -> pd.DataFrame:
    """One row per task in printed order: task, dataset, metric, n_test, and as printed chance, counts and scheme.

    `counts` are the participants in training, validation and test of a split, as most models have them.
    """
    usual = table.scores.groupby("task", sort=False)[["n_train", "n_val", "n_test"]].agg(_most)
    found = table.scores.drop_duplicates("task")[["task", "dataset", "metric", "chance", "scheme"]].copy()
    found["chance"] = [number(value, metric) for value, metric in zip(found["chance"], found["metric"], strict=True)]
    found["scheme"] = [SCHEMES.get(scheme, "") for scheme in found["scheme"]]
    found["n_test"] = usual["n_test"].astype(int).to_numpy()
    found["counts"] = ["/".join(str(int(part)) for part in parts if part) for parts in usual.to_numpy()]
    return found


def _most(values: pd.Series) -> float:
    """The most frequent value."""
    return float(values.mode().iloc[0])


def label(settings: Report, row: str) -> tuple[str, str]:
    """The name of a row, and what is said behind it: that it is the reference, or the mean of several seeds."""
    said = ["reference"] if row == settings.reference else []
    seeds = len(settings.rows[row])
    return row, ", ".join([*said, *([f"mean of {seeds} seeds"] if seeds > 1 else [])])


def caption(settings: Report, table: Table) -> str:
    """What the marks and numbers of the printed table mean."""
    metrics = dict.fromkeys(columns(table)["metric"])
    names = ", ".join(
        METRIC_NAMES[metric] + (", lower is better" if metric in LOWER_IS_BETTER else "") for metric in metrics
    )
    level = f"{settings.confidence:.0%}".replace(".0", "")
    parts = [
        f"Primary metric of each task ({names}): mean ± standard deviation over the splits and the {level} interval, "
        f"corrected for splits that share participants (Nadeau and Bengio 2003) and cut off where the metric ends.",
        f"Bold: best mean of the column. †: not significantly worse than the best (corrected resampled t-test, Holm "
        f"over all such tests of the table, p ≥ {table.alpha:g}).",
    ]
    if settings.permutations:
        parts.append(
            f"°: not above chance ({settings.permutations} permutations of the targets, Holm over all such tests)."
        )
    if table.ranks:
        parts.append("Mean rank: over the tasks, 1 is best, ties share their ranks.")
    return " ".join([*parts, "n: participants in training, validation and test of a split."])


def published_entries(table: Table) -> list[dict[str, str]]:
    """Every measured number that has a published one: texts."""
    return [
        {
            "task": row["task"],
            "model": row["model"],
            "metric": METRIC_NAMES[str(row["metric"])],
            "measured": number(row["mean"], str(row["metric"])),
            "interval": interval(row["ci_low"], row["ci_high"], str(row["metric"])),
            "published": number(row["published"], str(row["metric"])),
            "difference": number(row["published_difference"], str(row["metric"]), signed=True),
            "inside": "yes" if row["published_inside"] else "no",
            "source": row["published_source"],
        }
        for _, row in table.published.iterrows()
    ]


PUBLISHED_CAPTION = (
    "Measured minus published. Inside: the published number lies in the interval of the measured one. Published "
    "numbers come from other participants, splits and preprocessing than these."
)


def headline(settings: Report, table: Table) -> list[str]:
    """What the table says first: the best mean rank, and who is better than the reference after correction."""
    found, ranks = [], table.ranks
    if ranks:
        best = min(ranks.values())
        names = " and ".join(model for model, rank in ranks.items() if rank == best)
        found.append(f"Best mean rank: {names} ({best:.1f} of {len(ranks)}).")
    tests = table.tests.loc[(table.tests["reference"] == settings.reference) & (table.tests["row"] == "score")]
    if tests["p_holm"].notna().any():
        sign = np.where(tests["metric"].isin(LOWER_IS_BETTER), -1, 1)
        better = tests.loc[(tests["p_holm"] < table.alpha) & (sign * tests["difference"] > 0)]
        counts = better.groupby("model", sort=False).size()
        n_tasks = table.scores["task"].nunique()
        words = ", ".join(f"{model} on {n} of {n_tasks} tasks" for model, n in counts.items()) or "no model on any task"
        found.append(f"Better than {settings.reference} after correction: {words}.")
    return found


def tests_caption(settings: Report, table: Table) -> str:
    """What the table of comparisons holds."""
    return (
        f"Differences on the primary metric, first minus second, on the same splits, with p of the two-sided corrected "
        f"resampled t-test after Holm over all {n_tests(table)} tests of this table (uncorrected p in the CSV). "
        f"Reference: {settings.reference}."
    )


def comparisons(table: Table) -> list[tuple[str, str]]:
    """The pairs (model, reference) that were tested, in order, each once."""
    return list(dict.fromkeys(zip(table.tests["model"], table.tests["reference"], strict=True)))


def n_tests(table: Table) -> int:
    """How many different tests the Holm correction of the comparisons counts."""
    known = table.tests.loc[table.tests["p"].notna()]
    return len({(task, *sorted(pair)) for task, *pair in known[["task", "model", "reference"]].itertuples(index=False)})


def test_entry(table: Table, pair: tuple[str, str], task: str) -> tuple[str, str, str]:
    """Difference and corrected p as printed, and ``better`` or ``worse`` where it is significant; else empty texts."""
    tests = table.tests
    chosen = tests.loc[(tests["model"] == pair[0]) & (tests["reference"] == pair[1]) & (tests["task"] == task)]
    row = chosen.iloc[0]
    metric = str(row["metric"])
    sign = -1 if metric in LOWER_IS_BETTER else 1
    verdict = "better" if sign * row["difference"] > 0 else "worse"
    sure = verdict if row["p_holm"] < table.alpha else ""
    return number(row["difference"], metric, signed=True), p_value(row["p_holm"]), sure


def trace(table: Table) -> pd.DataFrame:
    """What the numbers of each task trace to: splits, n, seed, code version and the two fingerprints."""
    shown = [
        "task",
        "metric",
        "n_splits",
        "n_train",
        "n_val",
        "n_test",
        "seed",
        "version",
        "settings_sha256",
        "data_sha256",
    ]
    found = table.scores.drop_duplicates("task")[shown]
    return found.astype({"n_splits": int, "n_train": int, "n_val": int, "n_test": int})
