"""A user's own atlas: accepted as it is, or refused with what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parcellate_files import N_PARCELS, RAS, SPACE, little_labels, little_table, write_nifti

from boldtable import store
from boldtable.atlas.image import load_labels
from boldtable.atlas.own import own_atlas, read_parcels, series_atlas
from boldtable.atlas.table import load_table
from boldtable.errors import InputError
from boldtable.stages import parcellate

HEAD = "index\tname\themisphere\tnetwork\n"


def table(folder: Path, text: str) -> Path:
    (folder / "own.tsv").write_text(text)
    return folder / "own.tsv"


def image(folder: Path, labels: np.ndarray | None = None) -> Path:
    return write_nifti(folder / "own.nii.gz", little_labels() if labels is None else labels, dtype="<i2")


def test_rows_keep_their_order_whatever_the_labels_are(tmp_path: Path) -> None:
    rows = "".join(f"{i}\tp{i}\tL\tVis\n" for i in (5, 1, 6, 2, 4, 3))
    atlas, _ = own_atlas("mine", image(tmp_path), table(tmp_path, HEAD + rows), SPACE)
    assert atlas.parcels["index"].tolist() == [5, 1, 6, 2, 4, 3]
    for row in atlas.parcels.itertuples():
        where = np.argwhere(little_labels() == row.index)
        np.testing.assert_allclose([row.x_mm, row.y_mm, row.z_mm], where.mean(axis=0) @ RAS[:3, :3] + RAS[:3, 3])
        assert row.n_voxels == len(where)


def test_unknown_hemisphere_and_network_are_said_so(tmp_path: Path) -> None:
    rows = "1\ta\tn/a\tn/a\n2\tb\tR\t\n"
    parcels = read_parcels(table(tmp_path, HEAD + rows))
    assert parcels["hemisphere"].tolist() == ["B", "R"]
    assert parcels["network"].tolist() == ["unknown", "unknown"]


def test_a_row_without_a_voxel_stays_and_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atlas, _ = own_atlas("mine", image(tmp_path), little_table(tmp_path / "own.tsv", N_PARCELS + 1), SPACE)
    assert atlas.n_parcels == N_PARCELS + 1
    assert atlas.parcels["n_voxels"].tolist()[-1] == 0
    assert "no voxel" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("index\tname\n1\ta\n", "column hemisphere, network is missing \\(found: index, name\\)"),
        ("index,name,hemisphere,network\n1,a,L,x\n", "with tabs between the columns"),
        (HEAD, "has no rows"),
        ("", "is empty"),
        (HEAD + "1\ta\tL\tx\n1\tb\tL\tx\n", "index 1 stands in more than one row"),
        (HEAD + "1\ta\tL\tx\n2\ta\tL\tx\n", "name a stands in more than one row"),
        (HEAD + "0\ta\tL\tx\n", "whole number from 1 on, found 0"),
        (HEAD + "1.5\ta\tL\tx\n", "found 1.5"),
        (HEAD + "1\ta\tleft\tx\n", "hemisphere must be L, R, B .* found left"),
        (HEAD + "1\ta\tL\tx\n2\tb\tL\tx\n3\tc\tL\tx\n", "does not name: 4, 5, 6; add a row"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        own_atlas("mine", image(tmp_path), table(tmp_path, text), SPACE)


def test_many_missing_labels_are_cut_short(tmp_path: Path) -> None:
    labels = np.zeros((12, 14, 10), dtype=np.int32)
    labels.ravel()[:50] = np.arange(50) + 1
    with pytest.raises(InputError, match="2, 3, 4, 5, 6 and 44 more"):
        own_atlas("mine", image(tmp_path, labels), table(tmp_path, HEAD + "1\ta\tL\tx\n"), SPACE)


def test_missing_files_and_empty_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="atlas table not found"):
        read_parcels(tmp_path / "nowhere.tsv")
    with pytest.raises(InputError, match="no label above 0"):
        own_atlas("m", image(tmp_path, np.zeros((3, 3, 3))), table(tmp_path, HEAD + "1\ta\tL\tx\n"), SPACE)


def test_the_stage_writes_table_and_image(tmp_path: Path) -> None:
    files = {"image": str(image(tmp_path)), "table": str(little_table(tmp_path / "own.tsv"))}
    out = tmp_path / "results" / "mine.parquet"
    parcellate.atlas(parcellate.Parcellate.parse({"source": "file", "space": SPACE} | files), "mine", out)
    found = load_table(out)
    assert (found.name, found.space, found.n_parcels) == ("mine", SPACE, N_PARCELS)
    labels, affine = load_labels(out.parent / "mine.nii.gz")
    np.testing.assert_array_equal(labels, little_labels())
    np.testing.assert_allclose(affine, RAS)
    about = store.provenance(out)
    assert about["stage"] == "atlas"
    assert [file["name"] for file in about["inputs"]] == ["own.nii.gz", "own.tsv"]


def test_series_tables_may_have_positions(tmp_path: Path) -> None:
    head = HEAD.strip() + "\tx_mm\ty_mm\tz_mm\n"
    atlas = series_atlas("s", table(tmp_path, head + "1\ta\tL\tx\t1.5\t2\t-3\n2\tb\tR\tx\tn/a\tn/a\tn/a\n"), None)
    assert atlas.space == "unknown"
    assert atlas.parcels.loc[0, ["x_mm", "y_mm", "z_mm"]].tolist() == [1.5, 2, -3]
    assert atlas.parcels.loc[1, ["x_mm", "y_mm", "z_mm"]].isna().all()
    with pytest.raises(InputError, match="column x_mm holds something else"):
        series_atlas("s", table(tmp_path, head + "1\ta\tL\tx\tfar\t2\t-3\n"), None)


def test_the_hash_follows_the_meaning_of_the_columns(tmp_path: Path) -> None:
    one = series_atlas("one", table(tmp_path, HEAD + "1\ta\tL\tx\n2\tb\tR\tx\n"), None)
    same = series_atlas("two", table(tmp_path, HEAD + "1\ta\tL\tx\n2\tb\tR\tx\n"), None)
    turned = series_atlas("one", table(tmp_path, HEAD + "2\tb\tR\tx\n1\ta\tL\tx\n"), None)
    assert one.sha256 == same.sha256 != turned.sha256


def test_the_hash_survives_the_file(tmp_path: Path) -> None:
    atlas, _ = own_atlas("mine", image(tmp_path), little_table(tmp_path / "own.tsv"), SPACE)
    atlas.save(tmp_path / "a.parquet", store.Provenance("atlas"))
    assert load_table(tmp_path / "a.parquet").sha256 == atlas.sha256
