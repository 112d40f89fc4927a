"""qc: parcels + tensors of a dataset → one row per run (measures, keep or drop, and why) and the dataset's summary."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from boldtable import store
from boldtable.atlas.table import AtlasTable, load_table
from boldtable.errors import InputError
from boldtable.progress import progress, say
from boldtable.stages.qc.measures import Key, Row, key, pairs
from boldtable.stages.qc.people import People
from boldtable.stages.qc.qcfc import QCFC
from boldtable.stages.qc.settings import QC
from boldtable.stages.qc.summary import rows as summary_rows
from boldtable.stages.qc.verdict import UNLABELLED, blind_spots, decide, excluded

__all__ = ["QC", "UNLABELLED", "run"]


def run(settings: QC, runs: Path, participants: Path, parcels: Path, tensors: Path, atlas: Path, out: Path,
        summary: Path | None = None, kept: Path | None = None) -> None:  # fmt: skip
    """Measure every run of `runs`, decide, and write `out`, one row per run in the order of `runs`.

    `parcels` and `tensors` are the folders of the shards. Shards are streamed: one run's arrays are in memory at a
    time. `kept` (``kept.parquet`` beside `out` when None) lists the kept runs with their fingerprints: all that
    training and embedding depend on. `summary` (``qc_summary.parquet`` beside `out` when None) describes the dataset:
    QC-FC over the kept runs before (raw parcel signals) and after cleaning, missing phenotypes, demographics of kept
    and dropped. The metadata key ``notes`` of `out` lists the thresholds that could not be applied, for want of a
    measure. Raises `InputError` that names a missing shard file, or a run that its shard lacks.
    """
    found = store.read(runs, "runs").to_pylist()
    people = store.frame(participants, "participants")
    table = load_table(atlas)
    qcfc = {name: QCFC(table.n_parcels) for name in ("before", "after")} if settings.qcfc else {}
    measured = _measure(settings, found, People(people), parcels, tensors, table.n_parcels, qcfc)
    rows = [excluded(row) if row["status"] != "found" else _of_run(row, measured) for row in found]
    notes = list(blind_spots(settings, rows))
    for note in notes:
        say(f"qc: {note}")
    about = store.Provenance("qc", settings, [runs, participants, atlas], notes=notes)
    store.write(out, "qc", rows, about)
    prints = [row.get("fingerprint") for row in found]
    store.write_kept(
        kept or out.with_name("kept.parquet"),
        [{**row, "fingerprint": one} for row, one in zip(rows, prints, strict=True)],
    )
    dataset = str(found[0]["dataset"]) if found else runs.parent.name
    described = summary_rows(settings, dataset, rows, people, _centroids(table), qcfc)
    store.write(summary or out.with_name("qc_summary.parquet"), "qc_summary", list(described), about)


def _measure(settings: QC, found: list[Row], people: People, parcels: Path, tensors: Path, n_parcels: int,
             qcfc: dict[str, QCFC]) -> dict[Key, Row]:  # fmt: skip
    """The qc row of every run found, by key; kept runs with known motion also go to `qcfc`."""
    wanted = {key(row): row for row in found if row["status"] == "found"}
    left = Counter(row["participant"] for row in wanted.values())
    measured: dict[Key, Row] = {}
    for shard in progress(sorted({row["shard"] for row in wanted.values()}), "qc"):
        for before, after in pairs(parcels / f"{shard}.parquet", tensors / f"{shard}.parquet", n_parcels):
            run = wanted.get(key(before))
            if run is None:  # of a participant that left the dataset
                continue
            name = run["participant"]
            row = decide(settings, run, before, after, people.of(run), n_parcels)
            measured[key(run)] = row
            if row["keep"] and row.get("fd_mm_mean") is not None:
                _add(qcfc, row, before, after)
            left[name] -= 1
            if not left[name]:
                for sums in qcfc.values():
                    sums.close(name)
    return measured


def _add(qcfc: dict[str, QCFC], row: Row, before: Row, after: Row) -> None:
    kept = {"before": before["signal"], "after": after["signal"][~after["interpolated"].astype(bool)]}
    for name, sums in qcfc.items():
        sums.add(row["participant"], row["fd_mm_mean"], kept[name])


def _of_run(run: Row, measured: dict[Key, Row]) -> Row:
    if key(run) not in measured:
        raise InputError(f"shard {run['shard']} lacks {store.label(run)}; delete its files and run parcellate again")
    return measured[key(run)]


def _centroids(table: AtlasTable) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return table.parcels[["x_mm", "y_mm", "z_mm"]].astype(float).to_numpy()
