"""Command lines for both engines, as argument lists: fMRIPrep itself, and small programs out of its image."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import import_module
from pathlib import Path

from boldtable.errors import InputError
from boldtable.stages.preprocess.settings import Preprocess
from boldtable.stages.preprocess.units import Unit, sessions

WRAPPER = "fmriprep-docker"
BIDS, OUT = "/data", "/out"  # where the wrapper mounts them
_LICENSE = "/opt/freesurfer/license.txt"  # where the image looks for it
_FILTER, _DATABASE, _TEMPLATEFLOW = (
    "/opt/boldtable/filter.json",
    "/opt/boldtable/database",
    "/opt/boldtable/templateflow",
)


def fmriprep(settings: Preprocess, unit: Unit) -> list[str]:
    """The fMRIPrep command of one participant or session; all paths absolute, fMRIPrep's usage tracking off."""
    # Last, the options of fMRIPrep alone: the wrapper hands on what it does not know.
    arguments = ["--output-spaces", *settings.output_spaces, *_arguments(settings, unit)]
    build = _docker if settings.engine == "docker" else _apptainer
    return [*build(settings, unit), *arguments]


def _docker(settings: Preprocess, unit: Unit) -> list[str]:
    """fmriprep-docker mounts what it is given by options of fMRIPrep; it has none for a TemplateFlow cache."""
    command = [find(WRAPPER) or WRAPPER, absolute(settings.bids), absolute(settings.derivatives), "participant"]
    command += ["--image", settings.image, "--no-tty", "--user", _user()]
    command += ["--fs-license-file", absolute(settings.license_file), "-w", absolute(work(settings, unit))]
    if settings.filter_file is not None:
        command += ["--bids-filter-file", absolute(settings.filter_file)]
    if settings.database is not None:
        command += ["--bids-database-dir", absolute(settings.database)]
    if settings.templateflow is not None:
        # --patch is its one option that mounts any folder: read-only, beside the Python packages of the image.
        name = "boldtable_templateflow"
        command += ["--patch", f"{name}={absolute(settings.templateflow)}"]
        command += ["--env", "TEMPLATEFLOW_HOME", f"{_packages()}/{name}", "--env", "TEMPLATEFLOW_AUTOUPDATE", "off"]
    return command


def _apptainer(settings: Preprocess, unit: Unit) -> list[str]:
    mounts = {settings.bids: f"{BIDS}:ro", settings.derivatives: OUT, work(settings, unit): "/scratch"}
    mounts[settings.license_file] = f"{_LICENSE}:ro"
    inside = [BIDS, OUT, "participant", "--fs-license-file", _LICENSE, "-w", "/scratch"]
    environment = []
    if settings.filter_file is not None:
        mounts[settings.filter_file] = f"{_FILTER}:ro"
        inside += ["--bids-filter-file", _FILTER]
    if settings.database is not None:
        mounts[settings.database] = _DATABASE
        inside += ["--bids-database-dir", _DATABASE]
    if settings.templateflow is not None:
        mounts[settings.templateflow] = f"{_TEMPLATEFLOW}:ro"
        environment = ["--env", f"TEMPLATEFLOW_HOME={_TEMPLATEFLOW},TEMPLATEFLOW_AUTOUPDATE=off"]
    return ["apptainer", "run", "--cleanenv", *environment, *_binds("-B", mounts), _sif(settings), *inside]


def program(settings: Preprocess, name: str, *arguments: str, mounts: dict[Path, str] | None = None) -> list[str]:
    """The command that runs one program of the image; `mounts`: folder → place inside, with ``:ro`` where wanted."""
    if settings.engine == "docker":
        head = ["docker", "run", "--rm", "--user", _user(), *_binds("-v", mounts or {})]
        return [*head, "--entrypoint", name, settings.image, *arguments]
    return ["apptainer", "exec", "--cleanenv", *_binds("-B", mounts or {}), _sif(settings), name, *arguments]


def _arguments(settings: Preprocess, unit: Unit) -> list[str]:
    """What fMRIPrep itself is told, in any engine."""
    arguments = ["--participant-label", unit.participant, "--notrack"]
    if unit.session is not None:
        # Without a reference of their own, sessions that run side by side would write the same anatomical files.
        arguments += ["--session-label", unit.session]
        if "--subject-anatomical-reference" not in settings.extra:
            arguments += ["--subject-anatomical-reference", "sessionwise"]
    elif settings.sessions is not None and (wanted := sessions(settings, unit.participant)):
        arguments += ["--session-label", *wanted]
    if settings.threads is not None:
        arguments += ["--nthreads", str(settings.threads)]
    if settings.memory_mb is not None:
        arguments += ["--mem_mb", str(settings.memory_mb)]  # this spelling also silences the wrapper's prompt
    return [*arguments, *settings.extra]


def work(settings: Preprocess, unit: Unit) -> Path:
    """The unit's own working folder: units run side by side."""
    return settings.work / f"sub-{unit.label}"


def find(program: str) -> str | None:
    """Where a program is: on the PATH, or beside the Python that runs (an environment that is not activated)."""
    return shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))


def absolute(path: Path) -> str:
    """The path as the engines want it; links are kept, for they may be the names that a site allows to be mounted."""
    return str(path.absolute())


def _packages() -> str:
    """The folder of Python packages in the image, as the wrapper knows it."""
    try:
        return str(import_module("fmriprep_docker.__main__").PKG_PATH)
    except (ImportError, AttributeError):
        raise InputError(
            "a TemplateFlow cache with Docker needs fmriprep-docker 25.2 or newer beside boldtable: "
            "pip install fmriprep-docker"
        ) from None


def _binds(option: str, mounts: dict[Path, str]) -> list[str]:
    return [part for path, place in mounts.items() for part in (option, f"{absolute(path)}:{place}")]


def _user() -> str:
    """Without it Docker would write everything as root."""
    return f"{os.getuid()}:{os.getgid()}"


def _sif(settings: Preprocess) -> str:
    return absolute(Path(settings.image))
