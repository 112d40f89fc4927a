"""Digests that the workflow plans by: content counts, and only the content that is read."""

import os

import pytest

from boldtable import planning, store

RUN = {"dataset": "a", "participant": "01", "session": None, "task": "rest", "run": "1", "acquisition": None}


@pytest.fixture(autouse=True)
def another_start():
    """A digest is taken once per start of the workflow."""
    planning.of_file.cache_clear()
    planning._of_columns.cache_clear()


def again(path, content):
    """Another content of the same size, with the time kept."""
    about = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    planning.of_file.cache_clear()


def test_a_small_file_counts_by_its_content_alone(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"x" * 100)
    first = planning.of_files([str(path), None])
    os.utime(path)
    planning.of_file.cache_clear()
    assert planning.of_files([str(path)]) == first
    again(path, b"x" * 50 + b"y" + b"x" * 49)
    assert planning.of_files([str(path)]) != first


def test_a_large_file_counts_by_its_ends_and_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "_WHOLE", 1000)
    path = tmp_path / "a.nii"
    content = b"x" * 200_000
    path.write_bytes(content)
    seen = {planning.of_file(str(path))}
    for other in (b"y" + content[1:], content[:-1] + b"y"):
        again(path, other)
        seen.add(planning.of_file(str(path)))
    again(path, content)
    assert planning.of_file(str(path)) in seen
    assert len(seen) == 3
    os.utime(path)
    planning.of_file.cache_clear()
    assert planning.of_file(str(path)) not in seen


def test_folders_count_by_what_is_in_them_and_nothing_is_nothing(tmp_path):
    (tmp_path / "atlas/deep").mkdir(parents=True)
    (tmp_path / "atlas/deep/a.txt").write_text("x")
    first = planning.of_file(str(tmp_path / "atlas"))
    again(tmp_path / "atlas/deep/a.txt", b"y")
    assert planning.of_file(str(tmp_path / "atlas")) != first
    assert planning.of_file(str(tmp_path / "nowhere")) == planning.of_files([None]) == planning.MISSING


def kept(path, rows):
    store.write_kept(path, [{**RUN, "shard": "0", "keep": True, **row} for row in rows])
    planning._of_columns.cache_clear()
    return planning.of_kept(str(path)), path.read_bytes()


def test_equal_lists_of_kept_runs_are_equal_to_the_byte(tmp_path):
    path = tmp_path / "kept.parquet"
    rows = [{"participant": "01", "fingerprint": "a"}, {"participant": "02", "fingerprint": "b"}]
    first = kept(path, rows)
    assert kept(path, [*rows, {"participant": "03", "keep": False}]) == first
    assert kept(path, rows[:1])[0] != first[0]
    assert kept(path, [rows[0], {**rows[1], "fingerprint": "c"}])[0] != first[0]
    assert planning.of_kept(str(tmp_path / "nowhere")) == planning.MISSING


def test_rows_that_look_at_no_signal_depend_on_what_they_read(tmp_path):
    qc, people = tmp_path / "qc.parquet", tmp_path / "participants.parquet"

    def digests(fd_mm_mean=0.1, reasons=None, site="s", age=30.0, score=1):
        row = {**RUN, "keep": True, "fd_mm_mean": fd_mm_mean, "reasons": reasons}
        store.write(qc, "qc", [row], store.Provenance("x"))
        person = {"participant": "01", "site": site, "age_years": age, "score": score}
        store.write(people, "participants", [person], store.Provenance("x"))
        planning._of_columns.cache_clear()
        encoders = ("majority", "nuisance", "demographics", "connectome", "mine")
        return {name: planning.of_people(name, str(qc), str(people)) for name in encoders}

    def changed(**values):
        return {name for name, digest in digests(**values).items() if digest != first[name]}

    first = digests()
    assert changed(score=2) == changed(reasons="a threshold moved") == set()
    assert changed(fd_mm_mean=0.2) == changed(site="t") == {"nuisance"}
    assert changed(age=31.0) == {"demographics"}


def test_statistics_depend_on_who_trains_in_their_split(tmp_path):
    path = tmp_path / "t.parquet"

    def digest(*rows):
        columns = ("split", "participant", "part", "target")
        made = [{"task": "t", "dataset": "a", **dict(zip(columns, row, strict=True))} for row in rows]
        store.write(path, "splits", made, store.Provenance("x"))
        return planning.of_training(str(path), "t/0")

    first = digest((0, "01", "train", "a"), (0, "02", "test", "b"))
    assert digest((0, "01", "train", "other"), (0, "03", "val", "b"), (1, "02", "train", "b")) == first
    assert digest((0, "02", "train", "a")) != first
    assert planning.of_training(str(tmp_path / "nowhere"), "t/0") == planning.MISSING
