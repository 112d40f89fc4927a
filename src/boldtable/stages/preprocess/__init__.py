"""preprocess: a raw BIDS participant → fMRIPrep derivatives, by composing and running one fMRIPrep command."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from boldtable import __version__, store
from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.stages.preprocess.checks import check
from boldtable.stages.preprocess.container import fmriprep, work
from boldtable.stages.preprocess.outcome import bold, entities, has_bold, is_complete, maker, missing, reason, reports
from boldtable.stages.preprocess.preparation import make, prepare
from boldtable.stages.preprocess.protection import protect, release
from boldtable.stages.preprocess.settings import Preprocess
from boldtable.stages.preprocess.units import Unit, units
from boldtable.writing import alone

__all__ = ["Preprocess", "Unit", "check", "fsaverage", "is_complete", "prepare", "records", "run", "units"]


def records(settings: dict[str, Any]) -> list[str]:
    """The names of the records that a dataset's block of the config asks for, one per participant or session."""
    return [unit.label for unit in units(Preprocess.parse(settings, "preprocess"))]


def fsaverage(settings: Preprocess, out: Path) -> None:
    """Before the fan-out, once per dataset: check everything, seed fsaverage, and write to `out` (JSON) what runs.

    Raises `InputError` with one line per problem, before any container starts. Where every participant is complete
    already, nothing is wanted and no engine needed.
    """
    wanted = units(settings)
    open_ = [unit for unit in wanted if not is_complete(settings, unit)]
    done = {"units": len(wanted), "complete": len(wanted) - len(open_), "versions": {"boldtable": __version__}}
    ready = prepare(settings, open_) if open_ or not wanted else {}
    say(f"preprocess: {len(open_)} of {len(wanted)} to run, the others are complete")
    _write(out, {**done, **ready})


def run(
    settings: Preprocess, dataset: str, unit: str, out: Path, ready: Path | None = None, **limits: int | None
) -> None:
    """Run fMRIPrep on `unit` (``01``, or ``01_ses-1``) and write what happened to `out`; its output goes beside it.

    The record (JSON) holds dataset, participant, session, status (``ok`` or ``failed``), reason, missing (raw runs
    that fMRIPrep left out), exit_code, seconds, command, image, digest, versions and log. A unit that is complete is
    not run again. A failing fMRIPrep is a record, not an exception, so that others go on; what keeps it from being
    started at all raises `InputError`. `ready` is the file of `fsaverage`, without which its work is done here.
    `limits` (threads, memory_mb), where given and not 0, count before the settings.
    """
    settings = settings.model_copy(update={name: value for name, value in limits.items() if value})
    working = out.parent / f".{out.stem}.working"
    with alone(working) as handle:  # an fMRIPrep that a killed run has left goes on: it is waited for
        try:
            _run(settings, dataset, Unit.parse(unit), out, ready, handle)
        finally:
            shutil.rmtree(working, ignore_errors=True)


def _run(settings: Preprocess, dataset: str, wanted: Unit, out: Path, ready: Path | None, handle: int) -> None:
    start: dict[str, Any] = {
        "dataset": dataset, "participant": wanted.participant, "session": wanted.session, "status": "ok",
        "reason": None, "missing": [], "started": datetime.now(UTC).isoformat(timespec="seconds"), "exit_code": None,
        "seconds": 0.0, "command": None, "engine": settings.engine, "image": None, "digest": None, "log": None,
    }  # fmt: skip
    if is_complete(settings, wanted):
        version = maker(settings, wanted)
        say(f"preprocess: sub-{wanted.label} is complete in {settings.derivatives}, not run again")
        note = f"complete already{f' (fMRIPrep {version})' if version else ''}, not run again"
        _write(out, {**start, "reason": note, "versions": {"boldtable": __version__, "fmriprep": version}})
        return
    made = _ready(settings, wanted, ready)
    _write(out, {**start, **made, **_execute(settings, wanted, out, handle)})


def _ready(settings: Preprocess, unit: Unit, ready: Path | None) -> dict[str, Any]:
    """Image, digest and versions: as prepared for all, after a look that they still hold; else prepared now."""
    found = _read(ready) if ready is not None else {}
    if found.get("image") != settings.image:
        return prepare(settings, [unit])
    check(settings, [unit])
    return {name: found[name] for name in ("image", "digest", "versions")}


def _execute(settings: Preprocess, unit: Unit, out: Path, handle: int) -> dict[str, Any]:
    """Run the command with its output in a log beside `out`; return the fields of the record that this decides.

    The command keeps `handle`, and with it the lock of the unit, should this process be killed.
    """
    arguments, log = fmriprep(settings, unit), out.with_suffix(".log")
    for folder in (log.parent, settings.derivatives, work(settings, unit)):
        make(folder)
    release(settings, unit)
    say(f"preprocess: sub-{unit.label}: fMRIPrep runs (hours); its output goes to {log}")
    start, clock = time.time(), time.monotonic()
    with log.open("wb") as output:
        code = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False, pass_fds=[handle]
        ).returncode
    seconds = round(time.monotonic() - clock, 1)
    why = _why(settings, unit, code, log, start)
    found = {"exit_code": code, "seconds": seconds, "command": arguments, "log": str(log)}
    if why is not None:
        say(f"preprocess: sub-{unit.label}: {why} ({seconds / 60:.0f} min)")
        left = len(bold(settings, unit))
        why += f"; it has left {left} preprocessed images, which are used if they are whole" if left else ""
        return {**found, "status": "failed", "reason": f"{why}; log: {log}; to try again: delete {out}"}
    left_out = [_names(path) for path in missing(settings, unit)]
    if settings.protect:
        protect(settings, unit)
    say(f"preprocess: sub-{unit.label}: done ({seconds / 60:.0f} min), {len(left_out)} raw runs left out by fMRIPrep")
    return {**found, "missing": left_out}


def _why(settings: Preprocess, unit: Unit, code: int, log: Path, start: float) -> str | None:
    """What was wrong with an fMRIPrep run that has ended; None: nothing."""
    if code != 0:
        return f"fMRIPrep ended with exit code {code} ({reason(settings, unit, log, start)})"
    if not reports(settings, unit):
        return "fMRIPrep ended without a report"
    if not has_bold(settings, unit):
        return f"fMRIPrep ended without a preprocessed BOLD in {' and '.join(settings.output_spaces)}"
    return None


def _names(path: Path) -> dict[str, str | None]:
    """The keys of a raw run and its file name."""
    found = entities(path.name)
    keys = {"session": "ses", "task": "task", "run": "run", "acquisition": "acq"}
    return {**{key: found.get(short) for key, short in keys.items()}, "file": path.name}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; delete it and start again") from None
    return found if isinstance(found, dict) else {}


def _write(out: Path, record: dict[str, Any]) -> None:
    store.write_text(out, json.dumps(record, indent=2) + "\n")
