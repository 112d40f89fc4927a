"""Numbers that papers report (``resources/published/*.tsv``), to stand beside the measured ones.

Each number says where it was read. A doubtful one (sources that disagree, a table that cannot be as quoted) is kept
with its reason, so that nobody enters it again, and is never printed.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from boldtable.errors import SettingsError, nearest
from boldtable.settings import Settings
from boldtable.stages.report.settings import Report
from boldtable.tasks.metrics import METRICS

FOLDER = "published"


class Number(Settings):
    """One published number."""

    task: str = Field(description="Name of the task in the file.")
    model: str = Field(description="Name of the model in the file.")
    metric: str = Field(description="Metric, by the names of the table; one that is not measured here stands alone.")
    value: float = Field(description="The number as printed: accuracies, F1 and AUROC in percent.")
    sd: float | None = Field(None, description="Its standard deviation as printed.")
    source: str = Field(description="The paper and its table.")
    provenance: Literal["paper", "summary", "secondary"] = Field(
        description="Read in the paper itself, in a summary of it, or in another text that quotes it."
    )
    doubtful: str | None = Field(None, description="Why the number must not be printed; null where it may.")

    @property
    def measured_as(self) -> float:
        """The value in the units of the scores."""
        return self.value / METRICS[self.metric].scale if self.metric in METRICS else self.value


@cache
def load(name: str) -> list[Number]:
    """Every number of a file, doubtful ones included; raises `SettingsError` for a file that there is not."""
    files = {path.stem: path for path in _files()}
    if name not in files:
        raise SettingsError(f"published: no file '{name}' in resources/{FOLDER}{nearest(name, files)}")
    rows = pd.read_csv(files[name], sep="\t", dtype=str, comment="#", keep_default_na=False).to_dict("records")
    known = [{str(key): value for key, value in row.items() if value != "n/a"} for row in rows]
    return [Number.parse(row, f"{files[name]}: row {i + 1}") for i, row in enumerate(known)]


def _files() -> list[Path]:
    """The files in the repository, or where the installed package put them (``share/boldtable/published``)."""
    beside = Path(__file__).resolve().parents[4] / "resources" / FOLDER
    if beside.is_dir():
        return sorted(beside.glob("*.tsv"))
    installed = [file for file in metadata.files("boldtable") or [] if file.parent.name == FOLDER]
    return sorted(Path(str(file.locate())) for file in installed if file.suffix == ".tsv")


def beside(settings: Report, numbers: list[Number], row: dict[str, Any]) -> dict[str, Any]:
    """The columns ``published…`` of a row of the table; empty where no number that may be printed agrees with it."""
    task = settings.published_tasks.get(row["task"], row["task"])
    model = settings.published_models.get(row["model"], row["model"])
    for number in numbers:
        if number.doubtful is None and (number.task, number.model, number.metric) == (task, model, row["metric"]):
            value = number.measured_as
            return {
                "published": value,
                "published_difference": row["mean"] - value,
                "published_inside": bool(row["ci_low"] <= value <= row["ci_high"]),
                "published_source": f"{number.source} ({WORDS[number.provenance]})",
            }
    return {}


WORDS = {"paper": "the paper", "summary": "from a summary of the paper", "secondary": "quoted by another text"}
