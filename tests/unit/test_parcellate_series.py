"""Ready parcel series: text and numpy files, their faults, and the table-only atlas."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from parcellate_files import N_PARCELS, Study, little_labels, little_table, paint, planted, write_nifti

from boldtable import store
from boldtable.atlas.table import load_table
from boldtable.errors import RunError
from boldtable.stages import parcellate
from boldtable.stages.parcellate.series import read_series


def text(values: np.ndarray, separator: str, header: str | None = None) -> bytes:
    lines = [separator.join("n/a" if np.isnan(v) else repr(float(v)) for v in row) for row in values]
    return "\n".join(([header] if header else []) + lines + [""]).encode()


def numpy_bytes(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


NAMES = [f"p{index}" for index in range(1, N_PARCELS + 1)]
FORMS = {
    "plain.txt": text(planted(), " "),
    "spaces.1D": b"# made by hand\n" + text(planted(), "   "),
    "tabs.tsv": text(planted(), "\t"),
    "named.tsv": text(planted(), "\t", "\t".join(NAMES)),
    "named.csv": text(planted(), ",", ",".join(NAMES)),
    "commas.csv": text(planted(), ","),
    "array.npy": numpy_bytes(planted()),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_form_gives_the_same_series(tmp_path: Path, name: str, zipped: bool) -> None:
    path = tmp_path / (f"{name}.gz" if zipped else name)
    path.write_bytes(gzip.compress(FORMS[name]) if zipped else FORMS[name])
    found = read_series(path, NAMES, "frame_parcel")
    np.testing.assert_array_equal(found.signal, planted().astype(np.float32))
    np.testing.assert_array_equal(found.coverage, 1)


def test_rows_can_be_parcels(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text(planted().T, " "))
    np.testing.assert_array_equal(read_series(path, NAMES, "parcel_frame").signal, planted().astype(np.float32))
    with pytest.raises(RunError, match=r"has 40 parcels, the atlas table has 6 \(its rows fit: correct 'orientation'"):
        read_series(path, NAMES, "frame_parcel")


def test_missing_and_constant_parcels_are_nan_with_coverage_0(tmp_path: Path) -> None:
    values = planted()
    values[:, 1], values[:, 4] = np.nan, 3.0
    (tmp_path / "a.tsv").write_bytes(text(values, "\t"))
    found = read_series(tmp_path / "a.tsv", NAMES, "frame_parcel")
    assert found.coverage.tolist() == [1, 0, 1, 1, 0, 1]
    assert np.isnan(found.signal[:, [1, 4]]).all()
    assert not np.isnan(found.signal[:, [0, 2, 3, 5]]).any()


def test_named_columns_are_joined_by_name_whatever_their_order(tmp_path: Path) -> None:
    order = [3, 0, 5, 1]
    values = planted()[:, order]
    (tmp_path / "a.tsv").write_bytes(text(values, "\t", "\t".join(NAMES[place] for place in order)))
    found = read_series(tmp_path / "a.tsv", NAMES, "frame_parcel")
    np.testing.assert_array_equal(found.signal[:, order], values.astype(np.float32))
    assert found.coverage.tolist() == [1, 1, 0, 1, 0, 1]
    assert np.isnan(found.signal[:, [2, 4]]).all()


def test_named_rows_are_joined_by_name_under_any_header(tmp_path: Path) -> None:
    values = planted().T[::-1]
    rows = "".join(f"{name},{','.join(map(str, row))}\n" for name, row in zip(NAMES[::-1], values, strict=True))
    header = "parcel," + ",".join(map(str, range(values.shape[1])))
    for top in ("", header + "\n", "parcel," + ",".join(f"t{frame}" for frame in range(values.shape[1])) + "\n"):
        (tmp_path / "a.csv").write_text(top + rows)
        found = read_series(tmp_path / "a.csv", NAMES, "parcel_frame")
        np.testing.assert_array_equal(found.signal, planted().astype(np.float32))


def test_the_row_numbers_of_pandas_are_no_parcel(tmp_path: Path) -> None:
    frame = pd.DataFrame(planted(), columns=NAMES)
    frame.to_csv(tmp_path / "a.csv")
    found = read_series(tmp_path / "a.csv", NAMES, "frame_parcel")
    np.testing.assert_array_equal(found.signal, planted().astype(np.float32))


def test_the_column_numbers_of_pandas_are_no_frame(tmp_path: Path) -> None:
    values = np.tile(planted(), 2)
    pd.DataFrame(values).to_csv(tmp_path / "a.csv", index=False)
    found = read_series(tmp_path / "a.csv", [*NAMES, *"abcdef"], "frame_parcel")
    np.testing.assert_array_equal(found.signal, values.astype(np.float32))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (["p1", "p2", "p3", "p4", "p5", "p7"], "names 1 of 6 parcels that the atlas table does not have, such as 'p7'"),
        (["LH_1", "LH_2", "LH_3", "LH_4", "LH_5", "LH_6"], "names 6 of 6 parcels .* such as 'LH_1'"),
        (["p1", "p2", "p3", "p4", "p5", "p1"], "has the parcel 'p1' more than once"),
        (["p1", "p2", "p3", "p4", "p5"], "has 5 names for 6 parcels"),
    ],
)
def test_names_that_do_not_fit_cost_the_run(tmp_path: Path, header: list[str], reason: str) -> None:
    (tmp_path / "a.tsv").write_bytes(text(planted(), "\t", "\t".join(header)))
    with pytest.raises(RunError, match=reason):
        read_series(tmp_path / "a.tsv", NAMES, "frame_parcel")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "a.txt",
            text(np.where(np.arange(40)[:, None] == 7, np.inf, planted()), " "),
            "NaN or infinite values in 1 of 40",
        ),
        ("a.txt", text(planted()[:, :5], " "), "has 5 parcels, the atlas table has 6"),
        ("a.txt", text(planted()[:1], " "), "has 1 frame"),
        ("a.txt", text(np.ones((9, 6)), " "), "holds no signal"),
        ("a.txt", b"", "no rows"),
        ("a.txt", b"1 2 3 4 5 6\n1 2\n1 2 3 4 5 6 7 8\n", "cannot be read as numbers"),
        ("a.csv", b"1,2,x,4,5,6\n1,2,x,4,5,6\n", "cannot be read as numbers"),
        ("a.txt.gz", gzip.compress(FORMS["plain.txt"])[:-40], "truncated or damaged"),
        ("a.txt.gz", b"no gzip", "is truncated or damaged"),
        ("a.npy", b"no numpy", "cannot be read as numbers"),
        ("a.npy", numpy_bytes(np.zeros((3, 4, 5))), "is 3-D"),
        ("a.mat", b"x", "unknown kind of series"),
    ],
)
def test_faults(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=reason):
        read_series(tmp_path / name, NAMES, "frame_parcel")


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(RunError, match="cannot be read"):
        read_series(tmp_path / "a.npy", NAMES, "frame_parcel")


def test_a_shard_of_series(tmp_path: Path) -> None:
    table = little_table(tmp_path / "own.tsv")
    settings = parcellate.Parcellate.parse({"source": "series", "table": str(table), "orientation": "parcel_frame"})
    atlas, runs, out = tmp_path / "a.parquet", tmp_path / "runs.parquet", tmp_path / "p.parquet"
    parcellate.atlas(settings, "ready", atlas)
    assert not (tmp_path / "a.nii.gz").exists()
    assert load_table(atlas).space == "unknown"
    (tmp_path / "one.txt.gz").write_bytes(gzip.compress(text(planted().T, " ")))
    empty = planted()
    empty[:, 5] = 0
    (tmp_path / "two.txt").write_bytes(text(empty.T, " "))
    (tmp_path / "three.txt").write_bytes(text(planted()[:, :4].T, " "))
    keys = {"dataset": "d", "shard": "0", "status": "found"}
    rows = [keys | {"participant": name, "bold": name} for name in ("one.txt.gz", "two.txt", "three.txt")]
    store.write(runs, "runs", rows, store.Provenance("collect"))
    parcellate.run(settings, "d", tmp_path, runs, "0", atlas, out)
    one, two, three = store.rows(out, "parcels")
    np.testing.assert_array_equal(one["signal"], planted().astype(np.float32))
    assert (one["status"], one["tr_s"], one["n_frames"]) == ("ok", None, 40)
    assert (two["status"], two["reason"]) == (
        "partial",
        "1 of 6 parcels missing or constant (Cerebellum 1): left empty",
    )
    assert (three["status"], three["reason"]) == ("failed", "three.txt has 4 parcels, the atlas table has 6")


def test_an_atlas_with_an_image_takes_series_and_images_side_by_side(tmp_path: Path) -> None:
    study = Study(tmp_path)
    write_nifti(study.root / "image.nii.gz", paint(little_labels(), planted()))
    (study.root / "ready.tsv").write_bytes(text(planted()[:, ::-1], "\t", "\t".join(NAMES[::-1])))
    study.add("image.nii.gz")
    study.add("ready.tsv", space=None)
    image, ready = study.run()
    assert (image["status"], ready["status"]) == ("ok", "ok")
    np.testing.assert_array_equal(ready["signal"], planted().astype(np.float32))
    np.testing.assert_allclose(image["signal"], ready["signal"], rtol=1e-6)
