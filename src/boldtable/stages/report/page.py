"""One self-contained HTML page: the table, its figures, QC, ledger, methods, settings and what every number traces to.

Everything is inline (CSS, SVG), nothing is loaded, no script runs, and no date is written: equal inputs give an equal
page. Autoescaping is on for every value; only figures, which matplotlib has escaped, are passed as markup.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes

from boldtable import __version__, figures, store
from boldtable.errors import InputError
from boldtable.stages.report import curves, methods, printed
from boldtable.stages.report.read import Task, model_folders, read_json, read_qc
from boldtable.stages.report.settings import Report
from boldtable.stages.report.table import Table, chance_level

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


def render(
    settings: Report, name: str, results: Path, config: Mapping[str, Any], tasks: list[Task], table: Table
) -> str:
    """The whole page as HTML text."""
    datasets = list(dict.fromkeys(dataset for task in tasks for dataset in task.datasets))
    models = _models(settings, results, config, tasks)
    limits = _limits(tasks, table)
    paragraphs = methods.text(config, trained=bool(models))
    template = Environment(
        loader=PackageLoader("boldtable.stages.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html.jinja")
    return template.render(
        settings=settings,
        name=name,
        version=__version__,
        table=_printed(settings, table),
        dots=[_dots(settings, task, table, limits[_scale(task)]) for task in tasks],
        models=models,
        datasets=[_dataset(results, dataset) for dataset in datasets],
        ledger=_ledger(results, datasets),
        paragraphs=paragraphs,
        works=methods.cited(paragraphs),
        config=yaml.safe_dump(dict(config) or settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        versions=_versions(),
        trace=printed.trace(table).to_dict("records"),
        colours={f"--{role}": colour for role, colour in figures.COLOURS.items()},
    )


def _printed(settings: Report, table: Table) -> dict[str, Any]:
    """The result table and the comparisons, as texts."""
    cells, tasks = printed.entries(table), printed.columns(table).to_dict("records")
    for task in tasks:
        task["over"], task["short"] = printed.heading(task["task"], task["dataset"])
        task["label"] = printed.METRIC_NAMES[task["metric"]]
    return {
        "tasks": tasks,
        "rows": [(model, [cells[model, task["task"]] for task in tasks]) for model in settings.rows],
        "caption": printed.caption(settings, table),
        "comparisons": [
            (pair, [printed.test_entry(table, pair, task["task"]) for task in tasks])
            for pair in printed.comparisons(table)
        ],
        "tests_caption": printed.tests_caption(settings, table),
        "one_metric": len({task["metric"] for task in tasks}) == 1,
        "notes": table.notes,
    }


def _drawing(label: str, width_in: float, height_in: float, *draw: Callable[[Axes], None]) -> Markup:
    """Draw panels side by side; colours become the page's own, so that the dark theme reaches into the figure."""
    with figures.canvas(width_in, height_in, len(draw)) as (figure, axes):
        for ax, one in zip(axes, draw, strict=True):
            one(ax)
        text = figures.svg(figure, salt=label)
    for role, colour in figures.COLOURS.items():
        text = text.replace(colour, f"var(--{role})")
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1))


def _scale(task: Task) -> tuple[str, int | None]:
    """Tasks with the same primary metric and the same number of classes are drawn on the same axis."""
    return task.primary, task.n_classes


def _limits(tasks: list[Task], table: Table) -> dict[tuple[str, int | None], tuple[float, float]]:
    """The range of values and intervals of each scale, as printed, with a margin."""
    found: dict[tuple[str, int | None], list[float]] = {}
    for task in tasks:
        shown = table.scores.loc[table.scores["task"] == task.name, ["ci_low", "ci_high", "chance"]]
        splits = [value for cell in task.cells.values() for value in cell.values[task.primary]]
        found.setdefault(_scale(task), []).extend([*splits, *shown.to_numpy(dtype=float).ravel()])
    ends = {scale: (float(np.nanmin(seen)), float(np.nanmax(seen))) for scale, seen in found.items()}
    margins = {scale: max(high - low, 1e-6) * 0.04 for scale, (low, high) in ends.items()}
    return {scale: (low - margins[scale], high + margins[scale]) for scale, (low, high) in ends.items()}


def _dots(settings: Report, task: Task, table: Table, limits: tuple[float, float]) -> dict[str, Any]:
    """The dot-and-interval plot of one task over its splits."""
    metric = task.primary
    scale = 100 if metric in printed.PERCENT else 1
    shown = table.scores.loc[table.scores["task"] == task.name].copy()
    shown[["mean", "ci_low", "ci_high", "chance"]] *= scale
    scores = pd.concat([cell.scores.assign(model=model) for model, cell in task.cells.items()])
    scores = scores.loc[scores["metric"] == metric].assign(value=lambda frame: frame["value"] * scale)
    chance = float(shown["chance"].iloc[0])
    best = list(shown.loc[shown["best"], "model"])
    label = f"{task.name}: {printed.METRIC_NAMES[metric]} of every model and split"

    def draw(ax: Axes) -> None:
        figures.dots(ax, scores, shown, None if pd.isna(chance) else chance, bold=best)
        ax.set_xlabel(printed.METRIC_NAMES[metric])
        ax.set_xlim(limits[0] * scale, limits[1] * scale)

    return {"task": task.name, "figure": _drawing(label, 4.4, 0.72 + 0.34 * len(settings.rows), draw)}


def _models(settings: Report, results: Path, config: Mapping[str, Any], tasks: list[Task]) -> list[dict[str, Any]]:
    """The models with weights behind the rows: what their config says, and their training and probe curves."""
    steps = curves.steps(settings, results, config)
    folders = [folder for folder in dict.fromkeys(model_folders(settings, results, config).values()) if folder.is_dir()]
    return [
        _model(folder) | {"probes": [_probes(settings, task, folder.name, rows) for task in tasks] if rows else []}
        for folder, rows in ((folder, steps.get(folder.name)) for folder in folders)
    ]


def _probes(settings: Report, task: Task, model: str, rows: Mapping[str, int]) -> dict[str, Any]:
    """The score of one task against the step of training."""
    scale = 100 if task.primary in printed.PERCENT else 1
    found = curves.points(task, rows, settings.confidence)
    found[["mean", "ci_low", "ci_high"]] *= scale
    chance = chance_level(task, task.primary) * scale
    label = f"{model}, {task.name}: {printed.METRIC_NAMES[task.primary]} against the step"

    def draw(ax: Axes) -> None:
        curves.draw(ax, found, None if pd.isna(chance) else chance)
        ax.set_ylabel(printed.METRIC_NAMES[task.primary])

    return {"task": task.name, "figure": _drawing(label, 4.4, 1.9, draw)}


def _model(folder: Path) -> dict[str, Any]:
    log = _training_log(folder / "training.parquet")
    label = f"{folder.name}: loss and token similarity against the step"
    drawn = None
    if log is not None and len(log):
        drawn = _drawing(
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
    try:
        found: pd.DataFrame = pq.read_table(path, partitioning=None).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"cannot read {path}: {str(error).splitlines()[0]}; run the stage 'pretrain' again") from None
    return found


def _about(path: Path) -> list[tuple[str, str]]:
    """The plain values of a model's config.json that a reader asks for first."""
    flat: dict[str, Any] = {}
    for key, value in read_json(path, "pretrain").items():
        flat.update(value if isinstance(value, dict) else {key: value})
    known = [(key, flat.get(key)) for key in _ABOUT_MODEL]
    return [(_ABOUT_MODEL[key], str(value)) for key, value in known if isinstance(value, str | int | float)]


def _dataset(results: Path, dataset: str) -> dict[str, Any]:
    """Counts and histograms of one dataset's quality control."""
    qc = read_qc(results, dataset)
    kept = qc.loc[qc["keep"].fillna(value=False).astype(bool)]
    made = store.provenance(results / dataset / "qc.parquet").get("settings") or {}
    threshold = made.get("max_fd_mm_mean")
    facts = [
        (len(qc), "runs found"),
        (len(kept), "runs kept"),
        (len(qc) - len(kept), "runs left out"),
        (int(qc["participant"].nunique()), "participants found"),
        (int(kept["participant"].nunique()), "participants kept"),
    ]
    drawn = _drawing(
        f"{dataset}: motion, length and coverage of its runs",
        8.6,
        2.5,
        lambda ax: figures.motion(ax, qc, threshold, legend=False),
        lambda ax: figures.minutes(ax, qc, legend=False),
        lambda ax: figures.coverage(ax, qc, legend=False),
    )
    statuses = qc["status"].fillna("ok").value_counts().sort_index()
    return {
        "name": dataset,
        "facts": facts,
        "statuses": list(statuses.items()),
        "threshold": threshold,
        "figure": drawn,
        "qcfc": _qcfc(results / dataset / "qc_summary.parquet", dataset),
    }


def _qcfc(path: Path, dataset: str) -> Markup | None:
    """What motion still explains of the connectivity; None where it was not measured."""
    summary = store.frame(path, "qc_summary") if path.exists() else None
    if summary is None or not (summary["measure"] == "qcfc_histogram").any():
        return None
    return _drawing(
        f"{dataset}: correlation of motion with connectivity, before and after cleaning",
        8.6,
        2.6,
        lambda ax: figures.qcfc(ax, summary),
        lambda ax: figures.qcfc_distance(ax, summary),
    )


def _ledger(results: Path, datasets: list[str]) -> dict[str, Any]:
    """The ledger of the table's datasets, without columns that are empty throughout."""
    path = results / "ledger.parquet"
    if not path.exists():
        raise InputError(f"ledger not found: {path}; run 'boldtable ledger' (rule ledger) first")
    rows = store.frame(path, "ledger")
    rows = rows.loc[rows["dataset"].isin(datasets)].dropna(axis="columns", how="all")
    texts = rows.head(MAX_LEDGER_ROWS).astype(object).where(rows.notna(), "").astype(str)
    return {"columns": list(texts.columns), "rows": texts.to_numpy().tolist(), "total": len(rows), "shown": len(texts)}


def _versions() -> list[tuple[str, str]]:
    """Versions of what took part; a package that is not installed here is left out."""
    found = [("boldtable", __version__), ("Python", platform.python_version())]
    for package in _PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return [*found, ("platform", f"{platform.system()} {platform.machine()}")]
