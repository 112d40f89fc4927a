"""Cohorts on disk: real file formats, planted faults, resumption, the same bytes with any number of workers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from boldtable.errors import InputError, SettingsError
from boldtable.simulate import Truth, cohort, demo457, load_truth, write_bold
from boldtable.simulate.motion import PARAMETERS, framewise_displacement

TINY = {"participants": 4, "seed": 3, "voxel_mm": 6.0}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return cohort(tmp_path_factory.mktemp("cohort"), **TINY)


def _func(truth: Truth, dataset: str, participant: str, session: str = "") -> Path:
    folder = truth.folder / dataset / "derivatives/fmriprep" / f"sub-{participant}"
    return (folder / f"ses-{session}" if session else folder) / "func"


def _bold(folder: Path, run: str = "") -> Path:
    (found,) = folder.glob(f"*{run}_space-MNI152NLin6Asym_res-demo6mm_desc-preproc_bold.nii.gz")
    return found


def _hashes(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("dataset", "session", "tr_s", "dtype", "codes", "n_frames"),
    [("aurora", "2", 0.8, np.int16, "LAS", 280), ("borealis", "", 2.0, np.float32, "RAS", 140)],
)
def test_bold_is_stored_as_its_dataset_says(
    truth: Truth, dataset: str, session: str, tr_s: float, dtype: type, codes: str, n_frames: int
) -> None:
    path = _bold(_func(truth, dataset, "01", session))
    image = nib.load(path)
    assert image.get_data_dtype() == dtype
    assert "".join(nib.aff2axcodes(image.affine)) == codes
    assert image.header.get_zooms()[3] == pytest.approx(tr_s)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert image.shape[3] == n_frames
    assert (image.header["sform_code"], image.header["qform_code"]) == (4, 4)
    np.testing.assert_allclose(image.get_qform(), image.get_sform())
    assert (image.dataobj.slope != 1) == (dtype is np.int16)
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["RepetitionTime"] == tr_s
    data = image.get_fdata(dtype=np.float32)
    mask_image = nib.load(path.with_name(path.name.replace("preproc_bold", "brain_mask")))
    mask = np.asarray(mask_image.dataobj) > 0
    np.testing.assert_array_equal(mask_image.affine, image.affine)
    assert not data[~mask].any()
    assert (data[mask] > 0).all()
    assert data[mask].mean() == pytest.approx(10000, rel=0.15)
    assert 30 < (data[mask].mean(axis=1) / data[mask].std(axis=1)).mean() < 90  # tSNR of a voxel


def test_both_orientations_show_the_same_brain_at_the_same_place(truth: Truth) -> None:
    _, atlas = demo457()
    labelled = np.asarray(atlas.dataobj) > 0
    for dataset, session in (("aurora", "1"), ("borealis", "")):
        image = nib.as_closest_canonical(nib.load(_bold(_func(truth, dataset, "01", session))))
        np.testing.assert_allclose(image.affine, atlas.affine)
        assert np.asarray(image.dataobj[..., 0])[labelled].all()


def test_confounds_have_fmripreps_columns_and_match_the_run(truth: Truth) -> None:
    (path,) = _func(truth, "borealis", "01").glob("*_desc-confounds_timeseries.tsv")
    table = pd.read_csv(path, sep="\t", na_values=["n/a"])
    image = nib.load(_bold(path.parent)).get_fdata(dtype=np.float32)
    assert len(table) == image.shape[3]
    for name in ("global_signal", "csf", "white_matter", *PARAMETERS):
        derivative = table[name].diff()
        np.testing.assert_allclose(table[f"{name}_derivative1"], derivative, atol=1e-4)
        np.testing.assert_allclose(table[f"{name}_power2"], table[name] ** 2, rtol=1e-6)
        np.testing.assert_allclose(table[f"{name}_derivative1_power2"], derivative**2, rtol=1e-4, atol=1e-4)
    fd = framewise_displacement(table[list(PARAMETERS)].to_numpy())
    np.testing.assert_allclose(table["framewise_displacement"], fd, rtol=1e-5)
    inside = image[..., 0] > 0
    np.testing.assert_allclose(table["global_signal"], image[inside].mean(axis=0), rtol=1e-3)
    measured = np.sqrt((np.diff(image[inside], axis=1) ** 2).mean(axis=0))
    np.testing.assert_allclose(table["dvars"][1:], measured, rtol=0.05)
    first = path.read_text().splitlines()[1].split("\t")
    missing = {name for name, value in zip(table.columns, first, strict=True) if value == "n/a"}
    assert {"framewise_displacement", "dvars", "std_dvars", "rmsd", "trans_x_derivative1"} <= missing
    assert "trans_x" not in missing
    spikes = [name for name in table.columns if name.startswith("motion_outlier")]
    assert len(spikes) == ((table["framewise_displacement"] > 0.5) | (table["std_dvars"] > 1.5)).sum()
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["a_comp_cor_00"]["Mask"] == "combined"
    assert {"cosine00", "cosine03", "t_comp_cor_00", "c_comp_cor_00", "w_comp_cor_00"} <= set(table.columns)


def test_confounds_columns_are_a_part_of_the_published_example() -> None:
    shared = Path(__file__).resolve().parents[2] / ".." / "shared/data/confounds"
    example = shared / "test-v21_desc-confounds_timeseries.tsv"
    if not example.exists():
        pytest.skip("needs ../shared/data/confounds beside the repository")
    real = {name.rstrip("0123456789") if "_power" not in name else name for name in example.open().readline().split()}
    from boldtable.simulate.confounds import confounds
    from boldtable.simulate.phenotypes import participants, traits
    from boldtable.simulate.scan import head, scan
    from boldtable.simulate.signal import person

    rng, anatomy = np.random.default_rng(0), head(6.0)
    someone = person(traits(participants("aurora", 4, 1).iloc[0]), anatomy.networks, rng)
    made, _ = confounds(scan(someone, anatomy, n_frames=60, tr_s=2.0, restless=3, rng=rng), anatomy, rng)
    names = {name.rstrip("0123456789") if "_power" not in name else name for name in made.columns}
    assert "motion_outlier" in names
    assert names <= real


def test_every_fault_is_there_and_only_there(truth: Truth) -> None:
    planted = {(fault.dataset, fault.fault): fault for fault in truth.faults}
    assert len(planted) == 6

    gzip = planted["aurora", "truncated-gzip"]
    assert gzip.stage == "parcellate"
    with pytest.raises(EOFError):
        nib.load(_bold(_func(truth, "aurora", gzip.participant, str(gzip.session)))).get_fdata()

    short = planted["aurora", "too-short"]
    folder = _func(truth, "aurora", short.participant, str(short.session))
    image = nib.load(_bold(folder, f"run-{short.run}"))
    assert image.shape[3] * 0.8 == pytest.approx(40)

    bare = planted["borealis", "no-confounds"].participant
    runs = truth.folder.rglob("*_desc-preproc_bold.nii.gz")
    lacking = [p for p in runs if not list(p.parent.glob(p.name.split("_space")[0] + "_desc-confounds*.tsv"))]
    assert [path.name[:6] for path in lacking] == [f"sub-{bare}"]

    table, atlas = demo457()
    networks, labels = np.array(table.networks), np.asarray(atlas.dataobj)
    cut = _bold(_func(truth, "borealis", planted["borealis", "no-cerebellum"].participant))
    mask = np.asarray(nib.load(cut.with_name(cut.name.replace("preproc_bold", "brain_mask"))).dataobj)
    share = np.bincount(labels.ravel(), mask.ravel(), minlength=458)[1:] / table.parcels["n_voxels"]
    assert share[networks == "Cerebellum"].max() < 0.5
    assert 0 < (share < 0.5).sum() < 0.1 * len(share)
    assert not nib.load(cut).get_fdata()[mask == 0].any()

    torn = nib.load(_bold(_func(truth, "borealis", planted["borealis", "nan-frames"].participant))).get_fdata()
    bad = np.isnan(torn).any(axis=(0, 1, 2))
    assert 0 < bad.sum() < 10

    gone = planted["aurora", "missing-participant"].participant
    for dataset in ("aurora", "borealis"):
        listed = set(pd.read_csv(truth.folder / dataset / "participants.tsv", sep="\t")["participant_id"])
        found = {path.name for path in (truth.folder / dataset / "derivatives/fmriprep").glob("sub-*")}
        assert found - listed == ({f"sub-{gone}"} if dataset == "aurora" else set())


def test_runs_and_sessions_are_named_in_one_dataset_only(truth: Truth) -> None:
    names = [path.name for path in truth.folder.rglob("*_desc-preproc_bold.nii.gz")]
    assert len(names) == 4 * 2 + 1 + 4
    assert sum("_run-" in name for name in names) == 2
    assert sum("_ses-" in name for name in names) == 9
    for dataset in ("aurora", "borealis"):
        raw = sorted(path.name for path in (truth.folder / dataset).glob("sub-*/**/*_bold.nii.gz"))
        made = sorted((truth.folder / dataset / "derivatives/fmriprep").rglob("*_desc-preproc_bold.nii.gz"))
        assert raw == [path.name.split("_space")[0] + "_bold.nii.gz" for path in made]
        placeholder = nib.load(next((truth.folder / dataset).glob("sub-*/**/*_bold.nii.gz")))
        assert placeholder.get_fdata().shape[:3] == (2, 2, 2)


def test_descriptions_say_that_it_is_a_simulation(truth: Truth) -> None:
    derivatives = truth.folder / "aurora/derivatives/fmriprep/dataset_description.json"
    made = json.loads(derivatives.read_text())
    assert made["DatasetType"] == "derivative"
    assert "simulated" in made["GeneratedBy"][0]["Version"]
    assert "simulation" in made["Name"]
    assert json.loads((truth.folder / "aurora/dataset_description.json").read_text())["DatasetType"] == "raw"


def test_truth_is_written_and_read_back(truth: Truth) -> None:
    assert load_truth(truth.folder) == truth
    assert truth.settings["seed"] == 3
    with pytest.raises(InputError, match=r"truth\.json"):
        load_truth(truth.folder / "aurora")


def test_one_dataset_and_several_workers_give_the_same_bytes(truth: Truth, tmp_path: Path) -> None:
    other = cohort(tmp_path, **TINY, workers=2, datasets=["borealis"])
    assert [fault.dataset for fault in other.faults] == ["borealis"] * 3
    assert _hashes(tmp_path / "borealis") == _hashes(truth.folder / "borealis")


def test_an_interrupted_simulation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**TINY, "participants": 2, "datasets": ["borealis"]}
    cohort(tmp_path, **settings)
    whole = _hashes(tmp_path)
    bold = _bold(tmp_path / "borealis/derivatives/fmriprep/sub-02/func")
    kept = _bold(tmp_path / "borealis/derivatives/fmriprep/sub-01/func")
    stamp = kept.stat().st_mtime_ns
    (tmp_path / "truth.json").unlink()
    bold.unlink()
    cohort(tmp_path, **settings)
    assert _hashes(tmp_path) == whole
    assert kept.stat().st_mtime_ns == stamp
    monkeypatch.setattr("boldtable.simulate.cohorts.write_participant", lambda job: pytest.fail("written again"))
    cohort(tmp_path, **settings)


def test_a_folder_of_another_cohort_is_refused(truth: Truth, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose another folder"):
        cohort(truth.folder, **{**TINY, "seed": 4})
    cohort(tmp_path, **{**TINY, "participants": 1, "datasets": ["borealis"]})
    (tmp_path / "truth.json").unlink()  # begun, not finished
    with pytest.raises(InputError, match="choose another folder"):
        cohort(tmp_path, **{**TINY, "participants": 2, "datasets": ["borealis"]})


def test_a_dataset_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    description = tmp_path / "aurora" / "dataset_description.json"
    description.parent.mkdir()
    description.write_text('{"Name": "real data", "BIDSVersion": "1.8.0"}')
    with pytest.raises(InputError, match="not made by this simulation"):
        cohort(tmp_path, **TINY)
    assert [path.name for path in description.parent.iterdir()] == ["dataset_description.json"]


@pytest.mark.parametrize("wrong", [{"participants": 0}, {"workers": 0}, {"datasets": ["aurorra"]}, {"voxel_mm": 20.0}])
def test_wrong_settings_write_nothing(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        cohort(tmp_path, **{**TINY, **wrong})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("dtype", "orientation"), [("float32", "RAS"), ("int16", "LAS"), ("float32", "LAS")])
def test_planted_signals_come_back_from_the_file(tmp_path: Path, dtype: str, orientation: str) -> None:
    rng = np.random.default_rng(0)
    volume = np.zeros((6, 7, 5), dtype=np.int16)
    volume[1:4, 1:4, 1:4] = rng.choice([0, 2, 5, 9], size=(3, 3, 3))
    affine = np.array([[-4.0, 0, 0, 50], [0, 4, 0, -60], [0, 0, 4, -30], [0, 0, 0, 1]])  # LAS, as atlases are
    labels = nib.Nifti1Image(volume, affine)
    signals = 10000 + 300 * rng.standard_normal((12, 3))
    write_bold(tmp_path / "run.nii.gz", signals, labels, 1.5, dtype=dtype, orientation=orientation, indices=[2, 5, 9])
    image = nib.load(tmp_path / "run.nii.gz")
    assert image.get_data_dtype() == dtype
    assert "".join(nib.aff2axcodes(image.affine)) == orientation
    data = nib.as_closest_canonical(image).get_fdata()
    where = nib.as_closest_canonical(labels).get_fdata()
    for column, label in enumerate((2, 5, 9)):
        expected = np.broadcast_to(signals[:, column], data[where == label].shape)
        np.testing.assert_allclose(data[where == label], expected, atol=1.01 if dtype == "int16" else 1e-2)
    assert not data[where == 0].any()


def test_signals_that_do_not_fit_the_data_type_are_refused(tmp_path: Path) -> None:
    labels = nib.Nifti1Image(np.ones((2, 2, 2), dtype=np.int16), np.eye(4))
    with pytest.raises(ValueError, match="int16"):
        write_bold(tmp_path / "run.nii.gz", np.full((3, 1), 1e6), labels, 2.0, dtype="int16")
    assert not (tmp_path / "run.nii.gz").exists()
