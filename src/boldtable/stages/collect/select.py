"""Which of the runs found are wanted: tasks, sessions, one space and one resolution each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from boldtable.errors import InputError, nearest
from boldtable.stages.collect.files import examples
from boldtable.stages.collect.record import Run
from boldtable.stages.collect.settings import Collect

_NATIVE = "native"  # fMRIPrep's own word for a rendering without a space or res entity


def select(settings: Collect, runs: list[Run]) -> list[Run]:
    """Apply the filters and keep one rendering of each run.

    A run that has BOLD only in other spaces or resolutions than the wanted ones stays as an excluded row. Raises
    `InputError` where a filter matches nothing, and where several spaces or resolutions are left for one run.
    """
    found = [run for run in runs if run.bold]
    nothing = [run for run in runs if not run.bold]
    found = _keep(found, "tasks", settings.tasks, lambda run: run.task)
    found = _keep(found, "sessions", settings.sessions, lambda run: run.session)
    if runs and not found:
        raise InputError("no run is left: no run has both a task of 'tasks' and a session of 'sessions'")
    _check(found, "space", settings.space)
    _check(found, "resolution", settings.resolution)
    groups: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in found:
        groups[run.keys].append(run)
    return nothing + [_one(settings, group) for group in groups.values()]


def _keep(runs: list[Run], name: str, wanted: list[str] | None, value: Callable[[Run], str | None]) -> list[Run]:
    """The runs whose value is wanted; a wanted value that no run has is an error, for it may be a slip."""
    if wanted is None:
        return runs
    known = {value(run) or "" for run in runs}
    for one in wanted:
        if one not in known:
            raise _unmatched(name, one, known)
    return [run for run in runs if value(run) in wanted]


def _check(runs: list[Run], name: str, wanted: str | None) -> None:
    known = {getattr(run, name) or _NATIVE for run in runs}
    if wanted is not None and runs and wanted not in known:
        raise _unmatched(name, wanted, known)


def _unmatched(name: str, value: str, known: Iterable[str]) -> InputError:
    labels = [label for label in known if label]
    there = f"there: {examples(labels, 10)}" if labels else "the files have no such label"
    hint = nearest(value, labels)
    hint = hint if "did you mean" in hint else ""
    return InputError(f"{name}: '{value}' matches no run{hint} ({there}); correct '{name}' or remove it")


def _one(settings: Collect, group: list[Run]) -> Run:
    """The one rendering of a run that is wanted; excluded where there is none, or two files of one rendering."""
    left = group
    for name in ("space", "resolution"):
        wanted = getattr(settings, name)
        there = sorted({getattr(run, name) or _NATIVE for run in left})
        if wanted is None and len(there) > 1:
            raise InputError(
                f"{left[0].bold} and {len(left) - 1} more are the same run in several {name}s; "
                f"set {name} to one of: {', '.join(there)}"
            )
        matching = [run for run in left if wanted is None or (getattr(run, name) or _NATIVE) == wanted]
        if not matching:
            return left[0].exclude(f"no BOLD with {name} {wanted}, only: {', '.join(there)}")
        left = matching
    if len(left) > 1:
        left[0].exclude(f"two files for one run: {left[0].bold} and {left[1].bold}; remove one")
    return left[0]
