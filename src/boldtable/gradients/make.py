"""`boldtable gradients`: the kept runs of datasets → a gradient file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boldtable import store
from boldtable.errors import InputError
from boldtable.gradients import files
from boldtable.gradients.group import GroupConnectome
from boldtable.gradients.maps import gradients
from boldtable.gradients.settings import GradientSettings
from boldtable.progress import progress, say
from boldtable.results import Dataset


def run(
    datasets: Sequence[Dataset], settings: GradientSettings, out: Path, csv: Path | None, reference: Path | None
) -> None:
    """Write the gradients of all kept runs of `datasets` (of one atlas) to `out`, and to `csv` without names.

    Their mean Fisher-z connectome over the frames that censoring left is what they are of. `reference` is another
    gradient file, of parcels of the same names, to rotate them onto. Raises `InputError` where the datasets have other
    atlases, no run is kept, or a run is too short for a correlation.
    """
    table = datasets[0].atlas
    for other in datasets[1:]:
        if other.atlas.sha256 != table.sha256:
            raise InputError(
                f"{other.name} has the atlas '{other.atlas.name}', {datasets[0].name} '{table.name}': gradients are of "
                "one atlas"
            )
    group = GroupConnectome(table.n_parcels)
    shards = [(dataset, shard) for dataset in datasets for shard in sorted({row["shard"] for row in dataset.kept})]
    for dataset, shard in progress(shards, "connectomes"):
        for signal, kept in _runs(dataset, shard):
            group.add(signal, kept)
    if group.n_runs == 0:
        raise InputError(f"no run of {', '.join(d.name for d in datasets)} was kept: there are no correlations")
    goal = files.read(reference, table.names)[:, : settings.components] if reference else None
    values = gradients(group.correlations(), settings, goal)
    inputs = [dataset.folder / "qc.parquet" for dataset in datasets] + ([reference] if reference else [])
    about = {"datasets": [d.name for d in datasets], "recipe": datasets[0].recipe, "n_runs": group.n_runs}
    files.write(out, values, table, store.Provenance("gradients", settings, inputs, **about))
    if csv is not None:
        files.write_csv(csv, values)
    _report(values, table.names, group.n_runs, out)


def _runs(dataset: Dataset, shard: str) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_] | None]]:
    """Signal (frame, parcel) and kept frames of every kept run of a shard."""
    wanted = {_key(row) for row in dataset.kept if row["shard"] == shard}
    for row in store.rows(dataset.tensors / f"{shard}.parquet", "tensors", [*store.KEYS, "signal", "interpolated"]):
        if _key(row) not in wanted:
            continue
        if row["signal"] is None:
            raise InputError(f"{store.label(row)} is kept, but recipe {dataset.recipe} has no signal: run qc again")
        kept = None if row["interpolated"] is None else ~np.asarray(row["interpolated"], dtype=bool)
        if len(row["signal"] if kept is None else kept.nonzero()[0]) < 3:
            raise InputError(f"{store.label(row)} has fewer than 3 frames left: raise min_minutes_kept of qc")
        yield row["signal"], kept


def _key(row: Any) -> tuple[Any, ...]:
    return tuple(row[name] for name in store.KEYS)


def _report(values: npt.NDArray[np.float64], names: Sequence[str], n_runs: int, out: Path) -> None:
    unknown = [name for name, row in zip(names, values, strict=True) if not np.isfinite(row).all()]
    if unknown:
        shown = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        say(f"gradients: no run has a signal for {len(unknown)} parcels, which get none: {shown}")
    say(f"wrote {out}: {values.shape[1]} gradients of {len(names) - len(unknown)} parcels from {n_runs} runs")
