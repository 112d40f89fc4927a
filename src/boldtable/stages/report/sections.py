"""The sections of the page that look behind the table: training, quality control, ledger, versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from boldtable import __version__, figures, store
from boldtable.errors import InputError
from boldtable.stages.report import curves
from boldtable.stages.report.drawing import drawing
from boldtable.stages.report.read import Task, model_folders, read_json, read_qc
from boldtable.stages.report.settings import Report

MAX_LEDGER_ROWS = 5000
_PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "torch",
    "nibabel",
    "nilearn",
    "matplotlib",
    "snakemake",
)
_ABOUT_MODEL = {
    "kind": "kind", "recipe": "recipe", "atlas": "atlas", "tr_s": "TR (s)", "window_frames": "window (frames)",
    "patch_frames": "patch (frames)", "width": "width", "depth": "depth", "heads": "heads",
}  # fmt: skip


def models(settings: Report, results: Path, config: Mapping[str, Any], tasks: list[Task]) -> list[dict[str, Any]]:
    """The models with weights behind the rows: what their config says, and their training and probe curves."""
    steps = curves.steps(settings, results, config)
    folders = [folder for folder in dict.fromkeys(model_folders(settings, results, config).values()) if folder.is_dir()]
    found = []
    for folder in folders:
        rows = steps.get(folder.name)
        probes = [curves.against_step(settings, task, folder.name, rows) for task in tasks] if rows else []
        found.append(_model(folder) | {"probes": probes})
    return found


def _model(folder: Path) -> dict[str, Any]:
    log = _training_log(folder / "training.parquet")
    label = f"{folder.name}: loss and token similarity against the step"
    drawn = None
    if log is not None and len(log):
        drawn = drawing(
            label,
            8.6,
            2.7,
            lambda ax: figures.training_curves(ax, log),
            lambda ax: figures.token_similarity(ax, log),
        )
    nothing = "No training log: the weights were made elsewhere." if log is None else "Not trained: no step was taken."
    return {"name": folder.name, "about": _about(folder / "config.json"), "figure": drawn, "nothing": nothing}


def _training_log(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    with store.opened(path) as file:
        found: pd.DataFrame = file.read().to_pandas()
    return found


def _about(path: Path) -> list[tuple[str, str]]:
    """The plain values of a model's config.json that a reader asks for first."""
    flat: dict[str, Any] = {}
    for key, value in read_json(path, "pretrain").items():
        flat.update(value if isinstance(value, dict) else {key: value})
    known = [(key, flat.get(key)) for key in _ABOUT_MODEL]
    return [(_ABOUT_MODEL[key], str(value)) for key, value in known if isinstance(value, str | int | float)]


def _notes(path: Path) -> list[str]:
    """What a table of a dataset says of its making that a reader must know."""
    return [str(note) for note in store.provenance(path).get("notes") or []] if path.is_file() else []


def dataset(results: Path, name: str) -> dict[str, Any]:
    """Counts and histograms of one dataset's quality control."""
    every = read_qc(results, name)
    qc = every.loc[every["status"] != "filtered"]
    kept = qc.loc[qc["keep"].fillna(value=False).astype(bool)]
    made = store.provenance(results / name / "qc.parquet").get("settings") or {}
    threshold = made.get("max_fd_mm_mean")
    notes = [note for file in ("participants", "qc") for note in _notes(results / name / f"{file}.parquet")]
    facts = [
        (len(qc), "runs found"),
        (len(kept), "runs kept"),
        (len(qc) - len(kept), "runs dropped"),
        *([(len(every) - len(qc), "runs left out by the settings")] if len(every) > len(qc) else []),
        (int(qc["participant"].nunique()), "participants found"),
        (int(kept["participant"].nunique()), "participants kept"),
    ]
    drawn = drawing(
        f"{name}: motion, length and coverage of its runs",
        8.6,
        2.5,
        lambda ax: figures.motion(ax, qc, threshold, legend=False),
        lambda ax: figures.minutes(ax, qc, legend=False),
        lambda ax: figures.coverage(ax, qc, legend=False),
    )
    statuses = qc["status"].fillna("ok").value_counts().sort_index()
    return {
        "name": name,
        "facts": facts,
        "notes": notes,
        "statuses": list(statuses.items()),
        "threshold": threshold,
        "figure": drawn,
        "qcfc": _qcfc(results / name / "qc_summary.parquet", name),
    }


def _qcfc(path: Path, dataset: str) -> Markup | None:
    """What motion still explains of the connectivity; None where it was not measured."""
    summary = store.frame(path, "qc_summary") if path.exists() else None
    if summary is None or not (summary["measure"] == "qcfc_histogram").any():
        return None
    return drawing(
        f"{dataset}: correlation of motion with connectivity, before and after cleaning",
        8.6,
        2.6,
        lambda ax: figures.qcfc(ax, summary),
        lambda ax: figures.qcfc_distance(ax, summary),
    )


def ledger(results: Path, datasets: list[str]) -> dict[str, Any]:
    """The ledger of the table's datasets, without columns that are empty throughout."""
    path = results / "ledger.parquet"
    if not path.exists():
        raise InputError(f"ledger not found: {path}; run 'boldtable ledger' (rule ledger) first")
    rows = store.frame(path, "ledger")
    rows = rows.loc[rows["dataset"].isin(datasets)].dropna(axis="columns", how="all")
    texts = rows.head(MAX_LEDGER_ROWS).astype(object).where(rows.notna(), "").astype(str)
    return {"columns": list(texts.columns), "rows": texts.to_numpy().tolist(), "total": len(rows), "shown": len(texts)}


def versions() -> list[tuple[str, str]]:
    """Versions of what took part; a package that is not installed here is left out."""
    found = [("boldtable", __version__), ("Python", platform.python_version())]
    for package in _PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return [*found, ("platform", f"{platform.system()} {platform.machine()}")]
