"""The encoders without weights: what everybody shares, nuisance, demographics, and three kinds of connectome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError
from boldtable.models import connectome, demographics, nuisance
from boldtable.stages.embed import tables
from boldtable.stages.embed.tables import Block, Floats, Row, keys

Shown = npt.NDArray[np.bool_]


def table_blocks(encoder: str, kept: pd.DataFrame, participants: Path) -> tuple[list[str], Iterator[Block]]:
    """The names of the features and the features of every kept run, a block per shard, for an encoder of tables."""
    names, one = _ENCODERS[encoder](_People(participants))

    def blocks() -> Iterator[Block]:
        for _, shard in kept.sort_values("shard", kind="stable").groupby("shard"):
            rows = tables.records(shard)
            yield Block([keys(row, 0, 0.0) for row in rows], np.stack([one(row) for row in rows]))

    return names, blocks()


class _People:
    """The participants table as seen from a run: the row of its session counts, else what its participant has."""

    def __init__(self, path: Path) -> None:
        columns = ["participant", "session", "site", "age_years", "sex"]
        self._rows = tables.records(store.frame(path, "participants", columns))

    def levels(self, column: str) -> list[str]:
        """The different values of a column over the whole dataset, as text, sorted."""
        return sorted({str(row[column]) for row in self._rows if not pd.isna(row[column])})

    def of_runs(self, column: str) -> Callable[[Row], Any]:
        """From a run to its value in a column, None where it is unknown."""
        known = [row for row in self._rows if not pd.isna(row[column])]
        by_session = {(row["participant"], _text(row["session"])): row[column] for row in known}
        by_participant = {row["participant"]: row[column] for row in known}

        def value(run: Row) -> Any:
            found = by_session.get((run["participant"], _text(run["session"])))
            return by_participant.get(run["participant"]) if found is None else found

        return value


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)


_Features = tuple[list[str], Callable[[Row], Floats]]


def _majority(people: _People) -> _Features:
    constant = np.array(list(demographics.CONSTANT.values()), dtype=np.float32)
    return list(demographics.CONSTANT), lambda run: constant


def _nuisance(people: _People) -> _Features:
    sites, site = people.levels("site"), people.of_runs("site")

    def one(run: Row) -> Floats:
        measures = {name: None if pd.isna(run[name]) else float(run[name]) for name in nuisance.MEASURES}
        return nuisance.features(measures, site(run), sites)

    return nuisance.names(sites), one


def known_nuisance(kept: pd.DataFrame, features: list[str]) -> list[str]:
    """The features of the nuisance row that at least one run has; sites are one, if there are two or more."""
    measures = [name for name in nuisance.MEASURES if kept[name].notna().any()]
    return [*measures, *(["site"] if sum(name.startswith("site=") for name in features) > 1 else [])]


def _demographics(people: _People) -> _Features:
    sexes, sex, age = people.levels("sex"), people.of_runs("sex"), people.of_runs("age_years")
    return demographics.names(sexes), lambda run: demographics.features(age(run), sex(run), sexes)


_ENCODERS: dict[str, Callable[[_People], _Features]] = {
    "majority": _majority, "nuisance": _nuisance, "demographics": _demographics,
}  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    """A kind of connectome: what it computes, how many values that is, and in words."""

    vector: Callable[[Floats, Shown | None], Floats]
    size: Callable[[int], int]
    words: str


def _covariance(signal: Floats, kept: Shown | None) -> Floats:
    return connectome.matrix_to_vector(connectome.covariance(signal, kept)).astype(np.float32)


_KINDS = {
    "connectome": _Kind(connectome.edges, connectome.n_edges, "Fisher-z Pearson correlations of parcels i < j"),
    "connectome-partial": _Kind(
        connectome.partial_edges,
        connectome.n_edges,
        "Fisher-z partial correlations (inverse of the shrunk covariance) of parcels i < j",
    ),
    "connectome-tangent": _Kind(
        _covariance,
        lambda n_parcels: connectome.n_edges(n_parcels) + n_parcels,
        "shrunk covariance of standardised parcels i <= j, for a tangent projection fitted on training participants,",
    ),
}


class Connectome:
    """Pairs of parcels over whole runs, from the frames that censoring left; of `shown` parcels only, where given."""

    def __init__(self, encoder: str, table: AtlasTable, shown: Shown | None) -> None:
        self._kind, self._shown = _KINDS[encoder], shown
        n_parcels = table.n_parcels if shown is None else int(shown.sum())
        if n_parcels < 2:
            of_these = "" if shown is None else " in the networks that are not hidden"
            raise InputError(f"atlas '{table.name}' has {n_parcels} parcel(s){of_these}: a connectome needs two")
        self.size = self._kind.size(n_parcels)
        self.about = {"transform": "tangent"} if encoder == "connectome-tangent" else {}
        some = "" if shown is None else f" (the {n_parcels} shown)"
        self.features = f"{self._kind.words} of atlas '{table.name}'{some}, row by row (numpy.triu_indices)"

    def block(self, rows: list[Row]) -> Block:
        """One row per run."""
        return Block([keys(row, 0, 0.0) for row in rows], np.stack([self._run(row) for row in rows]))

    def _run(self, row: Row) -> Floats:
        kept = None if row["interpolated"] is None else ~np.asarray(row["interpolated"], dtype=bool)
        signal = row["signal"] if self._shown is None else row["signal"][:, self._shown]
        try:
            return self._kind.vector(signal, kept)
        except ValueError as error:
            raise InputError(f"{store.label(row)}: {error}; raise min_minutes_kept of qc") from None
