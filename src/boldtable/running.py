"""Which run of the workflow a process belongs to, so that what a killed run left behind cannot write beside the next.

The main process of a run holds an advisory lock on ``.snakemake/boldtable.run`` for as long as it lives; the kernel
lets it go when the process ends, however it ends. The file holds a word that is new in every run, and who started it.
Jobs carry path and word in the variable ``BOLDTABLE_RUN``: where the file holds another word by the time that a job
puts its output in place, another run has begun, and the job refuses.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from boldtable.errors import BoldtableError, OutputError
from boldtable.progress import say

RUN = Path(".snakemake/boldtable.run")
LOCKS = Path(".snakemake/locks")
VARIABLE = "BOLDTABLE_RUN"
_TRIES, _PAUSE_S = 5, 0.2
_held: list[int] = []  # open for the life of the process


# Arguments of Snakemake with which it looks and runs nothing.
_LOOKS = (
    "--dry-run", "--dryrun", "--unlock", "--nolock", "--dag", "--rulegraph", "--filegraph", "--d3dag", "--report",
    "--summary", "--detailed-summary", "--list-changes", "--list-input-changes", "--list-params-changes",
    "--list-rules", "--list-target-rules", "--lint", "--print-compilation", "--archive", "--cleanup-metadata",
)  # fmt: skip


def executes(arguments: Iterable[str]) -> bool:
    """Whether Snakemake, called with these arguments, would run jobs."""
    return not any(
        one.split("=")[0] in _LOOKS or re.fullmatch("-[A-Za-z]*n[A-Za-z]*", one) is not None for one in arguments
    )


def begin(executes: bool) -> None:
    """Begin a run in the working directory: for the main process of the workflow, before it looks at its locks.

    Locks of Snakemake whose process is gone are removed, with a line. While another run lives nothing is touched; one
    that would do work (`executes`) is refused with `BoldtableError`.
    """
    RUN.parent.mkdir(exist_ok=True)
    handle = os.open(RUN, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    free = _lock(handle, tries=_TRIES if executes else 1)
    if free is False and executes:
        os.close(handle)
        raise BoldtableError(_busy())
    if not free or not executes:  # without locks on this file system Snakemake's own are all there is
        os.close(handle)
        return
    _held.append(handle)
    _write(handle)
    stale = sorted(LOCKS.glob("*")) if LOCKS.is_dir() else []
    for lock in stale:
        lock.unlink(missing_ok=True)
    if stale:
        say("going on after an interruption: the run that locked this folder is gone")


def _lock(handle: int, tries: int) -> bool | None:
    """Whether the lock could be had; None where the file system knows no locks."""
    for left in reversed(range(tries)):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S if left else 0)  # a dry run holds it for a moment
        except OSError:
            return None
        else:
            return True
    return False


def join() -> None:
    """Belong to the run of the working directory, for a job whose scheduler has not passed the variable on."""
    if VARIABLE not in os.environ and RUN.is_file():
        word = _about(RUN).get("word")
        if word:
            os.environ[VARIABLE] = f"{word}@{RUN.absolute()}"


def refuse_outlived(path: Path) -> None:
    """Raise `OutputError` where the run that this process belongs to has been taken over by another."""
    word, _, run = os.environ.get(VARIABLE, "").partition("@")
    if word and run and (now := _about(Path(run)).get("word")) and now != word:
        raise OutputError(f"{path} is not written: the run that this job belongs to is over, another has begun since")


def _write(handle: int) -> None:
    word = secrets.token_hex(8)
    about = {"word": word, "process": os.getpid(), "host": socket.gethostname(), "began": time.strftime("%F %T")}
    os.truncate(handle, 0)
    os.pwrite(handle, json.dumps(about).encode(), 0)
    os.environ[VARIABLE] = f"{word}@{RUN.absolute()}"


def _about(path: Path) -> dict[str, Any]:
    """What a run has said of itself; empty where it cannot be read (it is written in a moment)."""
    try:
        found = json.loads(path.read_bytes()[:4096])
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _busy() -> str:
    about = _about(RUN)
    who = f"process {about.get('process', '?')} on {about.get('host', '?')}, since {about.get('began', '?')}"
    return f"another run of this study is going on in {Path.cwd()} ({who}): wait for it, or stop it"
