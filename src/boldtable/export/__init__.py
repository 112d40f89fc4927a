"""`boldtable export`: the parcel series of a dataset as a BIDS-Derivatives dataset (BIDS 1.11)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boldtable import store
from boldtable.errors import InputError
from boldtable.export import names
from boldtable.export.atlas import write_atlas
from boldtable.export.description import description, readme
from boldtable.export.files import write_json, write_series, write_tsv
from boldtable.export.people import described, participants, scans, scans_json
from boldtable.export.sidecars import sidecar
from boldtable.progress import progress, say
from boldtable.results import Dataset

__all__ = ["run"]

BIDSIGNORE = "*_timeseries.tsv\n*_timeseries.json\n"


def run(dataset: Dataset, out: Path) -> None:
    """Write every kept run of `dataset` below `out`, a folder that is not there yet or is empty.

    Series are (frame, parcel) TSV files as the recipe left them, ``n/a`` where a parcel is missing, each with a JSON
    sidecar; one run is in memory at a time. The folder appears under its name only when it is complete. Volumes of
    third-party atlases are never copied. Raises `InputError` where `out` has contents or no run was kept.
    """
    if not dataset.kept:
        raise InputError(f"no run of {dataset.name} was kept: there is nothing to export")
    with _folder(out) as folder:
        written = list(_write_runs(dataset, folder))
        _write_rest(dataset, written, folder, out)
    say(f"export: {len(written)} runs of {len({row['participant'] for row in written})} participants in {out}")


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out` that takes its name when the block ends without an error."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already; choose a new or an empty folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}; choose a folder that can be written") from None
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o777 & ~mask)
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_runs(dataset: Dataset, folder: Path) -> Iterator[dict[str, Any]]:
    """Write the series and sidecar of every kept run; yield its QC row with the `path` of the series."""
    runs = {_key(row): row for row in store.read(dataset.folder / "runs.parquet", "runs").to_pylist()}
    kept = {_key(row): row for row in dataset.kept}
    parcels, min_coverage = _parcel_names(dataset), _min_coverage(dataset)
    taken: dict[str, dict[str, Any]] = {}
    for shard in progress(sorted({row["shard"] for row in kept.values()}), "export"):
        for row in store.rows(dataset.tensors / f"{shard}.parquet", "tensors"):
            about = kept.get(_key(row))
            if about is None:
                continue
            if row["signal"] is None:
                raise InputError(f"{store.label(row)} is kept, but recipe {dataset.recipe} has no signal: run qc again")
            name = names.series(row, dataset.made.get("space"), dataset.atlas.name, dataset.recipe)
            path = f"{names.folder(row)}/{name}.tsv"
            if path in taken:
                raise InputError(f"{store.label(row)} and {store.label(taken[path])} get the same name in BIDS: {path}")
            taken[path] = about
            write_series(folder / path, row["signal"], parcels)
            about_series = sidecar(runs[_key(row)], row, dataset.made, min_coverage, parcels)
            write_json((folder / path).with_suffix(".json"), about_series)
            yield {**about, "path": path}


def _key(row: Any) -> tuple[Any, ...]:
    return tuple(row[name] for name in store.KEYS)


def _write_rest(dataset: Dataset, written: list[dict[str, Any]], folder: Path, out: Path) -> None:
    """Everything around the series: who, quality, atlas, description, README, .bidsignore."""
    exported = list(dict.fromkeys(row["participant"] for row in written))
    table = store.frame(dataset.folder / "participants.parquet", "participants")
    people, sessions = participants(table, exported)
    write_tsv(folder / "participants.tsv", people)
    write_json(folder / "participants.json", described(list(people.columns)))
    for name, rows in sessions.items():
        path = folder / f"sub-{names.label(name)}" / f"sub-{names.label(name)}_sessions.tsv"
        write_tsv(path, rows)
    if sessions:
        write_json(folder / "sessions.json", described(list(next(iter(sessions.values())).columns)))
    for path_of, rows in scans(written):
        write_tsv(folder / path_of, rows)
    write_json(folder / "scans.json", scans_json())
    atlas = dataset.results / "atlases" / f"{dataset.made['atlas']}.parquet"
    write_atlas(dataset.atlas, atlas, _parcel_names(dataset), folder)
    write_json(folder / "dataset_description.json", description(dataset, out))
    text = readme(dataset, len(written), len(exported), _min_coverage(dataset))
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / ".bidsignore").write_text(BIDSIGNORE, encoding="utf-8")


def _parcel_names(dataset: Dataset) -> list[str]:
    """Names of the columns: those of the parcels, with the label where a name comes twice."""
    table = dataset.atlas.parcels
    counts = Counter(dataset.atlas.names)
    pairs = zip(dataset.atlas.names, table["index"], strict=True)
    return [name if counts[name] == 1 else f"{name}_{index}" for name, index in pairs]


def _min_coverage(dataset: Dataset) -> float | None:
    path = next(dataset.parcels.glob("*.parquet"), None)
    settings = store.provenance(path).get("settings") or {} if path else {}
    return settings.get("min_coverage") if settings.get("source") != "series" else None
