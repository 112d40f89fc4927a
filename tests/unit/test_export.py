"""export: a BIDS-Derivatives dataset whose numbers are the tensors', and that the BIDS validator accepts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from results_files import N_CLEAN, Study
from typer.testing import CliRunner

from boldtable import export, results, store
from boldtable.cli import app
from boldtable.errors import InputError
from boldtable.export.names import label, series
from boldtable.export.people import participants
from boldtable.export.sidecars import operations

STEM = "sub-{0}/ses-{1}/func/sub-{0}_ses-{1}_task-rest_space-MNI152NLin6Asym_atlas-two+part_stat-mean_desc-semantoks"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def exported(study: Study, name: str = "out") -> Path:
    out = study.folder / name
    export.run(results.dataset(study.write(), "toy"), out)
    return out


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def read_tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


class TestSeries:
    def test_holds_the_tensors_of_the_kept_runs_only(self, study: Study) -> None:
        out = exported(study)
        paths = sorted(str(path.relative_to(out)) for path in out.rglob("*_timeseries.tsv"))
        assert paths == [f"{STEM.format(*who)}_timeseries.tsv" for who in (("01", 1), ("01", 2), ("02", 1))]
        table = pd.read_csv(out / paths[1], sep="\t")
        assert list(table.columns) == ["LH_a", "LH_b", "LH_c", "RH_a", "RH_b", "RH_c"]
        np.testing.assert_allclose(table.to_numpy(), study.tensors[1]["signal"], rtol=1e-5)

    def test_an_uncovered_parcel_is_na(self, study: Study) -> None:
        path = exported(study) / f"{STEM.format('02', '1')}_timeseries.tsv"
        assert set(read_tsv(path)["RH_a"]) == {"n/a"}
        assert read_json(path.with_suffix(".json"))["EmptyParcels"] == ["RH_a"]

    def test_sidecar_says_what_was_done_and_from_what(self, study: Study) -> None:
        about = read_json(exported(study) / f"{STEM.format('01', '2')}_timeseries.json")
        assert (about["RepetitionTime"], about["SamplingFrequency"], about["StartTime"]) == (2.0, 0.5, 2.0)
        assert about["CensoredFrames"] == [19]
        assert about["CensoringCriteria"] == {"FramewiseDisplacementMm": 0.5}
        assert about["SoftwareFilters"] == {"BandPass": {"low_hz": 0.01, "high_hz": 0.1}}
        assert about["Sources"] == [f"bids:source:{study.runs[1]['bold']}"]
        words = [
            "average",
            "first 2 frames",
            "0.5 mm",
            "interpolation",
            "trend",
            "0.01 to 0.1 Hz",
            "24P",
            "2 s",
            "z-score",
        ]
        assert len(about["OrderOfOperations"]) == len(words)
        assert all(word in step for word, step in zip(words, about["OrderOfOperations"], strict=True))

    def test_unknown_repetition_time_is_left_out(self, study: Study) -> None:
        for rows in (study.runs, study.parcels, study.tensors):
            for row in rows:
                row["tr_s"] = None
        about = read_json(exported(study) / f"{STEM.format('01', '1')}_timeseries.json")
        assert not {"RepetitionTime", "SamplingFrequency", "StartTime"} & set(about)


def test_steps_that_a_recipe_leaves_out_are_not_named() -> None:
    steps = list(operations({"confounds": "none", "tr_s": None, "normalise": "none", "high_hz": None}, 2.0, None, 0))
    assert [step.split()[0] for step in steps] == ["average", "linear"]


def test_steps_name_what_the_recipe_chose() -> None:
    recipe = {"confounds": "aCompCor", "components": 5, "normalise": "population", "population": ["a", "b"]}
    *_, regressed, normalised = operations({**recipe, "dvars": 1.5, "min_segment_frames": 5}, 2.0, 0.5, None)
    assert "aCompCor, at most 5 components" in regressed
    assert "the runs of a, b" in normalised


class TestAround:
    def test_participants_and_what_changes_between_sessions(self, study: Study) -> None:
        out = exported(study)
        people = read_tsv(out / "participants.tsv")
        assert people.to_dict("list") == {
            "participant_id": ["sub-01", "sub-02"],  # 03 was dropped, 04 has no run
            "site": ["x", "y"],
            "age": ["89", "30"],
            "sex": ["F", "n/a"],
        }
        assert set(read_json(out / "participants.json")) == {"site", "age", "sex"}
        sessions = read_tsv(out / "sub-01/sub-01_sessions.tsv")
        assert sessions.to_dict("list") == {"session_id": ["ses-1", "ses-2"], "mood": ["3", "5"]}

    def test_values_that_bids_does_not_know_get_another_column(self) -> None:
        table = pd.DataFrame({"participant": ["01", "02"], "session": None, "sex": ["1", "2"]})
        assert list(participants(table, ["02"])[0].columns) == ["participant_id", "sex_as_given"]

    def test_quality_stands_in_the_scans_table(self, study: Study) -> None:
        out = exported(study)
        scans = read_tsv(out / "sub-02/ses-1/sub-02_ses-1_scans.tsv")
        assert (out / "sub-02/ses-1" / scans["filename"][0]).is_file()
        assert (scans["n_empty_parcels"][0], scans["n_frames"][0]) == ("1", "160")
        assert set(scans.columns) - {"filename"} == set(read_json(out / "scans.json"))

    def test_description_names_the_maker_and_the_source(self, study: Study) -> None:
        source = study.folder / "data/fmriprep"
        source.mkdir(parents=True)
        (source / "dataset_description.json").write_text('{"License": "CC0", "DatasetDOI": "doi:10.1/x"}')
        about = read_json(exported(study) / "dataset_description.json")
        assert about["GeneratedBy"][0]["Name"] == "boldtable"
        assert about["DatasetLinks"] == {"source": "../data/fmriprep"}
        assert about["SourceDatasets"] == [{"URL": "../data/fmriprep", "DOI": "doi:10.1/x"}]
        assert about["License"] == "CC0"

    def test_labels_and_licences_of_the_atlas_but_not_the_image_of_others(self, study: Study) -> None:
        out = exported(study)
        labels = read_tsv(out / "tpl-MNI152NLin6Asym/anat/tpl-MNI152NLin6Asym_atlas-two+part_dseg.tsv")
        assert labels["name"].tolist() == ["LH_a", "LH_b", "LH_c", "RH_a", "RH_b", "RH_c"]
        about = read_json(out / "atlas-two+part_description.json")
        assert about["License"] == "MIT; CC BY-ND"
        assert about["ReferencesAndLinks"] == ["A 2018", "https://example.org/a", "B 2011", "https://example.org/b"]
        assert not list(out.rglob("*.nii.gz"))

    def test_the_image_of_our_own_atlas_goes_with_it(self, tmp_path: Path) -> None:
        study = Study(tmp_path, image=True)
        (image,) = exported(study).rglob("*.nii.gz")
        assert image.read_bytes() == (study.results / "atlases/two-part.nii.gz").read_bytes()


class TestFaults:
    def test_a_folder_with_contents_is_left_alone(self, study: Study) -> None:
        (study.folder / "out").mkdir()
        (study.folder / "out/mine.txt").write_text("mine")
        with pytest.raises(InputError, match="is there already"):
            exported(study)
        assert [path.name for path in (study.folder / "out").iterdir()] == ["mine.txt"]

    def test_a_failure_leaves_nothing_behind(self, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(export, "write_atlas", full)
        with pytest.raises(OSError, match="No space left"):
            exported(study)
        assert [path.name for path in study.folder.iterdir()] == ["results"]

    def test_results_are_not_touched(self, study: Study) -> None:
        folder = study.write()
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        export.run(results.dataset(folder, "toy"), study.folder / "out")
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before

    def test_names_that_become_the_same_are_refused(self, study: Study) -> None:
        for rows in (study.runs, study.parcels, study.tensors):
            rows[0]["participant"], rows[2]["participant"] = "a-1", "a_1"
        with pytest.raises(InputError, match="get the same name in BIDS"):
            exported(study)

    def test_nothing_kept_is_said(self, study: Study) -> None:
        folder = study.write()
        path = folder / "toy/qc.parquet"
        dropped = store.frame(path, "qc").assign(keep=False)
        store.write(path, "qc", dropped, store.Provenance("qc"))
        with pytest.raises(InputError, match="no run of toy was kept"):
            export.run(results.dataset(folder, "toy"), study.folder / "out")

    def test_dataset_and_recipe_are_named(self, study: Study) -> None:
        folder = study.write()
        with pytest.raises(InputError, match="did you mean 'toy'"):
            results.dataset(folder, "toys")
        with pytest.raises(InputError, match="did you mean 'semantoks'"):
            results.dataset(folder, "toy", "semantok")
        shutil.copytree(folder / "toy/tensors/semantoks", folder / "toy/tensors/other")
        with pytest.raises(InputError, match="recipes other, semantoks; say which"):
            results.dataset(folder, "toy")


def test_entities_stand_in_the_order_of_the_standard() -> None:
    schema = pytest.importorskip("bidsschematools.schema", reason="bidsschematools is not installed")
    entities = schema.load_schema().to_dict()
    order = [entities["objects"]["entities"][name]["name"] for name in entities["rules"]["entities"]]
    run = {"participant": "01", "session": "1", "task": "rest", "acquisition": "x", "run": "2"}
    used = re.findall(r"([a-z]+)-", series(run, "MNI152NLin6Asym", "a-b", "r"))
    assert used[-2:] == ["stat", "desc"]  # stat is not in the standard yet
    standard = [name for name in used if name != "stat"]
    assert standard == sorted(standard, key=order.index)


def test_labels_have_letters_digits_and_plus_only() -> None:
    assert label("schaefer400-tian3_buckner7", "+") == "schaefer400+tian3+buckner7"
    assert label("brain-jepa") == "brainjepa"
    with pytest.raises(InputError, match="rename it"):
        label("--")


@pytest.mark.parametrize("image", [True, False])
def test_the_bids_validator_accepts_it(tmp_path: Path, image: bool) -> None:
    beside = Path(sys.executable).with_name("bids-validator-deno")
    command = str(beside) if beside.exists() else shutil.which("bids-validator-deno")
    if command is None:
        pytest.skip("bids-validator-deno is not installed (pip install bids-validator-deno)")
    out = exported(Study(tmp_path, image))
    done = subprocess.run([command, str(out), "--format", "json"], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert not any("stderr" in issue for issue in issues)
    assert {"SIDECAR_KEY_RECOMMENDED", "TOO_FEW_AUTHORS"} >= {issue["code"] for issue in issues}


def test_the_command_exports(study: Study) -> None:
    study.write()
    options = ["--results", str(study.results), "--dataset", "toy", "--out", str(study.folder / "bids")]
    done = CliRunner().invoke(app, ["export", *options])
    assert done.exit_code == 0, done.output
    assert (study.folder / "bids/dataset_description.json").is_file()


def test_frames_and_repetition_time_agree(study: Study) -> None:
    path = exported(study) / f"{STEM.format('01', '1')}_timeseries.tsv"
    assert len(read_tsv(path)) == N_CLEAN
