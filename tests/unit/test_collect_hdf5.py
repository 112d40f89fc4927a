"""collect and parcellate on HDF5 recordings as the authors of Semantoks lay them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from boldtable import store
from boldtable.errors import InputError
from boldtable.stages import collect, parcellate

h5py = pytest.importorskip("h5py", reason="the extra 'hdf5' is not installed")

SIZES = {"schaefer400": 4, "tian3": 2, "buckner7": 1}
PEOPLE = ["sub-b", "a", "b"]
LENGTHS = [80, 100, 90]


def series(tail: float = np.nan) -> dict[str, np.ndarray]:
    """(recording, parcel, frame) per atlas; every value says recording, parcel and frame."""
    made, start = {}, 0
    for name, size in SIZES.items():
        record, parcel, frame = np.ogrid[: len(PEOPLE), start : start + size, :100]
        values = (1000.0 * record + 100 * parcel + frame % 37).astype(np.float32)
        for place, length in enumerate(LENGTHS):
            values[place, :, length:] = tail
        made[name], start = values, start + size
    return made


def write(path: Path, people: list[str] = PEOPLE, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["long_subject_id"] = np.array(people, dtype="S")
        # sorted by name this is not the authors' order, which is what counts
        for name, values in arrays.pop("timeseries", series()).items():
            file[f"timeseries/{name}"] = values
        for name, values in arrays.items():
            file[name.replace("__", "/")] = values
    return path


def run(tmp_path: Path, **settings: Any) -> pd.DataFrame:
    parsed = collect.Collect.parse({"derivatives": tmp_path / "data", "layout": "hdf5", "min_minutes": 0, **settings})
    collect.run(parsed, "d", tmp_path / "out/runs.parquet", tmp_path / "out/participants.parquet")
    return pd.DataFrame(store.read(tmp_path / "out/runs.parquet", "runs").to_pylist(), dtype=object)


def people(tmp_path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.read(tmp_path / "out/participants.parquet", "participants").to_pylist()
    return rows


@pytest.mark.parametrize("with_lengths", [False, True])
def test_each_recording_is_a_run(tmp_path: Path, with_lengths: bool) -> None:
    extra = {"ts_len": np.array(LENGTHS), "timeseries": series(tail=0.0)} if with_lengths else {}
    write(tmp_path / "data/cohort.h5", **extra)
    runs = run(tmp_path, tr_s=2.0)
    assert list(runs["participant"] + runs["run"]) == ["a1", "b1", "b2"]
    assert list(runs["bold"]) == ["cohort.h5#1", "cohort.h5#0", "cohort.h5#2"]
    assert list(runs["n_frames"]) == [100, 80, 90]
    assert set(runs["tr_s"]) == {2.0}
    assert runs["fingerprint"].is_unique
    assert list(run(tmp_path, tr_s=2.0, min_minutes=2.8)["status"]) == ["found", "excluded", "found"]


def test_labels_become_phenotypes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        tmp_path / "data/cohort.h5",
        labels__age=np.array([30.5, np.nan, 30.5]),
        labels__sex=np.array([b"F", b"M", b"F"]),
        labels__asd=np.array([1, -9999, 1]),
        labels__mood=np.array([3, 4, 5]),
    )
    run(tmp_path, missing=[-9999])
    first, second = people(tmp_path)
    assert (first["participant"], first["age_years"], first["sex"]) == ("a", None, "M")
    assert (second["participant"], second["age_years"], second["sex"]) == ("b", 30.5, "F")
    assert (first["asd"], second["asd"]) == (None, 1)
    assert (first["mood"], second["mood"]) == (4, None)
    assert "labels that differ between recordings are taken as missing: mood of b" in capsys.readouterr().err


def test_labels_never_hide_the_columns_of_participants_tsv(tmp_path: Path) -> None:
    write(tmp_path / "data/cohort.h5", labels__sex=np.array([b"F", b"M", b"F"]), labels__asd=np.array([1, 0, 1]))
    (tmp_path / "data/participants.tsv").write_text("participant_id\tsex\nsub-a\tmale\nsub-b\tfemale\n")
    run(tmp_path)
    first, _ = people(tmp_path)
    assert (first["sex"], first["labels_sex"], first["asd"]) == ("M", "M", 0)


def test_several_files_and_a_pattern(tmp_path: Path) -> None:
    for name in ("abide_rest.h5", "abide_movie.hdf5", "other.txt"):
        (write if name != "other.txt" else lambda path: path.write_text(""))(tmp_path / "data" / name)
    assert list(run(tmp_path)["run"]) == ["1", "2", "1", "2", "3", "4"]
    runs = run(tmp_path, pattern="abide_{task}.*", tasks=["movie"])
    runs = runs[runs["status"] != "filtered"]
    assert list(runs["task"] + runs["participant"] + runs["run"]) == ["moviea1", "movieb1", "movieb2"]


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"people": ["a", "b"]}, "expected (2 recordings, parcels, frames)"),
        ({"timeseries": {}}, "no timeseries/*"),
        ({"timeseries": {"schaefer400": np.zeros((3, 4))}}, "timeseries/schaefer400 has the shape (3, 4)"),
        ({"labels__age": np.zeros(2)}, "labels/age has the shape (2,) instead of (3,)"),
        (None, "damaged"),
    ],
)
def test_a_file_of_another_layout_is_refused_in_one_line(
    tmp_path: Path, arrays: dict[str, Any] | None, told: str
) -> None:
    path = tmp_path / "data/cohort.h5"
    write(path, **(arrays or {}))
    if arrays is None:
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError) as caught:
        run(tmp_path)
    assert told in str(caught.value)
    assert "cohort.h5" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_hdf5_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.txt").touch()
    with pytest.raises(InputError, match=r"no .h5 or .hdf5 file below"):
        run(tmp_path)


def test_recordings_become_parcels_in_the_order_of_the_authors(tmp_path: Path) -> None:
    made = series()
    made["tian3"][1, 0] = np.nan  # a parcel without signal
    made["schaefer400"][0, :, 40] = np.nan  # a lost frame
    write(tmp_path / "data/cohort.h5", timeseries=made)
    run(tmp_path)
    rows = [f"{index}\tp{index}\tL\tVis" for index in range(1, 8)]
    (tmp_path / "own.tsv").write_text("\n".join(["index\tname\themisphere\tnetwork", *rows, ""]))
    settings = parcellate.Parcellate.parse({"source": "series", "table": str(tmp_path / "own.tsv")})
    parcellate.atlas(settings, "own", tmp_path / "own.parquet")
    runs, out = tmp_path / "out/runs.parquet", tmp_path / "out/0.parquet"
    parcellate.run(settings, "d", tmp_path / "data", runs, "0", tmp_path / "own.parquet", out)
    a, lost, b = store.rows(out, "parcels")
    assert a["signal"].shape == (100, 7)
    assert a["signal"][3].tolist() == pytest.approx([1003, 1103, 1203, 1303, np.nan, 1503, 1603], nan_ok=True)
    assert a["coverage"].tolist() == [1, 1, 1, 1, 0, 1, 1]
    assert (b["n_frames"], b["status"]) == (90, "ok")
    assert b["signal"][89, 6] == 2000 + 600 + 89 % 37
    assert lost["status"] == "failed"
    assert "NaN or infinite values in 1 of 80 frames" in lost["reason"]


def test_an_unknown_atlas_or_recording_costs_its_run(tmp_path: Path) -> None:
    from boldtable.errors import RunError
    from boldtable.stages.parcellate.series import read_series

    path = write(tmp_path / "cohort.h5", timeseries={"gordon": np.ones((3, 4, 100))})
    with pytest.raises(RunError, match="has timeseries/gordon; known: schaefer400"):
        read_series(tmp_path / "cohort.h5#0", list("abcd"), "frame_parcel")
    write(path)
    with pytest.raises(RunError, match="cannot be read at recording 9"):
        read_series(tmp_path / "cohort.h5#9", list("abcdefg"), "frame_parcel")
    with pytest.raises(RunError, match=r"has 7 parcels, the atlas table has 4"):
        read_series(tmp_path / "cohort.h5#1", list("abcd"), "frame_parcel")
