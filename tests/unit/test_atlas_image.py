"""Label images: reading, moving between grids, centroids, writing."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parcellate_files import RAS, SHAPE, flip, little_labels, write_nifti

from boldtable.atlas.image import centroids, label_image, load_labels, onto_grid, save_image, share_inside
from boldtable.errors import InputError


def slow_nearest(labels: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], target: np.ndarray) -> np.ndarray:
    """Nearest neighbour, voxel by voxel, the plain way; -1 where two voxels are equally near, but for rounding."""
    moved = np.zeros(shape, dtype=int)
    for voxel in np.ndindex(shape):
        there = np.linalg.solve(affine, target @ [*voxel, 1])[:3]
        nearest = np.floor(there + 0.5).astype(int)
        if (np.abs(there + 0.5 - np.round(there + 0.5)) < 1e-6).any():
            moved[voxel] = -1
            continue
        if (nearest >= 0).all() and (nearest < labels.shape).all():
            moved[voxel] = labels[tuple(nearest)]
    return moved


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 99),
    spacing=st.sampled_from([1.7, 2.3, 4.1]),
    angle=st.floats(-0.5, 0.5),
    shift=st.floats(-8, 8),
    mirrored=st.booleans(),
)
def test_nearest_neighbour_through_both_affines(
    seed: int, spacing: float, angle: float, shift: float, mirrored: bool
) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, (6, 7, 5)).astype(np.int32)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    target = turn @ np.diag([-spacing if mirrored else spacing, spacing, spacing, 1])
    target[:3, 3] = [shift + (18 if mirrored else 0), shift / 3, 0.123]
    affine = np.diag([3.0, 3, 3, 1])
    expected = slow_nearest(labels, affine, (8, 6, 7), target)
    found = onto_grid(labels, affine, (8, 6, 7), target)
    np.testing.assert_array_equal(np.where(expected < 0, -1, found), expected)


def test_the_same_grid_is_returned_as_it_is() -> None:
    labels = little_labels()
    assert onto_grid(labels, RAS, SHAPE, RAS + 1e-6) is labels


def test_las_and_ras_are_one_image() -> None:
    mirrored, affine = flip(little_labels(), RAS)
    np.testing.assert_array_equal(onto_grid(mirrored, affine, SHAPE, RAS), little_labels())


def test_voxels_on_the_border_stay_in_spite_of_rounding() -> None:
    labels = np.ones((4, 4, 4), dtype=np.int32)
    nudged = RAS.copy()
    nudged[:3, 3] -= 1e-3
    assert onto_grid(labels, RAS, (4, 4, 4), nudged).all()


def test_labels_above_127_and_32767_survive() -> None:
    labels = np.array([[[128, 457, 40_000]]], dtype=np.int32)
    moved = onto_grid(labels, np.eye(4), (1, 1, 5), np.diag([1, 1, 0.5, 1]))
    assert set(moved.ravel()) == {128, 457, 40_000}
    assert label_image(labels, np.eye(4)).get_data_dtype() == np.int32
    assert label_image(labels[..., :2], np.eye(4)).get_data_dtype() == np.int16


def test_centroids_are_means_of_world_positions() -> None:
    labels = little_labels()
    oblique = RAS @ np.array([[0.9, 0.1, 0, 2], [-0.1, 0.9, 0, 1], [0, 0, 1, 5], [0, 0, 0, 1.0]])
    position, counts = centroids(labels, oblique, np.array([3, 1, 99]))
    for row, index in enumerate((3, 1)):
        world = np.argwhere(labels == index) @ oblique[:3, :3].T + oblique[:3, 3]
        np.testing.assert_allclose(position[row], world.mean(axis=0))
        assert counts[row] == len(world)
    assert np.isnan(position[2]).all()
    assert counts[2] == 0


def test_share_inside_a_cut_field_of_view() -> None:
    labels = little_labels()
    whole = share_inside(labels, RAS, SHAPE, RAS, 8)
    cut = share_inside(labels, RAS, (*SHAPE[:2], 4), RAS, 8)
    assert whole.tolist() == [1] * 8  # labels without a voxel have nothing to lose
    np.testing.assert_allclose(cut[1:4], [2 / 3, 2 / 4, 2 / 5])


def test_written_images_are_reproducible_and_read_back(tmp_path: Path) -> None:
    image = label_image(little_labels(), RAS)
    save_image(image, tmp_path / "a.nii.gz")
    save_image(image, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert (tmp_path / "a.nii.gz").read_bytes()[4:8] == bytes(4)  # the gzip header's time
    labels, affine = load_labels(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(labels, little_labels())
    np.testing.assert_allclose(affine, RAS)
    assert int(nib.load(tmp_path / "a.nii.gz").header["sform_code"]) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_float_storage_and_a_fourth_axis_of_one_are_fine(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", little_labels()[..., None], dtype=">f4")
    np.testing.assert_array_equal(load_labels(path)[0], little_labels())


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(SHAPE, 0.5), "not whole numbers"),
        (np.full(SHAPE, np.nan), "not whole numbers"),
        (np.full(SHAPE, -1.0), "labels start at 0"),
        (np.zeros((*SHAPE, 3)), "is 4-D"),
    ],
)
def test_images_that_are_no_labels(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        load_labels(write_nifti(tmp_path / "a.nii.gz", values))


def test_unreadable_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        load_labels(tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").write_bytes(b"hello")
    with pytest.raises(InputError, match="truncated or damaged"):
        load_labels(tmp_path / "a.nii.gz")
    path = write_nifti(tmp_path / "b.nii.gz", np.random.default_rng(0).random(SHAPE))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="truncated"):
        load_labels(path)
