"""collect on fMRIPrep trees: what is found, what is excluded and why, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from boldtable import store
from boldtable.errors import InputError
from boldtable.stages import collect
from trees import Tree, func, nifti, write_participants

NAMES = ["01", "02", "03"]
SPACE = "space-MNI152NLin6Asym_res-2"
BOLD = f"sub-02_task-rest_{SPACE}_desc-preproc_bold"


def run(tmp_path: Path, **settings: Any) -> pd.DataFrame:
    """Collect tmp_path/derivatives into tmp_path/results and return the runs."""
    parsed = collect.Collect.parse({"derivatives": tmp_path / "derivatives", **settings})
    runs, participants = tmp_path / "results/runs.parquet", tmp_path / "results/participants.parquet"
    collect.run(parsed, "aurora", runs, participants)
    return pd.DataFrame(store.read(runs, "runs").to_pylist(), dtype=object)


def wanted(tmp_path: Path, **settings: Any) -> pd.DataFrame:
    """As `run`, without the rows of what the settings leave out."""
    runs = run(tmp_path, **settings)
    return runs[runs["status"] != "filtered"]


def tree(tmp_path: Path, names: list[str] = NAMES, **settings: Any) -> Path:
    return Tree(**{"frames": 200, **settings}).write(tmp_path / "derivatives", names)


def reason(runs: pd.DataFrame, participant: str = "02") -> str:
    row = runs[runs["participant"] == participant].iloc[0]
    assert row["status"] == "excluded"
    return str(row["reason"])


def test_every_column_of_a_plain_run(tmp_path: Path) -> None:
    write_participants(tree(tmp_path) / "participants.tsv", NAMES)
    runs = run(tmp_path)
    assert list(runs["participant"]) == NAMES
    row = runs.iloc[1]
    assert row["bold"] == f"sub-02/func/{BOLD}.nii.gz"
    assert row["mask"] == f"sub-02/func/sub-02_task-rest_{SPACE}_desc-brain_mask.nii.gz"
    assert row["confounds"] == "sub-02/func/sub-02_task-rest_desc-confounds_timeseries.tsv"
    assert (row["dataset"], row["task"], row["space"], row["resolution"]) == ("aurora", "rest", "MNI152NLin6Asym", "2")
    assert (row["tr_s"], row["n_frames"], row["status"]) == (2.0, 200, "found")
    assert pd.isna(row[["session", "run", "acquisition", "reason"]]).all()
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"runs.parquet", "participants.parquet"}


def test_sessions_tasks_acquisitions_and_runs_each_make_a_run_in_order(tmp_path: Path) -> None:
    tree(tmp_path, ["02", "01"], sessions=["1", "2"], tasks=["rest", "nback"], acquisitions=["a", "b"], runs=["1", "2"])
    runs = run(tmp_path)
    keys = list(runs[list(store.KEYS)].itertuples(index=False, name=None))
    assert len(set(keys)) == len(keys) == 2 * 2 * 2 * 2 * 2
    assert keys == sorted(keys)
    row = runs[(runs["session"] == "2") & (runs["acquisition"] == "b") & (runs["run"] == "1")].iloc[0]
    assert row["bold"] == f"sub-01/ses-2/func/sub-01_ses-2_task-nback_acq-b_run-1_{SPACE}_desc-preproc_bold.nii.gz"
    assert row["confounds"].endswith("sub-01_ses-2_task-nback_acq-b_run-1_desc-confounds_timeseries.tsv")


def test_directions_are_runs_of_their_own(tmp_path: Path) -> None:
    derivatives = tree(tmp_path, ["01"])
    for direction in ("LR", "RL"):
        name = f"sub-01_task-rest_dir-{direction}_{SPACE}_desc-preproc_bold.nii.gz"
        (func(derivatives, "01") / name).write_bytes(nifti(200, 2.0))
    assert list(run(tmp_path)["acquisition"]) == [None, "dir-LR", "dir-RL"]


def test_old_confounds_name_uncompressed_images_and_absent_companions(tmp_path: Path) -> None:
    tree(tmp_path, confounds="desc-confounds_regressors.tsv", mask=False, extension=".nii")
    runs = run(tmp_path)
    assert runs["confounds"].iloc[0] == "sub-01/func/sub-01_task-rest_desc-confounds_regressors.tsv"
    assert runs["mask"].isna().all()
    assert (runs["status"] == "found").all()


def test_a_run_without_confounds_is_found(tmp_path: Path) -> None:
    tree(tmp_path, confounds=None)
    runs = run(tmp_path)
    assert runs["confounds"].isna().all()
    assert (runs["status"] == "found").all()


@pytest.mark.parametrize(("unit", "tr_s"), [("sec", 0.8), ("msec", 0.8), ("usec", 0.8)])
def test_header_units(tmp_path: Path, unit: str, tr_s: float) -> None:
    tree(tmp_path, tr_s=tr_s, unit=unit, sidecar_tr_s=None)
    assert list(run(tmp_path)["tr_s"]) == [pytest.approx(0.8, abs=1e-6)] * 3


def test_a_header_without_unit_agrees_in_seconds_or_milliseconds(tmp_path: Path) -> None:
    tree(tmp_path, tr_s=2000.0, unit="unknown", sidecar_tr_s=2.0)
    assert list(run(tmp_path)["tr_s"]) == [2.0] * 3


def test_sidecar_and_header_must_agree_within_one_percent(tmp_path: Path) -> None:
    tree(tmp_path, ["01"], tr_s=2.0, sidecar_tr_s=2.015)
    tree(tmp_path, ["02"], tr_s=2.0, sidecar_tr_s=2.05)
    runs = run(tmp_path)
    assert runs["tr_s"].iloc[0] == 2.015
    assert reason(runs) == "repetition time disagrees: 2.05 s in the sidecar, 2 s in the NIfTI header"


def test_the_nearest_sidecar_is_inherited(tmp_path: Path) -> None:
    derivatives = tree(tmp_path, tr_s=0.0, sidecar_tr_s=None)
    (derivatives / "task-rest_bold.json").write_text(json.dumps({"RepetitionTime": 1.5}))
    (derivatives / "task-nback_bold.json").write_text(json.dumps({"RepetitionTime": 9.0}))
    (derivatives / "sub-02/sub-02_task-rest_bold.json").write_text(json.dumps({"RepetitionTime": 2.5}))
    (func(derivatives, "03") / f"sub-03_task-rest_{SPACE}_desc-preproc_bold.json").write_text('{"EchoTime": 0.03}')
    assert list(run(tmp_path)["tr_s"]) == [1.5, 2.5, 1.5]


def test_the_repetition_time_of_the_settings_overrules_the_files(tmp_path: Path) -> None:
    tree(tmp_path, sidecar_tr_s=7.0)
    assert list(run(tmp_path, tr_s=2.2)["tr_s"]) == [2.2] * 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"RepetitionTime": 0}', "no repetition time: RepetitionTime is 0 in sub-02/func/"),
        ('{"RepetitionTime": "two"}', "no repetition time: RepetitionTime is 'two' in sub-02/func/"),
        ('{"RepetitionTime": 2000}', "repetition time disagrees: 2000 s in the sidecar, 2 s in the NIfTI header"),
        ('{"Repet', "cannot read the sidecar sub-02/func/"),
    ],
)
def test_a_bad_sidecar_costs_its_run(tmp_path: Path, content: str, told: str) -> None:
    derivatives = tree(tmp_path)
    (func(derivatives, "02") / f"{BOLD}.json").write_text(content)
    runs = run(tmp_path)
    assert reason(runs).startswith(told)
    assert list(runs["status"]) == ["found", "excluded", "found"]


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (b"", "not a NIfTI file (empty)"),
        (b"GIF89a" * 100, "not a readable NIfTI file: "),
        (nifti(200, 2.0)[:40], "not a readable NIfTI file: "),
        (nifti(200, 2.0, dimensions=3), "not a time series: the image has 3 dimensions, not 4"),
        (nifti(20, 2.0), "too short: 0.7 min, the minimum is 2.0"),
        (nifti(200, -1.0), "no repetition time: the NIfTI header says "),
    ],
    ids=["empty", "no nifti", "truncated", "3-D", "short", "negative"],
)
def test_a_bad_image_costs_its_run(tmp_path: Path, image: bytes, told: str) -> None:
    derivatives = tree(tmp_path)
    (func(derivatives, "02") / f"{BOLD}.nii.gz").write_bytes(image)
    runs = run(tmp_path)
    assert reason(runs).startswith(told)
    assert str(tmp_path) not in reason(runs)
    assert list(runs["status"]) == ["found", "excluded", "found"]


def test_no_repetition_time_anywhere(tmp_path: Path) -> None:
    tree(tmp_path, tr_s=0.0, sidecar_tr_s=None)
    assert reason(run(tmp_path)).startswith("no repetition time: 0 in the NIfTI header, none in a sidecar")


@pytest.mark.parametrize(
    ("unit", "in_header", "in_sidecar"),
    [("sec", 2000.0, None), ("unknown", 2000.0, None), ("sec", 0.0, 2000.0), ("sec", 2000.0, 2000.0)],
)
def test_milliseconds_cost_the_run(tmp_path: Path, unit: str, in_header: float, in_sidecar: float | None) -> None:
    tree(tmp_path, tr_s=in_header, unit=unit, sidecar_tr_s=in_sidecar)
    where = "sidecar" if in_sidecar else "NIfTI header"
    assert reason(run(tmp_path)).startswith(f"repetition time of 2000 s in the {where}; milliseconds?")
    assert list(run(tmp_path, tr_s=2.0)["tr_s"]) == [2.0] * 3


def test_settings_can_be_read_without_image_and_bids_libraries() -> None:
    code = "import sys, boldtable.stages.collect; print({'nibabel', 'ancpbids', 'pandas', 'h5py'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_broken_link_and_a_participant_without_bold_are_rows(tmp_path: Path) -> None:
    derivatives = tree(tmp_path)
    image = func(derivatives, "02") / f"{BOLD}.nii.gz"
    image.unlink()
    image.symlink_to("../../.git/annex/objects/nothing")
    (derivatives / "sub-04/anat").mkdir(parents=True)
    runs = run(tmp_path)
    assert "datalad get" in reason(runs)
    assert reason(runs, "04").startswith("no desc-preproc BOLD in sub-04")


def test_two_files_for_one_run_exclude_it(tmp_path: Path) -> None:
    derivatives = tree(tmp_path)
    (func(derivatives, "02") / f"{BOLD}.nii").write_bytes(b"")
    assert reason(run(tmp_path)).startswith("two files for one run: ")


def test_single_echoes_give_way_to_the_combined_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path, echoes=[None, "1", "2"])
    runs = run(tmp_path)
    assert list(runs["acquisition"]) == [None] * 3
    assert "6 single echoes left out" in capsys.readouterr().err


def test_a_single_echo_can_be_asked_for_and_takes_the_confounds_of_its_run(tmp_path: Path) -> None:
    tree(tmp_path, echoes=[None, "1", "2"], spaces=[(None, None)])
    runs = wanted(tmp_path, filters={"bold": {"echo": 2}})
    assert list(runs["acquisition"]) == ["echo-2"] * 3
    row = runs.iloc[1]
    assert row["bold"] == "sub-02/func/sub-02_task-rest_echo-2_desc-preproc_bold.nii.gz"
    assert row["mask"] == "sub-02/func/sub-02_task-rest_desc-brain_mask.nii.gz"
    assert row["confounds"] == "sub-02/func/sub-02_task-rest_desc-confounds_timeseries.tsv"


def test_echoes_without_a_combined_run_must_be_chosen(tmp_path: Path) -> None:
    tree(tmp_path, echoes=["1", "2", "3"])
    with pytest.raises(InputError, match=r'filters: \{"bold": \{"echo": ...\}\}, one of: 1, 2, 3'):
        run(tmp_path)


def test_two_folders_never_become_one_participant(tmp_path: Path) -> None:
    tree(tmp_path, ["01", "01-a"])
    runs = run(tmp_path)
    assert list(runs["participant"]) == ["01", "01-a"]
    assert reason(runs, "01-a") == "its name says participant '01', its folder sub-01-a; rename one of them"


def test_of_two_sidecars_in_one_folder_the_more_specific_counts(tmp_path: Path) -> None:
    derivatives = tree(tmp_path, tr_s=0.0, sidecar_tr_s=None)
    (derivatives / "bold.json").write_text('{"RepetitionTime": 9}')
    (derivatives / "desc-preproc_bold.json").write_text('{"RepetitionTime": 8}')
    (derivatives / "task-rest_desc-preproc_bold.json").write_text('{"RepetitionTime": 1.5}')
    assert list(run(tmp_path)["tr_s"]) == [1.5] * 3


def test_several_spaces_or_resolutions_must_be_chosen(tmp_path: Path) -> None:
    spaces = [("MNI152NLin6Asym", "2"), ("MNI152NLin6Asym", None), ("MNI152NLin2009cAsym", "2"), (None, None)]
    tree(tmp_path, spaces=spaces)
    with pytest.raises(InputError, match="set space to one of: MNI152NLin2009cAsym, MNI152NLin6Asym, native"):
        run(tmp_path)
    with pytest.raises(InputError, match="set resolution to one of: 2, native"):
        run(tmp_path, space="MNI152NLin6Asym")
    assert list(run(tmp_path, space="MNI152NLin6Asym", resolution="2")["resolution"]) == ["2"] * 3
    assert list(run(tmp_path, space="MNI152NLin6Asym", resolution="native")["resolution"]) == [None] * 3
    assert list(run(tmp_path, space="MNI152NLin2009cAsym")["space"]) == ["MNI152NLin2009cAsym"] * 3
    assert list(run(tmp_path, space="native")["space"]) == [None] * 3


def test_participants_in_different_spaces_are_never_mixed(tmp_path: Path) -> None:
    tree(tmp_path, ["01"])
    tree(tmp_path, ["02"], spaces=[("MNI152NLin2009cAsym", "2")])
    with pytest.raises(InputError, match="set space to one of: MNI152NLin2009cAsym, MNI152NLin6Asym"):
        run(tmp_path)


def test_a_run_only_in_another_space_is_an_excluded_row(tmp_path: Path) -> None:
    tree(tmp_path, ["01"])
    tree(tmp_path, ["02"], spaces=[("T1w", None)])
    runs = run(tmp_path, space="MNI152NLin6Asym")
    assert reason(runs) == "no BOLD with space MNI152NLin6Asym, only: T1w"


def test_filters(tmp_path: Path) -> None:
    tree(tmp_path, tasks=["rest", "nback"], sessions=["1", "2"])
    every = run(tmp_path, tasks=["nback"], sessions=["2"], leave_out=["sub-01", "3"])
    runs = every[every["status"] != "filtered"]
    assert set(runs["task"]) == {"nback"}
    assert set(runs["session"]) == {"2"}
    assert set(runs["participant"]) == {"02", "03"}
    left_out = every[every["status"] == "filtered"]
    assert len(left_out) == 6
    assert set(left_out["reason"]) == {"left out by tasks: nback", "left out by sessions: 2"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tasks": ["rst"]}, "tasks: 'rst' matches no run, did you mean 'rest'? (there: nback, rest)"),
        ({"sessions": ["1"]}, "sessions: '1' matches no run (the files have no such label)"),
        ({"space": "MNI152NLin2009cAsym"}, "(there: MNI152NLin6Asym); correct 'space'"),
        ({"resolution": "1"}, "resolution: '1' matches no run (there: 2)"),
        ({"leave_out": NAMES}, "'leave_out' names every participant"),
        ({"site": "scanner"}, "no column 'scanner'"),
        ({"participants": Path("nowhere.tsv")}, "participants file not found: nowhere.tsv"),
    ],
)
def test_settings_that_match_nothing_are_refused(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    write_participants(tree(tmp_path, tasks=["rest", "nback"]) / "participants.tsv", NAMES)
    with pytest.raises(InputError) as caught:
        run(tmp_path, **settings)
    assert told in str(caught.value)
    assert str(caught.value).startswith("collect.aurora: ")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "results").iterdir())


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (None, "derivatives folder not found"),
        ("", "derivatives folder is empty"),
        ("raw/readme.txt", "no sub-* folder in"),
        ("sub-01/func/sub-01_task-rest_bold.nii.gz", "no *_desc-preproc_bold.nii.gz in any sub-*/func"),
    ],
)
def test_a_folder_that_is_no_derivatives_is_refused(tmp_path: Path, made: str | None, told: str) -> None:
    if made is not None:
        path = tmp_path / "derivatives" / made
        (path.parent if made else path).mkdir(parents=True)
        if made:
            path.touch()
    with pytest.raises(InputError) as caught:
        run(tmp_path)
    assert told in str(caught.value)


def test_a_file_as_derivatives_and_outputs_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "derivatives").touch()
    with pytest.raises(InputError, match="is a file, not a folder"):
        run(tmp_path)
    (tmp_path / "derivatives").unlink()
    tree(tmp_path)
    settings = collect.Collect(derivatives=tmp_path / "derivatives")
    (tmp_path / "blocked").touch()
    for folder, told in [("blocked", "cannot write"), ("derivatives/results", "lies inside the input folder")]:
        with pytest.raises(InputError, match=told):
            collect.run(settings, "aurora", tmp_path / folder / "runs.parquet", tmp_path / folder / "p.parquet")
    assert not (tmp_path / "derivatives/results").exists()


def test_a_participant_missing_from_the_file_is_found_with_a_note(tmp_path: Path) -> None:
    write_participants(tree(tmp_path) / "participants.tsv", ["01", "03", "99"])
    runs = run(tmp_path)
    assert (runs["status"] == "found").all()
    note = "not in participants.tsv: used for pretraining, left out of every task"
    assert list(runs["reason"]) == [None, note, None]
    participants = store.frame(tmp_path / "results/participants.parquet", "participants")
    assert list(participants["participant"]) == ["01", "03", "99"]


def test_a_file_of_other_participants_is_refused(tmp_path: Path) -> None:
    write_participants(tree(tmp_path) / "participants.tsv", ["1", "2", "3"])
    with pytest.raises(InputError, match=r"has none of the participants found \(01, 02, 03; it has 1, 2, 3\)"):
        run(tmp_path)


def test_adding_a_participant_changes_no_other_row(tmp_path: Path) -> None:
    names = [f"{number:03d}" for number in range(50)]
    tree(tmp_path, names)
    before = run(tmp_path, shard_size=8).set_index("participant")
    tree(tmp_path, ["new"])
    after = run(tmp_path, shard_size=8).set_index("participant")
    assert before["shard"].nunique() > 4
    assert set(after.index) - set(before.index) == {"new"}
    pd.testing.assert_frame_equal(after.drop(index="new"), before)


def test_a_repaired_file_changes_only_its_own_fingerprint(tmp_path: Path) -> None:
    derivatives = tree(tmp_path)
    before = run(tmp_path)
    (func(derivatives, "02") / "sub-02_task-rest_desc-confounds_timeseries.tsv").write_text("csf\n1\n")
    after = run(tmp_path)
    assert list(before["fingerprint"] == after["fingerprint"]) == [True, False, True]
    assert before["fingerprint"].is_unique


def test_all_runs_of_a_participant_share_a_shard_of_equal_width(tmp_path: Path) -> None:
    tree(tmp_path, [f"{number:03d}" for number in range(40)], sessions=["1", "2"], frames=0)
    runs = run(tmp_path, shard_size=2)
    assert (runs.groupby("participant")["shard"].nunique() == 1).all()
    assert set(runs["shard"].str.len()) == {2}
    assert runs["shard"].astype(int).between(0, 31).all()
    assert set(runs["reason"]) == {"not a NIfTI file (empty)"}


def test_the_same_input_gives_the_same_bytes_and_nothing_in_the_input_changes(tmp_path: Path) -> None:
    derivatives = tree(tmp_path)
    listing = {path: path.stat().st_mtime_ns for path in derivatives.rglob("*")}
    run(tmp_path)
    first = (tmp_path / "results/runs.parquet").read_bytes()
    run(tmp_path)
    assert (tmp_path / "results/runs.parquet").read_bytes() == first
    assert {path: path.stat().st_mtime_ns for path in derivatives.rglob("*")} == listing
