"""Whether anything in a dataset's folder has changed since it was collected: asked once, at every start."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from boldtable import store
from boldtable.errors import InputError
from boldtable.reading.bounded import read_json
from boldtable.stages.collect.files import is_folder, parallel
from boldtable.stages.collect.series import walk
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.stamps import digest

_IMAGES = ("_desc-preproc_bold.nii.gz", "_desc-preproc_bold.nii", "_desc-brain_mask.nii.gz", "_desc-brain_mask.nii")
_TABLES = (".tsv", ".json")
_CACHE_BYTES = 1_000_000_000
_LAYOUTS_OF_BIDS = ("fmriprep", "xcpd")

Stamp = list[int | str]  # size, mtime_ns, ctime_ns, digest


def folder_digest(settings: Collect, cache: Path) -> str:
    """Return what changes when a file of the dataset that a number depends on is added, removed, replaced or edited.

    Every file is looked at; only one whose size, time of change or time of inode change differs from `cache`, a file
    that this function keeps, is opened (its content, or of a large one the first and last blocks). Nothing is kept
    where the folder of `cache` is missing. A folder that is not there yet is 'none'.
    """
    if not settings.derivatives.is_dir():
        return "none"
    known = _read(cache)
    stats = {path: _stat(settings.derivatives / path) for path in sorted(_files(settings))}
    changed = [path for path, stat in stats.items() if known.get(path, [])[:3] != stat]
    digests = parallel(lambda path: digest(settings.derivatives / path), changed, "planning: look at changed files")
    fresh = dict(zip(changed, digests, strict=True))
    found: dict[str, Stamp] = {path: [*stat, fresh.get(path) or known[path][3]] for path, stat in stats.items()}
    if changed or len(found) != len(known):
        _write(cache, found)
    return store.sha256_json([[path, stamp[3]] for path, stamp in found.items()])


def _stat(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except OSError as error:
        return [str(type(error).__name__), 0, 0]
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _files(settings: Collect) -> Iterator[str]:
    """Every file of the dataset that a number may depend on, relative to its folder."""
    if settings.layout not in _LAYOUTS_OF_BIDS:
        yield from (path for path, _ in walk(settings.derivatives, ""))
        return
    for name, is_a_folder in _listed(settings.derivatives, ""):
        if is_a_folder and name.startswith("sub-"):
            yield from _participant(settings.derivatives, name)
        elif name.endswith(_TABLES):
            yield name


def _participant(root: Path, participant: str, session: str = "") -> Iterator[str]:
    """The tables and sidecars of a participant and their sessions, and what the func folders hold of runs."""
    here = participant + session
    for name, is_a_folder in _listed(root, here):
        path = f"{here}/{name}"
        if name == "func" and is_a_folder:
            yield from (f"{path}/{file}" for file, _ in _listed(root, path) if file.endswith((*_IMAGES, *_TABLES)))
        elif name.startswith("ses-") and is_a_folder and not session:
            yield from _participant(root, participant, f"/{name}")
        elif name.endswith(_TABLES):
            yield path


def _listed(root: Path, relative: str) -> list[tuple[str, bool]]:
    """The names in a folder and which of them are folders; none where it cannot be listed, which collect tells."""
    try:
        with os.scandir(root / relative) as entries:
            return [(entry.name, is_folder(entry)) for entry in entries]
    except OSError:
        return []


def _read(cache: Path) -> dict[str, Stamp]:
    """What was found at the last start; nothing where there is none, or it cannot be read."""
    try:
        found = read_json(cache, _CACHE_BYTES)
    except (OSError, InputError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(stamp, list) and len(stamp) == 4 for stamp in found.values())
    return found if whole else {}


def _write(cache: Path, found: dict[str, Stamp]) -> None:
    if cache.parent.parent.is_dir():
        store.write_text(cache, json.dumps(found))
