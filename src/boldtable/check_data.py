"""Check a config against the data on the disk: collect every dataset aside and try every task on it.

The stages' own code does both, in a temporary folder, so that what is said here is what a run would say.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from boldtable.errors import BoldtableError, InputError, SettingsError
from boldtable.progress import say
from boldtable.stages import collect, probe
from boldtable.study import Study


def run(study: Study) -> None:
    """Collect the datasets and check the targets; raises one error that lists all that is wrong."""
    study.check_folders()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as aside:
        tables = dict(_collected(study, Path(aside), wrong))
        for task, settings in study.probe.items():
            if all(dataset in tables for dataset in settings.datasets):
                _try(settings, task, tables, Path(aside), wrong)
    if wrong:
        raise InputError("; ".join(dict.fromkeys(wrong)))


def _collected(study: Study, aside: Path, wrong: list[str]) -> list[tuple[str, Path]]:
    """The table of participants of every dataset that is there; what collect refuses is noted in `wrong`."""
    found = []
    for dataset, settings in study.collect.items():
        if dataset in study.preprocess:
            say(f"{dataset} is preprocessed first: its tasks are checked when it is collected")
            continue
        runs, participants = aside / f"{dataset}.runs.parquet", aside / f"{dataset}.participants.parquet"
        try:
            collect.run(settings, dataset=dataset, runs=runs, participants=participants)
        except (InputError, SettingsError) as error:
            wrong.append(str(error))
        else:
            found.append((dataset, participants))
    return found


def _try(settings: probe.Probe, task: str, tables: Mapping[str, Path], aside: Path, wrong: list[str]) -> None:
    paths = [tables[dataset] for dataset in settings.datasets]
    try:
        probe.check_target(settings, task=task, participants=paths, out=aside / "found.json")
    except BoldtableError as error:
        # A user knows the dataset by its name, not by a file that is gone afterwards.
        text = str(error)
        for dataset, path in tables.items():
            text = text.replace(str(path), f"the participants of {dataset}")
        wrong.append(text)
