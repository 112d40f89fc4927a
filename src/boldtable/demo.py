"""The demo: simulate two cohorts, run the whole workflow on them through Snakemake, print the table."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.simulate import cohort

CONFIGS = {"demo": Path("config/demo/config.yaml"), "models": Path("config/demo/models.yaml")}  # by their table


def run(folder: Path, cores: int = 0, participants: int = 48, table: str = "demo") -> int:
    """Run the demo in `folder` and return Snakemake's exit code; finished work is never done again.

    `table` is the one to make: ``demo``, or ``models`` with every model that can be trained, on the same cohorts.
    Two demos never run in one folder: the second waits for the first, then goes on from what is there.
    """
    root = checkout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; choose another folder") from None
    cores = cores or os.cpu_count() or 1
    with alone(folder) as lock:
        cohort(folder / "data", participants=participants, workers=cores)
        made = folder / "results/tables" / table
        before, started = changed(made), time.time()
        code = snakemake(root / CONFIGS[table], root, folder, cores, lock)
    if code != 0:
        for line in failures(folder, started):
            say(line)
    else:
        from boldtable.stages.report.terminal import terminal

        Console().print(terminal(made.with_suffix(".csv")))
        if before is not None and before == changed(made):
            say("nothing to do: the demo was complete already")
        print(f"page:   {made.with_suffix('.html').resolve()}")
        print(f"ledger: {(folder / 'results/ledger.parquet').resolve()}")
    return code


def checkout() -> Path:
    """The folder of the Snakefile: here, or where the package is installed from; `InputError` elsewhere."""
    for candidate in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (candidate / "Snakefile").exists() and (candidate / CONFIGS["demo"]).exists():
            return candidate
    raise InputError("no Snakefile here: the demo runs from a checkout of boldtable; go to its folder and try again")


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Hold the folder's lock; children that inherit it keep it, so an orphaned workflow is waited for."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another demo is still running in {folder}; waiting for it to finish (Ctrl-C leaves it alone)")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def snakemake(config: Path, root: Path, folder: Path, cores: int, lock: int) -> int:
    """Run the workflow in `folder`."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile"), "--directory", str(folder),
        "--configfile", str(config),
        "--workflow-profile", str(root / "workflow/profiles/default"), "--cores", str(cores),
    ]  # fmt: skip
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(
        [*command, "--quiet", "rules", "host", "reason"], env=environment, pass_fds=[lock], check=False
    )
    return done.returncode


def failures(folder: Path, since: float) -> list[str]:
    """The last line of every log written since then that ends in an error, with the log's path."""
    logs = [path for path in sorted((folder / "results/logs").rglob("*.log")) if path.stat().st_mtime >= since]
    last = {path: path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] for path in logs}
    return [f"{path}: {line}" for path, lines in last.items() for line in lines if "rror" in line]


def changed(table: Path) -> int | None:
    """When a table was last written (ns), or None before the first time."""
    path = table.with_suffix(".csv")
    return path.stat().st_mtime_ns if path.exists() else None
