"""Names, sidecars and descriptions of the files, as BIDS and fMRIPrep 25 write them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boldtable import __version__, store
from boldtable.simulate import atlas
from boldtable.simulate.phenotypes import DESCRIPTIONS, Dataset, Run

BIDS_VERSION = "1.10.0"
TASK = "rest"
DERIVATIVES = Path("derivatives") / "fmriprep"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically."""
    store.write_text(path, json.dumps(content, indent=2) + "\n")


@dataclass(frozen=True)
class Files:
    """Every file of one run: raw skeleton and derivatives."""

    raw_bold: Path
    raw_sidecar: Path
    bold: Path
    sidecar: Path
    mask: Path
    mask_sidecar: Path
    confounds: Path
    confounds_sidecar: Path


def files(root: Path, participant: str, run: Run, voxel_mm: float) -> Files:
    """The paths of one run below the dataset's folder; `participant` without ``sub-``."""
    session = f"ses-{run.session}" if run.session else ""
    folder = Path(f"sub-{participant}") / session / "func"
    parts = [f"sub-{participant}", session, f"task-{TASK}", f"run-{run.run}" if run.run else ""]
    stem = "_".join(part for part in parts if part)
    raw, made = root / folder, root / DERIVATIVES / folder
    space = f"{stem}_space-{atlas.SPACE}_res-{resolution(voxel_mm)}_desc"
    return Files(
        raw_bold=raw / f"{stem}_bold.nii.gz",
        raw_sidecar=raw / f"{stem}_bold.json",
        bold=made / f"{space}-preproc_bold.nii.gz",
        sidecar=made / f"{space}-preproc_bold.json",
        mask=made / f"{space}-brain_mask.nii.gz",
        mask_sidecar=made / f"{space}-brain_mask.json",
        confounds=made / f"{stem}_desc-confounds_timeseries.tsv",
        confounds_sidecar=made / f"{stem}_desc-confounds_timeseries.json",
    )


def resolution(voxel_mm: float) -> str:
    """The label of the res- entity: ``2`` promises TemplateFlow's 2 mm grid, which a demo grid is not."""
    return f"demo{voxel_mm:g}mm"


def sidecars(raw: Path, run_files: Files, dataset: Dataset, voxel_mm: float) -> dict[Path, dict[str, Any]]:
    """The JSON files of one run and their content; confounds have their own."""
    source = [f"bids:raw:{run_files.raw_bold.relative_to(raw).as_posix()}"]
    grid = {"Resolution": f"{voxel_mm:g} mm isotropic demo grid (simulated)"}
    timing = {"RepetitionTime": dataset.tr_s, "TaskName": TASK}
    note = {"Description": "Simulated by boldtable; an empty placeholder stands for the raw image."}
    return {
        run_files.raw_sidecar: {**timing, **note},
        run_files.sidecar: {
            **timing, "SkullStripped": False, "SliceTimingCorrected": False, "StartTime": 0.0, **grid,
            "Sources": source,
        },
        run_files.mask_sidecar: {"Type": "Brain", "RawSources": source, **grid},
    }  # fmt: skip


def describe(root: Path, dataset: Dataset, settings: dict[str, Any]) -> None:
    """Write what says what the dataset is: descriptions of the raw skeleton and the derivatives, and a README."""
    store.write_text(
        root / "README",
        f"{dataset.name}: a made-up dataset, simulated by boldtable {__version__}. Nobody was scanned. The raw images "
        "are empty placeholders; the derivatives carry simulated signals with planted phenotype effects and planted\n"
        "faults. Not for research.\n",
    )
    common = {"BIDSVersion": BIDS_VERSION, "License": "CC0", "Authors": ["boldtable simulate"]}
    maker = {"Name": "boldtable simulate", "Version": __version__}
    write_json(root / "participants.json", DESCRIPTIONS)
    write_json(
        root / DERIVATIVES / "dataset_description.json",
        {
            "Name": "fMRIPrep-style simulation by boldtable", **common, "DatasetType": "derivative",
            "GeneratedBy": [
                {"Name": "fMRIPrep", "Version": "25.2.x (simulated)",
                 "Description": "Names and columns follow fMRIPrep 25.2; fMRIPrep itself never ran."}, maker,
            ],
            "DatasetLinks": {"raw": "../.."},
        },
    )  # fmt: skip
    write_json(
        root / "dataset_description.json",
        {
            "Name": f"{dataset.name} (simulated)", **common, "DatasetType": "raw",
            "GeneratedBy": [{**maker, "Description": json.dumps(settings, sort_keys=True)}],
        },
    )  # fmt: skip
