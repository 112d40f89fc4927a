"""The tables that a task is made from: participants, runs and embeddings of small datasets with sites and families."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boldtable import store
from boldtable.stages import probe

PROVENANCE = store.Provenance("x")


class Dataset:
    """Participants at three sites, half of them patients, one run each; every run has a signal of its own."""

    def __init__(self, folder: Path, name: str = "aurora", n: int = 48) -> None:
        self.folder, self.name = folder / name, name
        names = [f"{index:02d}" for index in range(n)]
        self.people = pd.DataFrame({"participant": names, "session": None, "site": [f"s{i % 3}" for i in range(n)]})
        self.people["family"] = None
        self.people["diagnosis"] = np.where(np.arange(n) // 3 % 2, "patient", "control")
        self.people["age_years"] = np.linspace(20, 80, n).round(1)
        self.runs = pd.DataFrame({"dataset": name, "participant": names, "session": None, "run": "1", "keep": True})
        self.runs["fd_mm_mean"] = np.linspace(0.1, 0.5, n)
        self.runs["minutes_kept"] = 5.0
        self.runs["signal_sha256"] = [f"{name} {index}" for index in range(n)]

    def add_runs(self, **values: Any) -> None:
        """A further run of everybody, with these values."""
        more = self.runs.drop_duplicates("participant").assign(**values)
        more["signal_sha256"] = [f"{digest} again {values}" for digest in more["signal_sha256"]]
        self.runs = pd.concat([self.runs, more], ignore_index=True)

    def write(self) -> dict[str, Path]:
        paths = {name: self.folder / f"{name}.parquet" for name in ("participants", "qc", "embeddings")}
        store.write(paths["participants"], "participants", self.people, PROVENANCE)
        store.write(paths["qc"], "qc", self.runs, PROVENANCE)
        return paths

    def embed(self, rows: Sequence[dict[str, Any]] | None = None, **about: Any) -> Path:
        """Embeddings that know the diagnosis: one window per run, or the `rows` given."""
        sick = self.people.set_index("participant")["diagnosis"] == "patient"
        rng = np.random.default_rng(0)
        if rows is None:
            found = self.runs[["dataset", "participant", "session", "run"]].assign(window=0).to_dict("records")
            rows = [{**row, "embedding": rng.normal(4 * sick[row["participant"]], 1, size=3)} for row in found]
        path = self.write()["embeddings"]
        store.write(path, "embeddings", rows, store.Provenance("embed", **about), len(rows[0]["embedding"]))
        return path


def settings(**values: Any) -> probe.Probe:
    return probe.Probe.parse(
        {"dataset": "aurora", "kind": "classification", "target": "diagnosis", "splits": 4, **values}
    )


def split(*datasets: Dataset, **values: Any) -> pd.DataFrame:
    """Make the splits of a task on these datasets and read them."""
    paths, out = [dataset.write() for dataset in datasets], datasets[0].folder / "splits.parquet"
    tables = {name: [path[name] for path in paths] for name in ("participants", "qc")}
    probe.split(settings(**values), task="task", **tables, out=out)
    return store.frame(out, "splits")


def notes(*datasets: Dataset) -> list[str]:
    found: list[str] = store.provenance(datasets[0].folder / "splits.parquet")["notes"]
    return found


def score(*datasets: Dataset, **values: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score the embeddings on the splits: scores and predictions."""
    folder, paths = datasets[0].folder, [dataset.write() for dataset in datasets]
    tables = {name: [path[name] for path in paths] for name in ("embeddings", "qc")}
    out, predictions = folder / "scores.parquet", folder / "predictions.parquet"
    probe.run(
        settings(**values), model="toy", task="task", **tables, splits=folder / "splits.parquet", out=out,
        predictions=predictions,
    )  # fmt: skip
    return store.frame(out, "scores"), store.frame(predictions, "predictions")
