"""collect on XCP-D derivatives: both generations of names, one atlas, motion and repetition time beside the series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from boldtable import store
from boldtable.errors import InputError
from boldtable.stages import collect, parcellate
from trees import XcpdTree, func, name

NAMES = ["01", "02"]
SPACE = "space-MNI152NLin6Asym"


def run(tmp_path: Path, **settings: Any) -> pd.DataFrame:
    parsed = collect.Collect.parse({"derivatives": tmp_path / "xcp_d", "layout": "xcpd", **settings})
    collect.run(parsed, "d", tmp_path / "out/runs.parquet", tmp_path / "out/participants.parquet")
    return pd.DataFrame(store.read(tmp_path / "out/runs.parquet", "runs").to_pylist(), dtype=object)


def tree(tmp_path: Path, **settings: Any) -> Path:
    return XcpdTree(**settings).write(tmp_path / "xcp_d", NAMES)


@pytest.mark.parametrize(
    ("settings", "ending"),
    [
        ({"old": True}, "atlas-4S156Parcels_timeseries.tsv"),
        ({"entity": "seg"}, "seg-4S156Parcels_stat-mean_timeseries.tsv"),
        ({"entity": "atlas"}, "atlas-4S156Parcels_stat-mean_timeseries.tsv"),
    ],
    ids=["0.6", "seg", "atlas"],
)
def test_every_generation_of_names(tmp_path: Path, settings: dict[str, Any], ending: str) -> None:
    tree(tmp_path, sessions=["a"], runs=["1", "2"], motion_frames=200, **settings)
    runs = run(tmp_path)
    assert list(runs["participant"] + runs["session"] + runs["run"]) == ["01a1", "01a2", "02a1", "02a2"]
    row = runs.iloc[1]
    assert row["bold"] == f"sub-01/ses-a/func/sub-01_ses-a_task-rest_run-2_{SPACE}_{ending}"
    assert row["confounds"] == "sub-01/ses-a/func/sub-01_ses-a_task-rest_run-2_motion.tsv"
    assert (row["task"], row["space"], row["n_frames"], row["tr_s"]) == ("rest", "MNI152NLin6Asym", 200, 2.0)
    assert (row["status"], row["mask"], row["acquisition"]) == ("found", None, None)


def test_several_atlases_must_be_chosen(tmp_path: Path) -> None:
    tree(tmp_path, atlases=["4S156Parcels", "Gordon"], spaces=["MNI152NLin6Asym", "fsLR"])
    with pytest.raises(InputError, match=r"in several atlases, such as .*; set atlas to one of: 4S156Parcels, Gordon"):
        run(tmp_path)
    with pytest.raises(InputError, match=r"in several spaces, such as .*; set space to one of: MNI152NLin6Asym, fsLR"):
        run(tmp_path, atlas="Gordon")
    with pytest.raises(InputError, match="atlas: 'Gordn' matches no run, did you mean 'Gordon'"):
        run(tmp_path, atlas="Gordn")
    assert all("seg-Gordon" in path for path in run(tmp_path, atlas="Gordon", space="fsLR")["bold"])


def test_concatenated_runs_are_never_taken_beside_the_single_ones(tmp_path: Path) -> None:
    XcpdTree(runs=["1", "2"], frames=100).write(tmp_path / "xcp_d", NAMES)
    XcpdTree(runs=[None], frames=200).write(tmp_path / "xcp_d", NAMES)
    XcpdTree(runs=[None], tasks=["nback"]).write(tmp_path / "xcp_d", NAMES)
    runs = run(tmp_path)
    assert list(runs["task"] + runs["run"].fillna("")) == ["nback", "rest", "rest1", "rest2"] * 2
    assert list(runs["status"]) == ["found", "filtered", "found", "found"] * 2
    assert "in one: the single runs are taken" in runs["reason"].iloc[1]
    filtered = run(tmp_path, filters={"bold": {"run": "*"}})  # no filter removes a run without a row
    assert list(filtered["status"]) == ["filtered", "filtered", "found", "found"] * 2
    joined = run(tmp_path, filters={"bold": {"run": None}})
    assert list(joined["status"]) == ["found", "found", "filtered", "filtered"] * 2


def test_two_files_that_are_not_one_in_the_other_are_both_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree(tmp_path, runs=[None, "1", "2"])  # 200 frames are not 200 + 200
    assert list(run(tmp_path)["status"]) == ["found"] * 6
    assert "is not these in one: all are taken" in capsys.readouterr().err


def test_repetition_time_from_the_settings_the_denoised_bold_or_nowhere(tmp_path: Path) -> None:
    tree(tmp_path, tr_s=None)
    assert list(run(tmp_path)["tr_s"]) == [None, None]
    assert list(run(tmp_path, tr_s=0.8)["tr_s"]) == [0.8, 0.8]
    tree(tmp_path, tr_s=1.5)
    assert list(run(tmp_path)["tr_s"]) == [1.5, 1.5]
    assert list(run(tmp_path, min_minutes=5.5)["reason"]) == ["too short: 5.0 min, the minimum is 5.5"] * 2


def test_removed_frames_are_said_and_their_motion_is_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree(tmp_path, motion_frames=230)
    runs = run(tmp_path)
    assert list(runs["confounds"]) == [None, None]
    assert list(runs["status"]) == ["found", "found"]
    assert "XCP-D has removed frames from 2 runs" in capsys.readouterr().err


def test_a_bad_series_and_a_participant_without_any_cost_only_themselves(tmp_path: Path) -> None:
    folder = tree(tmp_path)
    (folder / "sub-03/anat").mkdir(parents=True)
    (func(folder, "02") / name({"sub": "02", "task": "rest"}, f"{SPACE}_seg-4S156Parcels_stat-mean_timeseries.tsv")
     ).write_text("LH_Vis_1\tLH_Vis_2\n")  # fmt: skip
    runs = run(tmp_path)
    assert list(runs["status"]) == ["found", "excluded", "excluded"]
    assert "no table of numbers" in runs["reason"].iloc[1]
    assert runs["reason"].iloc[2].startswith("no parcel series of XCP-D in sub-03")


def test_a_folder_without_series_is_refused(tmp_path: Path) -> None:
    (tmp_path / "xcp_d/sub-01/func").mkdir(parents=True)
    with pytest.raises(InputError, match=r"no \*_timeseries.tsv of an atlas in any sub-\*/func"):
        run(tmp_path)


def test_the_series_reach_the_parcels_by_name_with_their_motion(tmp_path: Path) -> None:
    folder = tree(tmp_path, frames=90, motion_frames=90, parcels=["b", "c", "a"])
    table = tmp_path / "own.tsv"
    rows = [f"{index}\t{parcel}\tL\tVis" for index, parcel in enumerate("abcd", 1)]
    table.write_text("\n".join(["index\tname\themisphere\tnetwork", *rows, ""]))
    run(tmp_path)
    settings = parcellate.Parcellate.parse({"source": "series", "table": str(table)})
    parcellate.atlas(settings, "own", tmp_path / "own.parquet")
    runs, out = tmp_path / "out/runs.parquet", tmp_path / "out/0.parquet"
    parcellate.run(settings, "d", folder, runs, "0", tmp_path / "own.parquet", out)
    first, _ = store.rows(out, "parcels")
    assert first["signal"][5, :3].tolist() == [7.0, 5.0, 6.0]
    assert first["coverage"].tolist() == [1, 1, 1, 0]
    assert (first["status"], first["tr_s"]) == ("partial", 2.0)
    assert len(first["confounds"]["framewise_displacement"]) == 90
