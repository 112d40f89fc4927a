"""A task's participants, their targets and their runs → its splits, made once for all models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from boldtable import splits, store
from boldtable.errors import InputError
from boldtable.stages.probe import people as who
from boldtable.stages.probe import runs as recordings
from boldtable.stages.probe import schemes
from boldtable.stages.probe.settings import Probe


def write(settings: Probe, task: str, participants: Sequence[Path], qc: Sequence[Path], out: Path) -> None:
    """Write the ``splits`` of a task; the work behind `boldtable.stages.probe.split`.

    The metadata key ``notes`` lists what a reader of the numbers must know, such as a site that is not tested.
    """
    runs = recordings.used(settings, qc, task)
    people = who.of_task(settings, task, participants, runs)
    recordings.refuse_duplicates(runs, people, f"task '{task}'")
    notes: list[str] = []
    if settings.kind == "fingerprint":
        made = _fingerprint(settings, task, people, qc)
    else:
        made, notes = schemes.make(settings, task, people)
    splits.check(made, str(out))
    files = [settings.split_file] if settings.split_file is not None else []
    about = store.Provenance("split", settings, [*participants, *qc, *files], notes=notes)
    store.write(out, "splits", made.assign(task=task), about)


def _fingerprint(settings: Probe, task: str, people: pd.DataFrame, qc: Sequence[Path]) -> pd.DataFrame:
    if len(people) < 2:
        raise InputError(
            f"task '{task}': a fingerprint needs two participants, but {qc[0]} has {len(people)} with kept runs to "
            f"compare across {settings.across}"
        )
    return splits.fingerprint(people)
