"""The stage: rows, coverage, confounds, spaces, and faults that cost only their run."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parcellate_files import (
    N_FRAMES,
    N_PARCELS,
    RAS,
    SHAPE,
    SPACE,
    Study,
    flip,
    little_labels,
    paint,
    planted,
    write_nifti,
)

from boldtable import store
from boldtable.errors import InputError, OutputError, SettingsError, SpaceError
from boldtable.stages import parcellate

GOOD = "good_bold.nii.gz"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = Study(tmp_path)
    write_nifti(made.root / GOOD, paint(little_labels(), planted()), dtype="<i2")
    return made


def failed(study: Study) -> str:
    """The reason of the first run, which must have failed, while a good one beside it goes on."""
    study.add(GOOD)
    bad, good = study.run()
    assert good["status"] == "ok"
    assert bad["status"] == "failed"
    assert bad["signal"] is None
    assert bad["coverage"] is None
    assert "\n" not in bad["reason"]
    assert str(study.root) not in bad["reason"]
    return str(bad["reason"])


def confounds(study: Study, n_rows: int = N_FRAMES, **columns: object) -> str:
    table = pd.DataFrame({"trans_x": np.arange(n_rows) / 7, **columns})
    table.to_csv(study.root / "confounds.tsv", sep="\t", na_rep="n/a", index=False)
    return "confounds.tsv"


def test_a_good_run_keeps_its_keys_and_signal(study: Study) -> None:
    study.add(GOOD, session="2", run="1", acquisition="mb")
    (row,) = study.run()
    np.testing.assert_array_equal(row["signal"], planted().astype(np.float32))
    assert {key: row[key] for key in store.KEYS} == {
        "dataset": "d", "participant": "00", "session": "2", "task": "rest", "run": "1", "acquisition": "mb",
    }  # fmt: skip
    assert (row["status"], row["reason"], row["tr_s"], row["n_frames"]) == ("ok", None, 2.0, N_FRAMES)
    assert row["coverage"].tolist() == [1] * N_PARCELS
    assert row["confounds"] == {}


def test_the_file_says_which_atlas_it_has(study: Study) -> None:
    study.add(GOOD)
    study.run()
    about = store.provenance(study.folder / "parcels" / "0000.parquet")
    assert (about["stage"], about["atlas"], about["space"]) == ("parcellate", "own", SPACE)
    assert len(about["atlas_sha256"]) == 64


def test_only_found_runs_of_the_shard_are_read(study: Study) -> None:
    study.add(GOOD, shard="0001")
    study.add("never-read.nii.gz", status="excluded", reason="too short")
    study.add(GOOD)
    assert [row["participant"] for row in study.run()] == ["02"]


def test_a_shard_without_found_runs_is_an_empty_file(study: Study) -> None:
    study.add(GOOD, status="excluded")
    assert study.run() == []


def test_an_unknown_shard_is_refused(study: Study) -> None:
    study.add(GOOD)
    with pytest.raises(InputError, match="no shard '0007' of dataset 'd', did you mean '0000'"):
        study.run("0007")


def test_results_do_not_depend_on_the_shard_or_its_order(study: Study) -> None:
    other = write_nifti(study.root / "b.nii", *flip(paint(little_labels(), planted(seed=8)), RAS))
    for shard, files in {"0000": [GOOD, other.name], "0001": [other.name, GOOD]}.items():
        for name in files:
            study.add(name, shard=shard, participant=name)
    one, two = ({row["participant"]: row["signal"] for row in study.run(shard)} for shard in ("0000", "0001"))
    for name in (GOOD, other.name):
        np.testing.assert_array_equal(one[name], two[name])


def test_running_twice_gives_the_same_bytes(study: Study) -> None:
    study.add(GOOD)
    out = study.folder / "parcels" / "0000.parquet"
    study.run()
    first = out.read_bytes()
    study.run()
    assert out.read_bytes() == first


def test_mask_and_variance_decide_the_coverage(study: Study) -> None:
    image = paint(little_labels(), planted())
    mask = np.ones(SHAPE)
    mask[1:4] = 0  # three of four voxel columns of the odd parcels
    image[:, 9:, :] = 0  # parcels 5 and 6 hold no signal
    write_nifti(study.root / "b.nii.gz", image)
    write_nifti(study.root / "m.nii.gz", mask, dtype="|u1")
    study.add("b.nii.gz", mask="m.nii.gz")
    (row,) = study.run()
    assert row["coverage"].tolist() == [0.25, 1, 0.25, 1, 0, 0]
    assert row["status"] == "partial"
    assert row["reason"] == "4 of 6 parcels below coverage 0.5 (Vis 2, Cerebellum 2): left empty"
    np.testing.assert_array_equal(np.isnan(row["signal"]).all(axis=0), [1, 0, 1, 0, 1, 1])
    np.testing.assert_array_equal(row["signal"][:, 1], planted()[:, 1])


def test_the_minimum_coverage_is_a_setting(tmp_path: Path) -> None:
    study = Study(tmp_path, min_coverage=0.25)
    mask = np.ones(SHAPE)
    mask[1:4] = 0
    write_nifti(study.root / "b.nii.gz", paint(little_labels(), planted()))
    write_nifti(study.root / "m.nii.gz", mask, dtype="|u1")
    study.add("b.nii.gz", mask="m.nii.gz")
    assert study.run()[0]["status"] == "ok"


def test_confounds_keep_numbers_and_leave_out_the_large_families(study: Study) -> None:
    gone = {name: np.zeros(N_FRAMES) for name in ("t_comp_cor_00", "c_comp_cor_01", "w_comp_cor_00", "edge_comp_09")}
    fd = np.r_[np.nan, np.arange(N_FRAMES - 1)]
    study.add(GOOD, confounds=confounds(study, framewise_displacement=fd, a_comp_cor_00=fd, **gone))
    (row,) = study.run()
    assert sorted(row["confounds"]) == ["a_comp_cor_00", "framewise_displacement", "trans_x"]
    np.testing.assert_array_equal(row["confounds"]["framewise_displacement"], fd.astype(np.float32))
    np.testing.assert_array_equal(row["confounds"]["trans_x"], (np.arange(N_FRAMES) / 7).astype(np.float32))


def test_confounds_of_another_length_cost_the_run(study: Study) -> None:
    study.add(GOOD, confounds=confounds(study, N_FRAMES - 1))
    assert "has 39 rows, the run has 40 volumes" in failed(study)


def test_missing_confounds_file_costs_the_run(study: Study) -> None:
    study.add(GOOD, confounds="nowhere.tsv")
    assert "nowhere.tsv is missing" in failed(study)


def test_empty_confounds_file_costs_the_run(study: Study) -> None:
    (study.root / "empty.tsv").write_bytes(b"")
    study.add(GOOD, confounds="empty.tsv")
    assert "empty.tsv is empty" in failed(study)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9])
def test_truncated_gzip_says_after_how_many_volumes(study: Study, keep: float) -> None:
    path = write_nifti(study.root / "b.nii.gz", np.random.default_rng(1).normal(size=(*SHAPE, N_FRAMES)))
    cut = path.read_bytes()[: int(path.stat().st_size * keep)]
    path.write_bytes(cut)
    readable = len(zlib.decompressobj(31).decompress(cut)) - 352
    study.add("b.nii.gz")
    said = int(failed(study).removeprefix("b.nii.gz is truncated after ").removesuffix(" of 40 volumes; copy it again"))
    assert said == pytest.approx(readable / (4 * np.prod(SHAPE)), abs=1)


@pytest.mark.parametrize("lost", [1, 8, 60])
def test_a_gzip_that_lost_its_last_bytes_is_refused(study: Study, lost: int) -> None:
    content = (study.root / GOOD).read_bytes()
    (study.root / "b.nii.gz").write_bytes(content[:-lost])
    study.add("b.nii.gz")
    assert "truncated" in failed(study)


def test_a_gzip_with_a_changed_byte_is_refused(study: Study) -> None:
    noise = np.random.default_rng(1).normal(size=(*SHAPE, N_FRAMES))
    path = write_nifti(study.root / "b.nii.gz", noise)
    content = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), 0))
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    study.add("b.nii.gz")
    assert "damaged" in failed(study)


def test_damage_after_the_last_volume_is_found_too(study: Study) -> None:
    """The checksum comes last; a file is only whole when it was read to its end."""
    path = write_nifti(study.root / "b.nii", paint(little_labels(), planted()), dtype="<i2")
    content = bytearray(gzip.compress(path.read_bytes() + np.random.default_rng(0).bytes(3_000_000), 0))
    for name, broken in {"cut.nii.gz": content[:-9], "changed.nii.gz": content[:-99] + content[-100:]}.items():
        (study.root / name).write_bytes(broken)
        study.add(name)
    cut, changed = study.run()
    assert "cut.nii.gz is truncated at its end" in cut["reason"]
    assert "changed.nii.gz is damaged at its end" in changed["reason"]


def test_an_affine_that_cannot_be_inverted(study: Study) -> None:
    write_nifti(study.root / "b.nii.gz", paint(little_labels(), planted()), RAS * [[1], [1], [0], [1]])
    study.add("b.nii.gz")
    assert "cannot be inverted" in failed(study)


def test_truncated_plain_image(study: Study) -> None:
    path = write_nifti(study.root / "b.nii", paint(little_labels(), planted()), dtype="<i2")
    path.write_bytes(path.read_bytes()[: 352 + 7 * 2 * int(np.prod(SHAPE)) + 11])
    study.add("b.nii")
    assert "b.nii is truncated after 7 of 40 volumes" in failed(study)


@pytest.mark.parametrize("name", ["b.nii.gz", "b.nii"])
@pytest.mark.parametrize("content", [b"", b"hello", bytes(2000), b"\x1f\x8b\x08"])
def test_files_that_are_no_nifti(study: Study, name: str, content: bytes) -> None:
    (study.root / name).write_bytes(content)
    study.add(name)
    assert name in failed(study)


def test_wrong_magic(study: Study) -> None:
    path = write_nifti(study.root / "b.nii", paint(little_labels(), planted()))
    content = bytearray(path.read_bytes())
    content[344:348] = b"xyz\0"
    path.write_bytes(content)
    study.add("b.nii")
    assert "not a" in failed(study)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [(SHAPE, "is 3-D, expected 4-D"), ((*SHAPE, 1), "has 1 volume"), ((*SHAPE, 3, 2), "is 5-D, expected 4-D")],
)
def test_images_that_are_no_time_series(study: Study, shape: tuple[int, ...], reason: str) -> None:
    write_nifti(study.root / "b.nii.gz", np.ones(shape))
    study.add("b.nii.gz")
    assert reason in failed(study)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["<f4", ">f8"])
def test_nan_volumes_are_counted(study: Study, value: float, dtype: str) -> None:
    image = paint(little_labels(), planted())
    image[6, 5, 2, [11, 30]] = value
    write_nifti(study.root / "b.nii.gz", image, dtype=dtype)
    study.add("b.nii.gz")
    assert failed(study) == "NaN or infinite voxels in 2 of 40 volumes, first volume 11"


def test_nan_outside_the_brain_mask_harms_nobody(study: Study) -> None:
    image, mask = paint(little_labels(), planted()), np.ones(SHAPE)
    image[6, 5, 2], mask[6, 5, 2] = np.nan, 0
    write_nifti(study.root / "b.nii.gz", image)
    write_nifti(study.root / "m.nii.gz", mask, dtype="|u1")
    study.add("b.nii.gz", mask="m.nii.gz")
    np.testing.assert_array_equal(study.run()[0]["signal"], planted().astype(np.float32))


@pytest.mark.parametrize(("level", "reason"), [(0, "is zero"), (7, "is constant in time")])
def test_runs_without_signal(study: Study, level: int, reason: str) -> None:
    write_nifti(study.root / "b.nii.gz", np.full((*SHAPE, 5), level), dtype="<i2")
    study.add("b.nii.gz")
    assert reason in failed(study)


def test_mask_on_another_grid(study: Study) -> None:
    write_nifti(study.root / "m.nii.gz", np.ones((12, 14, 9)), dtype="|u1")
    study.add(GOOD, mask="m.nii.gz")
    assert "brain mask m.nii.gz is on another grid" in failed(study)


def test_mask_shifted_against_the_run(study: Study) -> None:
    shifted = RAS.copy()
    shifted[0, 3] += 3
    write_nifti(study.root / "m.nii.gz", np.ones(SHAPE), shifted, dtype="|u1")
    study.add(GOOD, mask="m.nii.gz")
    assert "another grid" in failed(study)


def test_truncated_mask(study: Study) -> None:
    path = write_nifti(study.root / "m.nii.gz", np.random.default_rng(0).random(SHAPE))
    path.write_bytes(path.read_bytes()[:-3000])
    study.add(GOOD, mask="m.nii.gz")
    assert "brain mask m.nii.gz is truncated" in failed(study)


def test_empty_mask(study: Study) -> None:
    write_nifti(study.root / "m.nii.gz", np.zeros(SHAPE), dtype="|u1")
    study.add(GOOD, mask="m.nii.gz")
    assert "is empty" in failed(study)


def test_mask_that_covers_too_little_of_every_parcel(study: Study) -> None:
    mask = np.zeros(SHAPE)
    mask[2, 2, 2] = 1
    write_nifti(study.root / "m.nii.gz", mask, dtype="|u1")
    study.add(GOOD, mask="m.nii.gz")
    assert "every parcel is below coverage 0.5" in failed(study)


def test_image_far_from_the_atlas(study: Study) -> None:
    away = RAS.copy()
    away[:3, 3] = 500
    write_nifti(study.root / "b.nii.gz", paint(little_labels(), planted()), away)
    study.add("b.nii.gz")
    assert "no voxel of the atlas lies on this grid" in failed(study)


def test_missing_file(study: Study) -> None:
    study.add("gone.nii.gz")
    assert "gone.nii.gz is missing" in failed(study)


def test_broken_link(study: Study) -> None:
    (study.root / "b.nii.gz").symlink_to("nowhere.nii.gz")
    study.add("b.nii.gz")
    assert "a link to a file that is gone" in failed(study)


def test_folder_instead_of_a_file(study: Study) -> None:
    (study.root / "b.nii.gz").mkdir()
    study.add("b.nii.gz")
    assert "b.nii.gz" in failed(study)


def test_names_with_spaces_quotes_and_unicode(study: Study) -> None:
    name = "sub 'ä' \"ß\"_bold.nii.gz"
    write_nifti(study.root / name, paint(little_labels(), planted()))
    study.add(name)
    assert study.run()[0]["status"] == "ok"


def test_header_without_a_place_in_space(study: Study) -> None:
    path = write_nifti(study.root / "b.nii", paint(little_labels(), planted()))
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)  # qform_code and sform_code
    path.write_bytes(content)
    study.add("b.nii")
    assert "does not say where its voxels lie" in failed(study)


@pytest.mark.parametrize("space", ["MNI152NLin2009cAsym", None])
def test_another_space_refuses_the_whole_call(study: Study, space: str | None) -> None:
    study.add(GOOD)
    study.add(GOOD, space=space)
    with pytest.raises(SpaceError, match=f"'own' is in {SPACE}, but 1 of 2 runs are in .*{SPACE}:res-2"):
        study.run()
    assert not (study.folder / "parcels").exists()


@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz"])
def test_a_header_that_promises_more_than_the_file_holds(study: Study, name: str) -> None:
    path = write_nifti(study.root / "b.nii", paint(little_labels(), planted()))
    content = bytearray(path.read_bytes())
    content[42:50] = np.array([200, 200, 200, 900], dtype="<i2").tobytes()
    (study.root / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    study.add(name)
    assert "0 of 900 volumes" in failed(study)


def test_a_full_disk_is_one_line_and_leaves_nothing(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.Writer, "append", full)
    study.add(GOOD)
    with pytest.raises(OutputError, match=r"0000\.parquet: no space left on the disk; make room"):
        study.run()
    assert list((study.folder / "parcels").iterdir()) == []


def test_inputs_are_left_alone(study: Study) -> None:
    study.add(GOOD)
    before = {path: path.stat().st_mtime_ns for path in study.root.rglob("*")}
    study.run()
    assert {path: path.stat().st_mtime_ns for path in study.root.rglob("*")} == before


@pytest.mark.parametrize("missing", ["image", "table", "space"])
def test_an_own_atlas_names_its_files(missing: str) -> None:
    given = {"source": "file", "image": "a.nii", "table": "a.tsv", "space": SPACE}
    del given[missing]
    with pytest.raises(SettingsError, match=f"source 'file' needs {missing}"):
        parcellate.Parcellate.parse(given)
