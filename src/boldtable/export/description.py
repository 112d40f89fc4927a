"""dataset_description.json and README.md of an export."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from boldtable import __version__, store
from boldtable.export.sidecars import SOURCE, operations
from boldtable.results import Dataset

BIDS_VERSION = "1.11.1"

README = """# {title}

Parcel time series made by boldtable {version}: {n_runs} runs of {n_participants} participants, {n_parcels} parcels of
the atlas `{atlas}`, cleaned with the recipe `{recipe}`. A dataset of BIDS Derivatives (BIDS {bids}).

## Files

- `sub-*/**/*_timeseries.tsv`: one row per frame, one column per parcel; `n/a` where a parcel is not covered.
- `sub-*/**/*_timeseries.json`: repetition time, sources, censored frames (rows that were filled by interpolation),
  empty parcels, and every step in order.
- `sub-*/**/*_scans.tsv`: quality measures of each series (`scans.json` explains them).
- `participants.tsv`, and `sub-*/*_sessions.tsv` where something changes between sessions.
- `atlas-*_description.json`, `tpl-*/anat/*_dseg.tsv`: the atlas, its sources and its labels.

The suffix `timeseries` and the entity `stat` are those of XCP-D and of the proposals for BIDS Derivatives (BEP 012,
BEP 017); they are not part of BIDS {bids}, so `.bidsignore` lists these files. Only runs that passed quality control
are here.

## Order of operations

{steps}

## Before you pass this on

The series come from the participants of the source dataset: its licence and its terms of use hold here as well.
"""


def description(dataset: Dataset, out: Path) -> dict[str, Any]:
    """dataset_description.json: what made the dataset, and from what."""
    folder = _source(dataset)
    about: dict[str, Any] = {
        "Name": _title(dataset),
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "boldtable",
                "Version": str(dataset.made.get("version") or __version__),
                "Description": "parcel averages, denoised, band-passed, resampled and normalised; quality control",
            }
        ],
    }
    if folder is None:
        return about
    link = Path(os.path.relpath(folder, out.resolve())).as_posix()
    theirs = _their_description(folder)
    source = {"URL": link, "DOI": theirs.get("DatasetDOI"), "Version": theirs.get("Version")}
    about["SourceDatasets"] = [{name: value for name, value in source.items() if value}]
    about["DatasetLinks"] = {SOURCE: link}
    return about | {name: theirs[name] for name in ("License", "Authors") if theirs.get(name)}


def readme(dataset: Dataset, n_runs: int, n_participants: int, min_coverage: float | None) -> str:
    """README.md."""
    steps = operations(dataset.made["recipe"], None, min_coverage, None)
    return README.format(
        title=_title(dataset),
        version=dataset.made.get("version") or __version__,
        n_runs=n_runs,
        n_participants=n_participants,
        n_parcels=dataset.atlas.n_parcels,
        atlas=dataset.atlas.name,
        recipe=dataset.recipe,
        bids=BIDS_VERSION,
        steps="\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)),
    )


def _title(dataset: Dataset) -> str:
    return f"{dataset.name}: parcel series ({dataset.atlas.name}, {dataset.recipe})"


def _source(dataset: Dataset) -> Path | None:
    """The derivatives the runs come from; relative ones start beside the results folder, where the workflow ran."""
    settings = store.provenance(dataset.folder / "runs.parquet").get("settings") or {}
    given = settings.get("derivatives")
    return (dataset.results.resolve().parent / given).resolve() if given else None


def _their_description(folder: Path) -> dict[str, Any]:
    """What the source says of itself; nothing where it is out of reach or says nothing that can be read."""
    try:
        found = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
