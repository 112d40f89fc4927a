"""A results folder seen from outside: the datasets and recipes it has, and any single run of them.

For the user's helpers (`boldtable export`, `boldtable figure`) and for notebooks. Reads only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from boldtable import store
from boldtable.atlas.table import AtlasTable, load_table
from boldtable.errors import InputError, nearest

MAX_CHOICES = 12


@dataclass(frozen=True)
class Dataset:
    """One dataset below a results folder, through the tensors of one recipe."""

    results: Path
    name: str
    recipe: str

    @property
    def folder(self) -> Path:
        """The folder of the dataset."""
        return self.results / self.name

    @property
    def tensors(self) -> Path:
        """The folder of the recipe's shards."""
        return self.folder / "tensors" / self.recipe

    @cached_property
    def made(self) -> dict[str, Any]:
        """What a shard of tensors says of its making: recipe, atlas, space, version."""
        return store.provenance(next(self.tensors.glob("*.parquet")))

    @property
    def parcels(self) -> Path:
        """The folder of the shards of raw parcel signals that the recipe starts from."""
        return self.folder / "parcels" / str(self.made["atlas"])

    @cached_property
    def atlas(self) -> AtlasTable:
        """The atlas of the recipe."""
        return load_table(self.results / "atlases" / f"{self.made['atlas']}.parquet")

    @cached_property
    def qc(self) -> pd.DataFrame:
        """The QC table."""
        return store.frame(self.folder / "qc.parquet", "qc")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the QC table."""
        return [{str(name): value for name, value in row.items()} for row in self.qc.to_dict("records")]

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The QC rows of the runs that were kept."""
        return [row for row in self.rows if row["keep"]]

    def find(self, wanted: Mapping[str, str | None]) -> dict[str, Any]:
        """The QC row of the one run that agrees with every value given (keys of `store.KEYS`, without prefixes).

        Raises `InputError` that lists runs to choose from where none or several agree.
        """
        given = {key: value for key, value in wanted.items() if value is not None}
        rows = self.rows
        found = [row for row in rows if all(row[key] == value for key, value in given.items())]
        if len(found) == 1:
            return found[0]
        described = " ".join(f"{key}={value}" for key, value in given.items()) or "nothing given"
        if not found:
            raise InputError(f"no run of {self.name} has {described}; there are: {_choices(rows)}")
        raise InputError(f"{len(found)} runs of {self.name} agree ({described}); say which: {_choices(found)}")

    def row(self, artefact: str, run: Mapping[str, Any]) -> dict[str, Any]:
        """The row of a run in ``parcels`` or ``tensors``, arrays as numpy; only this run is read."""
        folder = self.parcels if artefact == "parcels" else self.tensors
        path = folder / f"{run['shard']}.parquet"
        keys = store.read(path, artefact, store.KEYS).to_pylist()
        wanted = {name: run[name] for name in store.KEYS}
        if wanted not in keys:
            raise InputError(f"{path} lacks {store.label(run)}; run its stage again")
        with store.opened(path) as file:
            group, first = _locate(file, keys.index(wanted))
            one = file.read_row_group(group).slice(first, 1).combine_chunks()
        return {name: store.array(one[name].chunk(0)) for name in one.column_names}


def _choices(rows: list[dict[str, Any]]) -> str:
    more = f" and {len(rows) - MAX_CHOICES} more" if len(rows) > MAX_CHOICES else ""
    return ", ".join(store.label(row) for row in rows[:MAX_CHOICES]) + more


def _locate(file: pq.ParquetFile, index: int) -> tuple[int, int]:
    """The row group that holds a row, and the row's place in it."""
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if index < size:
            return group, index
        index -= size
    raise IndexError(index)


def dataset(results: Path, name: str, recipe: str | None = None) -> Dataset:
    """Open a dataset; its only recipe when none is named. Raises `InputError` that lists what there is."""
    if not results.is_dir():
        raise InputError(f"no results folder: {results}; it is where the workflow wrote, often 'results'")
    known = sorted(path.parent.name for path in results.glob("*/qc.parquet"))
    if name not in known:
        raise InputError(f"{results} has no dataset '{name}' with a QC table{nearest(name, known)}")
    recipes = sorted({path.parent.name for path in (results / name).glob("tensors/*/*.parquet")})
    if recipe is None and len(recipes) == 1:
        recipe = recipes[0]
    if recipe is None:
        raise InputError(f"{name} has the recipes {', '.join(recipes) or '(none)'}; say which with --recipe")
    if recipe not in recipes:
        raise InputError(f"{name} has no tensors of recipe '{recipe}'{nearest(recipe, recipes)}")
    return Dataset(results, name, recipe)
