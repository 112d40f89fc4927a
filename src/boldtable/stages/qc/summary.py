"""The dataset as a whole, as one long table: QC-FC, missing phenotypes, and who was kept and who dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from boldtable.stages.qc.measures import Row
from boldtable.stages.qc.qcfc import MIN_PARTICIPANTS, QCFC, Array, distance_dependence, distances
from boldtable.stages.qc.settings import QC

GROUPS = ("kept", "dropped", "without_runs")
MAX_LEVELS = 20  # columns of text with more values (identifiers, remarks) are counted for missing values only
DISTANCE_BINS = 12
CORRELATION_EDGES = np.linspace(-1, 1, 41)


def rows(settings: QC, dataset: str, qc: Sequence[Row], participants: pd.DataFrame, centroids: Array,
         qcfc: Mapping[str, QCFC]) -> Iterator[Row]:  # fmt: skip
    """Yield the rows of ``qc_summary``: dataset, measure, variable, group, level, value, n.

    - ``runs``, ``participants``: value counts them, by group.
    - ``missing``: share of the n participants of a group without a value of `variable`.
    - ``mean``, ``sd``: of the numeric `variable` over the n participants that have it; ``share``: of each `level`.
    - ``qcfc_median_abs``, ``qcfc_share_significant``, ``qcfc_distance_spearman``: group before or after cleaning, n
      participants; ``qcfc_histogram`` (level: left edge of a bin of r, value: share of edges) and ``qcfc_by_distance``
      (level: mean distance in mm of a bin, value: mean r), n edges.
    """
    qc = [row for row in qc if row.get("status") != "filtered"]  # nobody asked for them
    groups = membership(qc, participants)
    kept = [bool(row["keep"]) for row in qc]
    counts = {"kept": sum(kept), "dropped": len(kept) - sum(kept)}
    described = [
        *(_row("runs", group=group, value=n, n=n) for group, n in counts.items()),
        *(_row("participants", group=group, value=n, n=n) for group, n in _sizes(groups).items()),
        *_demographics(participants, groups),
        *_qcfc(settings, centroids, qcfc),
    ]
    for row in described:
        yield {"dataset": dataset, **row}


def _row(measure: str, *, group: str, value: float | None, n: int, variable: str | None = None,
         level: str | None = None) -> Row:  # fmt: skip
    return {"measure": measure, "variable": variable, "group": group, "level": level, "value": value, "n": n}


def membership(qc: Sequence[Row], participants: pd.DataFrame) -> dict[str, str]:
    """Participant → kept (with at least one run), dropped (with runs, none kept) or without_runs."""
    groups = dict.fromkeys(participants["participant"], "without_runs")
    for row in qc:
        name = row["participant"]
        if groups.get(name) != "kept":
            groups[name] = "kept" if row["keep"] else "dropped"
    return groups


def _sizes(groups: Mapping[str, str]) -> dict[str, int]:
    return {group: sum(found == group for found in groups.values()) for group in GROUPS}


def _demographics(participants: pd.DataFrame, groups: Mapping[str, str]) -> Iterator[Row]:
    """Missing values and distributions of every phenotype; of several rows (sessions) the first known value counts."""
    columns = [name for name in participants.columns if name not in ("participant", "session")]
    people = participants.groupby("participant", sort=False)[columns].first() if columns else pd.DataFrame()
    group_of = pd.Series(people.index.map(groups), index=people.index)
    for column in columns:
        for group in GROUPS:
            values = people.loc[group_of == group, column]
            if len(values):
                missing = float(values.isna().mean())
                yield _row("missing", variable=column, group=group, value=missing, n=len(values))
        if people[column].notna().any():
            yield from _distribution(column, people[column].dropna(), group_of)


def _distribution(column: str, values: pd.Series, group_of: pd.Series) -> Iterator[Row]:
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    levels = [] if numeric else sorted(values.astype(str).unique())
    if len(levels) > MAX_LEVELS:
        return
    for group in GROUPS:
        mine = values[group_of.loc[values.index] == group]
        n = len(mine)
        if not n:
            continue
        if numeric:
            yield _row("mean", variable=column, group=group, value=float(mine.mean()), n=n)
            yield _row("sd", variable=column, group=group, value=float(mine.std()) if n > 1 else None, n=n)
        texts = mine.astype(str)
        for level in levels:
            yield _row("share", variable=column, group=group, level=level, value=float((texts == level).mean()), n=n)


def _qcfc(settings: QC, centroids: Array, qcfc: Mapping[str, QCFC]) -> Iterator[Row]:
    for group, sums in qcfc.items():
        n = sums.n_participants
        r, p = sums.correlations()
        known = np.isfinite(r)
        distance_mm = distances(centroids, sums.upper)
        median = float(np.median(np.abs(r[known]))) if known.any() else None
        share = float((p[known] < settings.qcfc_p).mean()) if known.any() else None
        yield _row("qcfc_median_abs", group=group, value=median, n=n)
        yield _row("qcfc_share_significant", group=group, value=share, n=n)
        yield _row("qcfc_distance_spearman", group=group, value=distance_dependence(r, distance_mm), n=n)
        if n >= MIN_PARTICIPANTS:
            yield from _histogram(group, r[known])
            yield from _by_distance(group, r, distance_mm)


def _histogram(group: str, r: Array) -> Iterator[Row]:
    counts = np.histogram(r, CORRELATION_EDGES)[0]
    for left, count in zip(CORRELATION_EDGES[:-1], counts, strict=True):
        share = float(count / max(len(r), 1))
        yield _row("qcfc_histogram", group=group, level=f"{left:.2f}", value=share, n=int(count))


def _by_distance(group: str, r: Array, distance_mm: Array) -> Iterator[Row]:
    """Mean r in bins of distance with equally many edges."""
    known = np.isfinite(r) & np.isfinite(distance_mm)
    order = np.argsort(distance_mm[known], kind="stable")
    for part in np.array_split(order, DISTANCE_BINS):
        if len(part):
            level = f"{distance_mm[known][part].mean():.2f}"
            value = float(r[known][part].mean())
            yield _row("qcfc_by_distance", group=group, level=level, value=value, n=len(part))
