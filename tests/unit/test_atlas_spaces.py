"""The atlas in MNI152NLin2009cAsym: the published merge re-ordered, the rest through a transform of known truth."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from parcellate_files import SHARED_ATLASES, SPACE, Study, little_table, write_nifti

from boldtable import store
from boldtable.atlas import fetch, merge, templateflow, warp
from boldtable.atlas.image import load_labels
from boldtable.atlas.table import load_table
from boldtable.errors import InputError, SettingsError, SpaceError
from boldtable.stages import parcellate

SPACE_2009C = "MNI152NLin2009cAsym"
GRID = np.diag([2.0, 2, 2, 1])
# In ITK's world (LPS, mm): a point moves by 0.1 of its place and (1, -2, 3), then goes through the affine.
GROWTH, SHIFT = 0.1, np.array([1.0, -2.0, 3.0])
MATRIX = np.array([[1.0, 0.05, 0], [-0.05, 1.0, 0], [0, 0.02, 0.98]])
TRANSLATION, CENTRE = np.array([-1.0, 0.5, 2.0]), np.array([4.0, -3.0, 2.0])


def write_transform(path: Path, growth: float = GROWTH, shift: np.ndarray = SHIFT, matrix: np.ndarray = MATRIX) -> Path:
    """An ITK composite (HDF5) as ANTs writes it: header, affine, displacement field."""
    h5py = pytest.importorskip("h5py")
    size, origin, spacing = np.array([17, 17, 17]), np.array([-80.0, -80, -80]), 10.0
    places = np.stack(np.meshgrid(*(-80.0 + spacing * np.arange(17),) * 3, indexing="ij"), axis=-1)
    field = growth * places + shift
    fixed = np.concatenate([size, origin, np.full(3, spacing), np.eye(3).ravel()]).astype(float)
    affine = np.concatenate([matrix.ravel(), TRANSLATION])
    with h5py.File(path, "w") as file:
        group = file.create_group("TransformGroup")
        for number, (kind, values, about) in enumerate(
            [
                ("CompositeTransform_double_3_3", None, None),
                ("AffineTransform_double_3_3", affine, CENTRE),
                ("DisplacementFieldTransform_double_3_3", field.transpose(2, 1, 0, 3).ravel(), fixed),
            ]
        ):
            one = group.create_group(str(number))
            one["TransformType"] = np.array([kind.encode()])
            if values is not None:
                one["TransformParameters"], one["TransformFixedParameters"] = values, about
    return path


def truth(points_ras: np.ndarray) -> np.ndarray:
    """Where the transform takes RAS points, in RAS: the field first, then the affine (ITK applies the last first)."""
    lps = points_ras * [-1, -1, 1]
    moved = lps + GROWTH * lps + SHIFT
    return ((moved - CENTRE) @ MATRIX.T + CENTRE + TRANSLATION) * [-1, -1, 1]


def blocks() -> tuple[np.ndarray, np.ndarray]:
    """Seven labels in slabs of three voxels around the origin, 2 mm."""
    labels = np.zeros((21, 21, 21), dtype=np.int32)
    for index in range(7):
        labels[3 * index : 3 * index + 3] = index + 1
    affine = GRID.copy()
    affine[:3, 3] = -20
    return labels, affine


@pytest.fixture
def transform(tmp_path: Path) -> Path:
    pytest.importorskip("nitransforms")
    return write_transform(tmp_path / warp.TRANSFORM)


def test_labels_go_where_the_transform_puts_them(transform: Path) -> None:
    labels, affine = blocks()
    target = np.diag([-3.0, 3, 3, 1])
    target[:3, 3] = [18, -18, -18]
    moved = warp.onto_2009c(labels, affine, transform, (13, 13, 13), target)
    expected = np.zeros((13, 13, 13), dtype=int)
    for voxel in np.ndindex(expected.shape):
        there = truth(target[:3, :3] @ voxel + target[:3, 3])
        nearest = np.floor((there - affine[:3, 3]) / 2 + 0.5).astype(int)
        if (nearest >= 0).all() and (nearest < 21).all():
            expected[voxel] = labels[tuple(nearest)]
    assert 0.3 < (expected > 0).mean() < 1
    assert (moved == expected).mean() > 0.999  # a rounding at the border between two voxels may differ


def test_an_offline_transform_goes_before_templateflow(transform: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warp, "transform_from_templateflow", lambda *_: pytest.fail("not to be asked"))
    assert warp.transform_file(transform.parent) == transform
    monkeypatch.setenv(fetch.FOLDER_VARIABLE, str(transform.parent))
    assert warp.transform_file(None) == transform


def test_templateflow_is_asked_for_the_transform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("templateflow.api")
    monkeypatch.delenv(fetch.FOLDER_VARIABLE, raising=False)
    asked = []

    def get(template: str, **what: str) -> Path:
        asked.append((template, what))
        return tmp_path / "x.h5"

    monkeypatch.setattr(api, "get", get)
    with pytest.raises(
        SpaceError, match=r"no transform from MNI152NLin6Asym .* or have fMRIPrep write MNI152NLin6Asym"
    ):
        warp.transform_file(None)  # as after a download that failed
    (tmp_path / "x.h5").write_bytes(b"something")
    assert warp.transform_file(None) == tmp_path / "x.h5"
    assert asked[0] == (SPACE_2009C, {"from": SPACE, "mode": "image", "suffix": "xfm", "extension": ".h5"})


def test_no_way_is_a_space_error_with_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("templateflow.api")

    def unreachable(*_: object, **__: object) -> Path:
        raise RuntimeError("no network")

    monkeypatch.setattr(api, "get", unreachable)
    monkeypatch.delenv(fetch.FOLDER_VARIABLE, raising=False)
    with pytest.raises(
        SpaceError, match=r"no network.*tpl-MNI152NLin2009cAsym_from-MNI152NLin6Asym.*BOLDTABLE_ATLAS_DIR"
    ):
        warp.transform_file(None)
    with pytest.raises(InputError, match="TemplateFlow cannot give the transform"):
        templateflow.transform_from_templateflow(SPACE, SPACE_2009C)
    monkeypatch.setitem(sys.modules, "nitransforms.manip", None)
    with pytest.raises(SpaceError, match=r"nitransforms is missing: pip install 'boldtable\[spaces\]'"):
        warp.onto_2009c(*blocks(), tmp_path / "x.h5")


@pytest.mark.parametrize("content", [b"", b"not HDF5"])
def test_a_broken_transform_is_a_space_error(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("nitransforms")
    path = tmp_path / warp.TRANSFORM
    path.write_bytes(content)
    with pytest.raises(SpaceError, match="no ITK composite transform"):
        warp.onto_2009c(*blocks(), path)


@pytest.fixture
def stand_ins(transform: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Tiny files under the catalogue's keys: Schaefer and Tian merged (Tian first), Buckner in the other space."""
    both = np.zeros((20, 25, 3))
    both[:, :, :1] = (np.arange(500) + 1).reshape(20, 25, 1)
    both[both > 450] = 0
    where = GRID.copy()
    where[:3, 3] = -20
    names = [f"7Networks_{'LH' if i < 200 else 'RH'}_Vis_{i}" for i in range(400)]
    (tmp_path / "names.txt").write_text("".join(f"{i + 1}\t{name}\t1\t2\t3\t0\n" for i, name in enumerate(names)))
    (tmp_path / "tian.txt").write_text("\n".join(f"T{i}-{'rh' if i < 25 else 'lh'}" for i in range(50)))
    labels, affine = blocks()
    files = {
        "schaefer400-7networks-image": tmp_path / "names.txt",  # named as a pair, read in the other space only
        "schaefer400-7networks-names": tmp_path / "names.txt",
        "schaefer400-tian3-image-2009c": write_nifti(tmp_path / "st.nii", both, where),
        "tian-s3-names": tmp_path / "tian.txt",
        "buckner7-image": write_nifti(tmp_path / "b.nii", labels, affine),
    }
    monkeypatch.setattr(merge, "fetch", lambda key, _: files[key])
    monkeypatch.setenv(fetch.FOLDER_VARIABLE, str(transform.parent))
    return files


def test_the_published_merge_is_put_into_our_order(stand_ins: dict[str, Path]) -> None:
    found = merge.schaefer400_tian3_buckner7(space=SPACE_2009C)
    labels = np.asarray(found.image.dataobj)
    assert found.table.space == SPACE_2009C
    assert found.table.parcels["index"].tolist() == list(range(1, 458))
    assert (labels[0, 0, 0], labels[1, 24, 0], labels[2, 0, 0], labels[17, 24, 0]) == (401, 450, 1, 400)
    assert found.table.names[400] == "T0-rh"
    assert set(np.unique(labels[..., 1:])) <= {0, *range(451, 458)}
    assert found.overlaps.schaefer_tian == 0
    assert found.sources[-1]["file"] == warp.TRANSFORM
    assert "names.txt" in {entry["file"] for entry in found.sources}


def test_the_stage_makes_it_and_takes_runs_of_that_space_only(stand_ins: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "atlases" / "brain.parquet"
    settings = parcellate.Parcellate(source="schaefer400-tian3-buckner7", space=SPACE_2009C)
    parcellate.atlas(settings, "brain", out)
    assert load_table(out).space == store.provenance(out)["space"] == SPACE_2009C


def test_an_own_atlas_comes_along(transform: Path, tmp_path: Path) -> None:
    labels, affine = blocks()
    image = write_nifti(tmp_path / "own.nii.gz", labels, affine, dtype="<i2")
    own = {"source": "file", "image": str(image), "table": str(little_table(tmp_path / "own.tsv", 7)), "space": SPACE}
    settings = parcellate.Parcellate.parse({**own, "to_space": SPACE_2009C, "folder": str(transform.parent)})
    parcellate.atlas(settings, "own", tmp_path / "own.parquet")
    table = load_table(tmp_path / "own.parquet")
    moved, grid = load_labels(tmp_path / "own.nii.gz")
    assert (table.space, moved.shape) == (SPACE_2009C, warp.SHAPE_2MM)
    np.testing.assert_allclose(grid, warp.AFFINE_2MM)
    centres = table.parcels[["x_mm", "y_mm", "z_mm"]].to_numpy()
    home = np.argwhere(labels == 4).mean(axis=0) @ affine[:3, :3] + affine[:3, 3]
    np.testing.assert_allclose(truth(centres[3]), home, atol=2.5)  # a voxel; without the warp 5 mm are between them
    assert np.abs(truth(home) - home).max() > 4
    assert warp.TRANSFORM in {entry["name"] for entry in store.provenance(tmp_path / "own.parquet")["inputs"]}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"source": "schaefer400-tian3-buckner7", "space": "MNI152NLin2009cSym"}, "is made in MNI152NLin6Asym or"),
        ({"source": "demo457", "to_space": SPACE_2009C}, "to_space is for source 'file'"),
        (
            {"source": "file", "image": "a", "table": "b", "space": SPACE_2009C, "to_space": SPACE_2009C},
            "an image in MNI152NLin6Asym",
        ),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        parcellate.Parcellate.parse(settings)


def test_the_refusal_names_the_setting(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.add("never-read.nii.gz", space=SPACE_2009C)
    with pytest.raises(SpaceError, match=r"MNI152NLin6Asym:res-2.*or bring the atlas to MNI152NLin2009cAsym \('space'"):
        study.run()


def test_real_published_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a warp of note the parcels of both spaces lie within millimetres: index and name mean the same."""
    if not SHARED_ATLASES.is_dir():
        pytest.skip("the published atlas files are not beside the repository (../shared/atlases)")
    pytest.importorskip("nitransforms")
    path = write_transform(tmp_path / warp.TRANSFORM, 0, np.zeros(3), np.eye(3))
    monkeypatch.setattr(merge, "transform_file", lambda _: path)
    monkeypatch.setattr(sys.modules[__name__], "TRANSLATION", np.zeros(3))
    one, other = (merge.schaefer400_tian3_buckner7(SHARED_ATLASES, space=space) for space in merge.SPACES)
    assert other.table.names == one.table.names
    places = (made.table.parcels[["x_mm", "y_mm", "z_mm"]].to_numpy() for made in (one, other))
    assert np.linalg.norm(np.subtract(*places), axis=1).max() < 5
    assert np.asarray(other.image.dataobj).shape == warp.SHAPE_2MM
