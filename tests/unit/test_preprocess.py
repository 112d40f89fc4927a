"""preprocess: the composed commands, the real fmriprep-docker wrapper with a stand-in docker, and every check."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from boldtable.errors import InputError
from boldtable.stages import preprocess

# What the wrapper asks of docker: `version`, `images -q`, `run --entrypoint=free` (memory), then the real `run`.
STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path
arguments = sys.argv[1:]
with open(os.environ["DOCKER_CALLS"], "a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
if arguments[0] == "version":
    print("28.0.0")
elif arguments[0] == "images":
    print("0123456789ab")
elif "--entrypoint=free" in arguments:
    print("       total  used\\nMem:   64000  1000")
elif os.environ.get("DOCKER_EXIT", "0") != "0":
    print("recon-all: something went wrong")
    sys.exit(int(os.environ["DOCKER_EXIT"]))
elif not os.environ.get("DOCKER_IDLE"):
    mounts = [value.split(":") for flag, value in zip(arguments, arguments[1:]) if flag == "-v"]
    out = next(Path(parts[0]) for parts in mounts if parts[1] == "/out")
    name = "sub-" + arguments[arguments.index("--participant-label") + 1]
    (out / name / "func").mkdir(parents=True)
    (out / name / "func" / f"{{name}}_task-rest_desc-preproc_bold.nii.gz").touch()
    (out / f"{{name}}.html").write_text("report")
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in docker first on the PATH; return the file that records its calls, one JSON list a line."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CALLS", str(tmp_path / "calls.jsonl"))
    return tmp_path / "calls.jsonl"


def settings(tmp_path: Path, **further: Any) -> preprocess.Preprocess:
    """Settings for a made-up BIDS dataset with two participants and a licence."""
    for name in ("01", "02"):
        (tmp_path / f"bids/sub-{name}/func").mkdir(parents=True, exist_ok=True)
    (tmp_path / "license.txt").write_text("someone@example.org")
    given = {
        "bids": tmp_path / "bids",
        "derivatives": tmp_path / "derivatives",
        "license_file": tmp_path / "license.txt",
        "work": tmp_path / "work",
        "min_free_gb": 0,
    }
    return preprocess.Preprocess.parse({**given, **further})


def record(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_the_docker_command(tmp_path: Path) -> None:
    given = settings(
        tmp_path, threads=8, memory_mb=32000, output_spaces=["MNI152NLin6Asym:res-2", "T1w"], extra=["--fd-x"]
    )
    program, *arguments = preprocess.command(given, "01")
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
    assert preprocess.command(given, "02") == [
        "apptainer", "run", "--cleanenv", "-B", f"{tmp_path}/bids:/data:ro", "-B", f"{tmp_path}/derivatives:/out",
        "-B", f"{tmp_path}/work/sub-02:/scratch", "-B", f"{tmp_path}/license.txt:/opt/freesurfer/license.txt:ro",
        f"{tmp_path}/images/fmriprep.sif", "/data", "/out", "participant",
        "--fs-license-file", "/opt/freesurfer/license.txt", "-w", "/scratch",
        "--output-spaces", "MNI152NLin6Asym:res-2", "--participant-label", "02", "--notrack",
    ]  # fmt: skip


def test_the_real_wrapper_hands_everything_to_docker(tmp_path: Path, docker: Path) -> None:
    out = tmp_path / "results/sub-01.json"
    preprocess.run(settings(tmp_path, threads=4), "sub-01", out)
    found = record(out)
    assert (found["status"], found["reason"], found["exit_code"]) == ("ok", None, 0)
    assert found["versions"]["docker"] == "28.0.0"
    assert found["versions"]["fmriprep-docker"]
    call = json.loads(docker.read_text().splitlines()[-1])
    image = call.index("nipreps/fmriprep:25.2.7")
    mounts = [call[position + 1] for position in range(image) if call[position] == "-v"]
    assert mounts == [
        f"{tmp_path}/license.txt:/opt/freesurfer/license.txt:ro", f"{tmp_path}/bids:/data:ro",
        f"{tmp_path}/derivatives:/out", f"{tmp_path}/work/sub-01:/scratch",
    ]  # fmt: skip
    assert "-it" not in call
    assert call[image + 1 :] == [
        "/data", "/out", "participant", "--participant-label", "01", "--notrack", "--nthreads", "4",
        "-w", "/scratch", "--output-spaces", "MNI152NLin6Asym:res-2",
    ]  # fmt: skip
    assert "RUNNING: docker run" in Path(found["log"]).read_text()


def test_a_complete_participant_is_not_run_again(tmp_path: Path, docker: Path) -> None:
    given = settings(tmp_path)
    preprocess.run(given, "01", tmp_path / "sub-01.json")
    calls = docker.read_text()
    preprocess.run(given, "01", tmp_path / "again.json")
    assert docker.read_text() == calls
    found = record(tmp_path / "again.json")
    assert (found["status"], found["command"]) == ("ok", None)
    assert "complete already" in found["reason"]
    (tmp_path / "derivatives/sub-01.html").unlink()
    assert not preprocess.is_complete(given, "01")


def test_a_failing_participant_is_a_record_and_no_exception(
    tmp_path: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_EXIT", "3")
    preprocess.run(settings(tmp_path), "01", tmp_path / "sub-01.json")
    found = record(tmp_path / "sub-01.json")
    assert (found["status"], found["exit_code"]) == ("failed", 3)
    assert found["log"] == str(tmp_path / "sub-01.log")
    assert "exit code 3" in found["reason"]
    assert "something went wrong" in (tmp_path / "sub-01.log").read_text()


def test_an_end_without_outputs_is_a_failure(tmp_path: Path, docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_IDLE", "1")
    preprocess.run(settings(tmp_path), "01", tmp_path / "sub-01.json")
    found = record(tmp_path / "sub-01.json")
    assert (found["status"], found["exit_code"]) == ("failed", 0)
    assert "without a report" in found["reason"]


@pytest.mark.parametrize(
    ("further", "participant", "told"),
    [
        ({}, "99", "no sub-99 in"),
        (
            {"license_file": Path("/nowhere/license.txt")},
            "01",
            "cannot read the FreeSurfer licence /nowhere/license.txt",
        ),
        ({"min_free_gb": 1e9}, "01", "GB wanted"),
        ({"engine": "apptainer"}, "01", "image file not found: nipreps/fmriprep:25.2.7"),
    ],
)
def test_what_is_checked_before_a_start(
    tmp_path: Path, docker: Path, further: dict[str, Any], participant: str, told: str
) -> None:
    with pytest.raises(InputError) as caught:
        preprocess.run(settings(tmp_path, **further), participant, tmp_path / "out/record.json")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not docker.exists() or '"run"' not in docker.read_text()


def test_a_working_folder_inside_the_dataset_is_refused(tmp_path: Path, docker: Path) -> None:
    with pytest.raises(InputError, match="lies in the BIDS folder"):
        preprocess.run(settings(tmp_path, work=tmp_path / "bids/work"), "01", tmp_path / "record.json")
    assert not docker.exists()


@pytest.mark.parametrize("engine", ["docker", "apptainer"])
def test_an_engine_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setattr(preprocess, "_find", lambda program: None if program == engine else program)
    (tmp_path / "image.sif").touch()
    image = {"image": str(tmp_path / "image.sif")} if engine == "apptainer" else {}
    with pytest.raises(InputError, match=f"^{engine} is not on the PATH; install {engine} or set another 'engine'"):
        preprocess.run(settings(tmp_path, engine=engine, **image), "01", tmp_path / "record.json")


def test_a_docker_daemon_that_does_not_answer(tmp_path: Path, docker: Path) -> None:
    program = tmp_path / "bin/docker"
    program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    with pytest.raises(InputError, match="docker does not answer: Cannot connect to the Docker daemon"):
        preprocess.run(settings(tmp_path), "01", tmp_path / "record.json")


def test_which_participants_are_processed(tmp_path: Path) -> None:
    assert preprocess.participants(settings(tmp_path)) == ["01", "02"]
    assert preprocess.participants(settings(tmp_path, participants=["sub-02"])) == ["02"]
