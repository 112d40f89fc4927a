"""What a reader must know of the columns before comparing their rows: the lines below the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from boldtable.stages.report.read import SITES, Task
from boldtable.statistics import FEWEST
from boldtable.tasks.metrics import METRICS

_MADE = {
    "auroc": "the mean of their values, weighted by participants, because scores of different probes are offset",
    "pearson_r": "the mean of their values, weighted by participants",
    "r2": "made from errors and spread within them",
}
_SMALL = 30  # participants; simulated in boldtable.statistics.rates
_OFTEN = 0.15  # share of the splits from which on the end of a grid is worth a line
_POOLED = "pooled over all participants"


def on(tasks: Sequence[Task]) -> Iterator[str]:
    """The lines on each task, then those on several."""
    for task in tasks:
        yield from _on_one(task)
    yield from _mixed_sites(tasks)


def _on_one(task: Task) -> Iterator[str]:
    """What a reader must know of a column before comparing its rows."""
    yield from task.notes
    if task.outcomes:
        yield from _on_participants(task)
    else:
        yield from _on_splits(task)
    tested = {model: cell.counts["n_test"] for model, cell in task.cells.items()}
    if len(set(tested.values())) > 1:
        counts = ", ".join(f"{model} {n}" for model, n in tested.items())
        yield f"{task.name}: models were tested on different numbers of participants ({counts}); compare with care"
    for model, cell in task.cells.items():
        empty = int(cell.values[task.primary].isna().sum())
        if empty:
            yield f"{task.name}: {model} has no {task.primary} in {empty} of its splits; they are left out"
    yield from _on_edges(task)
    if task.kind == "fingerprint":
        yield f"{task.name}: one identification without a training part; its interval is Wilson's, and no test is made"


def _on_edges(task: Task) -> Iterator[str]:
    """Which probes took an end of their grid, beyond which a better value may lie."""
    said = []
    for edge in ("smallest", "largest"):
        shares = {row: (cell.at_edge(edge), len(cell.values)) for row, cell in task.cells.items()}
        often = ", ".join(f"{row} {n} of {splits}" for row, (n, splits) in shares.items() if n >= _OFTEN * splits)
        said += [f"{edge}: {often}"] if often else []
    if said:
        yield f"{task.name}: an end of the probe's grid was the best in some splits ({'; '.join(said)}); widen it"


def _on_participants(task: Task) -> Iterator[str]:
    """How the value of a task that tests everybody equally often is made, and what its interval does not cover."""
    found = next(iter(task.outcomes.values()))
    name, whom = METRICS[task.primary].short, f"{found.n} participants"
    if found.n_clusters < found.n:
        whom = f"{found.n_clusters} families of {whom}"
    if task.scheme == SITES:
        yield (
            f"{task.name}: each of {len(task.sites)} sites is left out once; {name} is "
            f"{_MADE.get(task.primary, _POOLED)}. Intervals and tests are over {whom} of these sites and do not say "
            "how far other sites would differ"
        )
    elif task.scheme == "transfer":
        yield (
            f"{task.name}: everybody of {', '.join(task.tested_in)} is tested in every split, and the splits are "
            f"averaged; intervals and tests are over {whom}"
        )
    else:
        yield f"{task.name}: everybody is tested equally often; intervals and tests are over {whom}"
    if found.n_clusters < FEWEST:
        yield f"{task.name}: {found.n_clusters} participants or families carry no interval and no test"


def _on_splits(task: Task) -> Iterator[str]:
    """Why some of the splits carry no interval."""
    if task.kind == "fingerprint":
        return
    first = next(iter(task.cells.values())).values
    if len(first) < FEWEST:
        yield f"{task.name}: intervals and p over repeated splits need {FEWEST} of them, there are {len(first)}"
        return
    n = next(iter(task.cells.values())).n
    if n < _SMALL:
        yield (
            f"{task.name}: with {n} participants the corrected t-test over repeated splits errs in up to 9 % of "
            "cases at a level of 5 %"
        )
    flat = [row for row, cell in task.cells.items() if float(np.ptp(cell.values[task.primary].dropna())) < 1e-12]
    if flat:
        yield f"{task.name}: every split gives {', '.join(flat)} the same value, which carries no interval"
    if task.scheme == SITES:
        yield f"{task.name}: one site of {len(first)} is left out at a time; the value is the mean over sites"


def _mixed_sites(tasks: Sequence[Task]) -> Iterator[str]:
    """A line where a model may know the scanner instead of the target, and no column says how much it does."""
    mixed = [
        task.name
        for task in tasks
        if task.scheme in ("random", "kfold")
        and task.kind != "fingerprint"
        and task.n_sites > 1
        and not any(other.scheme == SITES and other.is_twin_of(task) for other in tasks)
    ]
    if mixed:
        yield (
            f"{', '.join(mixed)}: participants of several sites stand on both sides of each split, and knowing the "
            "scanner may help; the same task with scheme leave-one-site-out would show how much"
        )
