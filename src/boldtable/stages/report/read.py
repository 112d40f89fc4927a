"""Read what one task of the table needs, and refuse scores that do not belong together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from boldtable import store
from boldtable.errors import InputError, nearest
from boldtable.stages.report.settings import Report

# The first metric of each kind of task is its primary one: it is printed, and it alone is tested.
METRICS = {
    "classification": ("balanced_accuracy", "auroc", "accuracy", "f1"),
    "binned": ("balanced_accuracy", "auroc", "accuracy", "f1"),
    "regression": ("mae", "r2", "pearson_r"),
    "fingerprint": ("accuracy", "mean_rank"),
}
_TELLTALE = {"balanced_accuracy": "classification", "mae": "regression", "mean_rank": "fingerprint"}
COUNTS = ("n_train", "n_val", "n_test")
_QC_DATA = [
    *store.KEYS, "tr_s", "n_frames", "minutes", "minutes_kept", "fd_mm_mean", "fd_mm_max", "dvars", "tsnr",
    "global_signal_share", "min_coverage", "n_empty_parcels", "keep",
]  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """The scores of one model on one task, and what their file says of its making."""

    scores: pd.DataFrame
    made: dict[str, Any]
    sha256: str

    @cached_property
    def values(self) -> pd.DataFrame:
        """The scores as a table: one row per split in order, one column per metric, NaN where there is none."""
        return self.scores.pivot(index="split", columns="metric", values="value").astype(float).sort_index()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Participants per part: the median over splits, which differ by one or two where parts divide unevenly."""
        medians = self.scores[list(COUNTS)].astype(float).fillna(0).median()
        return {name: round(float(medians[name])) for name in COUNTS}


@dataclass(frozen=True)
class Task:
    """One column of the table: what it is, where its numbers come from, and the scores of every model."""

    name: str
    kind: str
    datasets: tuple[str, ...]
    target: str
    n_classes: int | None
    seed: str
    settings_sha256: str
    data_sha256: str
    tested: frozenset[str]
    cells: dict[str, Cell]
    curves: dict[str, Cell]

    @property
    def primary(self) -> str:
        """The metric that is printed and tested."""
        return METRICS[self.kind][0]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the CSV, the primary one first."""
        return METRICS[self.kind]


def read_task(settings: Report, results: Path, task: str, config: Mapping[str, Any]) -> Task:
    """Read scores and predictions of every model for one task; raises `InputError` naming what is missing."""
    cells = {model: _cell(results, model, task) for model in settings.models}
    curves = {model: _cell(results, model, task) for model in settings.curves}
    _check_splits(task, cells | curves)
    _check_metrics(task, cells | curves)
    about = next(iter(cells.values())).made.get("settings") or (config.get("probe") or {}).get(task) or {}
    datasets = _texts(about.get("dataset"))
    predictions = _predictions(results, settings.models[0], task)
    kind = str(about.get("kind") or _guess_kind(cells))
    if kind not in METRICS:
        raise InputError(f"task '{task}': kind '{kind}' has no metrics in the table{nearest(kind, METRICS)}")
    return Task(
        name=task,
        kind=kind,
        datasets=datasets,
        target=", ".join(_texts(about.get("target"))) or ("participant" if kind == "fingerprint" else ""),
        n_classes=_n_classes(kind, about, predictions),
        seed=_seed(about, cells),
        settings_sha256=_settings_sha256(settings, config, cells),
        data_sha256=_data_sha256(results, datasets, predictions),
        tested=frozenset(predictions["participant"].dropna().astype(str)),
        cells=cells,
        curves=curves,
    )


def _cell(results: Path, model: str, task: str) -> Cell:
    path = results / "scores" / model / f"{task}.parquet"
    if not path.exists():
        raise InputError(_missing(results, model, task, path))
    scores = store.frame(path, "scores").sort_values(["metric", "split"], kind="stable").reset_index(drop=True)
    if scores.empty:
        raise InputError(f"{path} holds no scores; delete it and run the stage 'probe' again")
    headlines = {metrics[0] for metrics in METRICS.values()}
    if not headlines & set(scores["metric"]):
        found = ", ".join(sorted(set(scores["metric"].astype(str))))
        raise InputError(f"{path} has none of the primary metrics {', '.join(sorted(headlines))}, only {found}")
    doubled = scores.duplicated(["split", "metric"])
    if doubled.any():
        first = scores.loc[doubled].iloc[0]
        raise InputError(f"{path} holds split {first['split']} of {first['metric']} twice; run the stage 'probe' again")
    return Cell(scores, store.provenance(path), _content_sha256(scores))


def _missing(results: Path, model: str, task: str, path: Path) -> str:
    """Why a scores file is missing: an unknown model, or a probe that has not run."""
    folder = results / "scores"
    known = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    hint = nearest(model, known) if known and model not in known else ""
    return (
        f"scores of model '{model}' for task '{task}' not found: {path}{hint}; "
        f"run the stage 'probe' for this model and task first"
    )


def _predictions(results: Path, model: str, task: str) -> pd.DataFrame:
    path = results / "scores" / model / f"{task}.predictions.parquet"
    if not path.exists():
        raise InputError(f"predictions not found: {path}; run the stage 'probe' for '{model}' and '{task}' first")
    return store.frame(path, "predictions", ["participant", "split", "target"])


def _check_splits(task: str, cells: Mapping[str, Cell]) -> None:
    """Every model must have been scored on the same splits, or no difference between two of them means anything."""
    splits = {model: sorted(set(cell.scores["split"])) for model, cell in cells.items()}
    first = next(iter(splits))
    for model, found in splits.items():
        if found != splits[first]:
            raise InputError(
                f"task '{task}': '{first}' has splits {_span(splits[first])}, but '{model}' has {_span(found)}; "
                f"delete the scores of the older one and run the stage 'probe' again"
            )


def _check_metrics(task: str, cells: Mapping[str, Cell]) -> None:
    """Every model must have the same metrics, and at least one value of each primary one."""
    headlines = {metrics[0] for metrics in METRICS.values()}
    first = next(iter(cells))
    for model, cell in cells.items():
        found, expected = sorted(cell.values.columns), sorted(cells[first].values.columns)
        if found != expected:
            raise InputError(
                f"task '{task}': '{first}' has the metrics {', '.join(expected)}, but '{model}' has "
                f"{', '.join(found)}; delete the scores of the older one and run the stage 'probe' again"
            )
        if cell.values[[metric for metric in found if metric in headlines]].isna().all(axis=None):
            raise InputError(
                f"task '{task}', model '{model}': no split has a value of the primary metric; look at the model's "
                f"embeddings, then run the stage 'probe' again"
            )


def _span(values: list[int]) -> str:
    return f"{values[0]} to {values[-1]} ({len(values)})"


def _guess_kind(cells: Mapping[str, Cell]) -> str:
    """The kind of a task whose scores do not say it (made by other software), from the metrics that are there."""
    found = {str(metric) for cell in cells.values() for metric in cell.scores["metric"]}
    return next((kind for metric, kind in _TELLTALE.items() if metric in found), f"with metrics {sorted(found)}")


def _n_classes(kind: str, about: Mapping[str, Any], predictions: pd.DataFrame) -> int | None:
    if METRICS[kind][0] != "balanced_accuracy":
        return None
    if kind == "binned" and about.get("bins"):
        return int(about["bins"])
    return int(predictions["target"].dropna().nunique()) or None


def _seed(about: Mapping[str, Any], cells: Mapping[str, Cell]) -> str:
    """The seed of the task's settings; otherwise the seeds in its scores."""
    if about.get("seed") is not None:
        return str(about["seed"])
    seeds = sorted({int(seed) for cell in cells.values() for seed in cell.scores["seed"].dropna()})
    return " ".join(str(seed) for seed in seeds)


def _settings_sha256(settings: Report, config: Mapping[str, Any], cells: Mapping[str, Cell]) -> str:
    """One hash over every choice behind a task's numbers: the config, the probes' own settings, the table."""
    probes = {model: cell.made.get("settings") for model, cell in cells.items()}
    return store.sha256_json({"config": config, "probe": probes, "report": settings.model_dump(mode="json")})


def _data_sha256(results: Path, datasets: tuple[str, ...], predictions: pd.DataFrame) -> str:
    """One hash over the data behind a task: every run's measures, and who was tested in which split on which target.

    It is taken from contents, not from files, so that it is the same wherever and whenever the data were processed.
    """
    tested = _content_sha256(predictions.sort_values(["split", "participant"], kind="stable"))
    measures = [_content_sha256(read_qc(results, dataset)[_QC_DATA]) for dataset in datasets]
    return store.sha256_json({"tested": tested, "measures": measures})


def model_folders(settings: Report, results: Path, config: Mapping[str, Any]) -> dict[str, Path]:
    """The model folder behind each row of the table, there or not; a row that the config does not know is its own."""
    embed = {model: (config.get("embed") or {}).get(model) or {} for model in settings.models}
    return {
        model: Path(about["weights"]) if about.get("weights") else results / "models" / about.get("encoder", model)
        for model, about in embed.items()
    }


def read_json(path: Path, stage: str) -> dict[str, Any]:
    """A JSON mapping; empty where there is no file. Raises `InputError` naming the stage that writes it."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; run the stage '{stage}' again") from None
    return found if isinstance(found, dict) else {}


def overlaps(settings: Report, results: Path, config: Mapping[str, Any], tasks: list[Task]) -> list[str]:
    """A line per model that was pretrained on recordings of test participants: of how many, in which tasks."""
    lines = []
    for model, folder in model_folders(settings, results, config).items():
        about = read_json(folder / "data.json", "pretrain")
        seen = about.get("participants") if about.get("trained") else None
        counts = [(task, len(_common(task, seen))) for task in tasks] if isinstance(seen, dict) else []
        shares = [f"{n} of {len(task.tested)} ({task.name})" for task, n in counts if n]
        if shares:
            everyone = all(n == len(task.tested) for task, n in counts)
            whose = "all test participants" if everyone else f"test participants: {', '.join(shares)}"
            lines.append(f"{model} was pretrained on recordings, not on targets, of {whose}")
    return lines


def _common(task: Task, seen: Mapping[str, Any]) -> set[str]:
    """The test participants of a task among the pretraining participants (dataset → names)."""
    return {str(name) for dataset in task.datasets for name in seen.get(dataset) or ()} & task.tested


def read_qc(results: Path, dataset: str) -> pd.DataFrame:
    """The QC table of a dataset, sorted by run; raises `InputError` when it has not been made."""
    path = results / dataset / "qc.parquet"
    if not path.exists():
        raise InputError(f"QC table not found: {path}; run the stage 'qc' for dataset '{dataset}' first")
    return store.frame(path, "qc").sort_values(list(store.KEYS), na_position="first").reset_index(drop=True)


def _content_sha256(frame: pd.DataFrame) -> str:
    """Hash a table by its values, numbers to six digits, so that neither file layout nor the last bit counts."""
    return store.sha256_json(frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def _texts(value: Any) -> tuple[str, ...]:
    """One name or several as a tuple of names."""
    if value is None:
        return ()
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else (str(value),)
