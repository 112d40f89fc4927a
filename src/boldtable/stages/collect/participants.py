"""The table of participants: participants.tsv with standard columns in front and n/a as null."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from boldtable import store
from boldtable.errors import InputError, nearest
from boldtable.progress import say
from boldtable.stages.collect.files import bare, examples
from boldtable.stages.collect.settings import Collect

_NAME = "participants.tsv"
_MISSING = ("n/a", "N/A", "", "NA", "NaN", "nan")  # BIDS writes n/a; the others come from R and pandas
_AGE = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*\+?")  # 89+ : BIDS's way to write ages that could identify somebody
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")  # fits 64 bits
_DIGITS = re.compile(r"[0-9]{19,}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LEVELS_ABOVE = 2  # <bids>/derivatives/fmriprep lies two folders below <bids>/participants.tsv
_STANDARD = {"site": "site", "family": "family", "age_years": "age", "sex": "sex"}  # column: setting that names it

Row = dict[str, Any]


def find_participants(settings: Collect) -> Path | None:
    """The participants.tsv of the settings, else in the derivatives, else in the nearest of two folders above."""
    if settings.participants is not None:
        if not settings.participants.is_file():
            raise InputError(f"participants file not found: {settings.participants}; correct 'participants'")
        return settings.participants
    folder = settings.derivatives.resolve()
    for candidate in [folder, *folder.parents[:_LEVELS_ABOVE]]:
        if (candidate / _NAME).is_file():
            return candidate / _NAME
    return None


def read_participants(settings: Collect, path: Path) -> list[Row]:
    """One row per participant (× session where there is a session_id column), sorted.

    First the standard columns participant, session, site, family (text), age_years (float; ``89+`` is 89) and sex
    (text as given); then every further column as given: numbers where all its values are numbers, else text. ``n/a``,
    ``NA``, ``NaN`` and empty cells are None. Raises `InputError` for an unreadable file, for one without
    participant_id or rows, and for duplicates.
    """
    table = _read(path)
    columns = {str(name): [None if value in _MISSING else value for value in table[name]] for name in table}
    standard = _standard(settings, path, columns)
    used = {"participant_id", "session_id", *standard.values()}
    result: dict[str, list[Any]] = {
        "participant": [bare(value or "", "sub-") for value in columns["participant_id"]],
        "session": [value and bare(value, "ses-") for value in columns.get("session_id", [None] * len(table))],
    }
    for name in _STANDARD:
        result[name] = columns.get(standard.get(name, ""), [None] * len(table))
    result["age_years"] = _ages(path, result["participant"], result["age_years"])
    result |= {name: _numeric(values) for name, values in columns.items() if name not in used}
    left_out = {bare(name, "sub-") for name in settings.leave_out}
    rows = [dict(zip(result, values, strict=True)) for values in zip(*result.values(), strict=True)]
    _check_rows(path, rows)
    rows = [row for row in rows if row["participant"] not in left_out]
    return sorted(rows, key=lambda row: (row["participant"], row["session"] or ""))


def participants_of(names: Iterable[str]) -> list[Row]:
    """Rows with nothing but the participant, for datasets without participants.tsv."""
    columns = store.schema("participants").names
    return [{**dict.fromkeys(columns), "participant": name} for name in sorted(set(names))]


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it again as tab-separated UTF-8") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot read {path}: {reason}; save it as a table separated by tabs") from None
    table.columns = [str(name).strip() for name in table.columns]
    if "participant_id" not in table:
        there = examples(table.columns)
        raise InputError(
            f"{path} has no column participant_id (there: {there}); BIDS wants it first, tabs between columns"
        )
    if table.empty:
        raise InputError(f"{path} has no rows; list the participants in it, or remove it")
    return table.fillna("").map(str.strip)


def _standard(settings: Collect, path: Path, columns: dict[str, Any]) -> dict[str, str]:
    """Which column of the file each standard column comes from; absent ones are left out.

    A column named in the settings must exist. Without the named one a column that already bears the standard name is
    taken; where both exist the user must choose, since one would hide the other.
    """
    found = {}
    for name, setting in _STANDARD.items():
        wanted: str = getattr(settings, setting)
        if wanted in columns:
            if name in columns and name != wanted:
                raise InputError(
                    f"{path} has both '{wanted}' and '{name}': set {setting}: {name}, or rename one of them"
                )
            found[name] = wanted
        elif setting in settings.model_fields_set:
            hint = nearest(wanted, columns)
            raise InputError(f"{setting}: {path} has no column '{wanted}'{hint}")
        elif name in columns:
            found[name] = name
    return found


def _ages(path: Path, participants: Sequence[str], values: list[str | None]) -> list[float | None]:
    ages, odd = [], []
    for participant, value in zip(participants, values, strict=True):
        match = _AGE.fullmatch(value) if value is not None else None
        ages.append(float(match.group(1)) if match else None)
        if value is not None and match is None:
            odd.append(f"'{value}' of {participant}")
    if odd:
        say(f"collect: {path}: {len(odd)} ages are no numbers and taken as missing: {examples(odd, 3)}")
    return ages


def _numeric(values: list[str | None]) -> list[Any]:
    """Integers or floats where every value is one, else the text as given (also for identifiers of many digits)."""
    given = [value for value in values if value is not None]
    if all(_INTEGER.fullmatch(value) for value in given):
        return [None if value is None else int(value) for value in values]
    if all(_NUMBER.fullmatch(value) for value in given) and not any(_DIGITS.fullmatch(value) for value in given):
        return [None if value is None else float(value) for value in values]
    return values


def _check_rows(path: Path, rows: list[Row]) -> None:
    keys = [(row["participant"], row["session"]) for row in rows]
    if any(not participant for participant, _ in keys):
        raise InputError(f"{path}: row {[p for p, _ in keys].index('') + 2} has no participant_id; fill it in")
    seen: set[tuple[str, str | None]] = set()
    twice = {key for key in keys if key in seen or seen.add(key)}  # type: ignore[func-returns-value]
    if twice:
        names = examples(" ".join(filter(None, key)) for key in twice)
        raise InputError(f"{path} lists participants more than once: {names}; keep one row of each")
