"""List the func folders of BIDS derivatives once, and hand each layout the files it wants.

Only ``sub-*/[ses-*/]func`` is listed (not the FreeSurfer and figure folders, which hold most of the files); names are
taken apart by ancpbids.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ancpbids.utils import parse_bids_name

from boldtable.errors import InputError
from boldtable.stages.collect.files import bare, is_folder, listed, parallel, stamp
from boldtable.stages.collect.record import Run

# Which rendering of a run a file is; all other entities say which run.
VARIANT = ("space", "cohort", "res", "den", "desc", "atlas", "seg", "stat", "hash")
_COLUMNS = ("sub", "ses", "task", "run", "acq")

Stamp = tuple[int, int] | None
Names = frozenset[tuple[str, str]]
Matters = Callable[[str, str, dict[str, str]], bool]  # suffix, extension, entities


@dataclass(frozen=True)
class File:
    """A file whose name follows BIDS: its path relative to the dataset, its entities and its stamp."""

    path: str
    entities: dict[str, str]
    suffix: str
    extension: str
    stamp: Stamp = None

    def names(self, *but: str) -> Names:
        """The entities as a set to compare with, without those named in `but`."""
        return frozenset((key, value) for key, value in self.entities.items() if key not in but)


@dataclass(frozen=True)
class Layout:
    """What a kind of derivatives holds: which files matter, how they make runs, and what a run's file is called."""

    matters: Matters
    runs: Callable[[list[File], list[File]], list[Run]]
    nothing: str


def index_tree(derivatives: Path, layout: Layout) -> list[Run]:
    """Find every rendering of every run, sorted; headers are not read yet.

    A participant's folder without any gives one excluded row, so that it is not lost silently. Raises `InputError`
    where there is no ``sub-*`` folder.
    """
    top = _scan(derivatives, "")
    folders = [entry.name for entry in top if entry.name.startswith("sub-") and is_folder(entry)]
    if not folders:
        raise InputError(f"no sub-* folder in {derivatives}; name the folder that holds the sub-* folders")
    above = _sidecars("", top)
    found = parallel(partial(_participant, derivatives, layout, above), folders, f"collect: list {derivatives}")
    return [run for group in found for run in group]


def _participant(derivatives: Path, layout: Layout, above: list[File], name: str) -> list[Run]:
    """All renderings of all runs of one participant, or one excluded row that says why there are none."""
    runs: list[Run] = []
    label = bare(name, "sub-")
    try:
        for func, sidecars in _func_folders(derivatives, layout.matters, name, above):
            runs += layout.runs(func, sidecars)
    except OSError as error:
        return [Run(label).exclude(f"cannot list {error.filename}: {error.strerror}; allow reading it")]
    for run in runs:
        if run.participant != label:  # a label with '-' is no BIDS label: two such folders would become one participant
            run.exclude(f"its name says participant '{run.participant}', its folder {name}; rename one of them")
            run.participant = label
    if not runs:
        return [Run(label).exclude(f"no {layout.nothing} in {name}: it may have failed, see its report")]
    return sorted(runs, key=lambda run: (run.keys, run.bold or ""))


def _func_folders(
    derivatives: Path, matters: Matters, name: str, above: list[File]
) -> Iterator[tuple[list[File], list[File]]]:
    """Yield the files of each func folder with the sidecars of the folders above it, nearest first."""
    entries = _scan(derivatives, name)
    inherited = _sidecars(f"{name}/", entries) + above
    for entry in entries:
        below = f"{name}/{entry.name}/"
        if entry.name == "func" and is_folder(entry):
            yield _files(below, _scan(derivatives, below), matters), inherited
        elif entry.name.startswith("ses-") and is_folder(entry):
            inner = _scan(derivatives, below)
            if any(one.name == "func" and is_folder(one) for one in inner):
                files = _files(f"{below}func/", _scan(derivatives, f"{below}func"), matters)
                yield files, _sidecars(below, inner) + inherited


def _scan(derivatives: Path, relative: str) -> list[os.DirEntry[str]]:
    return listed(derivatives / relative)


def _files(folder: str, entries: Sequence[os.DirEntry[str]], matters: Matters) -> list[File]:
    """The files that matter; `folder` is '' or ends in '/'."""
    found = []
    for entry in entries:
        parts = parse_bids_name(entry.name)
        if parts and matters(parts["suffix"], parts["extension"], parts["entities"]):
            path = folder + entry.name
            found.append(File(path, parts["entities"], parts["suffix"], parts["extension"], stamp(entry)))
    return found


def _sidecars(folder: str, entries: Sequence[os.DirEntry[str]]) -> list[File]:
    """Metadata that everything below their folder inherits, such as ``task-rest_bold.json``, most specific first."""
    named = [entry for entry in entries if entry.name.endswith("_bold.json")]
    plain = [File(f"{folder}bold.json", {}, "bold", ".json") for entry in entries if entry.name == "bold.json"]
    return by_specificity(_files(folder, named, lambda *_: True)) + plain


def by_specificity(files: list[File]) -> list[File]:
    """Files with more entities first: of two sidecars in a folder the more specific one counts."""
    return sorted(files, key=lambda file: -len(file.entities))


def acquisition(entities: dict[str, str]) -> str | None:
    """The acq- label; further entities that tell runs apart (dir, rec, echo, ...) join it, such as ``dir-LR``."""
    further = [f"{key}-{value}" for key, value in entities.items() if key not in (*_COLUMNS, *VARIANT)]
    return "_".join([*filter(None, [entities.get("acq")]), *further]) or None


def space(entities: dict[str, str]) -> str | None:
    """The space, with the cohort as TemplateFlow writes it: ``MNIInfant:cohort-1``."""
    named = entities.get("space")
    return f"{named}:cohort-{entities['cohort']}" if named and "cohort" in entities else named


def entities_of(file: File) -> dict[str, str]:
    """The entities of a file with what PyBIDS calls suffix, extension and datatype."""
    return {**file.entities, "suffix": file.suffix, "extension": file.extension, "datatype": "func"}
