"""Inputs of the kinds that users report: each with the right number, or with the reason why there is none."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from parcellate_files import little_labels, paint, planted, write_nifti

from boldtable import store
from boldtable.errors import InputError, RunError
from boldtable.models.connectome import edges
from boldtable.signal import steady
from boldtable.stages import collect
from boldtable.stages.clean import Clean, clean_row
from boldtable.stages.parcellate.bold import open_bold
from boldtable.stages.parcellate.confounds import read_confounds
from boldtable.stages.parcellate.shard import _mask
from boldtable.stages.qc.measures import of_parcels
from boldtable.stages.qc.people import Person
from boldtable.stages.qc.settings import QC
from boldtable.stages.qc.verdict import decide
from trees import Tree, func, nifti

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
N_FRAMES, N_PARCELS = 150, 60


def run(tmp_path: Path, **settings: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Collect tmp_path/derivatives; the runs and the participants."""
    parsed = collect.Collect.parse({"derivatives": tmp_path / "derivatives", **settings})
    runs, participants = tmp_path / "out/runs.parquet", tmp_path / "out/participants.parquet"
    collect.run(parsed, "d", runs, participants)
    return tuple(pd.DataFrame(store.read(path, path.stem).to_pylist(), dtype=object) for path in (runs, participants))


def people(tmp_path: Path, text: str) -> None:
    (tmp_path / "derivatives/participants.tsv").write_text(text)


# 1. Non-steady-state volumes


def bright(*percent: int, flags: bool = True, seed: int = 0) -> dict[str, Any]:
    """A run of independent parcels whose first volumes are brighter by so many percent, flagged as fMRIPrep does."""
    rng = np.random.default_rng(seed)
    signal = 1000 + 10 * rng.normal(size=(N_FRAMES, N_PARCELS))
    signal[: len(percent)] *= 1 + np.array(percent)[:, None] / 100
    confounds = {name: (rng.normal(size=N_FRAMES).cumsum() * 0.01).astype("f4") for name in MOTION}
    confounds["framewise_displacement"] = np.r_[np.nan, np.full(N_FRAMES - 1, 0.1)].astype("f4")
    for number in range(5):
        confounds[f"a_comp_cor_{number:02d}"] = rng.normal(size=N_FRAMES).astype("f4")
    for number in range(4):
        cosine = np.cos(np.pi * (np.arange(N_FRAMES) + 0.5) * (number + 1) / N_FRAMES)
        confounds[f"cosine{number:02d}"] = cosine.astype("f4")
    for name, values in confounds.items():
        if flags and name.startswith(("a_comp", "cosine")):
            values[: len(percent)] = 0
    for frame in range(len(percent) if flags else 0):
        confounds[f"non_steady_state_outlier{frame:02d}"] = (np.arange(N_FRAMES) == frame).astype("f4")
    return {
        "dataset": "d", "participant": "01", "session": None, "task": "rest", "run": None, "acquisition": None,
        "tr_s": 2.0, "n_frames": N_FRAMES, "signal": signal.astype("f4"), "coverage": np.ones(N_PARCELS, "f4"),
        "confounds": confounds, "status": "ok", "reason": None,
    }  # fmt: skip


def judged(row: dict[str, Any], tensor: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What quality control says of a run whose participant is known."""
    listed = {**row, "shard": "0", "mask": "m.nii.gz", "bold": "b.nii.gz", **changes}
    return decide(QC(recipe="r"), listed, row, tensor, Person(), N_PARCELS)


def connectivity(tensor: dict[str, Any]) -> float:
    return float(np.tanh(edges(tensor["signal"], ~tensor["interpolated"])).mean())


@pytest.mark.parametrize("percent", [(27,), (60, 25, 10, 4)])
@pytest.mark.parametrize("strategy", ["24P", "aCompCor"])
def test_flagged_volumes_are_dropped_and_counted(percent: tuple[int, ...], strategy: str) -> None:
    row = bright(*percent)
    tensor = clean_row(Clean(atlas="a", confounds=strategy), row)
    assert (tensor["status"], tensor["n_dummy_frames"]) == ("ok", len(percent))
    assert abs(connectivity(tensor)) < 0.01
    kept = clean_row(Clean(atlas="a", confounds=strategy, dummy_frames=0), row)
    assert kept["n_dummy_frames"] == 0
    if strategy == "24P":
        assert connectivity(kept) > 0.8  # what the default was
    verdict = decide(
        QC(recipe="r"), {**row, "shard": "0", "mask": "m", "bold": "b.nii.gz"}, row, tensor, None, N_PARCELS
    )
    assert verdict["n_dummy_frames"] == len(percent)
    said = decide(QC(recipe="r"), {**row, "shard": "0", "mask": "m", "bold": "b.nii.gz"}, row, kept, None, N_PARCELS)
    assert f"{len(percent)} frame(s) flagged as non-steady-state, 0 dropped" in said["reasons"]


def test_a_flag_further_on_censors_its_frame() -> None:
    row = bright()
    row["confounds"]["non_steady_state_outlier00"] = (np.arange(N_FRAMES) == 70).astype("f4")
    row["signal"][70] *= 1.5
    tensor = clean_row(Clean(atlas="a", tr_s=None), row)
    assert tensor["n_dummy_frames"] == 0
    assert np.flatnonzero(tensor["interpolated"]).tolist() == [70]
    assert abs(connectivity(tensor)) < 0.01


def test_a_bright_start_without_a_flag_is_noted_and_a_plain_one_is_not() -> None:
    row = bright(27, 8, flags=False)
    assert steady.bright_start(row["signal"]) == 2
    tensor = clean_row(Clean(atlas="a"), row)
    verdict = decide(
        QC(recipe="r"), {**row, "shard": "0", "mask": "m", "bold": "b.nii.gz"}, row, tensor, None, N_PARCELS
    )
    assert (verdict["keep"], verdict["status"]) == (True, "unlabelled")
    assert "the first 2 frame(s) stand out in intensity" in verdict["reasons"]
    assert sum(steady.bright_start(bright(seed=seed)["signal"]) > 0 for seed in range(200)) <= 3


def test_measures_leave_out_the_dropped_frames() -> None:
    row = bright(60, 25)
    row["confounds"]["framewise_displacement"][:2] = 3
    assert of_parcels(QC(recipe="r"), row, 2)["fd_mm_max"] == pytest.approx(0.1)
    assert of_parcels(QC(recipe="r"), row, 2)["tsnr"] > 3 * of_parcels(QC(recipe="r"), row, 0)["tsnr"]


def test_a_flag_that_is_neither_0_nor_1_costs_the_run() -> None:
    row = bright(20)
    row["confounds"]["non_steady_state_outlier00"][3] = 0.5
    assert "flags frames by 1 and others by 0" in clean_row(Clean(atlas="a"), row)["reason"]


# 2, 3. Confounds are what stands in them


def confounds_file(tmp_path: Path, change: Any) -> Path:
    names = ["framewise_displacement", "rmsd", *MOTION, "a_comp_cor_01", "cosine01", "csf"]
    lines = ["\t".join(names)] + ["\t".join(["n/a" if not row else "0.1"] * 2 + ["0.5"] * 9) for row in range(5)]
    path = tmp_path / "c.tsv"
    path.write_text("\n".join(change(lines)) + "\n")
    return path


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lines: [lines[0], *(line + "\t" for line in lines[1:])], "line 2 has 12 fields, the header 11"),
        (lambda lines: [line.replace("0.5", "0,5") for line in lines], "column trans_x, line 2 holds '0,5'"),
        (
            lambda lines: [*lines[:2], lines[2].replace("0.5", "n/a ", 1), *lines[3:]],
            "column trans_x, line 3 holds 'n/a '",
        ),
        (lambda lines: [line.replace("\t", ",") for line in lines], "separated by commas"),
        (lambda lines: [lines[0].replace("trans_y", "trans_x"), *lines[1:]], "'trans_x' more than once"),
        (lambda lines: [*lines[:3], lines[3] + "\t1", *lines[4:]], "line 4 has 12 fields"),
        (lambda lines: [*lines[:3], lines[3][:-4], *lines[4:]], "line 4 has 10 fields"),
    ],
)
def test_confounds_that_would_move_or_vanish_cost_the_run(tmp_path: Path, change: Any, told: str) -> None:
    with pytest.raises(Exception, match=r"confounds file c\.tsv") as caught:
        read_confounds(confounds_file(tmp_path, change), 5)
    assert told in str(caught.value)


def test_confounds_without_a_fault_are_read(tmp_path: Path) -> None:
    found = read_confounds(confounds_file(tmp_path, lambda lines: lines), 5)
    assert found["trans_x"].tolist() == [0.5] * 5
    assert np.isnan(found["framewise_displacement"][0])


def test_motion_that_is_unknown_passes_no_limit() -> None:
    row = bright()
    row["confounds"]["framewise_displacement"][:] = np.nan
    assert "framewise_displacement is n/a in every frame" in clean_row(Clean(atlas="a"), row)["reason"]
    row["confounds"]["framewise_displacement"][:] = 0.1
    row["confounds"]["framewise_displacement"][40] = np.nan
    assert "is n/a at frame 40" in clean_row(Clean(atlas="a"), row)["reason"]


# 4. Quotation marks


def test_quotation_marks_swallow_nobody(tmp_path: Path) -> None:
    Tree(frames=200).write(tmp_path / "derivatives", [f"{n:02d}" for n in range(1, 7)])
    notes = ['"late', "fine", "fine", "fine", '"early', "fine"]
    people(tmp_path, "participant_id\tnote\n" + "".join(f"sub-{n + 1:02d}\t{note}\n" for n, note in enumerate(notes)))
    _, participants = run(tmp_path)
    assert list(participants["participant"]) == [f"{n:02d}" for n in range(1, 7)]
    assert list(participants["note"]) == notes
    people(tmp_path, 'participant_id\tnote\nsub-01\t"two\nlines"\n')
    with pytest.raises(InputError, match=r"line 3 has 1 field, the header 2"):
        run(tmp_path)


# 5. Codes of one meaning


def test_sex_and_handedness_are_brought_to_the_letters_of_bids(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sexes, hands = ["M", "m", "Male", "F", "f", "female"], ["R", "right", "l", "Left", "A", "n/a"]
    Tree(frames=200).write(tmp_path / "derivatives", [str(n) for n in range(6)])
    rows = "".join(f"{n}\t{sex}\t{hand}\n" for n, (sex, hand) in enumerate(zip(sexes, hands, strict=True)))
    people(tmp_path, f"participant_id\tsex\thandedness\n{rows}")
    _, participants = run(tmp_path)
    assert list(participants["sex"]) == ["M"] * 3 + ["F"] * 3
    assert list(participants["handedness"]) == ["R", "R", "L", "L", "A", None]
    line = "sex brought to BIDS's values: 'Male' as M (1), 'f' as F (1), 'female' as F (1), 'm' as M (1)"
    assert line in capsys.readouterr().err
    assert line in store.provenance(tmp_path / "out/participants.parquet")["notes"]


# 6. Sparse timing


@pytest.mark.parametrize(
    ("timing", "told", "tr_s"),
    [
        ([2.0 * frame + 8 * (frame // 5) for frame in range(200)], "frames are not evenly spaced", None),
        ([2.0 * frame for frame in range(200)], None, 2.0),
        ([2.0 * frame for frame in range(199)], "has 199 times, the image 200 frames", None),
        ([5.0] * 200, "frames are not evenly spaced", None),
        ("often", "is no list of two or more times", None),
    ],
)
def test_volume_timing_says_when_frames_were_taken(tmp_path: Path, timing: Any, told: str | None, tr_s: Any) -> None:
    Tree(frames=200, sidecar_tr_s=None).write(tmp_path / "derivatives", ["01"])
    (tmp_path / "derivatives/task-rest_desc-preproc_bold.json").write_text(json.dumps({"VolumeTiming": timing}))
    for settings in ({}, {"tr_s": 2.0}):
        runs, _ = run(tmp_path, **settings)
        row = runs.iloc[0]
        assert row["status"] == ("excluded" if told else "found")
        assert told is None or told in row["reason"]
        assert told or row["tr_s"] == tr_s


# 8. Half a join


def test_ids_without_their_zeros_are_refused_with_the_rule_that_would_match(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Tree(frames=200).write(tmp_path / "derivatives", [f"{n:02d}" for n in range(1, 13)])
    people(tmp_path, "participant_id\tage\n" + "".join(f"{n}\t{20 + n}\n" for n in range(1, 13)))
    with pytest.raises(InputError, match=r"no row of 9 of the 12 participants found .* with ids: padding, 9 of them"):
        run(tmp_path)
    _, participants = run(tmp_path, ids="padding")
    assert list(participants["age_years"]) == [float(20 + n) for n in range(1, 13)]
    assert "participants.tsv: 12 of 12 participants found have a row" in capsys.readouterr().err
    runs, _ = run(tmp_path, ids="exact")  # said so explicitly
    assert runs["reason"].notna().sum() == 9
    assert "participants.tsv: 3 of 12 participants found have a row" in capsys.readouterr().err


def test_the_same_for_a_table_of_phenotypes(tmp_path: Path) -> None:
    Tree(frames=200).write(tmp_path / "derivatives", ["01", "02", "10"])
    (tmp_path / "iq.csv").write_text("participant_id,iq\n1,90\n2,100\n10,110\n")
    table = {"table": tmp_path / "iq.csv"}
    with pytest.raises(InputError, match=r"iq.csv has no row of 2 participants \(01, 02\), but with ids: padding"):
        run(tmp_path, phenotypes=[table])
    _, participants = run(tmp_path, phenotypes=[{**table, "ids": "padding"}])
    assert list(participants["iq"]) == [90, 100, 110]


# 9. Tables beside the table


def test_ages_in_sessions_tables_are_read_per_session(tmp_path: Path) -> None:
    derivatives = Tree(frames=200, sessions=["1", "2"]).write(tmp_path / "derivatives", ["01", "02"])
    people(tmp_path, "participant_id\tsex\tage\nsub-01\tF\tn/a\nsub-02\tM\t50\n")
    (derivatives / "sub-01/sub-01_sessions.tsv").write_text("session_id\tage\tmood\nses-1\t30\t7\nses-2\t31\tn/a\n")
    _, participants = run(tmp_path)
    found = participants[["participant", "session", "age_years", "sex", "mood"]].values.tolist()
    assert found[:2] == [["01", "1", 30.0, "F", 7], ["01", "2", 31.0, "F", None]]
    assert found[2][0] == "02"
    assert found[2][2] == 50.0
    (derivatives / "sub-01/sub-01_sessions.tsv").write_text("session_id\tage\nses-1\t30\nses-1\t31\n")
    with pytest.raises(InputError, match="lists session 1 more than once"):
        run(tmp_path)


# 10. Absent companions


def test_masks_and_confounds_by_another_name_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Tree(frames=200, mask=False, confounds=None, runs=["01"]).write(tmp_path / "derivatives", ["01", "02"])
    for name in ("01", "02"):
        here = func(folder, name)
        (here / f"sub-{name}_task-rest_run-01_space-MNI152NLin6Asym_res-2_label-brain_mask.nii.gz").write_bytes(b"")
        (here / f"sub-{name}_task-rest_run-1_desc-confounds_timeseries.tsv").write_bytes(b"")
    run(tmp_path)
    said = capsys.readouterr().err
    assert "2 of 2 runs have no brain mask: looked for sub-01/func/sub-01_task-rest_run-01_space-" in said
    assert "there: sub-01_task-rest_run-01_space-MNI152NLin6Asym_res-2_label-brain_mask.nii.gz" in said
    assert "2 of 2 runs have no confounds: looked for sub-01/func/sub-01_task-rest_run-01_desc-confounds" in said
    assert "there: sub-01_task-rest_run-1_desc-confounds_timeseries.tsv" in said
    notes = store.provenance(tmp_path / "out/runs.parquet")["notes"]
    assert sum("2 of 2 runs have no" in note for note in notes) == 2


def test_a_run_averaged_without_a_mask_is_noted() -> None:
    row = bright()
    tensor = clean_row(Clean(atlas="a"), row)
    verdict = decide(
        QC(recipe="r"), {**row, "shard": "0", "mask": None, "bold": "b.nii.gz"}, row, tensor, None, N_PARCELS
    )
    assert "no brain mask" in verdict["reasons"]
    assert verdict["keep"]


# 14. A repaired file, its size and time kept


@pytest.mark.parametrize("ending", ["desc-confounds_timeseries.json", "desc-confounds_timeseries.tsv", "mask", "bold"])
def test_a_repaired_file_changes_the_fingerprint_of_its_run(tmp_path: Path, ending: str) -> None:
    folder = Tree(frames=200).write(tmp_path / "derivatives", ["01", "02"])
    here = func(folder, "01")
    names = {"mask": "space-MNI152NLin6Asym_res-2_desc-brain_mask.nii.gz"}
    names["bold"] = "space-MNI152NLin6Asym_res-2_desc-preproc_bold.json"
    path = here / f"sub-01_task-rest_{names.get(ending, ending)}"
    path.write_text('{"RepetitionTime": 2.0, "a": 1}')
    (here / "sub-01_task-rest_desc-confounds_timeseries.json").touch()
    before, _ = run(tmp_path)
    stamp = path.stat()
    path.write_text('{"RepetitionTime": 2.0, "a": 2}')
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after, _ = run(tmp_path)
    assert before["fingerprint"].iloc[0] != after["fingerprint"].iloc[0]
    assert before["fingerprint"].iloc[1] == after["fingerprint"].iloc[1]


# 17. Repetition times of several sites


def test_the_repetition_time_of_a_column_or_of_the_sidecar_of_a_series(tmp_path: Path) -> None:
    folder = tmp_path / "derivatives"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text("0.5 0.5\n" * 200)
    (folder / "b.json").write_text('{"RepetitionTime": 3.0}')
    series = {"layout": "series", "pattern": "{participant}.txt"}
    runs, _ = run(tmp_path, **series)
    assert list(runs["tr_s"]) == [None, 3.0, None]
    people(tmp_path, "participant_id\ttr\na\t2.5\nb\t1.5\nc\tn/a\n")
    runs, _ = run(tmp_path, **series, tr_column="tr")
    assert list(runs["tr_s"]) == [2.5, 1.5, None]
    assert "no repetition time: none in column tr" in runs["reason"].iloc[2]
    with pytest.raises(InputError, match="no table of participants has a column 'tR'"):
        run(tmp_path, **series, tr_column="tR")
    people(tmp_path, "participant_id\ttr\na\t2500\nb\t1.5\nc\t2\n")
    with pytest.raises(InputError, match=r"tr of a is '2500.0'"):
        run(tmp_path, **series, tr_column="tr")


# 11, 12. Headers out of range, files out of bounds


def test_one_bad_header_or_sidecar_costs_one_run(tmp_path: Path) -> None:
    names = [f"{n:02d}" for n in range(7)]
    folder = Tree(frames=200).write(tmp_path / "derivatives", names)
    bold = "task-rest_space-MNI152NLin6Asym_res-2_desc-preproc_bold"

    def spoil(name: str, ending: str, content: bytes) -> None:
        (func(folder, name) / f"sub-{name}_{bold}{ending}").write_bytes(content)

    plain = bytearray(nifti(200, 2.0, compressed=False))
    dim, offset = bytearray(plain), bytearray(plain)
    dim[42:44] = np.array([-1], "<i2").tobytes()
    offset[108:112] = np.array([np.inf], "<f4").tobytes()
    spoil("01", ".nii.gz", gzip.compress(bytes(dim)))
    spoil("02", ".nii.gz", gzip.compress(bytes(offset)))
    spoil("03", ".json", b'{"RepetitionTime": ' + b"9" * 400 + b"}")
    spoil("04", ".json", b"[" * 100_000)
    (func(folder, "05") / f"sub-05_{bold}.nii.gz").unlink()
    os.mkfifo(func(folder, "05") / f"sub-05_{bold}.nii.gz")
    (func(folder, "06") / f"sub-06_{bold}.json").unlink()
    (func(folder, "06") / f"sub-06_{bold}.json").symlink_to("/dev/zero")
    start = time.monotonic()
    runs, _ = run(tmp_path)
    assert time.monotonic() - start < 30
    assert list(runs["status"]) == ["found"] + ["excluded"] * 6
    assert all(len(reason) < 400 for reason in runs["reason"][1:])


def test_a_mask_that_inflates_is_not_read(tmp_path: Path) -> None:
    bold = open_bold(write_nifti(tmp_path / "b.nii.gz", paint(little_labels(), planted())))
    image = write_nifti(tmp_path / "m.nii", np.ones(bold.shape), dtype="|u1")
    (tmp_path / "m.nii.gz").write_bytes(gzip.compress(image.read_bytes()) + 800 * gzip.compress(bytes(10_000_000)))
    start = time.monotonic()
    assert _mask(tmp_path / "m.nii.gz", bold).all()  # its grid is the run's: the 8 GB behind it are left alone
    assert time.monotonic() - start < 20


# 19. Motion that was published


def test_published_motion_counts_where_a_run_has_none(tmp_path: Path) -> None:
    folder = tmp_path / "derivatives"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text("0.5 0.5\n" * 200)
    people(tmp_path, "participant_id\tfunc_mean_fd\na\t0.1\nb\t0.9\nc\tn/a\n")
    series = {"layout": "series", "pattern": "{participant}.txt", "motion": "func_mean_fd"}
    _, participants = run(tmp_path, **series)
    assert list(participants["fd_mm_mean"]) == [0.1, 0.9, None]
    people(tmp_path, "participant_id\tfunc_mean_fd\na\tlow\nb\t0.9\nc\tn/a\n")
    with pytest.raises(InputError, match="mean framewise displacement of a is 'low'"):
        run(tmp_path, **series)


def test_a_band_above_the_nyquist_frequency_costs_the_run() -> None:
    row = {**bright(), "tr_s": 6.0}
    assert "high_hz 0.1 is above the Nyquist frequency 0.0833 Hz" in clean_row(Clean(atlas="a"), row)["reason"]


def test_detrend_can_be_left_out() -> None:
    row = bright()
    row["signal"] += np.arange(N_FRAMES, dtype="f4")[:, None]
    plain = Clean(atlas="a", confounds="none", fd_mm=None, low_hz=None, high_hz=None, tr_s=None, normalise="none")
    flat = clean_row(plain, row)["signal"]
    assert abs(flat.mean()) < 1e-3
    assert abs(np.polyfit(np.arange(N_FRAMES), flat.mean(axis=1), 1)[0]) < 1e-4
    kept = clean_row(plain.model_copy(update={"detrend": False}), row)["signal"]
    np.testing.assert_allclose(kept, row["signal"], rtol=1e-5)


def test_links_to_themselves_and_names_that_are_no_text_cost_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Tree(frames=200).write(tmp_path / "derivatives", ["01", "02"])
    for place in (folder, func(folder, "01")):
        (place / "sub-self").symlink_to("sub-self")
        (place / "around").symlink_to(".")
    (func(folder, "02") / "sub-02_task-a_space-MNI152NLin6Asym_res-2_desc-preproc_bold.nii.gz").symlink_to("sub-self")
    Path(os.fsdecode(os.fsencode(folder) + b"/sub-\xff\xfe")).mkdir()
    runs, _ = run(tmp_path)
    assert list(runs["participant"] + runs["task"]) == ["01rest", "02a", "02rest"]
    assert list(runs["status"]) == ["found", "excluded", "found"]
    assert "are not UTF-8 and left out" in capsys.readouterr().err


# What a sceptical reader found beyond the cases


def test_a_header_whose_data_begin_inside_it_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "b.nii", paint(little_labels(), planted()), dtype="<i2")
    content = bytearray(path.read_bytes())
    content[108:112] = np.array([100], "<f4").tobytes()
    path.write_bytes(bytes(content))
    with pytest.raises(RunError, match="data begin at byte 100"):
        open_bold(path)


def test_a_long_confounds_file_is_refused_before_it_is_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_bytes(b"trans_x\n" + b"1\n" * 5_000_000)
    start = time.monotonic()
    with pytest.raises(RunError, match="more than 1,000,000 rows"):
        read_confounds(tmp_path / "c.tsv", 100)
    assert time.monotonic() - start < 10


def test_whole_numbers_with_a_point_are_ids(tmp_path: Path) -> None:
    Tree(frames=200).write(tmp_path / "derivatives", [str(n) for n in (1, 2, 10, 20)])
    people(tmp_path, "participant_id\tage\n1.0\t21\n2.0\t22\n10.0\t30\n20.0\t40\n")
    _, participants = run(tmp_path)
    assert dict(zip(participants["participant"], participants["age_years"], strict=True)) == {
        "1": 21.0, "2": 22.0, "10": 30.0, "20": 40.0,
    }  # fmt: skip


def test_no_rule_is_proposed_that_would_take_two_people_for_one(tmp_path: Path) -> None:
    Tree(frames=200).write(tmp_path / "derivatives", ["A1", "A2", "B1", "B2"])
    people(tmp_path, "participant_id\nX1\nA2\nB1\nB2\n")
    runs, _ = run(tmp_path)
    assert runs["reason"].notna().tolist() == [True, False, False, False]


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
@pytest.mark.parametrize("name", ["participants.tsv", "sub-01/sub-01_sessions.tsv"])
def test_a_table_that_cannot_be_read_is_told_and_not_passed_over(tmp_path: Path, kind: str, name: str) -> None:
    path = Tree(frames=200).write(tmp_path / "derivatives", ["01"]) / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere" if kind == "link" else "/dev/zero")
    with pytest.raises(InputError, match=path.name):
        run(tmp_path)


def test_confounds_metadata_that_leads_nowhere_costs_the_run(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text("a_comp_cor_00\n" + "1\n" * 5)
    (tmp_path / "c.json").symlink_to("nowhere")
    with pytest.raises(RunError, match="link to a file that is gone"):
        read_confounds(tmp_path / "c.tsv", 5)


def test_sessions_that_are_not_those_of_the_runs_are_refused(tmp_path: Path) -> None:
    derivatives = Tree(frames=200, sessions=["01"]).write(tmp_path / "derivatives", ["01"])
    people(tmp_path, "participant_id\tscore\n01\t20\n")
    table = derivatives / "sub-01/sub-01_sessions.tsv"
    table.write_text("session_id\tage\nses-baseline\t30\n")
    with pytest.raises(InputError, match=r"know none of the sessions of the runs \(01; they have baseline\)"):
        run(tmp_path)
    table.write_text("participant_id\tsession_id\tage\nsub-02\tses-01\t30\n")
    with pytest.raises(InputError, match="has rows of participant 02"):
        run(tmp_path)
    table.write_text("session_id\tscore\nses-01\tbad\n")  # a word where participants.tsv has numbers
    _, participants = run(tmp_path)
    assert participants["score"].tolist() == ["bad"]


def test_timing_is_inherited_key_by_key(tmp_path: Path) -> None:
    folder = Tree(frames=200).write(tmp_path / "derivatives", ["01"])
    above = folder / "task-rest_desc-preproc_bold.json"
    above.write_text(json.dumps({"VolumeTiming": [2.0 * n + 8 * (n // 5) for n in range(200)]}))
    assert "not evenly spaced" in run(tmp_path)[0]["reason"].iloc[0]
    above.write_text(json.dumps({"VolumeTiming": [3.0 * n for n in range(200)]}))
    assert "RepetitionTime 2 s" in run(tmp_path)[0]["reason"].iloc[0]
    above.write_text("[1, 2]")
    assert "holds no metadata but list" in run(tmp_path)[0]["reason"].iloc[0]


def test_a_bright_start_beyond_the_flags_is_noted() -> None:
    row = bright(60, 25, 10)
    for frame in (1, 2):
        del row["confounds"][f"non_steady_state_outlier{frame:02d}"]
    tensor = clean_row(Clean(atlas="a"), row)
    assert tensor["n_dummy_frames"] == 1
    assert "set dummy_frames: 3 in clean" in judged(row, tensor)["reasons"]
    late = bright(0, 40, flags=False)  # the first frame like any other
    assert steady.bright_start(late["signal"]) == 2


def test_capitals_ages_and_codes_of_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Tree(frames=200).write(tmp_path / "derivatives", ["01", "02", "03"])
    people(tmp_path, "participant_id\tAge\tSex\n01\t30\tM\n02\t993\tF\n03\t40\t1\n")
    _, participants = run(tmp_path)
    assert participants["age_years"].tolist() == [30.0, None, 40.0]
    said = capsys.readouterr().err
    assert "column 'Age' is taken as age_years" in said
    assert "1 ages are no years of a life and taken as missing: '993' of 02" in said
    assert "sex holds other values beside BIDS's: '1' (1)" in said
    people(tmp_path, "participant_id\tage\nparticipant_id\tage\n01\t30\n")
    with pytest.raises(InputError, match="line 2 repeats the names of the columns"):
        run(tmp_path)


def test_motion_below_zero_costs_the_run() -> None:
    row = bright()
    row["confounds"]["framewise_displacement"][9] = -0.1
    assert "framewise_displacement is negative at frame 9" in clean_row(Clean(atlas="a"), row)["reason"]
