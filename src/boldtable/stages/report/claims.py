"""What the comparisons of a table say, as texts: primary ones after correction, exploratory ones as such."""

from __future__ import annotations

import pandas as pd

from boldtable.stages.report.comparisons import PRIMARY
from boldtable.stages.report.settings import Report
from boldtable.stages.report.table import Table
from boldtable.stages.report.texts import number, p_value
from boldtable.tasks.metrics import METRICS

# Against the reference: primary comparisons after correction, and exploratory ones without.
MARKS = {("better", True): "▲", ("worse", True): "▼", ("better", False): "△", ("worse", False): "▽"}


def verdict(row: pd.Series, alpha: float) -> str:
    """Return ``better`` or ``worse`` where a difference is significant (a primary one: after correction)."""
    p = row["p_holm"] if row["family"] == PRIMARY else row["p"]
    if not p < alpha:
        return ""
    return "better" if METRICS[str(row["metric"])].sign * row["difference"] > 0 else "worse"


def headline(settings: Report, table: Table) -> list[str]:
    """What the table says first: the best mean rank, and what its primary comparisons show after correction."""
    found, ranks = [], table.ranks
    if ranks:
        best = min(ranks.values())
        names = " and ".join(model for model, rank in ranks.items() if rank == best)
        found.append(f"Best mean rank: {names} ({best:.1f} of {len(ranks)}).")
    tests = table.primary
    if not len(tests):
        return [*found, "No trained model is compared: all comparisons are exploratory."]
    named = tests.assign(against=["" if two == settings.reference else str(two) for two in tests["reference"]])
    for against, rows in named.groupby("against", sort=False):
        found.append(_claim(rows, str(against) or settings.reference, table.alpha))
    return found


def _claim(tests: pd.DataFrame, against: str, alpha: float) -> str:
    """How often models are better, and worse, than what they are compared with."""
    of, said = tests.groupby("model", sort=False).size().to_dict(), []
    verdicts = pd.Series([verdict(row, alpha) for _, row in tests.iterrows()], index=tests.index)
    for word in ("better", "worse"):
        counts = tests.loc[verdicts == word].groupby("model", sort=False).size().to_dict()
        words = ", ".join(f"{model} on {n} of {of[model]} tasks" for model, n in counts.items())
        if words or word == "better":
            said.append(f"{word.capitalize()} than {against} after correction: {words or 'no model on any task'}.")
    return " ".join(said)


def tests_caption(settings: Report, table: Table) -> str:
    """What the table of comparisons holds."""
    n = n_tests(table)
    primary = f"{n} primary comparison{'s' if n != 1 else ''}"
    return (
        "Differences on the leading metric, first minus second, on the same participants. Primary is every trained "
        f"model against the reference ({settings.reference}) and against its untrained self"
        f"{', but on ' + ', '.join(settings.controls) if settings.controls else ''}: p is two-sided, after Holm over "
        f"the {primary} of this table (uncorrected p in the CSV). All others are exploratory, set in brackets: their "
        "p are not corrected and carry no claim."
    )


def comparisons(table: Table) -> list[tuple[str, str]]:
    """The pairs (model, reference) that were compared, those with a primary comparison first, each once."""
    tests = table.tests
    first = tests.loc[tests["family"] == PRIMARY]
    return list(dict.fromkeys([*_pairs(first), *_pairs(tests)]))


def _pairs(tests: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(tests["model"], tests["reference"], strict=True))


def n_tests(table: Table) -> int:
    """How many different tests the Holm correction of the comparisons counts."""
    known = table.primary.loc[table.primary["p"].notna()]
    return len({(task, *sorted(pair)) for task, *pair in known[["task", "model", "reference"]].itertuples(index=False)})


def test_entry(table: Table, pair: tuple[str, str], task: str) -> tuple[str, str, str]:
    """Difference and p as printed, and ``better`` or ``worse`` where it is significant; else empty texts.

    p is corrected in a primary comparison; in an exploratory one it is not, stands in brackets and marks nothing.
    """
    tests = table.tests
    chosen = tests.loc[(tests["model"] == pair[0]) & (tests["reference"] == pair[1]) & (tests["task"] == task)]
    row = chosen.iloc[0]
    primary = row["family"] == PRIMARY
    p = p_value(row["p_holm"] if primary else row["p"])
    gap = number(row["difference"], str(row["metric"]), signed=True)
    return gap, p if primary or not p else f"({p})", verdict(row, table.alpha) if primary else ""
