"""Join further tables of phenotypes to the participants, on declared keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from boldtable.errors import InputError, nearest
from boldtable.progress import say
from boldtable.stages.collect.files import bare, examples
from boldtable.stages.collect.ids import matcher, remedy
from boldtable.stages.collect.participants import STANDARD, Row, refuse_duplicates, standard_kind
from boldtable.stages.collect.settings import Collect, Phenotypes
from boldtable.stages.collect.tables import Columns, Missing, as_label, as_numbers, read_table

_KEYS = ("participant", "session")


@dataclass(frozen=True)
class Table:
    """A table ready to be joined: the participant and session of each row (None: a stranger; no session), columns."""

    path: Path
    participants: list[str | None]
    sessions: list[str | None]
    columns: Columns


def add_phenotypes(settings: Collect, rows: list[Row]) -> list[Row]:
    """Return the rows of the participants with the columns of every table of the settings, sorted.

    A table without sessions gives its values to every row of a participant. A table with sessions gives them to the
    row of the session; a participant who has only one row without a session gets one row per session of the tables.
    Rows of strangers to the dataset are left out, and said. Raises `InputError` for tables that cannot be read, columns
    that are not there or there already, duplicates, and tables that have none of the participants.
    """
    if not settings.phenotypes:
        return rows
    people = {row["participant"] for row in rows}
    tables = [_read(settings, one, people) for one in settings.phenotypes]
    visits = [zip(table.participants, table.sessions, strict=True) for table in tables if any(table.sessions)]
    rows = by_session(rows, chain.from_iterable(visits))
    for table in tables:
        join(table, rows)
    return sorted(rows, key=lambda row: (row["participant"], row["session"] or ""))


def _read(settings: Collect, one: Phenotypes, people: set[str]) -> Table:
    columns = read_table(one.table, Missing(settings.missing, one.missing))
    for setting, name in (("key", one.key), ("session", one.session)):
        if name is not None and name not in columns:
            raise InputError(f"{setting}: {one.table} has no column '{name}'{nearest(name, columns)}")
    labels, match = _labels(one, columns[one.key]), matcher(people, one.ids, str(one.table))
    participants = [match(label) for label in labels]
    sessions = _sessions(one, columns)
    _check_people(one, labels, participants, sessions, people)
    return Table(one.table, participants, sessions, _taken(one, columns, labels))


def _labels(one: Phenotypes, values: Sequence[object]) -> list[str]:
    empty = [row for row, value in enumerate(values) if value is None]
    if empty:
        raise InputError(f"{one.table}: row {empty[0] + 2} has no {one.key}; fill it in")
    if not values:
        raise InputError(f"{one.table} has no rows; correct its path or leave it out")
    return [as_label(value) for value in values]


def _sessions(one: Phenotypes, columns: Columns) -> list[str | None]:
    if one.session is None:
        return [None] * len(columns[one.key])
    values = columns[one.session]
    if None in values:
        raise InputError(f"{one.table}: row {values.index(None) + 2} has no {one.session}; fill it in")
    return [bare(as_label(value), "ses-") for value in values]


def _check_people(
    one: Phenotypes,
    labels: list[str],
    participants: list[str | None],
    sessions: list[str | None],
    people: set[str],
) -> None:
    strangers = [label for label, participant in zip(labels, participants, strict=True) if participant is None]
    if len(strangers) == len(labels):
        raise InputError(
            f"{one.table} has none of the participants ({examples(people, 3)}; it has {examples(labels, 3)}); correct "
            f"'key', or 'ids' (now {one.ids}: exact, padding, alphanumeric or number)"
        )
    known = [(key, label) for *key, label in zip(participants, sessions, labels, strict=True) if key[0] is not None]
    refuse_duplicates(one.table, [(str(key[0]), key[1]) for key, _ in known], [label for _, label in known])
    without = people - {str(key[0]) for key, _ in known}
    _refuse_half(one, people, without, strangers)
    say(f"collect: {one.table}: {len(people) - len(without)} of {len(people)} participants have a row")
    if strangers:
        say(f"collect: {one.table}: {len(strangers)} row(s) not of this dataset, left out: {examples(strangers)}")


def _refuse_half(one: Phenotypes, people: set[str], without: set[str], strangers: list[str]) -> None:
    """Raise `InputError` where participants without a row would have one by a looser rule than the one by default."""
    way = remedy(people, without, strangers, one.ids) if "ids" not in one.model_fields_set else None
    if way:
        raise InputError(f"{one.table} has no row of {len(without)} participants ({examples(without, 3)}), but {way}")


def _taken(one: Phenotypes, columns: Columns, labels: list[str]) -> Columns:
    """The columns to take under their new names, each in its kind."""
    others = [name for name in columns if name not in (one.key, one.session)]
    wanted = others if one.columns is None else one.columns
    for setting, names in (("columns", wanted), ("rename", one.rename)):
        for name in names:
            if name not in others:
                raise InputError(f"{setting}: {one.table} has no column '{name}'{nearest(name, others)}")
    taken: Columns = {}
    for name in wanted:
        new = one.rename.get(name, one.prefix + name)
        if new in taken or new in _KEYS:
            raise InputError(f"{one.table}: '{new}' cannot be the name of column '{name}'; set rename or prefix")
        taken[new] = _kind(one.table, new, labels, columns[name])
    return taken


def _kind(path: Path, name: str, labels: list[str], values: list[object]) -> list[object]:
    if name in STANDARD:
        return standard_kind(name, path, labels, values)
    return as_numbers(values)


def by_session(rows: list[Row], visits: Iterable[tuple[str | None, str | None]]) -> list[Row]:
    """The rows, those without a session copied for each of their participant's `visits` (participant, session)."""
    sessions: dict[str | None, set[str]] = defaultdict(set)
    for participant, session in visits:
        if session is not None:
            sessions[participant].add(session)
    result = []
    for row in rows:
        there = sessions[row["participant"]] if row["session"] is None else set()
        result += [{**row, "session": session} for session in sorted(there)] or [row]
    return result


def join(table: Table, rows: list[Row]) -> None:
    """Fill the columns of a table into the rows, in place."""
    for name in table.columns:
        if any(row.get(name) is not None for row in rows) or (name not in STANDARD and name in rows[0]):
            raise InputError(f"{table.path}: there is a column '{name}' already; set prefix, rename or columns")
    keys = list(zip(table.participants, table.sessions, strict=True))
    place = {key: number for number, key in enumerate(keys)}
    by_session, used = any(table.sessions), set()
    for row in rows:
        number = place.get((row["participant"], row["session"] if by_session else None))
        used.add(number)
        for name, values in table.columns.items():
            row[name] = None if number is None else values[number]
    lost = [" ".join(filter(None, key)) for key, number in place.items() if key[0] and number not in used]
    if lost:
        say(f"collect: {table.path}: in no row of the participants, left out: {examples(lost)}")
