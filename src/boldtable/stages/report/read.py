"""Read what one task of the table needs, and refuse scores that do not belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from boldtable import store
from boldtable.errors import InputError, nearest
from boldtable.reading.bounded import read_json as read_bounded
from boldtable.stages.report.cells import (
    Cell,
    check_metrics,
    check_splits,
    content_sha256,
    on_shared,
    predictions,
    read_cell,
)  # fmt: skip
from boldtable.stages.report.outcomes import Site, of_cells, sites
from boldtable.stages.report.settings import Report
from boldtable.statistics import Outcomes
from boldtable.tasks.metrics import KINDS, ordered

SITES = "leave-one-site-out"
_LONGEST_JSON = 50_000_000  # bytes; names of all participants of a training

_TELLTALE = {"balanced_accuracy": "classification", "mae": "regression", "mean_rank": "fingerprint"}
_QC_DATA = [
    *store.KEYS, "tr_s", "n_frames", "minutes", "minutes_kept", "fd_mm_mean", "fd_mm_max", "dvars", "tsnr",
    "global_signal_share", "min_coverage", "n_empty_parcels", "keep",
]  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One column of the table: what it is, where its numbers come from, and the scores of every row."""

    name: str
    kind: str
    datasets: tuple[str, ...]
    target: str
    n_classes: int | None
    seed: str
    settings_sha256: str
    data_sha256: str
    cells: dict[str, Cell]
    curves: dict[str, Cell]
    scheme: str = "random"
    tested_in: tuple[str, ...] = ()
    n_sites: int = 0
    notes: tuple[str, ...] = ()
    leading: str | None = None
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict)
    sites: tuple[Site, ...] = ()

    @cached_property
    def tested(self) -> frozenset[str]:
        """Every participant who is tested in some split."""
        return frozenset(next(iter(self.cells.values())).tested["participant"].dropna().astype(str))

    def is_twin_of(self, other: Task) -> bool:
        """Whether the same is predicted of the same participants, on other splits."""
        same = (self.kind, self.datasets, self.target) == (other.kind, other.datasets, other.target)
        return same and self.scheme != other.scheme

    @property
    def primary(self) -> str:
        """The metric that is printed first and tested."""
        return self.metrics[0]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the CSV, the leading one first."""
        return ordered(self.kind, self.leading)

    @property
    def second(self) -> str:
        """The metric that is printed beside the leading one."""
        return next(name for name in KINDS[self.kind] if name != self.primary)


def read_task(settings: Report, results: Path, task: str, config: Mapping[str, Any]) -> Task:
    """Read scores and predictions of every model for one task; raises `InputError` naming what is missing."""
    cells = {row: read_cell(results, models, task) for row, models in settings.rows.items()}
    curves = {model: read_cell(results, [model], task) for model in settings.curves}
    check_splits(task, cells | curves)
    check_metrics(task, cells | curves)
    about = next(iter(cells.values())).made.get("settings") or (config.get("probe") or {}).get(task) or {}
    kind = str(about.get("kind") or _guess_kind(cells))
    if kind not in KINDS:
        raise InputError(f"task '{task}': kind '{kind}' has no metrics in the table{nearest(kind, KINDS)}")
    leading = _leading(task, kind, about, cells | curves)
    elsewhere = _texts(about.get("test_dataset"))
    datasets = (*_texts(about.get("dataset")), *elsewhere)
    first = predictions(next(iter(cells.values())).predictions[0])[["participant", "split", "target"]]
    shared, notes = on_shared(task, kind, ordered(kind, leading)[0], cells)
    scheme = str(about.get("scheme") or "random")
    return Task(
        name=task,
        kind=kind,
        scheme=scheme,
        datasets=datasets,
        tested_in=elsewhere or datasets,
        target=", ".join(_texts(about.get("target"))) or ("participant" if kind == "fingerprint" else ""),
        n_classes=_n_classes(kind, about, first),
        seed=_seed(about, cells),
        settings_sha256=_settings_sha256(settings, config, cells),
        data_sha256=_data_sha256(results, datasets, first),
        cells=shared,
        curves=curves,
        n_sites=_n_sites(results, task),
        notes=(*_notes_of_splits(results, task), *notes),
        leading=leading,
        outcomes=of_cells(shared, kind) | of_cells(curves, kind),
        sites=tuple(sites(next(iter(shared.values())), kind)) if scheme == SITES else (),
    )


def _leading(task: str, kind: str, about: Mapping[str, Any], cells: Mapping[str, Cell]) -> str | None:
    """The metric that the task's settings lead with; raises `InputError` where a row was scored without it."""
    if about.get("metric") is None:
        return None
    metric = str(about["metric"])
    if metric not in KINDS[kind]:
        raise InputError(f"task '{task}': metric '{metric}' is none of kind '{kind}'{nearest(metric, KINDS[kind])}")
    for row, cell in cells.items():
        if metric not in cell.values or cell.values[metric].isna().all():
            raise InputError(f"task '{task}', model '{row}': no split has a value of {metric}; run 'probe' again")
    return metric


def arranged(tasks: list[Task]) -> list[Task]:
    """The columns in printed order: each task that leaves sites out, beside it the same on other splits; then the rest.

    A model that knows the site by its scanner can look as if it knew the target; only new sites tell.
    """
    leading = [task for task in tasks if task.scheme == SITES]
    order = [one for task in leading for one in (task, *(other for other in tasks if other.is_twin_of(task)))]
    return list({task.name: task for task in [*order, *tasks]}.values())


def _notes_of_splits(results: Path, task: str) -> list[str]:
    """What the splits say of whom they leave out; nothing where the scores were made with other splits."""
    path = results / "splits" / f"{task}.parquet"
    return [f"{task}: {note}" for note in store.provenance(path).get("notes", [])] if path.exists() else []


def _n_sites(results: Path, task: str) -> int:
    """From how many sites the participants come; 0 where the splits are not there to say it."""
    path = results / "splits" / f"{task}.parquet"
    return int(store.frame(path, "splits", ["site"])["site"].nunique()) if path.exists() else 0


def _guess_kind(cells: Mapping[str, Cell]) -> str:
    """The kind of a task whose scores do not say it (made by other software), from the metrics that are there."""
    found = {str(metric) for cell in cells.values() for metric in cell.scores["metric"]}
    return next((kind for metric, kind in _TELLTALE.items() if metric in found), f"with metrics {sorted(found)}")


def _n_classes(kind: str, about: Mapping[str, Any], tested: pd.DataFrame) -> int | None:
    if KINDS[kind][0] != "balanced_accuracy":
        return None
    if kind == "binned" and about.get("bins"):
        return int(about["bins"])
    return int(tested["target"].dropna().nunique()) or None


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


def _data_sha256(results: Path, datasets: tuple[str, ...], rows: pd.DataFrame) -> str:
    """One hash over the data behind a task: every run's measures, and who was tested in which split on which target.

    It is taken from contents, not from files, so that it is the same wherever and whenever the data were processed.
    """
    tested = content_sha256(rows.sort_values(["split", "participant"], kind="stable"))
    measures = [content_sha256(read_qc(results, dataset)[_QC_DATA]) for dataset in datasets]
    return store.sha256_json({"tested": tested, "measures": measures})


def model_folders(settings: Report, results: Path, config: Mapping[str, Any]) -> dict[str, Path]:
    """The model folder behind each row of the table, there or not; a row that the config does not know is its own.

    A row that takes a folder's architecture, and none of its weights, has none.
    """
    embed = {model: (config.get("embed") or {}).get(model) or {} for model in settings.models}
    return {
        model: Path(about["weights"]) if about.get("weights") else results / "models" / about.get("encoder", model)
        for model, about in embed.items()
        if about.get("untrained_seed") is None
    }


def read_json(path: Path, stage: str) -> dict[str, Any]:
    """A JSON mapping; empty where there is no file. Raises `InputError` naming the stage that writes it."""
    if not path.exists():
        return {}
    try:
        found = read_bounded(path, _LONGEST_JSON)
    except (OSError, InputError) as error:
        raise InputError(f"cannot read {path}: {error}; run the stage '{stage}' again") from None
    return found if isinstance(found, dict) else {}


def overlaps(settings: Report, results: Path, config: Mapping[str, Any], tasks: list[Task]) -> list[str]:
    """A line per model that was pretrained on recordings of test participants: of how many, in which tasks.

    Snapshot 0 was taken before the first step.
    """
    lines = []
    embed = config.get("embed") or {}
    for model, folder in model_folders(settings, results, config).items():
        if (embed.get(model) or {}).get("snapshot") == 0:
            continue
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
    return {str(name) for dataset in task.tested_in for name in seen.get(dataset) or ()} & task.tested


def read_qc(results: Path, dataset: str) -> pd.DataFrame:
    """The QC table of a dataset, sorted by run; raises `InputError` when it has not been made."""
    path = results / dataset / "qc.parquet"
    if not path.exists():
        raise InputError(f"QC table not found: {path}; run the stage 'qc' for dataset '{dataset}' first")
    return store.frame(path, "qc").sort_values(list(store.KEYS), na_position="first").reset_index(drop=True)


def _texts(value: Any) -> tuple[str, ...]:
    """One name or several as a tuple of names."""
    if value is None:
        return ()
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else (str(value),)
