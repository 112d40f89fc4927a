"""What the table prints, as texts: numbers, intervals, marks, headings and captions, the same in every format."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from boldtable.stages.report.claims import MARKS, verdict
from boldtable.stages.report.comparisons import PRIMARY
from boldtable.stages.report.settings import Report
from boldtable.stages.report.table import Table
from boldtable.stages.report.texts import interval, number, p_value
from boldtable.tasks.metrics import KINDS, METRICS

SCHEMES = {
    "leave-one-site-out": "sites left out",
    "kfold": "k-fold",
    "transfer": "other dataset",
    "files": "given splits",
}


@dataclass(frozen=True)
class Entry:
    """One printed cell: texts of mean, sd, interval and second metric, its mark, and p of the test against chance."""

    mean: str
    sd: str
    interval: str
    best: bool
    mark: str
    chance: str
    second: str
    n: str
    few: str

    @property
    def spread(self) -> str:
        """``± sd`` (over repeated splits alone) and the interval; empty where there is neither."""
        return " ".join(part for part in (f"± {self.sd}" if self.sd else "", self.interval) if part)


def entries(table: Table) -> dict[tuple[str, str], Entry]:
    """The printed cells by (model, task)."""
    usual, others = columns(table).set_index("task")["n_test"], _second(table)
    return {
        (row["model"], row["task"]): _entry(row, table.alpha, usual[row["task"]], others)
        for _, row in table.scores.iterrows()
    }


def _second(table: Table) -> dict[tuple[str, str, str], float]:
    """The value of every metric by model, task and metric."""
    rows = table.rows.loc[table.rows["row"] == "score"]
    keys = zip(rows["model"], rows["task"], rows["metric"], strict=True)
    return dict(zip(keys, rows["mean"].astype(float), strict=True))


def second(kind: str, metric: str) -> str:
    """The metric that is printed beside the leading one."""
    return next(name for name in KINDS[kind] if name != metric)


def _entry(row: pd.Series, alpha: float, n_test: int, others: dict[tuple[str, str, str], float]) -> Entry:
    metric = str(row["metric"])
    counts = [f"{int(row[name])} {part}" for name, part in _PARTS.items() if row[name]]
    other = second(str(row["kind"]), metric)
    beside = number(others.get((row["model"], row["task"], other), math.nan), other)
    return Entry(
        mean=number(row["mean"], metric) or "n/a",
        sd=number(row["sd"], metric) if pd.isna(row["pooled"]) else "",
        interval=interval(row["ci_low"], row["ci_high"], metric),
        best=bool(row["best"]),
        mark=MARKS.get((verdict(row, alpha), row["family"] == PRIMARY), ""),
        chance=p_value(row["p_chance"]),
        second=f"{METRICS[other].short} {beside}" if beside else "",
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
        METRICS[metric].label + ("" if METRICS[metric].higher_is_better else ", lower is better") for metric in metrics
    )
    level = f"{settings.confidence:.0%}".replace(".0", "")
    over = set(table.scores["inference"])
    parts = [f"Leading metric of each task ({names}) with its {level} interval, and a second metric beside it."]
    if "participants" in over:
        parts.append("Where everybody is tested equally often, intervals and tests are over participants.")
    if "splits" in over:
        parts.append(
            "Over repeated random splits: mean ± standard deviation, intervals corrected for splits that share "
            "participants (Nadeau and Bengio 2003). Intervals are cut off where the metric ends."
        )
    if settings.permutations:
        parts.append(f"p: against chance ({settings.permutations} permutations of the targets), not corrected.")
    parts.append(
        f"Bold: best value of the column. ▲ better, ▼ worse than {settings.reference} in a primary comparison (p < "
        f"{table.alpha:g} after Holm); △ ▽ the same in an exploratory one, without correction."
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
            "metric": METRICS[str(row["metric"])].label,
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
