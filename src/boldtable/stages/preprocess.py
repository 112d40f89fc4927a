"""preprocess: a raw BIDS participant → fMRIPrep derivatives, by composing and running one fMRIPrep command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from boldtable import __version__, store
from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.settings import Settings

_WRAPPER = "fmriprep-docker"
_LICENSE = "/opt/freesurfer/license.txt"  # where the image looks for it


class Preprocess(Settings):
    """How fMRIPrep is run on one dataset."""

    bids: Path = Field(description="Folder of the raw BIDS dataset; never written to.")
    derivatives: Path = Field(description="Folder that receives the fMRIPrep derivatives.")
    engine: Literal["docker", "apptainer"] = Field(
        "docker", description="Container engine: fmriprep-docker or Apptainer."
    )
    image: str = Field(
        "nipreps/fmriprep:25.2.7",
        description="Image with its version: a tag, or for Apptainer the path of a .sif file.",
    )
    license_file: Path = Field(description="FreeSurfer licence file.")
    work: Path = Field(Path("work"), description="Working folder of fMRIPrep (large, may be deleted afterwards).")
    output_spaces: list[str] = Field(["MNI152NLin6Asym:res-2"], min_length=1, description="Output spaces of fMRIPrep.")
    participants: list[str] | None = Field(
        None, description="Participants to process, with or without 'sub-'; all when null."
    )
    threads: int | None = Field(None, ge=1, description="Threads fMRIPrep may use; all of the machine when null.")
    memory_mb: int | None = Field(None, ge=1, description="Memory fMRIPrep may plan with (MB); all when null.")
    min_free_gb: float = Field(
        20.0, ge=0, description="Free disk space wanted for the working folder and the derivatives before a start (GB)."
    )
    extra: list[str] = Field([], description="Further fMRIPrep arguments, one list item each.")


def participants(settings: Preprocess) -> list[str]:
    """The participants to process, without 'sub-': those of the settings, else every ``sub-*`` folder, sorted."""
    if settings.participants is not None:
        return sorted({name.removeprefix("sub-") for name in settings.participants})
    return sorted(path.name.removeprefix("sub-") for path in settings.bids.glob("sub-*") if path.is_dir())


def command(settings: Preprocess, participant: str) -> list[str]:
    """The container command as an argument list; all paths absolute. fMRIPrep's usage tracking is off."""
    work = settings.work / f"sub-{participant}"  # one working folder each: participants run side by side
    fmriprep = ["--output-spaces", *settings.output_spaces, *_arguments(settings, participant)]
    if settings.engine == "docker":
        paths = [_absolute(settings.bids), _absolute(settings.derivatives), "participant"]
        wrapper = ["--image", settings.image, "--no-tty", "--user", f"{os.getuid()}:{os.getgid()}"]
        wrapper += ["--fs-license-file", _absolute(settings.license_file), "-w", _absolute(work)]
        return [_find(_WRAPPER) or _WRAPPER, *paths, *wrapper, *fmriprep]
    binds = [
        f"{_absolute(settings.bids)}:/data:ro",
        f"{_absolute(settings.derivatives)}:/out",
        f"{_absolute(work)}:/scratch",
        f"{_absolute(settings.license_file)}:{_LICENSE}:ro",
    ]
    mounts = [part for bind in binds for part in ("-B", bind)]
    fixed = ["/data", "/out", "participant", "--fs-license-file", _LICENSE, "-w", "/scratch"]
    return ["apptainer", "run", "--cleanenv", *mounts, _absolute(Path(settings.image)), *fixed, *fmriprep]


def _arguments(settings: Preprocess, participant: str) -> list[str]:
    """What fMRIPrep itself is told, in any engine."""
    arguments = ["--participant-label", participant, "--notrack"]
    if settings.threads is not None:
        arguments += ["--nthreads", str(settings.threads)]
    if settings.memory_mb is not None:
        arguments += ["--mem_mb", str(settings.memory_mb)]  # this spelling also silences the wrapper's prompt
    return [*arguments, *settings.extra]


def is_complete(settings: Preprocess, participant: str) -> bool:
    """Whether fMRIPrep has finished with this participant: its HTML report and a preprocessed BOLD exist."""
    folder = settings.derivatives / f"sub-{participant}"
    bold = "func/*_desc-preproc_bold.nii*"
    done = any(folder.glob(bold)) or any(folder.glob(f"ses-*/{bold}"))
    return done and folder.with_suffix(".html").is_file()


def check(settings: Preprocess, participant: str) -> str:
    """Return the engine's version once everything is there that fMRIPrep needs; else raise `InputError`."""
    if not (settings.bids / f"sub-{participant}").is_dir():
        raise InputError(f"no sub-{participant} in {settings.bids}; correct 'bids' or 'participants'")
    try:
        settings.license_file.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the FreeSurfer licence {settings.license_file}: {error.strerror}; "
            "get one free of charge at https://surfer.nmr.mgh.harvard.edu/registration.html and set license_file"
        ) from None
    if settings.work.resolve().is_relative_to(settings.bids.resolve()):
        raise InputError(
            f"the working folder {settings.work} lies in the BIDS folder; set 'work' to a place outside it"
        )
    if settings.engine == "apptainer" and not Path(settings.image).exists():
        raise InputError(
            f"image file not found: {settings.image}; make it with "
            "'apptainer build fmriprep-25.2.7.sif docker://nipreps/fmriprep:25.2.7' and set 'image' to its path"
        )
    found = _check_engine(settings.engine)
    for folder in (settings.work, settings.derivatives):
        _check_space(folder, settings.min_free_gb)
    return found


def run(settings: Preprocess, participant: str, out: Path) -> None:
    """Run fMRIPrep on one participant and write what happened to `out` (JSON); its output goes to a .log beside it.

    The record holds status (``ok`` or ``failed``), reason, exit_code, seconds, command, image, log and versions. A
    participant that is complete already is not run again. A failing fMRIPrep is a record, not an exception, so that
    other participants go on; what keeps fMRIPrep from being started at all raises `InputError`.
    """
    participant = participant.removeprefix("sub-")
    log = out.with_suffix(".log")
    record: dict[str, Any] = {
        "participant": participant, "status": "ok", "reason": None, "exit_code": None, "seconds": 0.0,
        "command": None, "engine": settings.engine, "image": settings.image, "log": None,
    }  # fmt: skip
    versions: dict[str, str | None] = {"boldtable": __version__}
    if is_complete(settings, participant):
        say(f"preprocess: sub-{participant} is complete in {settings.derivatives}, not run again")
        record["reason"] = "complete already, not run again"
    else:
        versions[settings.engine] = check(settings, participant)
        versions[_WRAPPER] = _installed(_WRAPPER) if settings.engine == "docker" else None
        record |= _execute(settings, participant, log)
    store.write_text(out, json.dumps({**record, "versions": versions}, indent=2) + "\n")


def _execute(settings: Preprocess, participant: str, log: Path) -> dict[str, Any]:
    """Run the command with its output in `log`; return the fields of the record that this decides."""
    arguments = command(settings, participant)
    # Docker would make missing folders as root, Apptainer would refuse to bind them.
    for folder in (log.parent, settings.derivatives, settings.work / f"sub-{participant}"):
        _make(folder)
    say(f"preprocess: sub-{participant}: fMRIPrep runs (hours); its output goes to {log}")
    start = time.monotonic()
    with log.open("wb") as output:
        code = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
        ).returncode
    seconds = round(time.monotonic() - start, 1)
    reason = None
    if code != 0:
        reason = f"fMRIPrep ended with exit code {code}; see {log}"
    elif not is_complete(settings, participant):
        reason = f"fMRIPrep ended without a report or a preprocessed BOLD; see {log}"
    status = "failed" if reason else "ok"
    say(f"preprocess: sub-{participant}: {reason or 'done'} ({seconds / 60:.0f} min)")
    outcome = {"status": status, "reason": reason, "exit_code": code, "seconds": seconds}
    return {**outcome, "command": arguments, "log": str(log)}


def _check_engine(engine: str) -> str:
    """The version of the engine (for Docker: of the daemon, which so is known to answer)."""
    for program in (_WRAPPER, "docker") if engine == "docker" else ("apptainer",):
        if _find(program) is None:
            hint = (
                "pip install fmriprep-docker" if program == _WRAPPER else f"install {program} or set another 'engine'"
            )
            raise InputError(f"{program} is not on the PATH; {hint}")
    ask = ["docker", "version", "--format", "{{.Server.Version}}"] if engine == "docker" else [engine, "--version"]
    answer = subprocess.run(ask, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        said = " ".join(answer.stderr.split()) or f"exit code {answer.returncode}"
        raise InputError(f"{engine} does not answer: {said}; start it, and see that you may use it")
    return answer.stdout.strip()


def _check_space(folder: Path, min_free_gb: float) -> None:
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if free_gb < min_free_gb:
        raise InputError(f"{free_gb:.1f} GB free for {folder}, {min_free_gb:g} GB wanted; make room or set min_free_gb")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}; choose a folder that can be written") from None


def _find(program: str) -> str | None:
    """Where a program is: on the PATH, or beside the Python that runs (an environment that is not activated)."""
    return shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _absolute(path: Path) -> str:
    return str(path.absolute())
