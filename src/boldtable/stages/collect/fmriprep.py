"""Index fMRIPrep derivatives once: which preprocessed BOLD there is, with its mask, confounds and sidecars.

Only ``sub-*/[ses-*/]func`` is listed (not the FreeSurfer and figure folders, which hold most of the files); names are
taken apart by ancpbids. The names follow BIDS Derivatives as fMRIPrep 20 to 25 writes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ancpbids.utils import parse_bids_name

from boldtable.errors import InputError
from boldtable.stages.collect.files import bare, parallel, stamp
from boldtable.stages.collect.record import Run

_IMAGES = (".nii.gz", ".nii")
_CONFOUNDS = ("timeseries", "regressors")  # fMRIPrep from 20.2 on, and before
_VARIANT = ("space", "cohort", "res", "den", "desc")  # which rendering of a run; all others say which run
_COLUMNS = ("sub", "ses", "task", "run", "acq")

Stamp = tuple[int, int] | None
Names = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class _File:
    """A file whose name follows BIDS: its path relative to the dataset, its entities and its stamp."""

    path: str
    entities: dict[str, str]
    suffix: str
    extension: str
    stamp: Stamp = None

    def names(self, *but: str) -> Names:
        """The entities as a set to compare with, without those named in `but`."""
        return frozenset((key, value) for key, value in self.entities.items() if key not in but)


def index(derivatives: Path) -> list[Run]:
    """Find every rendering (space, resolution) of every run, sorted; headers are not read yet.

    A participant's folder without any ``desc-preproc_bold`` gives one excluded row, so that it is not lost silently.
    Raises `InputError` where there is no ``sub-*`` folder or no preprocessed BOLD at all.
    """
    top = _scan(derivatives, "")
    folders = [entry.name for entry in top if entry.name.startswith("sub-") and entry.is_dir()]
    if not folders:
        raise InputError(f"no sub-* folder in {derivatives}; name the folder that holds fMRIPrep's sub-* folders")
    above = _sidecars("", top)
    found = parallel(partial(_participant, derivatives, above), folders, f"collect: list {derivatives}")
    runs = [run for group in found for run in group]
    if not any(run.bold for run in runs):
        raise InputError(
            f"no *_desc-preproc_bold.nii.gz in any sub-*/func below {derivatives}; "
            "name a folder of finished fMRIPrep derivatives, or set layout: series for parcel series"
        )
    return runs


def _participant(derivatives: Path, above: list[_File], name: str) -> list[Run]:
    """All renderings of all runs of one participant, or one excluded row that says why there are none."""
    runs: list[Run] = []
    nothing = Run(participant=bare(name, "sub-"))
    try:
        for func, sidecars in _func_folders(derivatives, name, above):
            runs += _runs(func, sidecars)
    except OSError as error:
        return [nothing.exclude(f"cannot list {error.filename}: {error.strerror}; allow reading it")]
    if not runs:
        return [nothing.exclude(f"no desc-preproc BOLD in {name}: fMRIPrep may have failed, see its report")]
    return sorted(runs, key=lambda run: (run.keys, run.bold or ""))


def _func_folders(derivatives: Path, name: str, above: list[_File]) -> Iterator[tuple[list[_File], list[_File]]]:
    """Yield the files of each func folder with the sidecars of the folders above it, nearest first."""
    entries = _scan(derivatives, name)
    inherited = _sidecars(f"{name}/", entries) + above
    for entry in entries:
        below = f"{name}/{entry.name}/"
        if entry.name == "func" and entry.is_dir():
            yield _files(below, _scan(derivatives, below)), inherited
        elif entry.name.startswith("ses-") and entry.is_dir():
            inner = _scan(derivatives, below)
            if any(one.name == "func" and one.is_dir() for one in inner):
                files = _files(f"{below}func/", _scan(derivatives, f"{below}func"))
                yield files, _sidecars(below, inner) + inherited


def _scan(derivatives: Path, relative: str) -> list[os.DirEntry[str]]:
    with os.scandir(derivatives / relative) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _files(folder: str, entries: Sequence[os.DirEntry[str]]) -> list[_File]:
    """The files that matter here: BOLD, masks, confounds and BOLD sidecars; `folder` is '' or ends in '/'."""
    found = []
    for entry in entries:
        parts = parse_bids_name(entry.name)
        if parts and _matters(parts["suffix"], parts["extension"], parts["entities"].get("desc")):
            path = folder + entry.name
            found.append(_File(path, parts["entities"], parts["suffix"], parts["extension"], stamp(entry)))
    return found


def _matters(suffix: str, extension: str, description: str | None) -> bool:
    if suffix == "bold":
        return (extension in _IMAGES and description == "preproc") or extension == ".json"
    if suffix == "mask":
        return extension in _IMAGES and description == "brain"
    return suffix in _CONFOUNDS and extension == ".tsv" and description == "confounds"


def _sidecars(folder: str, entries: Sequence[os.DirEntry[str]]) -> list[_File]:
    """Metadata files that everything below their folder inherits, such as ``task-rest_bold.json``."""
    plain = [_File(f"{folder}bold.json", {}, "bold", ".json") for entry in entries if entry.name == "bold.json"]
    return _files(folder, [entry for entry in entries if entry.name.endswith("_bold.json")]) + plain


def _runs(files: list[_File], above: list[_File]) -> list[Run]:
    """Pair each BOLD of a func folder with its mask, confounds and sidecars.

    Mask: all entities alike but the description. Confounds: all but space and resolution too, since fMRIPrep writes
    them once per run. Sidecar: any whose entities the BOLD has as well (the BIDS inheritance principle).
    """
    masks = {file.names("desc"): file for file in files if file.suffix == "mask"}
    confounds = {file.names("desc"): file for file in files if file.suffix == "regressors"}
    confounds |= {file.names("desc"): file for file in files if file.suffix == "timeseries"}
    jsons = [file for file in files if file.extension == ".json"]
    jsons = sorted(jsons, key=lambda file: -len(file.entities)) + above
    return [
        _run(bold, masks.get(bold.names("desc")), confounds.get(bold.names(*_VARIANT)), jsons)
        for bold in files
        if bold.suffix == "bold" and bold.extension in _IMAGES
    ]


def _run(bold: _File, mask: _File | None, confounds: _File | None, jsons: list[_File]) -> Run:
    names, entities = bold.names(), bold.entities
    sidecars = tuple(file.path for file in jsons if file.names() <= names)
    return Run(
        participant=entities.get("sub", ""),
        session=entities.get("ses"),
        task=entities.get("task"),
        run=entities.get("run"),
        acquisition=_acquisition(entities),
        space=_space(entities),
        resolution=entities.get("res"),
        bold=bold.path,
        mask=mask.path if mask else None,
        confounds=confounds.path if confounds else None,
        stamps={file.path: file.stamp for file in (bold, mask, confounds) if file},
        sidecars=sidecars,
    ).check_links()


def _acquisition(entities: dict[str, str]) -> str | None:
    """The acq- label; further entities that tell runs apart (dir, rec, echo, ...) join it, such as ``dir-LR``."""
    further = [f"{key}-{value}" for key, value in entities.items() if key not in (*_COLUMNS, *_VARIANT)]
    return "_".join([*filter(None, [entities.get("acq")]), *further]) or None


def _space(entities: dict[str, str]) -> str | None:
    """The space, with the cohort as TemplateFlow writes it: ``MNIInfant:cohort-1``."""
    space = entities.get("space")
    return f"{space}:cohort-{entities['cohort']}" if space and "cohort" in entities else space
