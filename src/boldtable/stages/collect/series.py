"""Index ready parcel series: one text or npy file per run, found by a pattern with named fields."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path

from boldtable.errors import InputError, RunError, SettingsError, nearest
from boldtable.reading.arrays import npy_shape
from boldtable.reading.bounded import read_bytes
from boldtable.stages.collect.files import bare, examples, is_folder, listed, parallel, stamp
from boldtable.stages.collect.record import Run, guarded
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.timing import check_length, stated_tr
from boldtable.stages.collect.tree import Stamp

UNREADABLE = (OSError, EOFError, zlib.error, ValueError, InputError)  # what a damaged text, npy or gzip file raises
FIELDS = ("participant", "session", "task", "run", "acquisition")
PREFIXES = {"participant": "sub-", "session": "ses-", "task": "task-", "run": "run-", "acquisition": "acq-"}
_TEXT = (".txt", ".tsv", ".csv", ".1d")
_COUNTED = 8  # columns from which on a line 0, 1, 2, ... is taken for a header and not for a frame


def index_series(settings: Collect) -> list[Run]:
    """Find the runs below the folder that match the pattern, sorted by path; lengths are not read yet.

    Raises `SettingsError` for a wrong pattern and `InputError` where nothing matches.
    """
    if settings.pattern is None:
        raise SettingsError("pattern: required for layout 'series', such as 'sub-{participant}_timeseries.tsv'")
    matches = compile_pattern(settings.pattern).fullmatch
    runs, others = [], []
    listed = dict(walk(settings.derivatives, ""))
    for path, entry in listed.items():
        match = matches(path)
        if match is None:
            others.append(path)
            continue
        labels = {field: bare(value, PREFIXES[field]) for field, value in match.groupdict().items()}
        run = labelled_run(labels, path, stamp(entry))
        beside = f"{_stem(path)}.json"
        run.sidecars = (beside,) if beside in listed and beside != path else ()
        runs.append(run)
    if not runs and others:
        raise InputError(
            f"pattern '{settings.pattern}' matches no file below {settings.derivatives}; there: {examples(others, 3)}"
        )
    _check_unique(runs)
    return runs


def _stem(path: str) -> str:
    """The path without the ending that says what kind of table it is."""
    plain = path.removesuffix(".gz")
    ending = next((end for end in (*_TEXT, ".npy") if plain.lower().endswith(end)), "")
    return plain.removesuffix(plain[len(plain) - len(ending) :]) if ending else plain


def labelled_run(labels: Mapping[str, str], bold: str, size: Stamp) -> Run:
    """A run from the labels of its fields; its `entities` are those fields."""
    run = Run(
        participant=labels["participant"],
        session=labels.get("session"),
        task=labels.get("task"),
        run=labels.get("run"),
        acquisition=labels.get("acquisition"),
        bold=bold,
        stamps={bold: size},
        entities={PREFIXES[field].removesuffix("-"): value for field, value in labels.items()},
    )
    return run.check_links()


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


def compile_pattern(
    pattern: str, fields: Sequence[str] = FIELDS, required: str | None = "participant"
) -> re.Pattern[str]:
    """Turn ``ses-{session}/ts_sub-{participant}.txt`` into a regular expression with named groups.

    A field stands for one or more characters but '/' and '_', so that ``sub-{participant}.txt`` never swallows a
    session; a field named again must have the same value; '*' is anything but '/'. Raises `SettingsError`.
    """
    parts, seen = [], set()
    for literal, field, star in re.findall(r"([^{}*]+)|\{([^{}]*)\}|(\*)", pattern):
        if not literal and not star and field not in fields:
            raise SettingsError(f"pattern: unknown field '{{{field}}}'{nearest(field, fields)}")
        if literal or star:
            parts.append(re.escape(literal) if literal else "[^/]*")
        else:
            parts.append(f"(?P={field})" if field in seen else f"(?P<{field}>[^/_]+?)")
            seen.add(field)
    if pattern.count("{") != pattern.count("}") or (required and required not in seen):
        needs = f"a {{{required}}} in braces, and " if required else ""
        raise SettingsError(f"pattern: '{pattern}' needs {needs}every brace closed")
    return re.compile("".join(parts))


def walk(folder: Path, relative: str, above: frozenset[str] = frozenset()) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every file below `folder` with its path relative to the first one, sorted; hidden names are left out.

    A link to a folder that it lies in is not followed: it would never end.
    """
    real = os.path.realpath(folder / relative)
    if real in above:
        return
    try:
        found = listed(folder / relative)
    except OSError as error:
        raise InputError(f"cannot list {folder / relative}: {error.strerror}; allow reading it") from None
    for entry in found:
        path = relative + entry.name
        if entry.name.startswith("."):
            continue
        if is_folder(entry):
            yield from walk(folder, f"{path}/", above | {real})
        else:
            yield path, entry


def read_lengths(settings: Collect, runs: list[Run]) -> list[Run]:
    """Fill in `n_frames` of each run from its file's shape, `tr_s` from the settings, or exclude it."""
    return parallel(guarded(partial(_read_length, settings)), runs, f"collect: read {settings.derivatives}")


def _read_length(settings: Collect, run: Run) -> Run:
    if run.status != "found" or run.bold is None:
        return run
    try:
        run.n_frames = count_frames(settings.derivatives / run.bold, settings.orientation == "frame_parcel")
    except (RunError, *UNREADABLE) as error:
        return run.exclude(f"cannot read the series: {' '.join(str(error).split())}")
    run.tr_s = settings.tr_s if settings.tr_s is not None else stated_tr(settings.derivatives, run)
    return check_length(run, settings.min_minutes)


def count_frames(path: Path, frames_are_rows: bool) -> int:
    """Number of frames of a text or npy file, plain or gzipped; of an npy file only the header is read."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".npy"):
        shape = npy_shape(path)
        if len(shape) != 2:
            raise RunError(f"{len(shape)} dimensions instead of 2")
        return shape[0 if frames_are_rows else 1]
    if not name.endswith(_TEXT):
        raise RunError(f"'{Path(path.name.removesuffix('.gz')).suffix}' is none of {', '.join([*_TEXT, '.npy'])}")
    return _text_frames(BytesIO(read_bytes(path)), frames_are_rows)


def _text_frames(file: Iterable[bytes], frames_are_rows: bool) -> int:
    """Rows or columns of a table of numbers; '#' comments, blank lines and names of parcels do not count."""
    rows = (line for line in file if line.strip() and not line.lstrip().startswith(b"#"))
    first = next(rows, None)
    if first is not None and _is_header(first):
        first = next(rows, None)
    if first is None or not _has_number(first):
        raise RunError("it holds no table of numbers")
    if frames_are_rows:
        return sum(1 for _ in chain([first], rows))
    fields = _fields(first)
    return len(fields) - (not _is_number(fields[0]))


def _fields(line: bytes) -> list[bytes]:
    """The fields of a line; between tabs or commas a field may be empty."""
    separator = next((sign for sign in (b"\t", b",") if sign in line.strip()), None)
    return line.strip(b" \r\n").split(separator)


def _is_header(line: bytes) -> bool:
    """A line of names, or the column numbers that pandas writes where it was given no names."""
    fields = [field.strip() for field in _fields(line)]
    numbers = fields[not _is_number(fields[0]) :]
    counted = [str(number).encode() for number in range(len(numbers))]
    named = not _has_number(line) and not all(_is_number(field) for field in fields)
    return named or (len(numbers) >= _COUNTED and numbers == counted)


def _has_number(line: bytes) -> bool:
    """Whether any field is a number (or nan): a line of column names has none, a line with n/a in it has some."""
    return any(_is_number(field, missing=False) for field in _fields(line))


def _is_number(field: bytes, missing: bool = True) -> bool:
    """Whether a field is a number, or (`missing`) stands for one that is not there."""
    if missing and field.strip() in (b"", b"n/a"):
        return True
    with suppress(ValueError):
        float(field)
        return True
    return False
