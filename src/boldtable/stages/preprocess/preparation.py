"""Once per dataset, before participants fan out: the image, fsaverage, and the index of the raw dataset.

fMRIPrep copies fsaverage into the derivatives where it is missing; jobs that start together would copy at once and
break each other (nipreps/fmriprep#3492).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boldtable import __version__, store
from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.stages.preprocess.checks import INDEX, ask, check, is_here, said
from boldtable.stages.preprocess.container import BIDS, WRAPPER, program
from boldtable.stages.preprocess.settings import Preprocess
from boldtable.stages.preprocess.units import Unit

SUBJECTS = Path("sourcedata/freesurfer")  # below the derivatives
_IN_IMAGE = "/opt/freesurfer/subjects"
_PARTS = ("label", "mri", "surf")  # of a whole fsaverage
_BY_DENSITY = {"3k": "fsaverage4", "10k": "fsaverage5", "41k": "fsaverage6"}


def prepare(settings: Preprocess, wanted: Sequence[Unit]) -> dict[str, Any]:
    """Check everything, then bring image, fsaverage and index into place; return image, its digest and versions.

    What is there already is left alone. Raises `InputError`, one line, before anything is written for a check, and
    for an engine that cannot do what it is told.
    """
    engine = check(settings, wanted)
    versions: dict[str, str | None] = {"boldtable": __version__, settings.engine: engine}
    if settings.engine == "docker":
        versions[WRAPPER] = _wrapper_version()
        if not is_here(settings):
            say(f"preprocess: {settings.image} is not on this machine: docker pull (20 GB, once)")
            _do(["docker", "pull", "--quiet", settings.image], f"docker cannot pull {settings.image}")
    told = _do(program(settings, "fmriprep", "--version"), f"fMRIPrep does not start in {settings.image}")
    versions["fmriprep"] = told.strip().rpartition(" ")[2].removeprefix("v") or None
    for folder in (settings.derivatives, settings.work):
        make(folder)
    if settings.surfaces:
        for name in averages(settings.output_spaces):
            _copy(settings, name)
    _index(settings)
    return {"image": settings.image, "digest": _digest(settings), "versions": versions}


def averages(output_spaces: Sequence[str]) -> list[str]:
    """The average subjects that fMRIPrep will look for: fsaverage always, others for their output spaces."""
    names = {"fsaverage"}
    for space in output_spaces:
        base, *modifiers = space.split(":")
        if base.startswith("fsaverage"):
            density = next((part.removeprefix("den-") for part in modifiers if part.startswith("den-")), "")
            names.add(_BY_DENSITY.get(density, base))
    return sorted(names)


def _copy(settings: Preprocess, name: str) -> None:
    """Copy an average subject out of the image: under another name first, so that it is whole or not there."""
    subjects = settings.derivatives / SUBJECTS
    goal = subjects / name
    if goal.exists():
        broken = [part for part in _PARTS if not (goal / part).is_dir()]
        if broken:
            raise InputError(f"{goal} is incomplete: it has no '{broken[0]}'; delete this folder and start again")
        return
    make(subjects)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=subjects) as temporary:
        copy = program(settings, "cp", "-RL", f"{_IN_IMAGE}/{name}", "/copy/", mounts={Path(temporary): "/copy"})
        _do(copy, f"cannot copy {name} out of {settings.image}")
        made = Path(temporary) / name
        if not all((made / part).is_dir() for part in _PARTS):
            raise InputError(f"{settings.image} has no whole {_IN_IMAGE}/{name}; is it an image of fMRIPrep?")
        try:
            made.rename(goal)
        except OSError:
            if not goal.exists():  # else another start was faster
                raise
    say(f"preprocess: {name} copied into {subjects}")


def _index(settings: Preprocess) -> None:
    """Let the container's own PyBIDS index the raw dataset: an index holds paths, which differ inside and outside."""
    if settings.database is None or (settings.database / INDEX).exists():
        return
    make(settings.database.parent)
    with tempfile.TemporaryDirectory(prefix=f".{settings.database.name}.", dir=settings.database.parent) as temporary:
        mounts = {settings.bids: f"{BIDS}:ro", Path(temporary): "/index"}
        ignored = [
            part for name in ("code", "stimuli", "sourcedata", "models", r"m/^\./") for part in ("--ignore", name)
        ]
        options = ["--no-validate", "--index-metadata", *ignored]
        say(f"preprocess: {settings.bids} is being indexed, once")
        _do(
            program(settings, "pybids", "layout", BIDS, "/index", *options, mounts=mounts),
            f"cannot index {settings.bids}",
        )
        make(settings.database)
        shutil.move(Path(temporary) / INDEX, settings.database / INDEX)


def _digest(settings: Preprocess) -> str | None:
    """What pins the image beyond its name: Docker's digest, or size and time of a .sif file."""
    if settings.engine == "apptainer":
        print_ = store.fingerprint(Path(settings.image))
        return str(print_.get("sha256") or f"{print_['size']} bytes of {print_['mtime']:.0f}")
    form = "{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}"
    answer = ask(["docker", "image", "inspect", "--format", form, settings.image])
    return answer.stdout.strip() or None


def _wrapper_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(WRAPPER)
    except PackageNotFoundError:
        return None


def _do(command: list[str], complaint: str) -> str:
    answer = ask(command)
    if answer.returncode != 0:
        raise InputError(f"{complaint}: {said(answer)}; command: {' '.join(command)}")
    return answer.stdout


def make(folder: Path) -> None:
    """Make a folder. Docker would make a missing one as root, Apptainer would refuse to bind it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {folder}: {error.strerror}; choose a folder that can be written") from None
