"""Everything that can be checked before a container starts: each problem is one line with the way out."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.reading.bounded import read_json
from boldtable.stages.preprocess.container import BIDS, WRAPPER, find
from boldtable.stages.preprocess.settings import Preprocess
from boldtable.stages.preprocess.units import Unit, labels, sessions

INDEX = "layout_index.sqlite"  # PyBIDS's name for it
_SURFACE = ("fsaverage", "fsnative", "fsLR", "func", "bold", "boldref", "run", "sbref", "anat", "T1w")


def check(settings: Preprocess, wanted: Sequence[Unit]) -> str:
    """Return the engine's version once everything is there that fMRIPrep needs for these units.

    Raises `InputError`: for one problem its line; for several, each is said on a line of its own before.
    """
    problems = [*_inputs(settings, wanted), *_license(settings), *_filter(settings), *_folders(settings)]
    problems += [*_templateflow(settings), *_database(settings, wanted)]
    version, of_engine = _engine(settings)
    problems += of_engine or list(_image(settings))
    if len(problems) > 1:
        for problem in problems:
            say(f"preprocess: {problem}")
        raise InputError(f"fMRIPrep cannot start, for {len(problems)} reasons; the first: {problems[0]}")
    if problems:
        raise InputError(problems[0])
    return version


def ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a small command without input and keep what it says; a program that is not there exits with 127."""
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]}: {error.strerror}")


def said(answer: subprocess.CompletedProcess[str]) -> str:
    """The complaint of a command on one line."""
    return " ".join((answer.stderr or answer.stdout).split())[:300] or f"exit code {answer.returncode}"


def _inputs(settings: Preprocess, wanted: Sequence[Unit]) -> Iterator[str]:
    if not settings.bids.is_dir():
        yield f"no such folder: {settings.bids}; correct 'bids'"
        return
    if not (settings.bids / "dataset_description.json").is_file():
        yield f"no dataset_description.json in {settings.bids}, which fMRIPrep wants; write it, or correct 'bids'"
    if not wanted:
        yield f"no participants to process in {settings.bids}; correct 'bids', 'participants' or 'sessions'"
    gone = sorted({unit.participant for unit in wanted if not Unit(unit.participant).folder(settings.bids).is_dir()})
    if gone:
        names = ", ".join(f"sub-{name}" for name in gone[:10]) + (" and more" if len(gone) > 10 else "")
        yield f"no {names} in {settings.bids}; correct 'bids' or 'participants'"
    here = [unit for unit in wanted if unit.participant not in gone]
    for unit in here:
        has = labels(settings.bids / f"sub-{unit.participant}", "ses-")
        if unit.session is not None and unit.session not in has:
            yield f"no ses-{unit.session} in {settings.bids}/sub-{unit.participant}; it has {', '.join(has) or 'none'}"
        elif has and not sessions(settings, unit.participant):
            yield f"sub-{unit.participant} has none of the wanted sessions; it has {', '.join(has)}; correct 'sessions'"


def _license(settings: Preprocess) -> Iterator[str]:
    hint = "get one free of charge at https://surfer.nmr.mgh.harvard.edu/registration.html and set license_file"
    try:
        if not settings.license_file.read_bytes().strip():
            yield f"the FreeSurfer licence {settings.license_file} is empty; {hint}"
    except OSError as error:
        yield f"cannot read the FreeSurfer licence {settings.license_file}: {error.strerror}; {hint}"


def _filter(settings: Preprocess) -> Iterator[str]:
    """The filter file is JSON, and a session stands there or in the settings, not in both (nipreps/sdcflows#528)."""
    path = settings.filter_file
    if path is None:
        return
    try:
        queries: Any = read_json(path)
    except OSError as error:
        yield f"cannot read the filter file {path}: {error.strerror}; correct 'filter_file'"
        return
    except InputError as error:
        yield f"the filter file {error}"
        return
    if not isinstance(queries, dict) or not all(isinstance(query, dict) for query in queries.values()):
        yield f'the filter file {path} must map names to queries, such as {{"bold": {{"task": "rest"}}}}'
        return
    twice = [name for name, query in queries.items() if "session" in query]
    place = "per: session" if settings.per == "session" else "sessions" if settings.sessions is not None else None
    if twice and place:
        yield (
            f"sessions are chosen twice: by '{place}' and in {path} under '{twice[0]}'; "
            "fMRIPrep refuses that: keep one of them"
        )


def _folders(settings: Preprocess) -> Iterator[str]:
    bids = settings.bids.resolve()
    if settings.work.resolve().is_relative_to(bids):
        yield f"the working folder {settings.work} lies in the BIDS folder; set 'work' to a place outside it"
    if settings.derivatives.resolve() == bids:
        yield f"'derivatives' is the BIDS folder itself, {settings.bids}; choose another place"
    optional = (settings.filter_file, settings.database, settings.templateflow)
    for path in (settings.bids, settings.derivatives, settings.work, settings.license_file, *filter(None, optional)):
        odd = [letter for letter in ":," if letter in str(path.absolute())]
        if odd and (odd[0] == ":" or settings.engine == "apptainer"):  # both read them as separators
            yield f"{settings.engine} cannot mount {path.absolute()}: its name has a '{odd[0]}'; rename or link it"
    for folder in (settings.work, settings.derivatives):
        existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
        free_gb = shutil.disk_usage(existing).free / 1e9
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            yield f"cannot write below {existing}, wanted for {folder}; choose a folder that can be written"
        elif free_gb < settings.min_free_gb:
            wanted = f"{settings.min_free_gb:g} GB wanted; make room or set min_free_gb"
            yield f"{free_gb:.1f} GB free for {folder}, {wanted}"


def _templateflow(settings: Preprocess) -> Iterator[str]:
    cache = settings.templateflow
    if cache is None:
        return
    if not cache.is_dir():
        yield f"no TemplateFlow cache at {cache}; correct 'templateflow'"
        return
    if settings.engine == "docker" and "=" in str(cache.absolute()):
        yield f"fmriprep-docker cannot mount {cache.absolute()}: its name has a '='; rename or link it"
    for space in settings.output_spaces:
        name = space.split(":")[0].removeprefix("tpl-")
        if not name.startswith(_SURFACE) and not any((cache / f"tpl-{name}").glob("**/*.nii.gz")):
            fill = f"TEMPLATEFLOW_HOME={cache} templateflow get {name}"
            yield f"the TemplateFlow cache {cache} has no {name}; fill it: {fill}"


def _database(settings: Preprocess, wanted: Sequence[Unit]) -> Iterator[str]:
    """An index holds the paths of the raw files as the container sees them, and nothing that came later."""
    path = settings.database / INDEX if settings.database is not None else None
    if path is None or not path.exists():
        return
    again = f"delete {path.parent} and it is made again"
    try:
        connection = sqlite3.connect(f"file:{path.absolute()}?mode=ro", uri=True)
        try:
            roots = [row[0] for row in connection.execute("select root from layout_info")]
            names = "select distinct _value from tags where entity_name = 'subject'"
            known = {str(row[0]) for row in connection.execute(names)}
        finally:
            connection.close()
    except sqlite3.Error as error:
        yield f"{path} is no index of a raw dataset: {error}; {again}"
        return
    if roots != [BIDS]:
        yield f"{path} was not made in the container: its root is {', '.join(roots)}, not {BIDS}; {again}"
    gone = sorted({unit.participant for unit in wanted} - known)
    if gone:
        yield f"{path} is older than the dataset: it does not know sub-{gone[0]}; {again}"


def _engine(settings: Preprocess) -> tuple[str, list[str]]:
    """The version of the engine (for Docker: of the daemon, which so is known to answer), or what is wrong."""
    engine = settings.engine
    for program in (WRAPPER, "docker") if engine == "docker" else (engine,):
        if find(program) is None:
            hint = "pip install fmriprep-docker" if program == WRAPPER else f"install {program} or set another 'engine'"
            return "", [f"{program} is not on the PATH; {hint}"]
    query = ["version", "--format", "{{.Server.Version}}"] if engine == "docker" else ["--version"]
    answer = ask([engine, *query])
    if answer.returncode != 0:
        return "", [f"{engine} does not answer: {said(answer)}; start it, and see that you may use it"]
    return answer.stdout.strip(), []


def _image(settings: Preprocess) -> Iterator[str]:
    if settings.engine == "apptainer":
        if not Path(settings.image).exists():
            yield (
                f"image file not found: {settings.image}; make it with "
                "'apptainer build fmriprep-25.2.7.sif docker://nipreps/fmriprep:25.2.7' and set 'image' to its path"
            )
        return
    if not is_here(settings) and (answer := ask(["docker", "manifest", "inspect", settings.image])).returncode != 0:
        yield (
            f"the image {settings.image} is neither on this machine nor to be had from its registry: {said(answer)}; "
            "correct 'image', or bring it here with 'docker load'"
        )


def is_here(settings: Preprocess) -> bool:
    """Whether Docker has the image already."""
    return ask(["docker", "image", "inspect", "--format", "{{.Id}}", settings.image]).returncode == 0
