"""Filters on the rows of a table: a value, a list of values, or a range; what does not pass is counted."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from boldtable import splits
from boldtable.errors import InputError, nearest
from boldtable.tasks.settings import Condition, Conditions, Limits, class_name


def passing(rows: pd.DataFrame, conditions: Conditions, setting: str, where: str) -> tuple[pd.DataFrame, str]:
    """The rows that pass every condition, and how many each of them (in order) leaves out, in words.

    Raises `InputError` where a column is missing, where a range is asked of text, and where no row holds any of the
    values listed.
    """
    said = []
    for column, condition in conditions.items():
        if column not in rows.columns:
            raise InputError(f"{setting}: {where} has no column '{column}'{nearest(column, map(str, rows.columns))}")
        unknown = rows[column].isna()
        right = ~unknown & _passes(rows[column], condition, f"{setting}.{column}")
        if not right.all():
            missing = f" ({int(unknown.sum())} unknown)" if unknown.any() else ""
            said.append(f"{column} {int((~right).sum())}{missing}")
        rows = rows[right]
    return rows, ", ".join(said)


def _passes(values: pd.Series, condition: Condition, setting: str) -> pd.Series:
    if isinstance(condition, Limits):
        found = numbers(values, setting)
        low, high = condition.min, condition.max
        return (found >= (low if low is not None else -float("inf"))) & (
            found <= (high if high is not None else float("inf"))
        )
    wanted = {class_name(value) for value in (condition if isinstance(condition, list) else [condition])}
    texts = values.map(class_name)
    known = sorted(set(texts[values.notna()]), key=natural)
    if known and not wanted & set(known):
        raise InputError(f"{setting}: no value is {splits.listed(sorted(wanted))}; there are: {splits.listed(known)}")
    return texts.isin(wanted)


def numbers(values: pd.Series, setting: str) -> pd.Series:
    """The values as numbers, NaN where missing; text raises `InputError`."""
    found = pd.to_numeric(values, errors="coerce").astype(float)
    wrong = values[found.isna() & values.notna()]
    if len(wrong):
        raise InputError(f"{setting}: '{wrong.iloc[0]}' is no number, so it has no range; give a list of values")
    return found


def natural(value: Any) -> tuple[tuple[int, str], ...]:
    """A sort key in which '2' comes before '10', and a missing value first."""
    if pd.isna(value):
        return ()
    return tuple((int(part), "") if part.isdigit() else (0, part) for part in re.findall(r"\d+|\D+", str(value)))
