"""collect on ready parcel series: patterns, shapes and the real STAGES series."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from boldtable import store
from boldtable.errors import BoldtableError, InputError, SettingsError
from boldtable.stages import collect
from boldtable.stages.collect.series import compile_pattern

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"
STAGES = "ses-{session}/ts_sub-{participant}_ses-{session}.txt.gz"


def run(tmp_path: Path, derivatives: Path, pattern: str | None, **settings: Any) -> pd.DataFrame:
    parsed = collect.Collect(derivatives=derivatives, layout="series", pattern=pattern, **settings)
    collect.run(parsed, "series", tmp_path / "out/runs.parquet", tmp_path / "out/participants.parquet")
    rows = store.read(tmp_path / "out/runs.parquet", "runs").to_pylist()
    return pd.DataFrame(rows, dtype=object)


def text(frames: int, parcels: int, separator: str = " ") -> str:
    return "".join(separator.join(["0.5"] * parcels) + "\n" for _ in range(frames))


def test_fields_of_the_pattern_become_keys(tmp_path: Path) -> None:
    folder = tmp_path / "data/ses-2"
    folder.mkdir(parents=True)
    (folder / "sub-7_task-rest_run-1_acq-hi_x.tsv").write_text(text(90, 3, "\t"))
    (folder / "notes.tsv").write_text("")
    pattern = "ses-{session}/sub-{participant}_task-{task}_run-{run}_acq-{acquisition}_*.tsv"
    (row,) = run(tmp_path, tmp_path / "data", pattern, tr_s=2.0).to_dict("records")
    assert [row[key] for key in store.KEYS] == ["series", "7", "2", "rest", "1", "hi"]
    assert (row["n_frames"], row["tr_s"], row["status"], row["space"]) == (90, 2.0, "found", None)
    assert row["bold"] == "ses-2/sub-7_task-rest_run-1_acq-hi_x.tsv"


def test_a_field_never_swallows_another_entity() -> None:
    assert compile_pattern("sub-{participant}.txt").fullmatch("sub-01_ses-1.txt") is None
    assert compile_pattern(STAGES).fullmatch("ses-1/ts_sub-01_ses-2.txt.gz") is None


@pytest.mark.parametrize("orientation", ["frame_parcel", "parcel_frame"])
@pytest.mark.parametrize("ending", ["txt", "csv", "tsv", "1D", "txt.gz", "npy", "npy.gz"])
def test_frames_by_file_type_and_orientation(tmp_path: Path, ending: str, orientation: Any) -> None:
    shape = (70, 4) if orientation == "frame_parcel" else (4, 70)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(shape))
    separator = {"csv": ",", "tsv": "\t"}.get(ending, " ")
    content = buffer.getvalue() if "npy" in ending else text(*shape, separator).encode()
    path = tmp_path / f"data/sub-1.{ending}"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    (row,) = run(tmp_path, tmp_path / "data", f"sub-{{participant}}.{ending}", orientation=orientation).to_dict(
        "records"
    )
    assert (row["n_frames"], row["status"]) == (70, "found")
    assert row["tr_s"] is None


def test_comments_blank_lines_and_column_names_are_no_frames(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sub-1.tsv").write_text("# made by hand\nLH_Vis_1\tLH_Vis_2\n\n" + text(5, 2, "\t") + "\n")
    assert list(run(tmp_path, tmp_path / "data", "sub-{participant}.tsv")["n_frames"]) == [5]


@pytest.mark.parametrize(("orientation", "frames"), [("frame_parcel", 2), ("parcel_frame", 3)])
def test_missing_values_are_no_column_names(tmp_path: Path, orientation: Any, frames: int) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sub-1.csv").write_text("n/a,0.5,\n0.1,n/a,0.2\n")
    runs = run(tmp_path, tmp_path / "data", "sub-{participant}.csv", orientation=orientation)
    assert list(runs["n_frames"]) == [frames]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("sub-2.txt", b"", "it holds no table of numbers"),
        ("sub-2.txt", b"a b\nc d\n", "it holds no table of numbers"),
        ("sub-2.txt.gz", gzip.compress(text(500, 9).encode(), mtime=0)[:-30], "Compressed file ended"),
        ("sub-2.npy", b"no array", ""),
        ("sub-2.mat", b"x", "'.mat' is none of .txt"),
        ("sub-2.txt", text(10, 2).encode(), "too short: 0.3 min"),
    ],
)
def test_a_bad_file_costs_its_run(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sub-1.txt").write_text(text(90, 2))
    (tmp_path / "data" / name).write_bytes(content)
    runs = run(tmp_path, tmp_path / "data", "sub-{participant}.*", tr_s=2.0)
    assert list(runs["status"]) == ["found", "excluded"]
    assert told in runs["reason"].iloc[1]


@pytest.mark.parametrize(
    ("pattern", "kind", "told"),
    [
        (None, SettingsError, "pattern: required"),
        ("sub-{partcipant}.txt", SettingsError, "unknown field '{partcipant}', did you mean 'participant'?"),
        ("sub-{}.txt", SettingsError, "unknown field '{}'"),
        ("sub-01.txt", SettingsError, "needs a {participant}"),
        ("sub-{participant.txt", SettingsError, "every brace closed"),
        ("{participant}.nii", InputError, "matches no file below"),
        ("{participant}-*_a.txt", InputError, "for the same run"),
    ],
)
def test_a_bad_pattern_is_refused(tmp_path: Path, pattern: str | None, kind: type[BoldtableError], told: str) -> None:
    (tmp_path / "data").mkdir()
    for name in ("1-x_a.txt", "1-y_a.txt"):
        (tmp_path / "data" / name).write_text(text(3, 2))
    with pytest.raises(kind) as caught:
        run(tmp_path, tmp_path / "data", pattern)
    assert told in str(caught.value)


def test_filters_and_left_out_participants(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("1_a.txt", "1_b.txt", "2_a.txt"):
        (tmp_path / "data" / name).write_text(text(3, 2))
    runs = run(tmp_path, tmp_path / "data", "{participant}_{session}.txt", sessions=["a"], leave_out=["2"])
    assert list(runs["participant"] + runs["session"]) == ["1a", "1b"]
    assert list(runs["reason"]) == [None, "left out by sessions: a"]
    with pytest.raises(InputError, match=r"sessions: 'c' matches no run \(there: a, b\)"):
        run(tmp_path, tmp_path / "data", "{participant}_{session}.txt", sessions=["c"])


@pytest.mark.skipif(not (SHARED / "data/stages_fep").is_dir(), reason="the STAGES series are not beside the repository")
def test_the_real_stages_series(tmp_path: Path) -> None:
    runs = run(tmp_path, SHARED / "data/stages_fep", STAGES, orientation="parcel_frame")
    assert len(runs) == 48
    assert runs["participant"].nunique() == 24
    assert set(runs["session"]) == {"1", "2"}
    assert set(runs["n_frames"]) == {234}
    assert runs["tr_s"].isna().all()
    assert (runs["status"] == "found").all()


@pytest.mark.parametrize(
    ("content", "orientation", "frames"),
    [
        (",".join(map(str, range(9))) + "\n" + text(5, 9, ","), "frame_parcel", 5),
        ("p1,0.1,0.2,0.3\np2,0.1,0.2,0.3\n", "parcel_frame", 3),
        ("parcel,t1,t2,t3\np1,0.1,0.2,0.3\n", "parcel_frame", 3),
        ("parcel," + ",".join(map(str, range(9))) + "\np1" + ",0.5" * 9 + "\n", "parcel_frame", 9),
    ],
    ids=["column numbers", "named rows", "named rows and frames", "named rows, numbered frames"],
)
def test_names_and_numbers_around_a_table_are_no_frames(
    tmp_path: Path, content: str, orientation: Any, frames: int
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sub-1.csv").write_text(content)
    runs = run(tmp_path, tmp_path / "data", "sub-{participant}.csv", orientation=orientation)
    assert list(runs["n_frames"]) == [frames]


def test_filters_by_the_fields_of_the_pattern(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("1_a.txt", "1_b.txt", "2_a.txt"):
        (tmp_path / "data" / name).write_text(text(3, 2))
    runs = run(tmp_path, tmp_path / "data", "{participant}_{session}.txt", filters={"bold": {"session": ["b", None]}})
    assert list(runs["participant"] + runs["session"]) == ["1a", "1b", "2a"]
    assert list(runs["status"]) == ["filtered", "found", "filtered"]
