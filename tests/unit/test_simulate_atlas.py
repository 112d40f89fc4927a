"""The demo atlas: real counts, geometry that makes sense, and no pretence."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from boldtable.errors import SettingsError
from boldtable.simulate import atlas
from boldtable.simulate.atlas import CORTEX, NETWORKS, demo457

COUNTS = {"Vis": 61, "SomMot": 77, "DorsAttn": 46, "SalVentAttn": 47, "Limbic": 26, "Cont": 52, "Default": 91,
          "Subcortex": 50, "Cerebellum": 7}  # fmt: skip


def test_counts_per_network_and_hemisphere_are_the_real_ones() -> None:
    table, _ = demo457()
    parcels = table.parcels.set_index("index")
    assert table.n_parcels == 457
    assert parcels["network"].value_counts().to_dict() == COUNTS
    assert list(dict.fromkeys(table.networks)) == list(NETWORKS)
    left, right = parcels.loc[1:200], parcels.loc[201:400]
    assert set(left["hemisphere"]) == {"L"}
    assert set(right["hemisphere"]) == {"R"}
    for network, (n_left, n_right) in CORTEX.items():
        assert (left["network"] == network).sum() == n_left
        assert (right["network"] == network).sum() == n_right
    assert (parcels.loc[401:425, "hemisphere"] == "R").all()  # Tian lists the right side first
    assert (parcels.loc[426:450, "hemisphere"] == "L").all()
    assert (parcels.loc[451:457, "network"] == "Cerebellum").all()


def test_names_are_unique_and_never_pretend_to_be_published() -> None:
    table, _ = demo457()
    assert len(set(table.names)) == 457
    assert table.name == "demo457"
    assert table.names[0] == "demo457_LH_Vis_1"
    assert all(name.startswith("demo457_") for name in table.names)


def test_image_and_table_agree_at_six_millimetres() -> None:
    table, image = demo457()
    labels = np.asarray(image.dataobj)
    assert image.get_data_dtype() == np.int16
    assert image.header.get_zooms() == (6.0, 6.0, 6.0)
    voxels = np.bincount(labels.ravel(), minlength=458)[1:]
    assert voxels.tolist() == table.parcels["n_voxels"].tolist()
    assert voxels.min() >= 8
    number = 123
    centre = nib.affines.apply_affine(image.affine, np.argwhere(labels == number).mean(axis=0))
    row = table.parcels.iloc[number - 1]
    np.testing.assert_allclose(centre, row[["x_mm", "y_mm", "z_mm"]].to_numpy(dtype=float))


def test_hemispheres_and_networks_lie_where_they_should() -> None:
    table, image = demo457()
    parcels = table.parcels
    assert (parcels.loc[parcels["hemisphere"] == "L", "x_mm"] < 0).all()
    assert (parcels.loc[parcels["hemisphere"] == "R", "x_mm"] > 0).all()
    middle = parcels.groupby("network")[["y_mm", "z_mm"]].mean()
    assert middle["y_mm"].idxmin() == "Vis"
    assert middle["z_mm"].idxmin() == "Cerebellum"
    assert middle["z_mm"].idxmax() == "SomMot"
    labels = np.asarray(image.dataobj)
    for network in NETWORKS:  # a few blobs, not salt and pepper
        inside = np.isin(labels, parcels.loc[parcels["network"] == network, "index"])
        blobs = np.bincount(ndimage.label(inside, np.ones((3, 3, 3)))[0].ravel())[1:]
        assert np.sort(blobs)[-6:].sum() > 0.97 * inside.sum()


def test_it_is_the_same_every_time() -> None:
    first = np.array(atlas.build(6)[0])
    atlas.build.cache_clear()
    np.testing.assert_array_equal(first, atlas.build(6)[0])
    with pytest.raises(ValueError, match="read-only"):
        atlas.build(6)[0][0, 0, 0] = 1


@pytest.mark.parametrize("voxel_mm", [4, 5])
def test_parcels_are_at_the_same_place_on_every_grid(voxel_mm: int) -> None:
    other, usual = demo457(voxel_mm)[0].parcels, demo457()[0].parcels
    assert other["n_voxels"].min() >= 8
    apart = other[["x_mm", "y_mm", "z_mm"]].to_numpy() - usual[["x_mm", "y_mm", "z_mm"]].to_numpy()
    assert np.linalg.norm(apart, axis=1).max() < 9  # where the brain's edge runs
    assert np.median(np.linalg.norm(apart, axis=1)) < 3


@pytest.mark.parametrize("voxel_mm", [1, 5.5, 8])
def test_a_grid_it_is_not_made_for_is_refused(voxel_mm: float) -> None:
    with pytest.raises(SettingsError, match=f"voxel_mm.*{voxel_mm:g}"):
        demo457(voxel_mm)
