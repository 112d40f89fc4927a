"""Artefacts: shapes survive, provenance is there, files appear whole or not at all, wrong ones are refused."""

import hashlib
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from boldtable import store
from boldtable.errors import InputError, OutputError

RUN = {"dataset": "aurora", "participant": "01", "session": "1", "task": "rest", "run": None, "acquisition": None}


def parcels_row(n_frames=7, n_parcels=5, **more):
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(n_frames, n_parcels)).astype(np.float32)
    signal[:, 2] = np.nan
    coverage = np.array([1, 0.5, 0, 1, 1], dtype=np.float32)
    confounds = {"framewise_displacement": np.arange(n_frames, dtype=np.float32)}
    row = {**RUN, "tr_s": 0.8, "n_frames": n_frames, "signal": signal, "coverage": coverage, "confounds": confounds}
    return {**row, "status": "ok", "reason": None, **more}


def write_parcels(path, rows):
    with store.Writer(path, "parcels", store.Provenance("parcellate", atlas="demo457"), size=5) as writer:
        for row in rows:
            writer.append(row)


def test_arrays_keep_shape_values_and_missing_parcels(tmp_path):
    path = tmp_path / "deep/0.parquet"
    failed = parcels_row(signal=None, coverage=None, confounds=None, status="failed", reason="truncated")
    write_parcels(path, [parcels_row(), failed, parcels_row(n_frames=3)])
    first, second, third = store.rows(path, "parcels")
    np.testing.assert_array_equal(first["signal"], parcels_row()["signal"])
    assert first["coverage"].tolist() == [1, 0.5, 0, 1, 1]
    assert first["confounds"]["framewise_displacement"].tolist() == list(range(7))
    assert second["signal"] is None
    assert second["reason"] == "truncated"
    assert third["signal"].shape == (3, 5)


def test_plain_pandas_opens_it(tmp_path):
    write_parcels(tmp_path / "0.parquet", [parcels_row()])
    frame = pd.read_parquet(tmp_path / "0.parquet")
    assert np.stack(frame["signal"][0]).shape == (7, 5)


def test_metadata_says_where_a_file_comes_from(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("x")
    provenance = store.Provenance("collect", inputs=[source])
    store.write(tmp_path / "runs.parquet", "runs", [RUN], provenance)
    found = store.provenance(tmp_path / "runs.parquet")
    assert found["stage"] == "collect"
    assert found["inputs"] == [{"name": "source.txt", "sha256": hashlib.sha256(b"x").hexdigest()}]
    assert found["settings_sha256"] == store.sha256_json({}) != store.sha256_json({"a": 1})
    assert json.loads(pq.read_schema(tmp_path / "runs.parquet").metadata[b"boldtable"]) == found


def test_phenotypes_are_kept_as_given_and_other_tables_are_closed(tmp_path):
    store.write(
        tmp_path / "p.parquet", "participants", [{"participant": "01", "coin": "heads"}], store.Provenance("collect")
    )
    assert store.read(tmp_path / "p.parquet", "participants").column("coin").to_pylist() == ["heads"]
    with pytest.raises(ValueError, match="coin"):
        store.write(tmp_path / "r.parquet", "runs", [{**RUN, "coin": "heads"}], store.Provenance("collect"))


def test_nothing_half_written_is_left(tmp_path):
    class InterruptionError(Exception):
        pass

    path = tmp_path / "0.parquet"

    def interrupted():
        yield parcels_row()
        raise InterruptionError

    with pytest.raises(InterruptionError):
        write_parcels(path, interrupted())
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_survives_a_failed_write(tmp_path):
    store.write_text(tmp_path / "table.md", "old")

    def fail():
        with store.atomic(tmp_path / "table.md") as temporary:
            temporary.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "table.md").read_text() == "old"


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really", b"text"])
def test_unreadable_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "runs.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"runs\.parquet"):
        store.read(path, "runs")


def test_another_artefact_is_refused(tmp_path):
    store.write(tmp_path / "runs.parquet", "runs", [RUN], store.Provenance("collect"))
    with pytest.raises(InputError, match="is no 'qc' table: column"):
        store.read(tmp_path / "runs.parquet", "qc")
    with pytest.raises(InputError, match="not found"):
        store.read(tmp_path / "none.parquet", "qc")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        store.write_text(tmp_path / "results/table.md", "text")


def test_missing_text_is_none_in_a_frame(tmp_path):
    store.write(tmp_path / "runs.parquet", "runs", [RUN, {**RUN, "run": "2"}], store.Provenance("collect"))
    frame = store.frame(tmp_path / "runs.parquet", "runs")
    assert frame["run"].tolist() == [None, "2"]
    assert store.label(frame.iloc[0]) == "aurora sub-01 ses-1 task-rest"


def test_labels_are_readable():
    assert store.label(RUN) == "aurora sub-01 ses-1 task-rest"


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "close", full)
    with pytest.raises(OutputError, match=r"0\.parquet: no space left on the disk; make room"):
        write_parcels(tmp_path / "0.parquet", [parcels_row()])
    assert list(tmp_path.iterdir()) == []
