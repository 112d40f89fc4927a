"""What else is known of a task's participants: the confounds and the site, for what is fitted to take out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable import store
from boldtable.errors import InputError, nearest
from boldtable.stages.probe.people import first_known
from boldtable.stages.probe.runs import PERSON
from boldtable.stages.probe.settings import Probe

Column = npt.NDArray[Any]


def confounds(settings: Probe, made: pd.DataFrame, runs: pd.DataFrame, participants: Sequence[Path]) -> list[Column]:
    """The columns of ``settings.confounds``, one value per participant in the order of sorted (dataset, participant).

    Numbers are floats with NaN, text is objects with None. `made` are the splits, `runs` the task's runs (of
    `runs.used`), `participants` a table per dataset of the settings. Raises `InputError` where no table has a column.
    """
    if not settings.confounds:
        return []
    people = made[[*PERSON, "site"]].drop_duplicates(PERSON).sort_values(PERSON).reset_index(drop=True)
    measures = set(runs.select_dtypes("number"))
    known = _participants(settings, participants) if set(settings.confounds) - {"site"} - measures else None
    found = []
    for name in settings.confounds:
        if name == "site":
            values = pd.Series(site(settings, made), dtype=object)
        elif name in measures:
            means = runs.groupby(PERSON)[name].mean().reset_index()
            values = people.merge(means, on=PERSON, how="left", validate="one_to_one")[name]
        elif known is not None and name in known:
            values = people.merge(known[[*PERSON, name]], on=PERSON, how="left", validate="one_to_one")[name]
        else:
            there = {*(known if known is not None else ()), *measures} - set(PERSON)
            raise InputError(f"confounds: neither participants nor qc have a column '{name}'{nearest(name, there)}")
        found.append(_column(values))
    return found


def site(settings: Probe, made: pd.DataFrame) -> npt.NDArray[np.object_]:
    """The site of every participant, sorted by (dataset, participant), or None; two datasets share no site."""
    people = made[[*PERSON, "site"]].drop_duplicates(PERSON).sort_values(PERSON)
    prefix = people["dataset"] + " " if settings.test_dataset else ""
    named = people["site"].notna()
    return (prefix + people["site"].fillna("").astype(str)).where(named, None).to_numpy(dtype=object)


def _participants(settings: Probe, paths: Sequence[Path]) -> pd.DataFrame:
    if len(paths) != len(settings.datasets):
        raise InputError(
            f"{len(paths)} table(s) of participants for the dataset(s) {', '.join(settings.datasets)}: the confounds "
            "need one of each, in this order"
        )
    tables = [first_known(store.frame(path, "participants")) for path in paths]
    return pd.concat([table.assign(dataset=name) for table, name in zip(tables, settings.datasets, strict=True)])


def _column(values: pd.Series) -> Column:
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.array([None if pd.isna(value) else str(value) for value in values], dtype=object)
