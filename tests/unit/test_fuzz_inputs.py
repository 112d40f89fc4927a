"""Inputs changed at random, with a fixed seed: whatever stands in a file, it costs that file and takes no time."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parcellate_files import N_PARCELS, RAS, little_labels, paint, planted, write_nifti

from boldtable.errors import BoldtableError
from boldtable.reading.nifti import read_header
from boldtable.stages.collect.filters import read_filters
from boldtable.stages.collect.participants import read_participants
from boldtable.stages.collect.record import Run
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.timing import read_timing
from boldtable.stages.parcellate.averaging import Averager
from boldtable.stages.parcellate.bold import open_bold
from boldtable.stages.parcellate.confounds import read_confounds
from boldtable.stages.parcellate.series import read_series
from boldtable.stages.parcellate.shard import _mask

SECONDS = 20  # of one file
# How many changes of each kind: in every run of the tests, and in the slow ones.
ROUNDS = pytest.mark.parametrize("rounds", [150, pytest.param(5000, marks=pytest.mark.slow)])
VALUES = {
    "i2": [-32768, -1, 0, 1, 7, 8, 32767],
    "f4": [np.nan, np.inf, -np.inf, -1.0, 0.0, 1e38, 1e-38],
    "u1": [0, 255],
}


def survives(work: Callable[[], Any]) -> bool:
    """Whether the work went well; an error of ours is fine too, any other, or a long wait, is not."""
    start, message = time.monotonic(), ""
    try:
        work()
    except BoldtableError as error:
        message = str(error) or "nothing said"
    assert time.monotonic() - start < SECONDS
    assert len(message) < 700, message
    assert "\n" not in message
    return not message


def changed(content: bytes, rng: random.Random, reach: int) -> bytes:
    """The content with one to four changes in its first `reach` bytes: single bytes, or whole fields of odd values."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        kind = rng.choice([*VALUES, "byte"])
        place = rng.randrange(min(reach, len(data) - 8))
        if kind == "byte":
            data[place] = rng.randrange(256)
        else:
            size = np.dtype(kind).itemsize
            place -= place % size
            data[place : place + size] = np.array([rng.choice(VALUES[kind])], f"<{kind}").tobytes()
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.05 else data)


@ROUNDS
@pytest.mark.parametrize("version", [1, 2])
def test_headers_of_images(tmp_path: Path, rounds: int, version: int) -> None:
    rng = random.Random(version)
    original = write_nifti(tmp_path / "b.nii", paint(little_labels(), planted()), dtype="<i2", version=version)
    content, averager = original.read_bytes(), Averager(little_labels(), RAS, np.arange(1, N_PARCELS + 1))
    whole = 0
    for number in range(rounds):
        data = changed(content, rng, 348 if version == 1 else 540)
        path = tmp_path / ("c.nii.gz" if number % 2 else "c.nii")
        path.write_bytes(gzip.compress(data, 1) if number % 2 else data)

        whole += survives(lambda path=path: averager.average(open_bold(path), None))
        survives(lambda path=path: read_timing(tmp_path, Run("01", bold=path.name), None, 0))
    assert 0 < whole < rounds, "some changes leave the image readable, others do not"


@ROUNDS
@pytest.mark.parametrize("version", [1, 2])
def test_headers_of_masks(tmp_path: Path, rounds: int, version: int) -> None:
    rng = random.Random(10 + version)
    bold = open_bold(write_nifti(tmp_path / "b.nii", paint(little_labels(), planted()), dtype="<i2"))
    content = write_nifti(tmp_path / "m.nii", np.ones(bold.shape), dtype="|u1", version=version).read_bytes()
    whole = 0
    for number in range(rounds):
        data = changed(content, rng, 348 if version == 1 else 540)
        path = tmp_path / ("c.nii.gz" if number % 2 else "c.nii")
        path.write_bytes(gzip.compress(data, 1) if number % 2 else data)
        whole += survives(lambda path=path: _mask(path, bold))
    assert 0 < whole < rounds, "some changes leave the mask readable, others do not"


@ROUNDS
def test_tables(tmp_path: Path, rounds: int) -> None:
    rng = random.Random(3)
    columns = ["trans_x", "framewise_displacement", "a_comp_cor_00", "non_steady_state_outlier00"]
    confounds = "\t".join(columns) + "\n" + "".join(f"0.{n}\t{'n/a' if not n else 0.1}\t1\t0\n" for n in range(8))
    people = "participant_id\tsession_id\tage\tsex\n" + "".join(f"sub-{n:02d}\t1\t{20 + n}\tM\n" for n in range(8))
    odd = ["\t", '"', "\n", "\r", "\0", ",", ";", "n/a", " ", "\x1b[31m", "\u2028", "1e999", "é", "=1+1", "9" * 400]
    path = tmp_path / "t.tsv"
    settings = Collect(derivatives=tmp_path)
    for _ in range(rounds):
        for text, work in (
            (confounds, lambda: read_confounds(path, 8)),
            (people, lambda: read_participants(settings, path)),
            (confounds, lambda: read_series(path, columns, "frame_parcel")),
        ):
            letters = list(text)
            for _ in range(rng.randint(1, 4)):
                place = rng.randrange(len(letters))
                letters[place : place + rng.randint(0, 3)] = rng.choice(odd)
            path.write_text("".join(letters), encoding=rng.choice(["utf-8"] * 9 + ["utf-16"]), newline="")
            survives(work)


@ROUNDS
def test_json(tmp_path: Path, rounds: int) -> None:
    rng = random.Random(4)
    values = [None, True, -1, 0, 10**400, 1e308, "2", "", [], {}, [[]], [1, 2, "x"], {"a": None}, float("nan")]
    nifti = write_nifti(tmp_path / "b.nii", paint(little_labels(), planted()), dtype="<i2")
    sidecar, filters = tmp_path / "b.json", tmp_path / "f.json"

    def value(depth: int = 0) -> Any:
        if depth < 3 and rng.random() < 0.3:
            return {rng.choice(["bold", "task", "RepetitionTime"]): value(depth + 1)}
        return [value(depth + 1)] * 2 if depth < 3 and rng.random() < 0.2 else rng.choice(values)

    for _ in range(rounds):
        keys = ["RepetitionTime", "VolumeTiming", "SliceTiming"]
        sidecar.write_text(json.dumps({rng.choice(keys): value() for _ in range(2)}))
        run = Run("01", bold=nifti.name, sidecars=(sidecar.name,))
        survives(lambda run=run: read_timing(tmp_path, run, None, 0))
        filters.write_text(json.dumps(rng.choice([value(), {"bold": value()}])))
        survives(lambda: read_filters(filters))


def test_a_file_that_says_it_is_huge(tmp_path: Path) -> None:
    """A megabyte of nothing that claims 800 x 800 x 800 voxels."""
    original = write_nifti(tmp_path / "b.nii", paint(little_labels(), planted()), dtype="|u1")
    content = bytearray(original.read_bytes())
    content[40:56] = np.array([4, 800, 800, 800, 2, 1, 1, 1], "<i2").tobytes()
    nothing = gzip.compress(bytes(10_000_000), 9)
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(bytes(content)) + 103 * nothing)
    start = time.monotonic()
    assert not survives(lambda: open_bold(tmp_path / "c.nii.gz"))
    assert not survives(lambda: read_header(tmp_path / "c.nii.gz"))
    assert time.monotonic() - start < 2
