"""Tables of people as columns of plain values: TSV, CSV or Parquet, with missing values as None."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.reading import tables
from boldtable.stages.collect.files import examples

_MISSING = ("n/a", "N/A", "", "NA", "NaN", "nan")  # BIDS writes n/a; the others come from R and pandas
_SEPARATORS = {".tsv": "\t", ".csv": ","}
_AGE = re.compile(r"([0-9]+(?:\.[0-9]*)?)\s*\+?")  # 89+ : BIDS's way to write ages that could identify somebody
_WHOLE = re.compile(r"[0-9]+\.0")
_OLDEST = 120.0  # years
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")  # fits 64 bits
_DIGITS = re.compile(r"[0-9]{19,}")

Columns = dict[str, list[Any]]


class Missing:
    """The codes of missing values: those that everybody writes, and those that were declared.

    A number is missing however it is written: -9999 is also -9999.0 and '-9999'.
    """

    def __init__(self, *declared: Iterable[str | int | float]) -> None:
        codes = [code for group in declared for code in group]
        self._texts = {*_MISSING, *(str(code).strip() for code in codes)}
        self._numbers = {number for code in codes if (number := _as_number(code)) is not None}

    def __contains__(self, value: object) -> bool:
        if value is None or (isinstance(value, str) and value in self._texts):
            return True
        return bool(self._numbers) and _as_number(value) in self._numbers


def _as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str) and not tables.NUMBER.fullmatch(value):
        return None
    return float(value)


def read_table(path: Path, missing: Missing, otherwise: str | None = None) -> Columns:
    """The columns of a table: text from TSV and CSV, values as they are from Parquet; missing values are None.

    The kind is told from the name; `otherwise` is the separator of files with any other name. Raises `InputError`.
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".parquet", ".pq")):
        columns = _parquet(path)
    else:
        separator = next((sign for ending, sign in _SEPARATORS.items() if name.endswith(ending)), otherwise)
        if separator is None:
            raise InputError(f"{path} is none of .csv, .tsv (each also .gz) and .parquet; save it as one of them")
        columns = _text(path, separator)
    return {name: [None if value in missing else value for value in values] for name, values in columns.items()}


def _text(path: Path, separator: str) -> Columns:
    try:
        table = tables.read_table(path, separator)
    except FileNotFoundError:
        raise InputError(f"table not found: {path}; correct its path in the config") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {_one_line(error)}; allow reading it") from None
    return {name: [cell.strip() for cell in table.column(place)] for place, name in enumerate(table.names)}


def _parquet(path: Path) -> Columns:
    try:
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError:
        raise InputError(f"table not found: {path}; correct its path in the config") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"cannot read {path}: {_one_line(error)}; is it a Parquet file?") from None
    _refuse_twins(path, table.column_names)
    return {name: [_plain(value) for value in table[name].to_pylist()] for name in table.column_names}


def _refuse_twins(path: Path, names: Sequence[str]) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{path} has the column {examples(twice)} more than once; rename one of them")


def _plain(value: Any) -> Any:
    """A value of a Parquet table that any other table can hold too: text, number, truth or None."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").strip()
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def as_label(value: Any) -> str:
    """An identifier as text; 12.0, which is how tables with gaps write whole numbers, is ``12``, as a text too."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return text.removesuffix(".0") if _WHOLE.fullmatch(text) else text


def as_text(values: Sequence[Any]) -> list[str | None]:
    """Values as text, None where missing."""
    return [None if value is None else as_label(value) for value in values]


def as_numbers(values: Sequence[Any]) -> list[Any]:
    """Integers or floats where every text is one, else the values as given (also identifiers of many digits)."""
    given = [value for value in values if value is not None]
    if not all(isinstance(value, str) for value in given):
        return one_kind(values)
    if all(_INTEGER.fullmatch(value) for value in given):
        return [None if value is None else int(value) for value in values]
    if all(tables.NUMBER.fullmatch(value) for value in given) and not any(_DIGITS.fullmatch(value) for value in given):
        return [None if value is None else float(value) for value in values]
    return list(values)


def one_kind(values: Sequence[Any]) -> list[Any]:
    """Values that one column of a table can hold: of several kinds, whole numbers become floats, others text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) == 1:
        return list(values)
    if kinds <= {int, float}:
        return [None if value is None else float(value) for value in values]
    return list(as_text(values))


def as_ages(path: Path, participants: Sequence[str], values: Sequence[Any]) -> list[float | None]:
    """Ages in years: numbers, or ``89+`` as 89; anything else is None, and said."""
    ages: list[float | None] = []
    odd = []
    for participant, value in zip(participants, values, strict=True):
        match = _AGE.fullmatch(str(value)) if value is not None else None
        age = float(match.group(1)) if match else None
        ages.append(age if age is not None and age <= _OLDEST else None)
        if value is not None and ages[-1] is None:
            odd.append(f"'{value}' of {participant}")
    if odd:
        say(f"collect: {path}: {len(odd)} ages are no years of a life and taken as missing: {examples(odd, 3)}")
    return ages


def as_motion(path: Path, participants: Sequence[str], values: Sequence[Any]) -> list[float | None]:
    """Published mean framewise displacement (mm), None where missing; raises `InputError` for anything else."""
    found: list[float | None] = []
    for participant, value in zip(participants, values, strict=True):
        number = None if value is None else _as_number(value)
        if value is not None and (number is None or not 0 <= number < math.inf):
            raise InputError(
                f"{path}: the mean framewise displacement of {participant} is '{value}', not a number of millimetres; "
                "correct it, or declare the code under 'missing'"
            )
        found.append(number)
    return found


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
