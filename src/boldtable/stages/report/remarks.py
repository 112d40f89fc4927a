"""What a reader must know of the columns before comparing their rows: the lines below the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from boldtable.stages.report.read import SITES, Task


def on(tasks: Sequence[Task]) -> Iterator[str]:
    """The lines on each task, then those on several."""
    for task in tasks:
        yield from _on_one(task)
    yield from _mixed_sites(tasks)


def _on_one(task: Task) -> Iterator[str]:
    """What a reader must know of a column before comparing its rows."""
    yield from task.notes
    if task.scheme == SITES:
        n = len(next(iter(task.cells.values())).values)
        yield f"{task.name}: one site of {n} is left out at a time; the mean is over sites, each counting alike"
    if task.scheme == "transfer":
        yield (
            f"{task.name}: everybody of {', '.join(task.tested_in)} is tested in every split; intervals say how far "
            "the choice of training participants matters, not the choice of those tested"
        )
    tested = {model: cell.counts["n_test"] for model, cell in task.cells.items()}
    if len(set(tested.values())) > 1:
        counts = ", ".join(f"{model} {n}" for model, n in tested.items())
        yield f"{task.name}: models were tested on different numbers of participants ({counts}); compare with care"
    for model, cell in task.cells.items():
        empty = int(cell.values[task.primary].isna().sum())
        if empty:
            yield f"{task.name}: {model} has no {task.primary} in {empty} of its splits; they are left out"
    if task.kind == "fingerprint":
        yield f"{task.name}: one identification without a training part; its interval is Wilson's, and no test is made"


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
