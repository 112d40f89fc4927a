"""One writer per file, whole files only, and one line where the disk is full."""

import os
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from boldtable import running, writing
from boldtable.errors import BoldtableError, InputError, OutputError

# Begins to write a file, says so, and goes on when it is told (or never).
WRITER = """
import sys
from pathlib import Path
from boldtable.writing import atomic
with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text(sys.argv[2] * 1000)
    print("begun", flush=True)
    sys.stdin.readline()
print("done", flush=True)
"""


def writer(path: Path, letter: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), letter], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_the_second_writer_of_a_file_waits_for_the_first(tmp_path):
    path = tmp_path / "a.txt"
    first = writer(path, "a")
    assert told(first) == "begun"
    second = writer(path, "b")
    assert second.stderr is not None
    assert "another process is writing" in second.stderr.readline()
    assert not path.exists()
    go_on(first)
    assert told(first) == "done"
    assert told(second) == "begun"
    assert path.read_text() == "a" * 1000  # whole, whatever the second has begun
    go_on(second)
    assert told(second) == "done"
    assert path.read_text() == "b" * 1000
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_dead_writer_left_is_written_over(tmp_path):
    path = tmp_path / "a.txt"
    first = writer(path, "a")
    assert told(first) == "begun"
    first.kill()
    first.wait()
    assert [one.name for one in tmp_path.iterdir()] == [".a.txt.tmp"]
    writing.write_text(path, "b")
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "b"


def test_a_writer_that_waits_takes_over_from_one_that_is_killed(tmp_path):
    path = tmp_path / "a.txt"
    first, second = writer(path, "a"), None
    assert told(first) == "begun"
    second = writer(path, "b")
    assert second.stderr is not None
    assert "waiting until it is done or gone" in second.stderr.readline()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert told(second) == "begun"
    go_on(second)
    assert told(second) == "done"
    assert path.read_text() == "b" * 1000


WORKER = """
import shutil, sys
from pathlib import Path
from boldtable.writing import alone
folder = Path(sys.argv[1])
with alone(folder):
    print("begun", sorted(one.name for one in folder.iterdir()), flush=True)
    (folder / sys.argv[2]).touch()
    sys.stdin.readline()
    shutil.rmtree(folder)
print("done", flush=True)
"""


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    """As two trainings of one model would: the second begins anew where the first has finished and cleared up."""
    pipe, folder = subprocess.PIPE, tmp_path / "deep/.m.training"
    first, second = (
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), name], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        for name in "ab"
    )
    if not told_soon(first):
        first, second = second, first
    assert told(first) == "begun []"
    assert second.stderr is not None
    assert "another process is writing" in second.stderr.readline()
    go_on(first)
    assert told(first) == "done"
    assert told(second) == "begun []"
    go_on(second)
    assert told(second) == "done"
    assert not folder.exists()


def told_soon(process: subprocess.Popen[str]) -> bool:
    """Whether this process has begun, rather than the other."""
    assert process.stdout is not None
    assert process.stderr is not None
    ready, _, _ = select.select([process.stdout, process.stderr], [], [], 60)
    return process.stdout in ready


def test_everybody_may_read_a_finished_file_as_any_other(tmp_path):
    before = os.umask(0o027)
    try:
        writing.write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_file_system_without_locks_is_written_to_as_well(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(writing.fcntl, "flock", none)
    with writing.atomic(tmp_path / "a.txt") as one, writing.atomic(tmp_path / "a.txt") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a.txt").read_text() == "one"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    events = []
    real = os.fsync
    monkeypatch.setattr(
        writing.os,
        "fsync",
        lambda handle: (events.append(str(Path(f"/proc/self/fd/{handle}").readlink())), real(handle)),
    )
    writing.write_text(tmp_path / "a.txt", "x")
    assert events == [str(tmp_path / ".a.txt.tmp"), str(tmp_path)]


# A full disk


@pytest.fixture
def small(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("cannot mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_text(path):
    writing.write_text(path, "x" * 3_000_000)


def fill_parquet(path):
    import numpy as np

    from boldtable import store

    rng = np.random.default_rng(0)
    with store.Writer(path, "parcels", store.Provenance("test"), size=100) as writer:
        for _ in range(20):
            writer.append({"signal": rng.normal(size=(200, 100)).astype(np.float32)})


def fill_torch(path):
    import torch

    with writing.atomic(path) as temporary:
        torch.save({"x": torch.rand(1_000_000)}, temporary)


def fill_weights(path):
    import torch
    from safetensors.torch import save_file

    with writing.atomic(path) as temporary:
        save_file({"x": torch.rand(1_000_000)}, temporary)


@pytest.mark.parametrize("fill", [fill_text, fill_parquet, fill_torch, fill_weights])
def test_a_full_disk_is_one_line_and_leaves_nothing(small, fill):
    with pytest.raises(OutputError) as caught:
        fill(small / "a.out")
    assert str(caught.value).startswith(f"cannot write {small}/a.out: no space left on the disk; make room")
    assert list(small.iterdir()) == []


def test_the_command_line_ends_in_one_line(small):
    with pytest.raises(OSError, match="No space left"):
        (small / "full").write_bytes(b"x" * 2_000_000)
    done = subprocess.run(
        [sys.executable, "-m", "boldtable", "init", str(small / "study")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("boldtable: error: cannot write ")
    assert "no space left on the disk" in done.stderr


def test_errors_that_are_not_of_the_disk_stay_what_they_are(tmp_path):
    def fail(error):
        with writing.atomic(tmp_path / "a.txt"):
            raise error

    for error in (ValueError("no"), RuntimeError("cannot write this"), InputError("mine"), OSError(5, "I/O error")):
        with pytest.raises(type(error), match=str(error.args[-1])):
            fail(error)
    assert list(tmp_path.iterdir()) == []


# Runs of the workflow


def test_a_job_of_a_run_that_is_over_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "_held", [])
    monkeypatch.delenv(running.VARIABLE, raising=False)
    running.begin(executes=True)
    mine = os.environ[running.VARIABLE]
    writing.write_text(tmp_path / "a.txt", "mine")
    os.close(running._held.pop())
    running.begin(executes=True)
    monkeypatch.setenv(running.VARIABLE, mine)
    with pytest.raises(OutputError, match=r"a\.txt is not written: the run that this job belongs to is over"):
        writing.write_text(tmp_path / "a.txt", "orphan")
    assert (tmp_path / "a.txt").read_text() == "mine"
    os.close(running._held.pop())


HOLDER = """
import sys
from boldtable import running
running.begin(executes=True)
print("begun", flush=True)
sys.stdin.readline()
"""


def test_locks_of_the_living_stay_and_those_of_the_dead_go(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "_held", [])
    monkeypatch.delenv(running.VARIABLE, raising=False)
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert told(first) == "begun"
    lock = running.LOCKS / "0.input.lock"
    lock.parent.mkdir()
    lock.write_text("x")
    with pytest.raises(BoldtableError, match=rf"another run of this study is going on in .* \(process {first.pid} on"):
        running.begin(executes=True)
    running.begin(executes=False)
    assert lock.exists()
    first.kill()
    first.wait()
    running.begin(executes=False)
    assert lock.exists()
    running.begin(executes=True)
    assert not lock.exists()
    assert "going on after an interruption" in capsys.readouterr().err
    os.close(running._held.pop())


def test_jobs_of_schedulers_that_pass_no_variables_on_join_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "_held", [])
    monkeypatch.delenv(running.VARIABLE, raising=False)
    running.join()
    assert running.VARIABLE not in os.environ
    running.begin(executes=True)
    word = os.environ.pop(running.VARIABLE)
    running.join()
    assert os.environ[running.VARIABLE] == word
    os.close(running._held.pop())


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        (["--cores", "2"], True), (["-n"], False), (["-np"], False), (["--dry-run"], False), (["--unlock"], False),
        (["--report", "r.html"], False), (["--report=r.html"], False), (["--configfile", "my-n.yaml"], True),
        (["-c2", "-k"], True), (["--nolock"], False),
    ],
)  # fmt: skip
def test_who_only_looks_is_told_by_the_arguments(arguments, runs):
    assert running.executes(arguments) == runs


def test_a_start_waits_a_moment_for_a_dry_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "_held", [])
    monkeypatch.delenv(running.VARIABLE, raising=False)
    code = (
        "import fcntl, time; f = open('.snakemake/boldtable.run', 'w'); fcntl.flock(f, 2); print('x', flush=True); "
        "time.sleep(.4)"
    )
    (tmp_path / ".snakemake").mkdir()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as looker:
        assert told(looker) == "x"
        began = time.monotonic()
        running.begin(executes=True)
        assert time.monotonic() - began < 1.5
    os.close(running._held.pop())
