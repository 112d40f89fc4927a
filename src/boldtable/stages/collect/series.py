"""Index ready parcel series: one text or npy file per run, found by a pattern with named fields."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from boldtable.errors import InputError, RunError, SettingsError, nearest
from boldtable.stages.collect.files import bare, examples, parallel, stamp
from boldtable.stages.collect.record import Run
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.timing import check_length

FIELDS = ("participant", "session", "task", "run", "acquisition")
_PREFIXES = {"participant": "sub-", "session": "ses-", "task": "task-", "run": "run-", "acquisition": "acq-"}
_TEXT = (".txt", ".tsv", ".csv", ".1D")


def index_series(settings: Collect) -> list[Run]:
    """Find the runs below the folder that match the pattern, sorted by path; lengths are not read yet.

    Raises `SettingsError` for a wrong pattern and `InputError` where nothing matches.
    """
    if settings.pattern is None:
        raise SettingsError("pattern: required for layout 'series', such as 'sub-{participant}_timeseries.tsv'")
    matches = compile_pattern(settings.pattern).fullmatch
    runs, others = [], []
    for path, entry in _walk(settings.derivatives, ""):
        match = matches(path)
        if match is None:
            others.append(path)
            continue
        labels = {field: bare(value, _PREFIXES[field]) for field, value in match.groupdict().items()}
        run = Run(
            participant=labels["participant"],
            session=labels.get("session"),
            task=labels.get("task"),
            run=labels.get("run"),
            acquisition=labels.get("acquisition"),
            bold=path,
            stamps={path: stamp(entry)},
        ).check_links()
        runs.append(run)
    if not runs and others:
        raise InputError(
            f"pattern '{settings.pattern}' matches no file below {settings.derivatives}; there: {examples(others, 3)}"
        )
    _check_unique(runs)
    return runs


def _check_unique(runs: list[Run]) -> None:
    """Two files that the pattern cannot tell apart would be one run: refuse them."""
    first: dict[tuple[str, ...], Run] = {}
    for run in runs:
        other = first.setdefault(run.keys, run)
        if other is not run:
            raise InputError(
                f"the pattern takes {other.bold} and {run.bold} for the same run; "
                "name what tells them apart with {session}, {task}, {run} or {acquisition}"
            )


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Turn ``ses-{session}/ts_sub-{participant}.txt`` into a regular expression with named groups.

    A field stands for one or more characters but '/' and '_', so that ``sub-{participant}.txt`` never swallows a
    session; a field named again must have the same value; '*' is anything but '/'. Raises `SettingsError`.
    """
    parts, seen = [], set()
    for literal, field, star in re.findall(r"([^{}*]+)|\{([^{}]*)\}|(\*)", pattern):
        if not literal and not star and field not in FIELDS:
            raise SettingsError(f"pattern: unknown field '{{{field}}}'{nearest(field, FIELDS)}")
        if literal or star:
            parts.append(re.escape(literal) if literal else "[^/]*")
        else:
            parts.append(f"(?P={field})" if field in seen else f"(?P<{field}>[^/_]+?)")
            seen.add(field)
    if pattern.count("{") != pattern.count("}") or "participant" not in seen:
        raise SettingsError(f"pattern: '{pattern}' needs a {{participant}} in braces, and every brace closed")
    return re.compile("".join(parts))


def _walk(folder: Path, relative: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every file below `folder` with its path relative to the first one, sorted; hidden names are left out."""
    try:
        with os.scandir(folder / relative) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"cannot list {folder / relative}: {error.strerror}; allow reading it") from None
    for entry in found:
        path = relative + entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(folder, f"{path}/")
        else:
            yield path, entry


def read_lengths(settings: Collect, runs: list[Run]) -> list[Run]:
    """Fill in `n_frames` of each run from its file's shape, `tr_s` from the settings, or exclude it."""
    return parallel(partial(_read_length, settings), runs, f"collect: read {settings.derivatives}")


def _read_length(settings: Collect, run: Run) -> Run:
    if run.status != "found" or run.bold is None:
        return run
    try:
        run.n_frames = _frames(settings.derivatives / run.bold, settings.orientation == "frame_parcel")
    except (RunError, OSError, EOFError, zlib.error, ValueError) as error:
        return run.exclude(f"cannot read the series: {' '.join(str(error).split())}")
    run.tr_s = settings.tr_s
    return check_length(run, settings.min_minutes)


def _frames(path: Path, frames_are_rows: bool) -> int:
    """Number of frames; of text only as much is read as that takes."""
    name = path.name.removesuffix(".gz")
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
        if name.endswith(".npy"):
            shape = np.load(file, allow_pickle=False).shape
            if len(shape) != 2:
                raise RunError(f"{len(shape)} dimensions instead of 2")
            return int(shape[0 if frames_are_rows else 1])
        if not name.endswith(_TEXT):
            raise RunError(f"'{Path(name).suffix}' is none of {', '.join([*_TEXT, '.npy'])}")
        return _text_frames(file, frames_are_rows)


def _text_frames(file: Iterable[bytes], frames_are_rows: bool) -> int:
    """Rows or columns of a table of numbers; '#' comments, blank lines and one line of column names do not count."""
    rows = (line for line in file if line.strip() and not line.lstrip().startswith(b"#"))
    first = next(rows, None)
    if first is not None and not _has_number(first):
        first = next(rows, None)
    if first is None or not _has_number(first):
        raise RunError("it holds no table of numbers")
    return sum(1 for _ in chain([first], rows)) if frames_are_rows else len(_fields(first))


def _fields(line: bytes) -> list[bytes]:
    """The fields of a line; between tabs or commas a field may be empty."""
    separator = next((sign for sign in (b"\t", b",") if sign in line.strip()), None)
    return line.strip(b" \r\n").split(separator)


def _has_number(line: bytes) -> bool:
    """Whether any field is a number (or nan): a line of column names has none, a line with n/a in it has some."""
    for field in _fields(line):
        with suppress(ValueError):
            float(field)
            return True
    return False
