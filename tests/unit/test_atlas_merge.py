"""The merged atlas: on the published files where they are at hand, and on little stand-ins everywhere."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from parcellate_files import SHARED_ATLASES, write_nifti

from boldtable import store
from boldtable.atlas import merge, templateflow
from boldtable.atlas.fetch import UnavailableError
from boldtable.atlas.image import centroids, load_labels
from boldtable.errors import InputError
from boldtable.stages import parcellate

NETWORKS = {
    "Vis": 61, "SomMot": 77, "DorsAttn": 46, "SalVentAttn": 47, "Limbic": 26, "Cont": 52, "Default": 91,
    "Subcortex": 50, "Cerebellum": 7,
}  # fmt: skip
GRID = np.diag([2.0, 2, 2, 1])


@pytest.fixture(scope="module")
def real() -> merge.Merged:
    if not SHARED_ATLASES.is_dir():
        pytest.skip("the published atlas files are not beside the repository (../shared/atlases)")
    return merge.schaefer400_tian3_buckner7(SHARED_ATLASES)


def test_real_parcels_and_networks(real: merge.Merged) -> None:
    table = real.table
    assert (table.n_parcels, table.space) == (457, "MNI152NLin6Asym")
    assert table.parcels["network"].value_counts(sort=False).to_dict() == NETWORKS
    assert list(dict.fromkeys(table.networks[:200])) == list(NETWORKS)[:7]
    assert table.parcels["index"].tolist() == list(range(1, 458))
    assert table.parcels["hemisphere"].tolist() == [
        *"L" * 200, *"R" * 200, *"R" * 25, *"L" * 25, *"B" * 7,
    ]  # fmt: skip
    assert (table.names[0], table.names[400], table.names[456]) == ("7Networks_LH_Vis_1", "HIP-head-m-rh", "Buckner_7")
    assert len(set(table.names)) == 457


def test_real_overlaps(real: merge.Merged) -> None:
    found = real.overlaps
    assert (found.schaefer_tian, found.schaefer_buckner, found.tian_buckner) == (74, 65, 0)
    assert (found.disputed, round(100 * found.disputed_share, 1)) == ("7Networks_LH_Vis_1", 4.6)
    assert (found.loser, round(100 * found.lost_share, 1)) == ("7Networks_LH_Limbic_TempPole_2", 3.5)


def test_real_image_has_every_label_where_its_parcellation_puts_it(real: merge.Merged) -> None:
    labels = np.asarray(real.image.dataobj)
    assert labels.shape == (91, 109, 91)
    assert np.array_equal(np.bincount(labels.ravel())[1:], real.table.parcels["n_voxels"])
    tian, _ = load_labels(SHARED_ATLASES / "tian2020" / "Tian_Subcortex_S3_3T.nii")
    np.testing.assert_array_equal(labels[tian > 0] - 400, tian[tian > 0])


def test_real_centroids_agree_with_the_published_ones(real: merge.Merged) -> None:
    """The authors round to whole voxels; left is left, and no parcel is far from where they put it."""
    path = SHARED_ATLASES / "schaefer2018" / "Schaefer2018_400Parcels_7Networks_order_FSLMNI152_2mm.Centroid_RAS.csv"
    ours = real.table.parcels[["x_mm", "y_mm", "z_mm"]].to_numpy()
    np.testing.assert_allclose(ours[:400], pd.read_csv(path)[["R", "A", "S"]], atol=2)
    side = real.table.parcels["hemisphere"]
    assert (ours[side == "L", 0] < 0).all()
    assert (ours[side == "R", 0] > 0).all()


def test_real_buckner_keeps_its_place_through_the_affines(real: merge.Merged) -> None:
    """Resampled from another grid (1 mm, smaller field of view), each cerebellar parcel keeps place and volume."""
    labels, affine = load_labels(SHARED_ATLASES / "buckner2011" / "atl-Buckner7_space-MNI_dseg.nii")
    position, counts = centroids(labels, affine, np.arange(1, 8))
    ours = real.table.parcels.iloc[450:]
    np.testing.assert_allclose(ours[["x_mm", "y_mm", "z_mm"]], position, atol=1.0)
    np.testing.assert_allclose(ours["n_voxels"], counts / 8, rtol=0.16)


def test_real_stage_writes_licences_and_hashes(real: merge.Merged, tmp_path: Path) -> None:
    settings = parcellate.Parcellate(source="schaefer400-tian3-buckner7", folder=SHARED_ATLASES)
    parcellate.atlas(settings, "brain", tmp_path / "brain.parquet")
    about = store.provenance(tmp_path / "brain.parquet")
    assert about["atlas"] == "brain"
    assert len(about["sources"]) == 5
    assert {"MIT"} < {entry["licence"] for entry in about["sources"]}
    assert all(len(entry["sha256"]) == 64 and entry["citation"] for entry in about["sources"])
    labels, _ = load_labels(tmp_path / "brain.nii.gz")
    np.testing.assert_array_equal(labels, np.asarray(real.image.dataobj))


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Three tiny parcellations under the catalogue's keys, overlapping on purpose."""
    cortex, tian = np.zeros((20, 20, 3)), np.zeros((20, 20, 3))
    cortex[:, :, :2] = (np.arange(400) + 1).reshape(20, 20, 1)
    tian[:10, :5, 1] = (np.arange(50) + 1).reshape(10, 5)  # takes one of two voxels of 50 cortical parcels
    buckner = np.zeros((20, 20, 3))
    buckner[:7, :, 2] = buckner[0, :, :] = 1
    buckner[:7, :, 2] = np.arange(1, 8)[:, None]
    names = [f"7Networks_{'LH' if i < 200 else 'RH'}_Vis_{i}" for i in range(400)]
    (tmp_path / "names.txt").write_text("".join(f"{i + 1}\t{name}\t1\t2\t3\t0\n" for i, name in enumerate(names)))
    (tmp_path / "tian.txt").write_text("\n".join(f"T{i}-{'rh' if i < 25 else 'lh'}" for i in range(50)))
    files = {
        "schaefer400-7networks-image": write_nifti(tmp_path / "s.nii", cortex, GRID),
        "schaefer400-7networks-names": tmp_path / "names.txt",
        "tian-s3-image": write_nifti(tmp_path / "t.nii", tian, GRID),
        "tian-s3-names": tmp_path / "tian.txt",
        "buckner7-image": write_nifti(tmp_path / "b.nii", buckner, GRID),
    }
    monkeypatch.setattr(merge, "fetch", lambda key, _: files[key])
    return files


def test_priority_and_report(stand_ins: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = merge.schaefer400_tian3_buckner7()
    labels = np.asarray(found.image.dataobj)
    assert labels[0, 0, 0] == 1  # Schaefer keeps what Buckner claims too
    assert labels[0, 0, 1] == 401  # Tian takes it from Schaefer and Buckner
    assert labels[3, 0, 2] == 454
    assert (found.overlaps.schaefer_tian, found.overlaps.schaefer_buckner, found.overlaps.tian_buckner) == (50, 40, 5)
    assert found.overlaps.lost_share == pytest.approx(40 / 60)  # Buckner 1: 60 voxels, 40 of them cortical
    assert "Schaefer and Tian 50 (kept by Tian)" in capsys.readouterr().err


def test_templateflow_steps_in_and_says_so(
    stand_ins: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(key: str, _: Path | None) -> Path:
        if key.startswith("schaefer"):
            raise UnavailableError("no network")
        return stand_ins[key]

    older = tmp_path / "older.tsv"
    rows = (tmp_path / "names.txt").read_text().replace("Vis_7\t", "Vis_seven\t")
    older.write_text("index\tname\tcolor\n0\tBackground\t0\n" + rows)
    image = stand_ins["schaefer400-7networks-image"]
    monkeypatch.setattr(merge, "fetch", nothing)
    monkeypatch.setattr(merge, "schaefer_from_templateflow", lambda: (image, older))
    found = merge.schaefer400_tian3_buckner7()
    assert found.table.names[7] == "7Networks_LH_Vis_seven"
    assert "templateflow" in found.sources[0]["address"]
    said = capsys.readouterr().err
    assert "no network; trying TemplateFlow" in said
    assert "comes from TemplateFlow" in said
    assert merge.schaefer400_tian3_buckner7(schaefer="templateflow").table.names == found.table.names


def test_templateflow_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("templateflow.api")

    def unreachable(*_: object, **__: object) -> Path:
        raise RuntimeError("Could not fetch template files")

    monkeypatch.setattr(api, "get", unreachable)
    with pytest.raises(InputError, match="TemplateFlow cannot give Schaefer-400: Could not fetch"):
        templateflow.schaefer_from_templateflow()
    monkeypatch.setattr(api, "get", lambda *_, **__: [])
    with pytest.raises(InputError, match="no single Schaefer-400"):
        templateflow.schaefer_from_templateflow()


@pytest.mark.parametrize("key", ["schaefer400-7networks-image", "tian-s3-image", "buckner7-image"])
def test_a_missing_label_is_refused(stand_ins: dict[str, Path], key: str) -> None:
    labels = np.asarray(nib.load(stand_ins[key]).dataobj).copy()
    labels[labels == 3] = 2
    write_nifti(stand_ins[key], labels, GRID)
    with pytest.raises(InputError, match=r"labels and .* names, expected"):
        merge.schaefer400_tian3_buckner7()


def test_a_missing_name_is_refused(stand_ins: dict[str, Path]) -> None:
    path = stand_ins["schaefer400-7networks-names"]
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(InputError, match="names 399 parcels"):
        merge.schaefer400_tian3_buckner7()
