"""One bit of a file of ours that changes is refused by name, wherever it lies, or changes nothing."""

import random
from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from boldtable import store
from boldtable.errors import InputError

N_PARCELS, N_FLIPS = 6, 150
KEYS = {"dataset": "aurora", "participant": "01", "session": "1", "task": "rest", "run": None, "acquisition": None}


def run_row(number: int) -> dict:
    rng = np.random.default_rng(number)
    n = 20 + number
    signal = rng.normal(size=(n, N_PARCELS)).astype(np.float32)
    return {
        **KEYS, "participant": f"{number:02d}", "tr_s": 2.0, "n_frames": n, "signal": signal, "status": "ok",
        "coverage": np.ones(N_PARCELS, np.float32), "mean": signal.mean(axis=0), "std": signal.std(axis=0),
        "interpolated": np.zeros(n, bool), "confounds": {"trans_x": np.arange(n, dtype=np.float32)},
        "fingerprint": f"{number:064d}",
    }  # fmt: skip


def make(path, artefact):
    about = store.Provenance("test")
    if artefact in ("parcels", "tensors"):
        with store.Writer(path, artefact, about, N_PARCELS) as writer:
            for number in range(4):
                writer.append(run_row(number))
    elif artefact == "embeddings":
        rows = [{**KEYS, "window": k, "start_s": 1.0 * k, "embedding": [0.1 * k] * 6} for k in range(9)]
        store.write(path, artefact, rows, about, size=6)
    else:
        rows = [{"model": "m", "task": "t", "split": k, "seed": k, "metric": "mae", "value": k / 7} for k in range(9)]
        store.write(path, artefact, rows, about)


def content(path, artefact):
    """Everything that a stage may ask of the file, as text."""
    found = [store.read(path, artefact).to_pylist(), store.provenance(path)]
    if artefact in ("parcels", "tensors"):
        found.append([{k: np.asarray(v).tolist() for k, v in row.items()} for row in store.rows(path, artefact)])
    return repr(found)


@pytest.mark.parametrize("artefact", ["parcels", "tensors", "embeddings", "scores"])
def test_a_flipped_bit_is_refused_by_name_or_changes_nothing(tmp_path, artefact):
    path = tmp_path / "good.parquet"
    make(path, artefact)
    good, right = path.read_bytes(), content(path, artefact)
    places = random.Random(7)
    refused = 0
    for number in range(N_FLIPS):
        flipped = bytearray(good)
        flipped[places.randrange(len(good))] ^= 1 << places.randrange(8)
        bad = tmp_path / f"{number}.parquet"
        bad.write_bytes(flipped)
        try:
            assert content(bad, artefact) == right, number
        except InputError as error:
            refused += 1
            line = str(error)
            assert str(bad) in line
            assert "delete it, then start the same command again" in line
            assert "\n" not in line
        bad.unlink()
    assert refused > 0.9 * N_FLIPS


def test_every_bit_around_the_data_counts(tmp_path):
    """Page headers are in no checksum of Parquet's own, nor is the footer: each of their bits is tried."""
    path, bad = tmp_path / "good.parquet", tmp_path / "bad.parquet"
    store.write(
        path, "scores", [{"model": "m", "task": "t", "split": 0, "metric": "mae", "value": 0.25}], store.Provenance("t")
    )
    good, right = path.read_bytes(), content(path, "scores")
    for place in range(0, len(good), 3):
        flipped = bytearray(good)
        flipped[place] ^= 1 << place % 8
        bad.write_bytes(flipped)
        store.parquet._verified.clear()  # one name, one size, and perhaps one time
        with suppress(InputError):
            assert content(bad, "scores") == right, place


def test_what_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "0.parquet"
    make(path, "tensors")
    good = path.read_bytes()
    for n in (0, 3, 8, 11, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:n])
        with pytest.raises(InputError, match=r"0\.parquet"):
            store.read(path, "tensors")


def test_other_readers_open_it_and_pages_have_checksums_of_their_own(tmp_path):
    path = tmp_path / "scores.parquet"
    make(path, "scores")
    assert len(pd.read_parquet(path)) == 9
    plain = pq.read_table(path, page_checksum_verification=True)
    assert plain.equals(store.read(path, "scores").replace_schema_metadata(plain.schema.metadata))
    chunk = pq.read_metadata(path).row_group(0).column(5)
    flipped = bytearray(path.read_bytes())
    flipped[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 4
    path.write_bytes(flipped)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


def test_files_of_other_makers_are_read(tmp_path):
    path = tmp_path / "theirs.parquet"
    names = store.schema("scores").names
    pq.write_table(pa.table({name: [None] for name in names}), path)
    assert store.read(path, "scores").num_rows == 1


def test_a_column_of_a_file_is_read_although_another_is_damaged(tmp_path):
    """What is not read is not verified, so that the keys of a shard cost no reading of its signals."""
    path = tmp_path / "0.parquet"
    make(path, "tensors")
    group = pq.read_metadata(path).row_group(0)
    signal = next(group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema.startswith("sig"))
    flipped = bytearray(path.read_bytes())
    flipped[signal.data_page_offset + 60] ^= 1
    path.write_bytes(flipped)
    assert store.read(path, "tensors", ["participant"]).num_rows == 4
    with pytest.raises(InputError, match="column signal has changed since it was written"):
        list(store.rows(path, "tensors", ["signal"]))
