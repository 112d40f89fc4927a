"""Parcel series in HDF5 files, laid out as the authors of Semantoks do: each recording is a run.

``timeseries/{atlas}`` (recording, parcel, frame) for one or more atlases, ``long_subject_id`` (recording,), optionally
``ts_len`` (recording,) with the frames of each, ``labels/*`` (recording,); shorter recordings end in NaN.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from boldtable.errors import InputError
from boldtable.progress import progress, say
from boldtable.reading.arrays import SERIES_BYTES
from boldtable.reading.bounded import open_regular
from boldtable.stages.collect.files import bare, examples, stamp
from boldtable.stages.collect.participants import Row, standard_columns
from boldtable.stages.collect.phenotypes import Table, join
from boldtable.stages.collect.record import Run
from boldtable.stages.collect.series import PREFIXES, compile_pattern, labelled_run, walk
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.tables import Columns, Missing, as_numbers
from boldtable.stages.collect.timing import check_length

_ENDINGS = (".h5", ".hdf5")
_FIELDS = ("session", "task", "acquisition")
_MOST_RECORDINGS = 1_000_000
_BLOCK_FRAMES = 10_000_000  # read at once to find where recordings end


def index_hdf5(settings: Collect) -> list[Run]:
    """Every recording of every HDF5 file below the folder, sorted by file and place, with its frames.

    A run's `bold` is the file and the number of the recording, such as ``abide.h5#12``; recordings of a participant are
    numbered as runs 1, 2, ... in this order. A file that cannot be read or has another layout is one excluded row by
    the name of the file; raises `InputError` where it is the only one.
    """
    runs: list[Run] = []
    numbers: Counter[tuple[str, ...]] = Counter()
    files = _files(settings)
    for path, labels, size in progress(files, f"collect: read {settings.derivatives}"):
        try:
            people, frames = _read(settings.derivatives / path, _contents)
        except InputError as error:
            if len(files) == 1:
                raise
            runs.append(labelled_run({"participant": Path(path).stem, **labels}, path, size).exclude(str(error)))
            continue
        for place, (participant, n_frames) in enumerate(zip(people, frames, strict=True)):
            numbers[participant, *labels.values()] += 1
            number = numbers[participant, *labels.values()]
            run = labelled_run({"participant": participant, **labels, "run": str(number)}, f"{path}#{place}", size)
            run.n_frames, run.tr_s = n_frames, settings.tr_s
            if n_frames < 2:
                run.exclude(f"the recording has {n_frames} frames; a time series needs at least 2")
            runs.append(check_length(run, settings.min_minutes))
    return runs


def add_labels(settings: Collect, rows: list[Row], runs: Iterable[Run], described: bool) -> None:
    """Fill ``labels/*`` of the recordings into the rows of the participants, in place.

    `described` says that there is a participants.tsv, which then names site, family, age and sex; a label of the same
    name as one of its columns gets ``labels_`` in front. A label that differs between the recordings of a participant
    is missing. Both are said.
    """
    wanted: dict[str, dict[int, str]] = defaultdict(dict)
    for run in runs:
        path, separator, place = (run.bold or "").rpartition("#")
        if not separator:  # a file that could not be read
            continue
        wanted[path][int(place)] = run.participant
    people = sorted({row["participant"] for row in rows})
    values: dict[str, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for file, places in sorted(wanted.items()):
        for name, given in _read(settings.derivatives / file, _labels).items():
            for number, participant in places.items():
                values[name][participant].add(given[number])
    columns = _agreed(values, people, Missing(settings.missing))
    where = settings.derivatives
    if described:
        there = {name for name in columns if any(row.get(name) is not None for row in rows) or name in rows[0]}
        columns = {f"labels_{name}" if name in there else name: as_numbers(given) for name, given in columns.items()}
        if there:
            say(f"collect: labels of {where} that participants.tsv has too are called labels_: {examples(there)}")
    else:
        columns = standard_columns(settings, where, people, columns)
    join(Table(where, list(people), [None] * len(people), columns), rows)


def _agreed(values: dict[str, dict[str, set[Any]]], people: list[str], missing: Missing) -> Columns:
    columns: Columns = {}
    odd = []
    for name, given in sorted(values.items()):
        found = [{value for value in given.get(one, set()) if value not in missing} for one in people]
        odd += [f"{name} of {one}" for one, there in zip(people, found, strict=True) if len(there) > 1]
        columns[name] = [next(iter(there)) if len(there) == 1 else None for there in found]
    if odd:
        say(f"collect: labels that differ between recordings are taken as missing: {examples(odd)}")
    return columns


def _files(settings: Collect) -> list[tuple[str, dict[str, str], tuple[int, int] | None]]:
    """The HDF5 files below the folder with the labels that the pattern finds in their names, and their stamps."""
    pattern = compile_pattern(settings.pattern, _FIELDS, required=None) if settings.pattern else None
    found = []
    for path, entry in walk(settings.derivatives, ""):
        match = pattern.fullmatch(path) if pattern else None
        if match or (pattern is None and path.lower().endswith(_ENDINGS)):
            fields = match.groupdict() if match else {}
            labels = {field: bare(value, PREFIXES[field]) for field, value in fields.items()}
            found.append((path, labels, stamp(entry)))
    if not found:
        what = f"pattern '{settings.pattern}' matches no file" if settings.pattern else "no .h5 or .hdf5 file"
        raise InputError(f"{what} below {settings.derivatives}; correct 'derivatives' or 'pattern'")
    return found


def _read(path: Path, work: Any) -> Any:
    """What `work` finds in an open file; raises `InputError` where it cannot be opened or lacks something."""
    try:
        import h5py  # an extra: only this layout needs it
    except ImportError:
        raise InputError("layout 'hdf5' needs h5py; install it with: pip install 'boldtable[hdf5]'") from None
    try:
        open_regular(path).close()
        with h5py.File(path, "r") as file:
            return work(file)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - h5py raises whatever a damaged file makes of it
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is not laid out as timeseries/*, long_subject_id, labels/*, or damaged: {reason}; "
            "correct the file or 'derivatives'"
        ) from None


def _contents(file: Any) -> tuple[list[str], list[int]]:
    """The participant and the number of frames of every recording."""
    people = [bare(str(_plain(value)), "sub-") for value in _dataset(file, "long_subject_id")[:]]
    series = [_dataset(file, f"timeseries/{name}") for name in file.get("timeseries", {})]
    if not series:
        raise ValueError("it has no timeseries/*")
    for one in series:
        if len(one.shape) != 3 or (one.shape[0], one.shape[2]) != (len(people), series[0].shape[2]):
            raise ValueError(
                f"{one.name} has the shape {one.shape}, expected ({len(people)} recordings, parcels, frames)"
            )
        if one.dtype.kind != "f" or one.shape[1] * one.shape[2] * one.dtype.itemsize > SERIES_BYTES:
            raise ValueError(f"{one.name} declares {one.shape} {one.dtype} values, more than any recording has")
    if "ts_len" in file:
        return people, [int(value) for value in _dataset(file, "ts_len")[:]]
    block = max(1, _BLOCK_FRAMES // max(1, series[0].shape[2]))
    starts = range(0, len(people), block)
    return people, [n_frames for start in starts for n_frames in _lengths(series[0], start, block)]


def _lengths(series: Any, start: int, block: int) -> list[int]:
    """Frames up to the NaN tail; where the first parcel is empty throughout, all parcels are looked at."""
    first = ~np.isnan(series[start : start + block, 0, :])
    lengths = []
    for place, there in enumerate(first, start):
        there = there if there.any() else (~np.isnan(series[place])).any(axis=0)
        lengths.append(int(np.flatnonzero(there)[-1]) + 1 if there.any() else 0)
    return lengths


def _labels(file: Any) -> Columns:
    """Name → a value per recording."""
    n_recordings = _dataset(file, "long_subject_id").shape[0]
    found: Columns = {}
    for name in file.get("labels", {}):
        values = _dataset(file, f"labels/{name}")
        if values.shape != (n_recordings,):
            raise ValueError(f"labels/{name} has the shape {values.shape} instead of ({n_recordings},)")
        found[str(name)] = [_plain(value) for value in values[:]]
    return found


def _dataset(file: Any, name: str) -> Any:
    found = file.get(name)
    if not hasattr(found, "shape"):
        raise ValueError(f"it has no dataset {name}")
    if found.shape and found.shape[0] > _MOST_RECORDINGS:
        raise ValueError(f"{name} declares {found.shape[0]} recordings, more than any file has")
    return found


def _plain(value: Any) -> Any:
    """Text or a Python number; NaN is None."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value
