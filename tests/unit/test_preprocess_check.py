"""Everything that is checked before the first container starts: one line each, and nothing is written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from preprocess_case import engine, raw, settings

import engines
from boldtable.errors import InputError
from boldtable.stages import preprocess
from boldtable.stages.preprocess import checks, container, preparation

__all__ = ["engine"]


def refused(given: preprocess.Preprocess, tmp_path: Path) -> str:
    """The one line with which a start is refused; no container has run and nothing was written."""
    with pytest.raises(InputError) as caught:
        preprocess.fsaverage(given, tmp_path / "out/ready.json")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "derivatives").exists()
    assert not any(call[1] in ("run", "exec", "pull") for call in engines.calls(tmp_path / "engine"))
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("further", "told"),
    [
        ({"participants": ["01", "98", "99"]}, "no sub-98, sub-99 in "),
        ({"participants": []}, "no participants to process in"),
        ({"bids": Path("/nowhere/bids")}, "no such folder: /nowhere/bids; correct 'bids'"),
        ({"license_file": Path("/nowhere/license.txt")}, "cannot read the FreeSurfer licence /nowhere/license.txt"),
        ({"min_free_gb": 1e9}, "GB wanted; make room or set min_free_gb"),
        ({"engine": "apptainer", "image": "/nowhere/x.sif"}, "image file not found: /nowhere/x.sif; make it with"),
        ({"filter_file": Path("/nowhere/f.json")}, "cannot read the filter file /nowhere/f.json"),
        ({"templateflow": Path("/nowhere/tf")}, "no TemplateFlow cache at /nowhere/tf"),
    ],
)
def test_what_is_checked(tmp_path: Path, engine: Path, further: dict[str, Any], told: str) -> None:
    # A space of 1e9 GB is missing in two places.
    assert told in refused(settings(tmp_path, **further), tmp_path)


def test_folders_in_each_other(tmp_path: Path, engine: Path) -> None:
    assert "lies in the BIDS folder" in refused(settings(tmp_path, work=tmp_path / "bids/work"), tmp_path)
    assert "is the BIDS folder itself" in refused(settings(tmp_path, derivatives=tmp_path / "bids"), tmp_path)


def test_a_folder_that_no_engine_can_mount(tmp_path: Path, engine: Path) -> None:
    line = refused(settings(tmp_path, work=tmp_path / "12:30"), tmp_path)
    assert f"docker cannot mount {tmp_path}/12:30: its name has a ':'" in line


def test_no_description_and_an_empty_licence_are_two_lines(
    tmp_path: Path, engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = settings(tmp_path)
    (tmp_path / "bids/dataset_description.json").unlink()
    (tmp_path / "license.txt").write_text("\n")
    assert "for 2 reasons; the first: no dataset_description.json" in refused(given, tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "licence" in lines[1]
    assert "is empty" in lines[1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write anything")
def test_permissions(tmp_path: Path, engine: Path) -> None:
    given = settings(tmp_path, work=tmp_path / "locked/work")
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot write below" in refused(given, tmp_path)
    (tmp_path / "locked").chmod(0o700)
    (tmp_path / "license.txt").chmod(0)
    assert "Permission denied" in refused(given, tmp_path)


def test_sessions_that_are_not_there(tmp_path: Path, engine: Path) -> None:
    raw(tmp_path / "bids", "03", session="1")
    line = refused(settings(tmp_path, participants=["03"], sessions=["2"]), tmp_path)
    assert line == "sub-03 has none of the wanted sessions; it has 1; correct 'sessions'"


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "is not JSON"), ('["bold"]', "must map names to queries"), ('{"bold": 1}', "must map names to queries")],
)
def test_a_filter_file_that_is_none(tmp_path: Path, engine: Path, content: str, told: str) -> None:
    (tmp_path / "filter.json").write_text(content)
    assert told in refused(settings(tmp_path, filter_file=tmp_path / "filter.json"), tmp_path)


@pytest.mark.parametrize("further", [{"per": "session"}, {"sessions": ["1"]}, {}])
def test_a_session_is_given_in_one_place(tmp_path: Path, engine: Path, further: dict[str, Any]) -> None:
    path = tmp_path / "filter.json"
    path.write_text('{"t1w": {"acquisition": "x"}, "fmap": {"session": "1"}}')
    given = settings(tmp_path, filter_file=path, **further)
    if not further:
        assert checks.check(given, preprocess.units(given)) == "28.0.0"
        return
    line = refused(given, tmp_path)
    name = "per: session" if "per" in further else "sessions"
    assert f"sessions are chosen twice: by '{name}' and in {path} under 'fmap'" in line


def test_a_templateflow_cache_without_the_space(tmp_path: Path, engine: Path) -> None:
    (tmp_path / "tf/tpl-MNI152NLin6Asym").mkdir(parents=True)
    line = refused(settings(tmp_path, templateflow=tmp_path / "tf"), tmp_path)
    assert f"has no MNI152NLin6Asym; fill it: TEMPLATEFLOW_HOME={tmp_path}/tf templateflow get" in line


def test_an_index_that_is_too_old_or_made_elsewhere(tmp_path: Path, engine: Path) -> None:
    given = settings(tmp_path, database=tmp_path / "index")
    preprocess.prepare(given, preprocess.units(given))
    assert checks.check(given, preprocess.units(given))
    raw(tmp_path / "bids", "03")
    with pytest.raises(InputError, match=r"is older than the dataset: it does not know sub-03; delete .*/index and"):
        checks.check(given, preprocess.units(given))
    (tmp_path / "index/layout_index.sqlite").write_text("no database")
    with pytest.raises(InputError, match="is no index of a raw dataset"):
        checks.check(given, preprocess.units(given))


def test_an_index_as_pybids_makes_it(tmp_path: Path, engine: Path) -> None:
    """The command for the container, run by the real PyBIDS on the real folder, makes an index that the check reads."""
    pytest.importorskip("bids")
    given = settings(tmp_path, database=tmp_path / "index")
    preprocess.prepare(given, preprocess.units(given))
    [call] = [call for call in engines.calls(engine) if "layout" in call]
    arguments = call[call.index("layout") :]
    index = tmp_path / "index/layout_index.sqlite"
    index.unlink()
    places = {"/data": str(tmp_path / "bids"), "/index": str(tmp_path / "index")}
    command = [sys.executable, "-c", "from bids.cli import cli; cli()", *(places.get(part, part) for part in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(InputError, match=r"was not made in the container: its root is .*/bids, not /data"):
        checks.check(given, preprocess.units(given))
    with sqlite3.connect(index) as connection:
        connection.execute("update layout_info set root = '/data'")
    assert checks.check(given, preprocess.units(given)) == "28.0.0"
    raw(tmp_path / "bids", "03")
    with pytest.raises(InputError, match="does not know sub-03"):
        checks.check(given, preprocess.units(given))


def test_an_image_that_cannot_be_had(tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_ABSENT", "1")
    given = settings(tmp_path)
    assert checks.check(given, preprocess.units(given)) == "28.0.0"  # pullable is enough
    monkeypatch.setenv("ENGINE_NO_REGISTRY", "1")
    line = refused(given, tmp_path)
    assert line.startswith(
        "the image nipreps/fmriprep:25.2.7 is neither on this machine nor to be had from its registry"
    )
    assert "no such manifest" in line


@pytest.mark.parametrize("name", ["docker", "apptainer", "fmriprep-docker"])
def test_a_program_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for module in (checks, container):
        monkeypatch.setattr(module, "find", lambda program: None if program == name else program)
    given = settings(tmp_path, engine="apptainer" if name == "apptainer" else "docker")
    hint = "pip install" if name == "fmriprep-docker" else f"install {name} or set another 'engine'"
    assert refused(given, tmp_path).startswith(f"{name} is not on the PATH; {hint}")


def test_a_docker_daemon_that_does_not_answer(tmp_path: Path, engine: Path) -> None:
    program = engine / "bin/docker"
    program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    line = refused(settings(tmp_path), tmp_path)
    assert line.startswith("docker does not answer: Cannot connect to the Docker daemon; start it")


def test_a_participant_alone_is_checked_too(tmp_path: Path, engine: Path) -> None:
    with pytest.raises(InputError, match="no sub-99 in"):
        preprocess.run(settings(tmp_path), "aurora", "99", tmp_path / "out/99.json")
    assert not list((tmp_path / "out").glob("*"))
    assert engines.fmriprep_calls(engine) == []


def test_a_container_that_does_not_start(tmp_path: Path, engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 125, "", "no space left\non device")

    monkeypatch.setattr(preparation, "ask", answer)
    monkeypatch.setattr(preparation, "is_here", lambda _: True)
    with pytest.raises(InputError) as caught:
        preprocess.fsaverage(settings(tmp_path), tmp_path / "ready.json")
    assert "fMRIPrep does not start in nipreps/fmriprep:25.2.7: no space left on device; command: docker run" in str(
        caught.value
    )
