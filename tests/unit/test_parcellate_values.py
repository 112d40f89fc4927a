"""Values: whatever the storage, the parcel means are those of a naive mean over the voxels that count."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parcellate_files import N_FRAMES, N_PARCELS, RAS, SHAPE, flip, little_labels, paint, planted, write_nifti

from boldtable.stages.parcellate.averaging import Averager
from boldtable.stages.parcellate.bold import open_bold, volumes

TYPES = ["|u1", "|i1", "<i2", ">i2", "<u2", "<i4", ">i4", "<i8", "<f4", ">f4", "<f8", ">f8"]


def averager() -> Averager:
    return Averager(little_labels(), RAS, np.arange(1, N_PARCELS + 1))


def naive(path: Path, mask: np.ndarray | None, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the voxels of each parcel that lie in the mask and vary, and their share; the slow, plain way."""
    image = np.asarray(nib.load(path).dataobj, dtype=float)
    counted = (image != image[..., :1]).any(axis=3) & (True if mask is None else mask)
    signal = np.full((image.shape[3], N_PARCELS), np.nan)
    coverage = np.zeros(N_PARCELS)
    for index in range(N_PARCELS):
        chosen = (labels == index + 1) & counted
        coverage[index] = chosen.sum() / (labels == index + 1).sum()
        if chosen.any():
            signal[:, index] = image[chosen].mean(axis=0)
    return signal, coverage


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_planted_signals_come_back_from_every_storage_type(tmp_path: Path, dtype: str, suffix: str) -> None:
    signal = planted()
    path = write_nifti(tmp_path / f"b{suffix}", paint(little_labels(), signal, spread=3), dtype=dtype)
    found = averager().average(open_bold(path), None)
    np.testing.assert_array_equal(found.signal, signal.astype(np.float32))
    np.testing.assert_array_equal(found.coverage, 1)
    assert found.signal.dtype == np.float32


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("gap", [0, 64])
def test_scaling_nifti_2_and_room_before_the_data(tmp_path: Path, version: int, gap: int) -> None:
    signal = planted()
    stored = paint(little_labels(), signal)
    path = write_nifti(tmp_path / "b.nii.gz", stored, dtype="<i2", scale=(0.5, -7.0), version=version, gap=gap)
    found = averager().average(open_bold(path), None)
    np.testing.assert_array_equal(found.signal, (0.5 * signal - 7).astype(np.float32))


@pytest.mark.parametrize("dtype", ["<i2", ">f4"])
def test_las_and_ras_storage_give_the_same(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(0)
    image = paint(little_labels(), planted()) + rng.integers(-9, 9, (*SHAPE, N_FRAMES))
    one = write_nifti(tmp_path / "ras.nii.gz", image, dtype=dtype)
    other = write_nifti(tmp_path / "las.nii.gz", *flip(image, RAS), dtype=dtype)
    atlas = averager()
    np.testing.assert_allclose(
        atlas.average(open_bold(one), None).signal, atlas.average(open_bold(other), None).signal, rtol=1e-6
    )


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_axes_in_any_order_and_oblique_affines(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    """Image and atlas turned by the same small rotation, the image with its axes permuted: nothing changes."""
    angle = 0.2
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    signal = planted()
    image = np.transpose(paint(little_labels(), signal), (*axes, 3))
    affine = (turn @ RAS)[:, [*axes, 3]]
    atlas = Averager(little_labels(), turn @ RAS, np.arange(1, N_PARCELS + 1))
    found = atlas.average(open_bold(write_nifti(tmp_path / "b.nii.gz", image, affine)), None)
    np.testing.assert_array_equal(found.signal, signal.astype(np.float32))


def test_atlas_on_a_finer_grid_reaches_the_run_by_nearest_neighbour(tmp_path: Path) -> None:
    fine = little_labels().repeat(3, axis=0).repeat(3, axis=1).repeat(3, axis=2)
    affine = RAS @ np.diag([1 / 3, 1 / 3, 1 / 3, 1])
    affine[:3, 3] -= 1.0  # the first fine voxel's centre lies one fine voxel before the coarse one's
    signal = planted()
    atlas = Averager(fine, affine, np.arange(1, N_PARCELS + 1))
    found = atlas.average(open_bold(write_nifti(tmp_path / "b.nii", paint(little_labels(), signal))), None)
    np.testing.assert_array_equal(found.signal, signal.astype(np.float32))
    np.testing.assert_array_equal(found.coverage, 1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    dtype=st.sampled_from(["|u1", "<i2", ">i4", "<f4", "<f8"]),
    masked=st.floats(0.2, 1.0),
    constant=st.floats(0.0, 0.9),
    level=st.integers(0, 100),
)
def test_equals_a_naive_mean_over_varying_voxels_in_the_mask(
    tmp_path_factory: pytest.TempPathFactory, seed: int, dtype: str, masked: float, constant: float, level: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 100, (*SHAPE, 9)).astype(float)
    image[rng.random(SHAPE) < constant] = level
    mask = rng.random(SHAPE) < masked
    path = write_nifti(tmp_path_factory.mktemp("b") / "b.nii", image, dtype=dtype)
    signal, coverage = naive(path, mask, little_labels())
    found = averager().average(open_bold(path), mask)
    np.testing.assert_allclose(found.signal, signal, rtol=1e-6)
    np.testing.assert_allclose(found.coverage, coverage, rtol=1e-6)


def test_a_voxel_that_changes_only_in_the_last_volume_counts(tmp_path: Path) -> None:
    image = np.full((*SHAPE, 200), 5.0)
    image[little_labels() == 2, -1] = 6
    found = averager().average(open_bold(write_nifti(tmp_path / "b.nii.gz", image, dtype="<i2")), None)
    assert found.coverage.tolist() == [0, 1, 0, 0, 0, 0]
    assert found.signal[[0, -1], 1].tolist() == [5, 6]
    assert np.isnan(found.signal[:, [0, 2, 3, 4, 5]]).all()


@pytest.mark.parametrize(("dtype", "top"), [("<i2", 2**15), ("<i4", 2**31), ("<i8", 2**62)])
def test_large_values_do_not_overflow(tmp_path: Path, dtype: str, top: int) -> None:
    image = np.broadcast_to(np.where(np.arange(4) % 2, top - top // 8, top // 2), (*SHAPE, 4))
    found = averager().average(open_bold(write_nifti(tmp_path / "b.nii", image, dtype=dtype)), None)
    np.testing.assert_allclose(found.signal[:, 0], image[0, 0, 0], rtol=1e-7)


def test_columns_follow_the_table_and_labels_outside_it_are_background(tmp_path: Path) -> None:
    signal = planted()
    bold = open_bold(write_nifti(tmp_path / "b.nii.gz", paint(little_labels(), signal), dtype="<i2"))
    found = Averager(little_labels(), RAS, np.array([5, 1, 99, 3])).average(bold, None)
    np.testing.assert_array_equal(found.signal[:, [0, 1, 3]], signal[:, [4, 0, 2]].astype(np.float32))
    assert np.isnan(found.signal[:, 2]).all()
    assert found.coverage.tolist() == [1, 1, 0, 1]


def test_a_cut_field_of_view_lowers_the_coverage(tmp_path: Path) -> None:
    """A grid that holds the lower two of a parcel's three slices covers two thirds of it, not all."""
    cut = paint(little_labels(), planted())[:, :, :4]
    found = averager().average(open_bold(write_nifti(tmp_path / "b.nii.gz", cut)), None)
    slices = [(little_labels() == index).any(axis=(0, 1)).sum() for index in range(1, N_PARCELS + 1)]
    np.testing.assert_allclose(found.coverage, [2 / count for count in slices], rtol=1e-6)


def test_a_run_is_never_held_in_memory(tmp_path: Path) -> None:
    shape = (100, 100, 50)
    path = write_nifti(tmp_path / "b.nii.gz", np.zeros((*shape, 6)), dtype="<i2")
    blocks = [block.shape for block in volumes(open_bold(path))]
    assert blocks == [(2, 500_000)] * 3


def test_the_operator_is_built_once_per_grid(tmp_path: Path) -> None:
    atlas = averager()
    assert atlas.operator(SHAPE, RAS) is atlas.operator(SHAPE, RAS.copy())
    assert atlas.operator(SHAPE, RAS) is not atlas.operator((12, 14, 9), RAS)
