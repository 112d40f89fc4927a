"""Tasks that failed: their files say why, and the table is made without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from boldtable import store
from boldtable.errors import InputError, shortened
from boldtable.stages.report.settings import Report


def reasons(results: Path, tasks: Iterable[str], models: Iterable[str]) -> dict[str, str]:
    """Task → why it failed, in its splits or in the probe of a model."""
    rows = list(models)
    found = {task: next(_failures(results, task, rows), None) for task in tasks}
    return {task: reason for task, reason in found.items() if reason is not None}


def _failures(results: Path, task: str, models: Iterable[str]) -> Iterator[str]:
    splits = results / "splits" / f"{task}.parquet"
    if (reason := _reason(splits)) is not None:
        yield reason
    for model in models:
        if (reason := _reason(results / "scores" / model / f"{task}.parquet")) is not None:
            yield f"{model}: {reason}"


def _reason(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        found = store.provenance(path).get("failed")
    except InputError:  # whoever reads the numbers says what is wrong with the file
        return None
    return None if found is None else str(found)


def lines(results: Path, table: str, settings: Report) -> list[str]:
    """What to say of a table without its failed tasks, a line each."""
    rows = [*settings.models, *settings.curves]
    found = reasons(results, settings.tasks, rows).items()
    return [f"table '{table}' lacks task '{task}', which failed: {shortened(reason, 600)}" for task, reason in found]


def without(settings: Report, results: Path, table: str) -> tuple[Report, list[str]]:
    """The table without its failed tasks, and the lines that say so; `InputError` where no task is left."""
    failed = reasons(results, settings.tasks, [*settings.models, *settings.curves])
    if not failed:
        return settings, []
    said = lines(results, table, settings)
    left = [task for task in settings.tasks if task not in failed]
    if not left:
        raise InputError(f"no task of table '{table}' is left: {'; '.join(said)}")
    return settings.model_copy(update={"tasks": left}), said
