"""What is wrong with a task's target, said as soon as the participants are known and before anything costs hours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from boldtable import store
from boldtable.errors import BoldtableError, InputError
from boldtable.stages.probe import people as who
from boldtable.stages.probe import schemes
from boldtable.stages.probe.settings import Probe


def check(settings: Probe, task: str, participants: Sequence[Path]) -> dict[str, Any]:
    """Make the splits of a task as though every participant had a run that is kept; return whom they are made of.

    Quality control can only take participants away, so what fails here would fail later. Raises `InputError` as
    `boldtable.stages.probe.split` does.
    """
    runs = pd.concat(
        [_everybody(path, name) for path, name in zip(participants, settings.datasets, strict=True)], ignore_index=True
    )
    people = who.of_task(settings, task, participants, runs)
    if settings.kind != "fingerprint":
        schemes.make(settings, task, people)
    classes = people["target"].value_counts().to_dict() if settings.kind == "classification" else {}
    return {"task": task, "participants": len(people), "classes": {str(key): int(n) for key, n in classes.items()}}


def write(settings: Probe, task: str, participants: Sequence[Path], out: Path) -> None:
    """Check a task and write what was found as JSON."""
    try:
        found = check(settings, task, participants)
    except BoldtableError as error:
        name, text = f"task '{task}'", str(error)
        raise InputError(text if text.startswith(name) else f"{name}: {text}") from None
    store.write_text(out, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _everybody(path: Path, dataset: str) -> pd.DataFrame:
    names = store.frame(path, "participants", ["participant"])["participant"].drop_duplicates()
    return pd.DataFrame({"dataset": dataset, "participant": names})
