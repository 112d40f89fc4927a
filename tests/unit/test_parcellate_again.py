"""A second start: what is unchanged is taken from the former file, and a killed shard leaves that one as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from parcellate_files import N_PARCELS, SHAPE, Study, little_labels, paint, planted, write_nifti

from boldtable import store
from boldtable.errors import InputError
from boldtable.stages import parcellate
from boldtable.stages.parcellate import shard

BAD = "bad_bold.nii.gz"


class Again(Study):
    """A study whose runs have fingerprints, and that counts how many are read."""

    def __init__(self, folder: Path, **settings: object) -> None:
        super().__init__(folder, **settings)
        for name, seed in (("a", 1), ("b", 2), ("c", 3)):
            write_nifti(self.root / f"{name}.nii.gz", paint(little_labels(), planted(seed=seed)), dtype="<i2")
            self.add(f"{name}.nii.gz", fingerprint=f"{name}1")
        (self.root / BAD).write_bytes(b"nonsense")
        self.add(BAD, fingerprint="bad1")

    @property
    def out(self) -> Path:
        return self.folder / "parcels" / "0000.parquet"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Again:
    made = Again(tmp_path)
    made.read = []
    one = shard._parcels

    def counted(*arguments: object) -> object:
        made.read.append(arguments[-1]["bold"])
        return one(*arguments)

    monkeypatch.setattr(shard, "_parcels", counted)
    return made


def opened(study: Again) -> list[str]:
    study.read.clear()
    study.run()
    return list(study.read)


def test_only_the_repaired_run_is_read_again(study: Again, capsys: pytest.CaptureFixture[str]) -> None:
    first = study.run()
    assert [row["status"] for row in first] == ["ok", "ok", "ok", "failed"]
    write_nifti(study.root / BAD, paint(little_labels(), planted(seed=9)), dtype="<i2")
    study.rows[3]["fingerprint"] = "bad2"
    assert opened(study) == [BAD]
    assert "4 ok (3 of them unchanged, from the former file)" in capsys.readouterr().err
    second = list(store.rows(study.out, "parcels"))
    for before, after in zip(first[:3], second[:3], strict=True):
        assert before.keys() == after.keys()
        for name in before:
            np.testing.assert_equal(after[name], before[name])
    np.testing.assert_array_equal(second[3]["signal"], planted(seed=9).astype(np.float32))


def test_the_file_is_the_same_as_from_a_first_start(study: Again) -> None:
    confounds = "trans_x\tframewise_displacement\n0.1\tn/a\n" + "0.2\t0.3\n" * 39
    (study.root / "c.tsv").write_text(confounds)
    mask = np.ones(SHAPE)
    mask[:6] = 0
    write_nifti(study.root / "m.nii.gz", mask, dtype="|u1")
    study.rows[0]["confounds"], study.rows[1]["mask"] = "c.tsv", "m.nii.gz"
    study.run()
    whole = study.out.read_bytes()
    assert opened(study) == []
    assert study.out.read_bytes() == whole


def test_a_removed_and_a_new_run(study: Again) -> None:
    study.run()
    del study.rows[0]
    study.add("a.nii.gz", fingerprint="new", participant="07")
    assert opened(study) == ["a.nii.gz"]
    assert [row["participant"] for row in store.rows(study.out, "parcels")] == ["01", "02", "03", "07"]


def test_runs_without_a_fingerprint_are_always_read(study: Again) -> None:
    for row in study.rows:
        row["fingerprint"] = None
    study.run()
    assert len(opened(study)) == 4


def test_another_setting_atlas_or_version_reads_everything_again(study: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    study.run()
    study.settings = study.settings.model_copy(update={"min_coverage": 0.7})
    assert len(opened(study)) == 4
    assert opened(study) == []
    labels = little_labels()
    labels[labels == N_PARCELS] = 0
    labels[9:11, 9:11, 2:4] = N_PARCELS
    write_nifti(study.folder / "own.nii.gz", labels, dtype="<i2")
    parcellate.atlas(study.settings, "own", study.atlas)
    assert len(opened(study)) == 4
    monkeypatch.setattr(store.files, "__version__", "99")
    assert len(opened(study)) == 4


@pytest.mark.parametrize("content", [b"", b"PAR1 nonsense PAR1"])
def test_a_broken_former_file_is_made_anew(study: Again, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    study.out.parent.mkdir(parents=True)
    study.out.write_bytes(content)
    assert len(opened(study)) == 4
    assert "cannot be read" in capsys.readouterr().err


def test_a_former_file_damaged_inside_costs_only_its_rows(study: Again, capsys: pytest.CaptureFixture[str]) -> None:
    study.run()
    content = bytearray(study.out.read_bytes())
    row = pq.ParquetFile(study.out).metadata.row_group(0)
    chunk = next(row.column(n) for n in range(row.num_columns) if row.column(n).path_in_schema.startswith("signal"))
    content[chunk.data_page_offset : chunk.data_page_offset + 60] = b"\xff" * 60
    study.out.write_bytes(content)
    assert "a.nii.gz" in opened(study)
    assert "is damaged" in capsys.readouterr().err
    np.testing.assert_array_equal(next(store.rows(study.out, "parcels"))["signal"], planted(seed=1).astype(np.float32))


def test_a_reason_outside_the_files_is_tried_again(study: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permission comes back without a change of the file: its stamp would hide the repair."""
    whole = shard.open_bold

    def locked(path: Path) -> object:
        if path.name == "a.nii.gz":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(shard, "open_bold", locked)
    assert study.run()[0]["status"] == "failed"
    monkeypatch.setattr(shard, "open_bold", whole)
    assert opened(study) == ["a.nii.gz"]
    assert next(store.rows(study.out, "parcels"))["status"] == "ok"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["a.nii.gz", "m.nii.gz", "c.tsv"])
def test_unreadable_files_cost_the_run_until_they_can_be_read(study: Again, name: str) -> None:
    write_nifti(study.root / "m.nii.gz", np.ones(SHAPE), dtype="|u1")
    (study.root / "c.tsv").write_text("trans_x\n" + "1\n" * 40)
    study.rows[0] |= {"mask": "m.nii.gz", "confounds": "c.tsv"}
    (study.root / name).chmod(0)
    assert "permission denied" in study.run()[0]["reason"].lower()
    (study.root / name).chmod(0o644)
    assert opened(study) == ["a.nii.gz"]


CHILD = """
import sys
from pathlib import Path
from boldtable.stages import parcellate
folder = Path(sys.argv[1])
settings = parcellate.Parcellate.parse({"source": "file", "image": str(folder / "own.nii.gz"), "table": str(
    folder / "own.tsv"), "space": "MNI152NLin6Asym"})
if sys.argv[2] == "slow":  # the last run takes for ever
    import time
    from boldtable.stages.parcellate import shard
    shard.read_confounds = lambda path, n_frames: time.sleep(600)
if sys.argv[2] == "full":
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
parcellate.run(settings, "d", folder / "derivatives", folder / "runs.parquet", "0000", folder / "atlases/own.parquet",
               folder / "parcels/0000.parquet")
"""


def child(study: Study, how: str) -> subprocess.Popen[str]:
    store.write(study.folder / "runs.parquet", "runs", study.rows, store.Provenance("collect"))
    command = [sys.executable, "-c", CHILD, str(study.folder), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("former", [False, True])
def test_a_killed_shard_leaves_no_half_written_file(tmp_path: Path, former: bool) -> None:
    study = Again(tmp_path)
    before = None
    if former:
        study.run()
        before = (tmp_path / "parcels/0000.parquet").read_bytes()
    study.add("a.nii.gz", confounds="stuck.tsv", fingerprint="stuck")
    process = child(study, "slow")
    try:
        deadline = time.monotonic() + 60
        while not any((tmp_path / "parcels").glob(".*.tmp")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    out = tmp_path / "parcels/0000.parquet"
    assert (out.read_bytes() if out.exists() else None) == before
    assert [path.name for path in out.parent.glob("*.parquet")] == (["0000.parquet"] if former else [])
    del study.rows[-1]
    assert [row["status"] for row in study.run()] == ["ok", "ok", "ok", "failed"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_fills_up_leaves_the_former_file(tmp_path: Path) -> None:
    study = Again(tmp_path)
    noise = np.random.default_rng(0).normal(size=(*SHAPE, 3000)).astype("<f4")
    write_nifti(study.root / "long.nii", noise)
    study.run()
    before = (tmp_path / "parcels/0000.parquet").read_bytes()
    study.add("long.nii", fingerprint="long")
    process = child(study, "full")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.strip().splitlines()[-1].startswith(f"{InputError.__module__}.InputError: cannot write")
    assert "make room and start again" in errors
    assert (tmp_path / "parcels/0000.parquet").read_bytes() == before
    assert [path.name for path in (tmp_path / "parcels").iterdir()] == ["0000.parquet"]
    assert [row["status"] for row in study.run()] == ["ok", "ok", "ok", "failed", "ok"]
