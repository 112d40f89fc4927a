"""The table of participants: participants.tsv with standard columns in front and n/a as null."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from boldtable import store
from boldtable.errors import InputError, nearest
from boldtable.progress import say
from boldtable.stages.collect.files import bare, examples
from boldtable.stages.collect.ids import matcher
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.tables import (
    Columns,
    Missing,
    as_ages,
    as_label,
    as_motion,
    as_numbers,
    as_text,
    read_table,
)

_NAME = "participants.tsv"
_LEVELS_ABOVE = 2  # <bids>/derivatives/fmriprep lies two folders below <bids>/participants.tsv
# Standard column: setting that names where it comes from.
STANDARD = {"site": "site", "family": "family", "age_years": "age", "sex": "sex", "fd_mm_mean": "motion"}

Row = dict[str, Any]


def find_participants(settings: Collect) -> Path | None:
    """The participants.tsv of the settings, else in the derivatives, else in the nearest of two folders above."""
    if settings.participants is not None:
        if not os.path.lexists(settings.participants):
            raise InputError(f"participants file not found: {settings.participants}; correct 'participants'")
        return settings.participants
    folder = settings.derivatives.resolve()
    for candidate in [folder, *folder.parents[:_LEVELS_ABOVE]]:
        if os.path.lexists(candidate / _NAME):  # a link that leads nowhere, or a pipe, is told when it is read
            return candidate / _NAME
    return None


def read_participants(settings: Collect, path: Path, known: Iterable[str] = ()) -> list[Row]:
    """One row per participant (× session where there is a session_id column), sorted.

    First the standard columns participant, session, site, family (text), age_years (float; ``89+`` is 89) and sex
    (text as given); then every further column as given: numbers where all its values are numbers, else text. ``n/a``,
    ``NA``, ``NaN``, empty cells and the declared codes are None. A participant is named as in `known` where the
    settings' rule finds it there. Raises `InputError` for an unreadable file, for one without participant_id or rows,
    and for duplicates.
    """
    columns = read_table(path, Missing(settings.missing), otherwise="\t")
    if "participant_id" not in columns:
        raise InputError(
            f"{path} has no column participant_id (there: {examples(columns)}); BIDS wants it first, tabs between "
            "columns"
        )
    if not columns["participant_id"]:
        raise InputError(f"{path} has no rows; list the participants in it, or remove it")
    keys = _keys(settings, path, columns, matcher(known, settings.ids, str(path)))
    columns = {name: values for name, values in columns.items() if name not in ("participant_id", "session_id")}
    result = keys | standard_columns(settings, path, keys["participant"], columns)
    left_out = {bare(name, "sub-") for name in settings.leave_out}
    rows = [dict(zip(result, values, strict=True)) for values in zip(*result.values(), strict=True)]
    rows = [row for row in rows if row["participant"] not in left_out]
    return sorted(rows, key=lambda row: (row["participant"], row["session"] or ""))


def standard_columns(settings: Collect, path: Path, participants: list[str], columns: Columns) -> Columns:
    """The standard columns in front of all others, each in its kind."""
    nothing: list[Any] = [None] * len(participants)
    source = _standard(settings, path, columns)
    result = dict.fromkeys(STANDARD, nothing)
    result |= {name: standard_kind(name, path, participants, columns[source[name]]) for name in source}
    used = set(source.values())
    hidden = sorted({"participant", "session"} & columns.keys())
    if hidden:
        raise InputError(f"{path}: column '{hidden[0]}' would hide what {hidden[0]}_id says; rename it")
    others = {name: values for name, values in columns.items() if name not in used}
    return result | {name: as_numbers(values) for name, values in others.items()}


def standard_kind(name: str, path: Path, participants: Sequence[str], values: Sequence[Any]) -> list[Any]:
    """The values of a standard column in its kind: age in years, motion in mm, else text."""
    if name == "age_years":
        return list(as_ages(path, participants, values))
    if name == "fd_mm_mean":
        return list(as_motion(path, participants, values))
    return list(as_text(values))


def participants_of(names: Iterable[str]) -> list[Row]:
    """Rows with nothing but the participant, for datasets without participants.tsv."""
    columns = store.schema("participants").names
    return [{**dict.fromkeys(columns), "participant": name} for name in sorted(set(names))]


def _keys(settings: Collect, path: Path, columns: Columns, match: Any) -> Columns:
    """The columns participant and session; refuses rows without the one, and rows that have both alike."""
    given = columns["participant_id"]
    empty = [row for row, value in enumerate(given) if value is None]
    if empty:
        raise InputError(f"{path}: row {empty[0] + 2} has no participant_id; fill it in")
    labels = [as_label(value) for value in given]
    participants = [match(label) or bare(label, "sub-") for label in labels]
    sessions = columns.get("session_id", [None] * len(labels))
    sessions = [None if value is None else bare(as_label(value), "ses-") for value in sessions]
    refuse_duplicates(path, list(zip(participants, sessions, strict=True)), labels)
    return {"participant": participants, "session": sessions}


def refuse_duplicates(path: Path, keys: list[tuple[str, str | None]], written: list[str]) -> None:
    """Raise `InputError` that names the participants (and sessions) with several rows, as the table writes them."""
    rows: dict[tuple[str, str | None], list[str]] = {}
    for key, label in zip(keys, written, strict=True):
        rows.setdefault(key, []).append(label)
    twice = []
    for (participant, session), labels in rows.items():
        if len(labels) > 1:
            spelt = sorted({bare(label, "sub-") for label in labels} - {participant})
            name = f"{participant} ({' and '.join(spelt)})" if spelt else participant
            twice.append(f"{name} {session}" if session else name)
    if twice:
        raise InputError(f"{path} lists participants more than once: {examples(twice)}; keep one row of each")


def _standard(settings: Collect, path: Path, columns: Columns) -> dict[str, str]:
    """Which column of the file each standard column comes from; absent ones are left out.

    A column named in the settings must exist. Without the named one a column that already bears the standard name is
    taken; where both exist the user must choose, since one would hide the other.
    """
    found = {}
    for name, setting in STANDARD.items():
        wanted: str = getattr(settings, setting) or name
        if wanted in columns:
            if name in columns and name != wanted:
                raise InputError(
                    f"{path} has both '{wanted}' and '{name}': set {setting}: {name}, or rename one of them"
                )
            found[name] = wanted
        elif setting in settings.model_fields_set:
            raise InputError(f"{setting}: {path} has no column '{wanted}'{nearest(wanted, columns)}")
        elif name in columns:
            found[name] = name
        elif len(alike := [column for column in columns if column.lower() in (wanted, name)]) == 1:
            say(f"collect: {path}: column '{alike[0]}' is taken as {name}")
            found[name] = alike[0]
    return found
