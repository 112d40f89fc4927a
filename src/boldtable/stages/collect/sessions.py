"""The tables beside the table: ``sub-XX_sessions.tsv``, with what changes between the sessions of a participant."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.stages.collect.files import bare, examples, parallel
from boldtable.stages.collect.participants import Row, standard_columns
from boldtable.stages.collect.phenotypes import by_session
from boldtable.stages.collect.record import Run
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.tables import Columns, Missing, as_label, one_kind, read_table


def add_sessions(settings: Collect, rows: list[Row], participants: Path | None, found: Iterable[Run]) -> list[Row]:
    """Return the rows of the participants with what their sessions tables say, one row per session of theirs.

    The tables are looked for beside participants.tsv and in the derivatives. Where both have a value, that of the
    session counts. Raises `InputError` for a table that cannot be read, has no session_id, a session twice or another
    participant, and where the tables know none of the sessions of the runs `found`.
    """
    folders = dict.fromkeys([settings.derivatives, *([participants.parent] if participants else [])])
    paths = [path for name in sorted({row["participant"] for row in rows}) for path in _tables(folders, name)]
    if not paths:
        return rows
    read = parallel(partial(_read, settings), paths, "collect: read sessions tables")
    names = list(dict.fromkeys(name for _, columns in read for name in columns))
    people = [name for name, columns in read for _ in columns["session_id"]]
    joined: Columns = {
        name: [value for _, columns in read for value in columns.get(name, [None] * len(columns["session_id"]))]
        for name in names
    }
    sessions = [bare(as_label(value), "ses-") for value in joined.pop("session_id")]
    columns = standard_columns(settings, paths[0], people, joined)
    keys = list(zip(people, sessions, strict=True))
    _compare(paths, keys, found)
    return _filled(by_session(rows, keys), dict(zip(keys, range(len(keys)), strict=True)), columns)


def _compare(paths: list[Path], keys: list[tuple[str, str]], found: Iterable[Run]) -> None:
    """Say how many sessions of the runs the tables know; refuse tables that know none of them."""
    recorded = {(run.participant, run.session) for run in found if run.session is not None and run.status == "found"}
    met = recorded & set(keys)
    if recorded and not met:
        here, there = examples({str(session) for _, session in recorded}, 3), examples({key[1] for key in keys}, 3)
        raise InputError(
            f"{paths[0]} and {len(paths) - 1} more know none of the sessions of the runs ({here}; they have {there}); "
            "correct session_id"
        )
    say(f"collect: {len(paths)} sessions tables: {len(met)} of {len(recorded)} sessions with runs have a row")


def _tables(folders: Iterable[Path], participant: str) -> list[Path]:
    """The sessions tables of a participant, that of the first folder which has one."""
    paths = (folder / f"sub-{participant}" / f"sub-{participant}_sessions.tsv" for folder in folders)
    return [path for path in paths if os.path.lexists(path)][:1]


def _read(settings: Collect, path: Path) -> tuple[str, Columns]:
    """The participant of a sessions table and its columns."""
    columns = read_table(path, Missing(settings.missing), otherwise="\t")
    if "session_id" not in columns:
        raise InputError(f"{path} has no column session_id (there: {examples(columns)}); BIDS wants it first")
    sessions = columns["session_id"]
    if None in sessions:
        raise InputError(f"{path}: row {sessions.index(None) + 1} has no session_id; fill it in")
    labels = [bare(as_label(value), "ses-") for value in sessions]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise InputError(f"{path} lists session {examples(twice)} more than once; keep one row of each")
    name = bare(path.parent.name, "sub-")
    others = {bare(as_label(value), "sub-") for value in columns.pop("participant_id", []) if value is not None} - {
        name
    }
    if others:
        raise InputError(f"{path} has rows of participant {examples(others)}; correct participant_id or its folder")
    return name, columns


def _filled(rows: list[Row], place: dict[tuple[str, str], int], columns: Columns) -> list[Row]:
    """The rows with the values of their session; what the sessions do not know stays."""
    filled = []
    for row in rows:
        number = place.get((row["participant"], row["session"]))
        given: dict[str, Any] = {name: None if number is None else values[number] for name, values in columns.items()}
        filled.append({**dict.fromkeys(given), **row, **{k: v for k, v in given.items() if v is not None}})
    for name in columns:  # numbers of the one table and words of the other are words
        for row, value in zip(filled, one_kind([row[name] for row in filled]), strict=True):
            row[name] = value
    return filled
