"""When a task fails: what went wrong is written in place of its numbers, so that the other tasks still make a table.

A file of splits, scores or predictions of a task that failed is empty and says why under the metadata key ``failed``.
Whoever reads it decides: probing passes the reason on, the report leaves the task out and says so. A full disk is no
fault of a task and is never written down.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.stages.probe.settings import Probe

FAILED = "failed"


def noting(work: Callable[[], None], settings: Probe, outputs: Mapping[str, Path], stage: str, **labels: str) -> None:
    """Do the `work`; where the task's data or settings are at fault, write `outputs` (artefact → path) that say so."""
    try:
        work()
    except (InputError, SettingsError) as error:
        print(f"boldtable: error: {error}", file=sys.stderr, flush=True)
        noted: dict[str, Any] = {**labels, FAILED: str(error)}
        about = store.Provenance(stage, settings, **noted)
        for artefact, path in outputs.items():
            store.write(path, artefact, [], about)


def refuse_failed(splits: Path) -> None:
    """Raise `InputError` with the reason where the splits of a task could not be made."""
    reason = store.provenance(splits).get(FAILED) if splits.is_file() else None
    if reason:
        raise InputError(str(reason))
