"""fMRIPrep derivatives: which preprocessed BOLD there is, with its mask, confounds and sidecars.

The names follow BIDS Derivatives as fMRIPrep 20.2 to 25 writes them (and its confounds as 1.x did).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from boldtable.errors import InputError
from boldtable.stages.collect.record import Run
from boldtable.stages.collect.tree import (
    VARIANT,
    File,
    Layout,
    Names,
    acquisition,
    by_specificity,
    entities_of,
    index_tree,
    space,
)

_IMAGES = (".nii.gz", ".nii")
_CONFOUNDS = ("timeseries", "regressors")  # fMRIPrep from 20.2 on, and before


def index(derivatives: Path) -> list[Run]:
    """Find every rendering (space, resolution) of every run, sorted; headers are not read yet.

    A participant's folder without any ``desc-preproc_bold`` gives one excluded row. Raises `InputError` where there is
    no ``sub-*`` folder or no preprocessed BOLD at all.
    """
    runs = index_tree(derivatives, Layout(_matters, _runs, "desc-preproc BOLD"))
    if not any(run.bold for run in runs):
        raise InputError(
            f"no *_desc-preproc_bold.nii.gz in any sub-*/func below {derivatives}; "
            "name a folder of finished fMRIPrep derivatives, or set layout: series or xcpd for parcel series"
        )
    return runs


def _matters(suffix: str, extension: str, entities: dict[str, str]) -> bool:
    description = entities.get("desc")
    if suffix == "bold":
        return (extension in _IMAGES and description == "preproc") or extension == ".json"
    if suffix == "mask":
        return extension in _IMAGES and description == "brain"
    return suffix in _CONFOUNDS and extension in (".tsv", ".json") and description == "confounds"


def _runs(files: list[File], above: list[File]) -> list[Run]:
    """Pair each BOLD of a func folder with its mask, confounds and sidecars.

    Mask: all entities alike but the description. Confounds: all but space and resolution too, since fMRIPrep writes
    them once per run. A single echo takes those of its run, for fMRIPrep estimates both over all echoes. Sidecar: any
    whose entities the BOLD has as well (the BIDS inheritance principle).
    """
    masks = {file.names("desc"): file for file in files if file.suffix == "mask"}
    tables = [file for suffix in reversed(_CONFOUNDS) for file in files if file.suffix == suffix]
    confounds = {file.names("desc"): file for file in tables if file.extension == ".tsv"}
    described = {file.path for file in tables if file.extension == ".json"}
    jsons = by_specificity([file for file in files if file.extension == ".json" and file.suffix == "bold"]) + above
    return [
        _run(bold, _companion(masks, bold, "desc"), _companion(confounds, bold, *VARIANT), described, jsons)
        for bold in files
        if bold.suffix == "bold" and bold.extension in _IMAGES
    ]


def _companion(there: Mapping[Names, File], bold: File, *but: str) -> File | None:
    return there.get(bold.names(*but)) or there.get(bold.names(*but, "echo"))


def _run(bold: File, mask: File | None, confounds: File | None, described: set[str], jsons: list[File]) -> Run:
    names, entities = bold.names(), bold.entities
    metadata = confounds.path.removesuffix(".tsv") + ".json" if confounds else None
    sidecars = tuple(file.path for file in jsons if file.names() <= names)
    return Run(
        participant=entities.get("sub", ""),
        session=entities.get("ses"),
        task=entities.get("task"),
        run=entities.get("run"),
        acquisition=acquisition(entities),
        space=space(entities),
        resolution=entities.get("res"),
        bold=bold.path,
        mask=mask.path if mask else None,
        confounds=confounds.path if confounds else None,
        stamps={file.path: file.stamp for file in (bold, mask, confounds) if file},
        sidecars=sidecars,
        metadata=metadata if metadata in described else None,
        entities=entities_of(bold),
    ).check_links()
