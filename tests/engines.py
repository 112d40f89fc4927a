"""Stand-ins for `docker` and `apptainer`: they record their calls and do what the image of fMRIPrep would do, at once.

Environment: ENGINE_CALLS (file of recorded calls, one JSON list a line), ENGINE_SOURCE (finished derivatives to hand
out instead of empty files), ENGINE_FAIL (participants, or sessions, that crash), ENGINE_SKIP (raw files that are left
out), ENGINE_ABSENT (the image is not on this machine until it is pulled), ENGINE_NO_REGISTRY, ENGINE_IDLE.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

IMAGE = "nipreps/fmriprep:25.2.7"
DIGEST = "nipreps/fmriprep@sha256:" + "5" * 64
WITH_VALUE = {"-v", "-B", "-e", "-u", "--user", "--env", "--entrypoint"}


def install(folder: Path, python: str = sys.executable) -> Path:
    """Write both stand-ins into ``folder/bin`` and return it, to be put first on the PATH."""
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("docker", "apptainer"):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{python}" "{Path(__file__).resolve()}" {name} "$@"\n')
        program.chmod(0o755)
    return folder / "bin"


def calls(folder: Path) -> list[list[str]]:
    """The recorded calls of a test, oldest first, each beginning with the engine's name."""
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def fmriprep_calls(folder: Path) -> list[list[str]]:
    """The calls that run fMRIPrep on a participant."""
    return [call for call in calls(folder) if "--participant-label" in call]


def values(call: Sequence[str], option: str) -> list[str]:
    """Every value that an option has in a call."""
    return [call[position + 1] for position, part in enumerate(call) if part == option]


def main() -> int:
    engine, *arguments = sys.argv[1:]
    with Path(os.environ["ENGINE_CALLS"]).open("a") as file:
        file.write(json.dumps([engine, *arguments]) + "\n")
    if arguments[0] in ("version", "--version"):
        print("28.0.0" if engine == "docker" else "apptainer version 1.4.0")
    elif arguments[:2] == ["image", "inspect"]:
        return _inspect(arguments)
    elif arguments[:2] == ["manifest", "inspect"] and os.environ.get("ENGINE_NO_REGISTRY"):
        print("no such manifest: docker.io/nipreps/fmriprep", file=sys.stderr)
        return 1
    elif arguments[0] == "pull":
        Path(os.environ["ENGINE_CALLS"]).with_suffix(".pulled").touch()
    elif arguments[0] == "images":
        print("0123456789ab")
    elif "--entrypoint=free" in arguments:
        print("       total  used\nMem:   64000  1000")
    elif arguments[0] in ("run", "exec"):
        return _run(engine, arguments)
    return 0


def _inspect(arguments: list[str]) -> int:
    pulled = Path(os.environ["ENGINE_CALLS"]).with_suffix(".pulled").exists()
    if os.environ.get("ENGINE_ABSENT") and not pulled:
        print("Error: No such image", file=sys.stderr)
        return 1
    print(DIGEST if "RepoDigests" in " ".join(arguments) else "sha256:0123")
    return 0


def _run(engine: str, arguments: list[str]) -> int:
    options, rest = [], arguments[1:]
    while rest[0].startswith("-"):
        size = 2 if rest[0] in WITH_VALUE else 1
        options, rest = options + rest[:size], rest[size:]
    mounts = {}
    for value in values(options, "-v" if engine == "docker" else "-B"):
        outside, inside = value.split(":")[:2]
        mounts[inside] = Path(outside)
    command = rest[1:]
    if arguments[0] == "exec":
        name, *command = command
    else:
        name = next(iter(values(options, "--entrypoint")), "fmriprep")
    return {"fmriprep": _fmriprep, "cp": _cp, "pybids": _pybids}[name](mounts, command)


def _cp(mounts: dict[str, Path], command: list[str]) -> int:
    goal = mounts["/copy"] / Path(command[-2]).name
    for part in ("label", "mri", "surf"):
        (goal / part).mkdir(parents=True)
    (goal / "surf/lh.pial").touch()
    return 0


def _pybids(mounts: dict[str, Path], command: list[str]) -> int:
    with sqlite3.connect(mounts["/index"] / "layout_index.sqlite") as index:
        index.execute("create table layout_info (root text)")
        index.execute("create table tags (entity_name text, _value text)")
        index.execute("insert into layout_info values (?)", [command[1]])
        for path in mounts["/data"].glob("sub-*"):
            index.execute("insert into tags values ('subject', ?)", [path.name[4:]])
    return 0


def _fmriprep(mounts: dict[str, Path], command: list[str]) -> int:
    if command == ["--version"]:
        print("fMRIPrep v25.2.7")
        return 0
    label = values(command, "--participant-label")[0]
    session = next(iter(values(command, "--session-label")), None)
    out, name = mounts["/out"], f"sub-{label}"
    if not (out / "sourcedata/freesurfer/fsaverage/surf/lh.pial").exists():
        print("OSError: [Errno 39] Directory not empty: fsaverage")  # what a race ends in
        return 1
    if os.environ.get("ENGINE_IDLE"):
        return 0
    notes = out / name / "log/20260101-120000_0"
    notes.mkdir(parents=True, exist_ok=True)
    (notes / "fmriprep.toml").write_text('[environment]\nversion = "25.2.7"\n')
    if {label, f"{label}_ses-{session}"} & set(os.environ.get("ENGINE_FAIL", "").split()):
        (out / f"{name}.html").write_text("One or more execution steps failed")
        crash = "Node: sub_wf.anat.recon\nWorking directory: /scratch\n\nTraceback:\nRuntimeError: recon-all gave up\n"
        (notes / "crash-20260101-recon.txt").write_text(crash)
        print("fMRIPrep failed: see the crash file")
        return 1
    _derivatives(mounts["/data"], out, label, session)
    (out / f"{name}.html").write_text("report: no errors")
    return 0


def _derivatives(bids: Path, out: Path, label: str, session: str | None) -> None:
    """Finished derivatives where a source is named; else an empty file for every raw series."""
    folder = f"sub-{label}" + (f"/ses-{session}" if session else "")
    if "ENGINE_SOURCE" in os.environ:
        source = Path(os.environ["ENGINE_SOURCE"])
        shutil.copytree(source / folder, out / folder, dirs_exist_ok=True)
        shutil.copy(source / "dataset_description.json", out)
        return
    skipped = os.environ.get("ENGINE_SKIP", "").split()
    for raw in (bids / folder).rglob("func/*_bold.nii.gz"):
        if raw.name not in skipped:
            stem = raw.name.removesuffix("_bold.nii.gz").replace("_echo-1", "").replace("_echo-2", "")
            made = out / raw.parent.relative_to(bids) / f"{stem}_space-MNI152NLin6Asym_res-2_desc-preproc_bold.nii.gz"
            made.parent.mkdir(parents=True, exist_ok=True)
            made.touch()


if __name__ == "__main__":
    sys.exit(main())
