"""Planning sees every change of a dataset's folder, at a cost of little more than looking at it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from boldtable.stages.collect import Collect, changes, stamps
from boldtable.stages.collect.changes import folder_digest
from trees import Tree, XcpdTree, func


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / ".snakemake").mkdir()
    return tmp_path / ".snakemake/boldtable/d.json"


def rewritten(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes of a file and keep its size and time."""
    stamp = path.stat()
    path.write_bytes(path.read_bytes().replace(old, new))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a new participant": lambda folder: Tree(frames=200).write(folder, ["03"]),
    "a run gone": lambda folder: next(func(folder, "01").glob("*bold.nii.gz")).unlink(),
    "a sidecar, its size and time kept": lambda folder: rewritten(
        next(func(folder, "01").glob("*bold.json")), b"2.0", b"1.0"
    ),
    "a sidecar above": lambda folder: (folder / "task-rest_bold.json").write_text("{}"),
    "a sessions table": lambda folder: (folder / "sub-01/sub-01_sessions.tsv").write_text("session_id\n"),
    "an image replaced": lambda folder: next(func(folder, "02").glob("*bold.nii.gz")).write_bytes(b"other"),
    "confounds metadata": lambda folder: (
        func(folder, "02") / "sub-02_task-rest_desc-confounds_timeseries.json"
    ).write_text("{}"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_every_change_is_seen(tmp_path: Path, cache: Path, change: Callable[[Path], object]) -> None:
    folder = Tree(frames=200).write(tmp_path / "derivatives", ["01", "02"])
    settings = Collect(derivatives=folder)
    before = folder_digest(settings, cache)
    assert folder_digest(settings, cache) == before
    change(folder)
    after = folder_digest(settings, cache)
    assert after != before
    cache.unlink()
    assert folder_digest(settings, cache) == after


def test_what_no_number_depends_on_is_not_looked_at(tmp_path: Path, cache: Path) -> None:
    folder = Tree(frames=200).write(tmp_path / "derivatives", ["01"])
    before = folder_digest(Collect(derivatives=folder), cache)
    (folder / "sub-01.html").write_text("report")
    (folder / "sub-01/figures").mkdir()
    (func(folder, "01") / "sub-01_task-rest_hemi-L_bold.func.gii").write_text("surface")
    assert folder_digest(Collect(derivatives=folder), cache) == before


def test_only_changed_files_are_opened(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = XcpdTree(runs=["1", "2"]).write(tmp_path / "xcp_d", ["01", "02"])
    settings = Collect(derivatives=folder, layout="xcpd")
    folder_digest(settings, cache)
    opened: list[Path] = []
    monkeypatch.setattr(changes, "digest", lambda path: opened.append(path) or stamps.digest(path))
    folder_digest(settings, cache)
    assert opened == []
    (func(folder, "01") / "new.json").write_text("{}")
    folder_digest(settings, cache)
    assert [path.name for path in opened] == ["new.json"]


@pytest.mark.parametrize("content", ["", "nonsense", "[1]", '{"a": 1}', '{"a": [1, 2]}'])
def test_a_damaged_record_of_the_last_start_is_made_anew(tmp_path: Path, cache: Path, content: str) -> None:
    folder = Tree(frames=200).write(tmp_path / "derivatives", ["01"])
    before = folder_digest(Collect(derivatives=folder), cache)
    cache.write_text(content)
    assert folder_digest(Collect(derivatives=folder), cache) == before


def test_series_links_that_never_end_and_folders_that_are_not_there(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "series"
    settings = Collect(derivatives=folder, layout="series", pattern="{participant}.txt")
    assert folder_digest(settings, cache) == "none"
    folder.mkdir()
    (folder / "a.txt").write_text("1 2\n")
    (folder / "loop").symlink_to(".")
    (folder / "self").symlink_to("self")
    before = folder_digest(settings, cache)
    rewritten(folder / "a.txt", b"2", b"3")
    assert folder_digest(settings, cache) != before
