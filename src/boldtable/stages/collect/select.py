"""Which of the runs found are wanted: entity filters, tasks, sessions, and one rendering of each run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from boldtable.errors import InputError, nearest
from boldtable.progress import say
from boldtable.stages.collect.files import examples
from boldtable.stages.collect.filters import ENTITIES, entity_filters, matches, read_filters
from boldtable.stages.collect.record import Run
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.tree import VARIANT

_NATIVE = "native"  # fMRIPrep's own word for a rendering without a space or res entity
_RENDERINGS = {"atlas": "atlases", "space": "spaces", "resolution": "resolutions"}


def select(settings: Collect, runs: list[Run]) -> list[Run]:
    """Apply the filters and keep one rendering of each run.

    A run that has BOLD only in other spaces or resolutions than the wanted ones stays as an excluded row, and one that
    the filters, tasks or sessions leave out as a filtered row. Raises
    `InputError` where a filter matches nothing, and where several atlases, spaces or resolutions are left, or several
    echoes of one run.
    """
    every = runs
    runs = _filtered(settings, runs)
    found = [run for run in runs if run.bold]
    nothing = [run for run in runs if not run.bold]
    found = _keep(found, "tasks", settings.tasks, lambda run: run.task)
    found = _keep(found, "sessions", settings.sessions, lambda run: run.session)
    if runs and not found:
        raise InputError("no run is left: no run has both a task of 'tasks' and a session of 'sessions'")
    nothing += _left_out(every, [*nothing, *found])
    found = _one_echo(found)
    left = found
    for name in _RENDERINGS:
        left = _rendered(left, name, getattr(settings, name))
    groups: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in found:
        groups[run.keys].append(run)
    return nothing + [_one(settings, group) for group in groups.values()]


def _left_out(every: list[Run], left: list[Run]) -> list[Run]:
    """A row for each run of which no rendering is left, with the setting that left it out; says how many there are."""
    there = {run.keys for run in left}
    gone = {run.keys: run for run in reversed(every) if run.keys not in there}
    for reason, n in sorted(Counter(run.reason for run in gone.values()).items(), key=str):
        say(f"collect: {n} run(s) {reason}")
    return list(gone.values())


def _filtered(settings: Collect, runs: list[Run]) -> list[Run]:
    """The runs that pass every entity filter; a filter that leaves none is an error, for it may be a slip.

    Of participants without any run only the name is known: only a filter on the participant concerns them.
    """
    found = [run for run in runs if run.bold]
    nothing = [run for run in runs if not run.bold]
    for name, (values, regex) in entity_filters(read_filters(settings.filters)).items():
        left = [run for run in found if matches(name, values, regex, run.entities)]
        wanted = ", ".join("null" if value is None else str(value) for value in values)
        if found and not left:
            there = {run.entities[ENTITIES[name]] for run in found if ENTITIES[name] in run.entities}
            known = f"there: {examples(there, 10)}" if there else "no file has this entity"
            raise InputError(f"filters: no run is left with {name} {wanted} ({known}); correct 'filters'")
        for run in found:
            if not matches(name, values, regex, run.entities):
                run.leave_out(f"left out by filters: {name} {wanted}")
        found = left
        if name == "subject":
            others = [run for run in nothing if not matches(name, values, regex, {"sub": run.participant})]
            for run in others:
                run.leave_out(f"left out by filters: {name} {wanted}")
            nothing = [run for run in nothing if run not in others]
    return nothing + found


def _keep(runs: list[Run], name: str, wanted: list[str] | None, value: Callable[[Run], str | None]) -> list[Run]:
    """The runs whose value is wanted; a wanted value that no run has is an error, for it may be a slip."""
    if wanted is None:
        return runs
    known = {value(run) or "" for run in runs}
    for one in wanted:
        if one not in known:
            raise _unmatched(name, one, known)
    for run in runs:
        if value(run) not in wanted:
            run.leave_out(f"left out by {name}: {', '.join(wanted)}")
    return [run for run in runs if value(run) in wanted]


def _one_echo(runs: list[Run]) -> list[Run]:
    """Without the single echoes of runs that were combined; several echoes of a run that was not are an error."""
    combined = {_but_echo(run.entities) for run in runs if "echo" not in run.entities}
    alone: dict[frozenset[tuple[str, str]], list[Run]] = defaultdict(list)
    left = []
    for run in runs:
        if "echo" not in run.entities:
            left.append(run)
        elif (key := _but_echo(run.entities)) not in combined:
            alone[key].append(run)
            left.append(run)
    for echoes in alone.values():
        there = sorted({run.entities["echo"] for run in echoes})
        if len(there) > 1:
            raise InputError(
                f"{echoes[0].bold} and {len(echoes) - 1} more are echoes of the same run; choose one with "
                f'filters: {{"bold": {{"echo": ...}}}}, one of: {", ".join(there)}'
            )
    if len(left) < len(runs):
        say(f"collect: {len(runs) - len(left)} single echoes left out: their runs have the combined BOLD as well")
    return left


def _but_echo(entities: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((key, value) for key, value in entities.items() if key not in ("echo", "extension", *VARIANT))


def _rendered(runs: list[Run], name: str, wanted: str | None) -> list[Run]:
    """The runs of one atlas, space or resolution; where none is wanted there must be only one in the whole dataset."""
    known: dict[str, Run] = {}
    for run in runs:
        known.setdefault(getattr(run, name) or _NATIVE, run)
    if wanted is not None and runs and wanted not in known:
        raise _unmatched(name, wanted, known)
    if wanted is None and len(known) > 1:
        first, second, *_ = known.values()
        raise InputError(
            f"the runs are there in several {_RENDERINGS[name]}, such as {first.bold} and {second.bold}; set {name} to "
            f"one of: {', '.join(sorted(known))}"
        )
    return [run for run in runs if wanted is None or (getattr(run, name) or _NATIVE) == wanted]


def _unmatched(name: str, value: str, known: Iterable[str]) -> InputError:
    labels = [label for label in known if label]
    there = f"there: {examples(labels, 10)}" if labels else "the files have no such label"
    hint = nearest(value, labels)
    hint = hint if "did you mean" in hint else ""
    return InputError(f"{name}: '{value}' matches no run{hint} ({there}); correct '{name}' or remove it")


def _one(settings: Collect, group: list[Run]) -> Run:
    """The one rendering of a run that is wanted; excluded where there is none, or two files of one rendering."""
    left = group
    for name in _RENDERINGS:
        wanted = getattr(settings, name)
        matching = [run for run in left if wanted is None or (getattr(run, name) or _NATIVE) == wanted]
        if not matching:
            there = sorted({getattr(run, name) or _NATIVE for run in left})
            return left[0].exclude(f"no BOLD with {name} {wanted}, only: {', '.join(there)}")
        left = matching
    if len(left) > 1:
        left[0].exclude(f"two files for one run: {left[0].bold} and {left[1].bold}; remove one")
    return left[0]
