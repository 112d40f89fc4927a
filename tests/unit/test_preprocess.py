"""preprocess: the composed commands, the real fmriprep-docker wrapper and Apptainer before stand-in engines."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from preprocess_case import engine, raw, settings

import engines
from boldtable.errors import InputError, SettingsError
from boldtable.stages import preprocess
from boldtable.stages.preprocess import Unit, container, outcome

__all__ = ["engine"]


def run(given: preprocess.Preprocess, unit: str, out: Path, **further: Any) -> dict[str, Any]:
    preprocess.run(given, "aurora", unit, out, **further)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_the_docker_command(tmp_path: Path) -> None:
    given = settings(
        tmp_path, threads=8, memory_mb=32000, output_spaces=["MNI152NLin6Asym:res-2", "T1w"], extra=["--fd-x"]
    )
    program, *arguments = container.fmriprep(given, Unit("01"))
    assert Path(program).name == "fmriprep-docker"
    assert arguments == [
        str(tmp_path / "bids"), str(tmp_path / "derivatives"), "participant", "--image", "nipreps/fmriprep:25.2.7",
        "--no-tty", "--user", f"{os.getuid()}:{os.getgid()}", "--fs-license-file", str(tmp_path / "license.txt"),
        "-w", str(tmp_path / "work/sub-01"), "--output-spaces", "MNI152NLin6Asym:res-2", "T1w",
        "--participant-label", "01", "--notrack", "--nthreads", "8", "--mem_mb", "32000", "--fd-x",
    ]  # fmt: skip


def test_the_apptainer_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = settings(tmp_path, engine="apptainer", image="images/fmriprep.sif", bids=Path("bids"))
    assert container.fmriprep(given, Unit("02")) == [
        "apptainer", "run", "--cleanenv", "-B", f"{tmp_path}/bids:/data:ro", "-B", f"{tmp_path}/derivatives:/out",
        "-B", f"{tmp_path}/work/sub-02:/scratch", "-B", f"{tmp_path}/license.txt:/opt/freesurfer/license.txt:ro",
        f"{tmp_path}/images/fmriprep.sif", "/data", "/out", "participant",
        "--fs-license-file", "/opt/freesurfer/license.txt", "-w", "/scratch",
        "--output-spaces", "MNI152NLin6Asym:res-2", "--participant-label", "02", "--notrack",
    ]  # fmt: skip


def test_the_real_wrapper_hands_everything_to_docker(tmp_path: Path, engine: Path) -> None:
    found = run(settings(tmp_path), "sub-01", tmp_path / "results/01.json", threads=4, memory_mb=16000)
    assert (found["status"], found["reason"], found["exit_code"], found["missing"]) == ("ok", None, 0, [])
    assert (found["dataset"], found["participant"], found["session"]) == ("aurora", "01", None)
    assert (found["image"], found["digest"]) == (engines.IMAGE, engines.DIGEST)
    assert found["versions"]["docker"] == "28.0.0"
    assert found["versions"]["fmriprep"] == "25.2.7"
    assert found["versions"]["fmriprep-docker"]
    [call] = engines.fmriprep_calls(engine)
    image = call.index(engines.IMAGE)
    assert engines.values(call[:image], "-v") == [
        f"{tmp_path}/license.txt:/opt/freesurfer/license.txt:ro", f"{tmp_path}/bids:/data:ro",
        f"{tmp_path}/derivatives:/out", f"{tmp_path}/work/sub-01:/scratch",
    ]  # fmt: skip
    assert "-it" not in call
    assert call[image + 1 :] == [
        "/data", "/out", "participant", "--participant-label", "01", "--notrack", "--nthreads", "4",
        "--mem_mb", "16000", "-w", "/scratch", "--output-spaces", "MNI152NLin6Asym:res-2",
    ]  # fmt: skip
    assert "RUNNING: docker run" in Path(found["log"]).read_text()


@pytest.mark.parametrize("name", ["docker", "apptainer"])
def test_filter_file_index_and_templates_reach_the_container(tmp_path: Path, engine: Path, name: str) -> None:
    (tmp_path / "filter.json").write_text('{"bold": {"task": "rest"}}')
    (tmp_path / "templates/tpl-MNI152NLin6Asym").mkdir(parents=True)
    (tmp_path / "templates/tpl-MNI152NLin6Asym/T1w.nii.gz").touch()
    places = {"filter_file": "filter.json", "database": "index", "templateflow": "templates"}
    given = settings(tmp_path, engine=name, **{key: tmp_path / value for key, value in places.items()})
    assert run(given, "01", tmp_path / "results/01.json")["status"] == "ok"
    [call] = engines.fmriprep_calls(engine)
    option = "-v" if name == "docker" else "-B"
    mounts = dict(value.split(":")[:2] for value in engines.values(call, option))
    assert engines.values(call, "--bids-filter-file") == [mounts[f"{tmp_path}/filter.json"]]
    assert engines.values(call, "--bids-database-dir") == [mounts[f"{tmp_path}/index"]]
    environment = ",".join([*engines.values(call, "-e"), *engines.values(call, "--env")])
    assert f"TEMPLATEFLOW_HOME={mounts[f'{tmp_path}/templates']}" in environment
    assert "TEMPLATEFLOW_AUTOUPDATE=off" in environment
    assert (tmp_path / "index/layout_index.sqlite").exists()
    indexed = [call for call in engines.calls(engine) if "layout" in call]
    run(given, "02", tmp_path / "results/02.json")
    assert [call for call in engines.calls(engine) if "layout" in call] == indexed != []


@pytest.mark.parametrize("name", ["docker", "apptainer"])
def test_fsaverage_is_copied_once_and_whole(tmp_path: Path, engine: Path, name: str) -> None:
    given = settings(tmp_path, engine=name, output_spaces=["MNI152NLin6Asym:res-2", "fsaverage:den-10k"])
    preprocess.fsaverage(given, tmp_path / "fsaverage.json")
    subjects = tmp_path / "derivatives/sourcedata/freesurfer"
    assert sorted(path.name for path in subjects.iterdir()) == ["fsaverage", "fsaverage5"]
    copies = [call for call in engines.calls(engine) if "cp" in call]
    assert len(copies) == 2
    assert [call[-2] for call in copies] == [f"/opt/freesurfer/subjects/{one}" for one in ("fsaverage", "fsaverage5")]
    preprocess.fsaverage(given, tmp_path / "fsaverage.json")
    assert len([call for call in engines.calls(engine) if "cp" in call]) == 2
    assert engines.fmriprep_calls(engine) == []


def test_a_broken_copy_of_fsaverage_is_not_left_behind(
    tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boldtable.stages.preprocess.preparation._PARTS", ("label", "mri", "surf", "never there"))
    with pytest.raises(InputError, match="has no whole /opt/freesurfer/subjects/fsaverage"):
        preprocess.fsaverage(settings(tmp_path), tmp_path / "fsaverage.json")
    assert list((tmp_path / "derivatives/sourcedata/freesurfer").iterdir()) == []
    assert not (tmp_path / "fsaverage.json").exists()
    (tmp_path / "derivatives/sourcedata/freesurfer/fsaverage/surf").mkdir(parents=True)
    with pytest.raises(InputError, match="fsaverage is incomplete: it has no 'label'; delete this folder"):
        preprocess.fsaverage(settings(tmp_path), tmp_path / "fsaverage.json")


def test_what_was_prepared_is_not_prepared_again(tmp_path: Path, engine: Path) -> None:
    given = settings(tmp_path)
    preprocess.fsaverage(given, tmp_path / "ready.json")
    before = len(engines.calls(engine))
    found = run(given, "01", tmp_path / "01.json", ready=tmp_path / "ready.json")
    assert found["digest"] == engines.DIGEST
    assert found["versions"]["fmriprep"] == "25.2.7"
    started = [call for call in engines.calls(engine)[before:] if call[1] == "run" and "--version" in call]
    assert started == []


def test_an_image_that_is_not_here_is_pulled_once(
    tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_ABSENT", "1")
    preprocess.fsaverage(settings(tmp_path), tmp_path / "ready.json")
    preprocess.fsaverage(settings(tmp_path), tmp_path / "ready.json")
    assert [call[1:] for call in engines.calls(engine) if call[1] == "pull"] == [["pull", "--quiet", engines.IMAGE]]


def test_a_complete_participant_is_not_run_again(tmp_path: Path, engine: Path) -> None:
    given = settings(tmp_path)
    run(given, "01", tmp_path / "sub-01.json")
    before = engines.calls(engine)
    found = run(given, "01", tmp_path / "again.json")
    assert engines.calls(engine) == before
    assert (found["status"], found["command"]) == ("ok", None)
    assert found["reason"] == "complete already (fMRIPrep 25.2.7), not run again"
    (tmp_path / "derivatives/sub-01.html").unlink()
    assert not preprocess.is_complete(given, Unit("01"))


def test_nothing_to_do_needs_no_engine(tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(tmp_path)
    for name in ("01", "02"):
        run(given, name, tmp_path / f"{name}.json")
    monkeypatch.setenv("PATH", "/nowhere")
    preprocess.fsaverage(given, tmp_path / "ready.json")
    assert json.loads((tmp_path / "ready.json").read_text())["complete"] == 2


@pytest.mark.parametrize("spoil", ["new run", "errors", "other space"])
def test_what_makes_a_participant_incomplete(tmp_path: Path, engine: Path, spoil: str) -> None:
    given = settings(tmp_path)
    run(given, "01", tmp_path / "01.json")
    report = tmp_path / "derivatives/sub-01.html"
    if spoil == "new run":
        os.utime(report, (1, 1))
        raw(tmp_path / "bids", "01", "task-rest_run-2")
    elif spoil == "errors":
        report.write_text("One or more execution steps failed")
    else:
        given = settings(tmp_path, output_spaces=["MNI152NLin2009cAsym"])
    assert not preprocess.is_complete(given, Unit("01"))


def test_a_failing_participant_is_a_record_and_no_exception(
    tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_FAIL", "01")
    out = tmp_path / "results/01.json"
    found = run(settings(tmp_path), "01", out)
    log = tmp_path / "results/01.log"
    assert (found["status"], found["exit_code"], found["log"]) == ("failed", 1, str(log))
    assert found["reason"] == (
        "fMRIPrep ended with exit code 1 (sub_wf.anat.recon: RuntimeError: recon-all gave up); "
        f"log: {log}; to try again: delete {out}"
    )
    assert "see the crash file" in log.read_text()
    assert stat.S_IMODE((tmp_path / "derivatives/sub-01").stat().st_mode) & stat.S_IWUSR
    monkeypatch.delenv("ENGINE_FAIL")
    out.unlink()
    assert run(settings(tmp_path), "01", out)["status"] == "ok"


def test_the_last_line_of_the_log_where_there_is_no_crash_file(tmp_path: Path) -> None:
    (tmp_path / "x.log").write_text("work\n\x1b[31mOSError: disk full\x1b[0m\nfMRIPrep: Please report errors to us\n\n")
    assert outcome.reason(settings(tmp_path), Unit("01"), tmp_path / "x.log", 0) == "OSError: disk full"


def test_an_end_without_outputs_is_a_failure(tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_IDLE", "1")
    found = run(settings(tmp_path), "01", tmp_path / "sub-01.json")
    assert (found["status"], found["exit_code"]) == ("failed", 0)
    assert "without a report" in found["reason"]


def test_raw_runs_that_fmriprep_left_out_are_named(
    tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = "sub-01_task-rest_acq-short_run-02_bold.nii.gz"
    monkeypatch.setenv("ENGINE_SKIP", skipped)
    given = settings(tmp_path)
    raw(tmp_path / "bids", "01", "task-rest_acq-short_run-02", "task-rest_echo-1", "task-rest_echo-2")
    found = run(given, "01", tmp_path / "01.json")
    assert found["status"] == "ok"
    assert found["missing"] == [
        {"session": None, "task": "rest", "run": "2", "acquisition": "short", "file": skipped}
    ]  # fmt: skip
    assert preprocess.is_complete(given, Unit("01"))  # fMRIPrep has seen it: another start would leave it out again


def test_finished_derivatives_are_protected_and_released_for_more(tmp_path: Path, engine: Path) -> None:
    given = settings(tmp_path)
    run(given, "01", tmp_path / "01.json")
    folder = tmp_path / "derivatives/sub-01"
    made = [folder, *folder.rglob("*"), tmp_path / "derivatives/sub-01.html"]
    assert len(made) > 4
    assert {stat.S_IMODE(path.stat().st_mode) & 0o222 for path in made} == {0}
    os.utime(tmp_path / "derivatives/sub-01.html", (1, 1))
    raw(tmp_path / "bids", "01", "task-rest_run-2")
    assert run(given, "01", tmp_path / "again.json")["status"] == "ok"
    assert len([path for path in folder.rglob("*preproc_bold*") if path.is_file()]) == 2
    run(settings(tmp_path, protect=False), "02", tmp_path / "02.json")
    assert stat.S_IMODE((tmp_path / "derivatives/sub-02").stat().st_mode) & stat.S_IWUSR


def test_one_run_per_session(tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for session in ("1", "2", "3"):
        raw(tmp_path / "bids", "03", session=session)
    given = settings(tmp_path, per="session", sessions=["1", "ses-2"])
    assert [unit.label for unit in preprocess.units(given)] == ["01", "02", "03_ses-1", "03_ses-2"]
    assert preprocess.records(given.model_dump(mode="json")) == ["01", "02", "03_ses-1", "03_ses-2"]
    monkeypatch.setenv("ENGINE_FAIL", "03_ses-1")
    first, second = (run(given, f"03_ses-{n}", tmp_path / f"03_ses-{n}.json") for n in (1, 2))
    assert (first["status"], second["status"]) == ("failed", "ok")
    assert (second["participant"], second["session"]) == ("03", "2")
    call = engines.fmriprep_calls(engine)[-1]
    assert engines.values(call, "--session-label") == ["2"]
    assert engines.values(call, "--subject-anatomical-reference") == ["sessionwise"]
    assert any(value.endswith("work/sub-03_ses-2:/scratch") for value in engines.values(call, "-v"))
    assert preprocess.is_complete(given, Unit("03", "2"))
    assert not preprocess.is_complete(given, Unit("03", "1"))


def test_some_sessions_of_a_participant(tmp_path: Path) -> None:
    for session in ("1", "2", "3"):
        raw(tmp_path / "bids", "03", session=session)
    raw(tmp_path / "bids", "04", session="3")
    given = settings(tmp_path, sessions=["2", "1"])
    assert [unit.label for unit in preprocess.units(given)] == ["01", "02", "03"]
    arguments = container.fmriprep(given, Unit("03"))
    start = arguments.index("--session-label")
    assert arguments[start : start + 3] == ["--session-label", "1", "2"]
    assert "--session-label" not in container.fmriprep(given, Unit("01"))


def test_many_sessions_have_reports_of_their_own(tmp_path: Path) -> None:
    given = settings(tmp_path)
    folder = tmp_path / "derivatives"
    (folder / "sub-01/func").mkdir(parents=True)
    (folder / "sub-01/func/sub-01_task-rest_space-MNI152NLin6Asym_res-2_desc-preproc_bold.nii.gz").touch()
    for name in ("sub-01_anat", "sub-01_ses-1_func", "sub-011", "sub-011_anat"):
        (folder / f"{name}.html").write_text("fine")
    found = [path.name for path in outcome.reports(given, Unit("01"))]
    assert found == ["sub-01_anat.html", "sub-01_ses-1_func.html"]
    assert preprocess.is_complete(given, Unit("01"))
    (folder / "sub-01_ses-1_func.html").write_text("One or more execution steps failed")
    assert not preprocess.is_complete(given, Unit("01"))


def test_which_participants_are_processed(tmp_path: Path) -> None:
    assert [unit.label for unit in preprocess.units(settings(tmp_path))] == ["01", "02"]
    assert preprocess.units(settings(tmp_path, participants=["sub-02"])) == [Unit("02")]
    assert Unit.parse("sub-02_ses-b") == Unit.parse("02_ses-b") == Unit("02", "b")


@pytest.mark.parametrize(
    ("further", "told"),
    [
        ({"image": "nipreps/fmriprep"}, "image 'nipreps/fmriprep' names no version"),
        ({"image": "nipreps/fmriprep:latest"}, "names no version"),
        ({"image": "registry.org:5000/fmriprep"}, "names no version"),
        ({"extra": ["--session-label", "1"]}, "use the setting 'sessions'"),
        ({"extra": ["--mem_mb=1000"]}, "use the setting 'memory_mb'"),
        ({"extra": ["--output-layout=legacy"]}, "boldtable needs fMRIPrep's own place"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, further: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match="Value error") as caught:
        settings(tmp_path, **further)
    assert told in str(caught.value)


def test_pinned_images(tmp_path: Path) -> None:
    for image in ("nipreps/fmriprep:25.2.7", "registry.org:5000/fmriprep:25.2.7", engines.DIGEST):
        assert settings(tmp_path, image=image).image == image
