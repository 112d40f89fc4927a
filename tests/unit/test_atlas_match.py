"""Parcels are told by their voxels: any permutation comes back, and what is not one parcel is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boldtable import store
from boldtable.atlas.image import label_image, load_labels, save_image
from boldtable.atlas.match import brain_jepa_order, match_labels
from boldtable.errors import InputError
from permuted_atlas import blocks, permuted, write_atlas, write_volume

ATLASES = Path(__file__).resolve().parents[3] / "shared/atlases"
SCHAEFER = ATLASES / "schaefer2018/Schaefer2018_400Parcels_7Networks_order_FSLMNI152_2mm.nii.gz"


def test_a_permutation_comes_back_even_where_borders_differ() -> None:
    labels = blocks(7)
    others, expected = permuted(labels)
    assert match_labels(labels, others) == expected
    trimmed = labels.copy()
    trimmed[:, :3] = 0
    trimmed[3, 4] = 5
    assert match_labels(trimmed, others) == expected


def test_what_is_not_one_parcel_is_refused() -> None:
    labels = blocks(4)
    halved = labels.copy()
    halved[1, 5:] = 9
    with pytest.raises(
        InputError, match=r"label 2 \(5 voxels\) is no one parcel .* 5 voxels, lies in label 2 \(10 voxels"
    ):
        match_labels(labels, halved)
    joined = labels.copy()
    joined[joined == 4] = 3
    with pytest.raises(InputError, match=r"label 3 \(20 voxels\) is no one parcel of the atlas"):
        match_labels(labels, joined)
    with pytest.raises(InputError, match="label 3 shares no voxel with any parcel"):
        match_labels(np.where(labels == 3, 0, labels), labels)
    with pytest.raises(InputError, match="bring both to one grid"):
        match_labels(labels, labels[:2])


def test_the_subcortex_comes_first_then_the_cortex_in_the_volumes_order(tmp_path: Path) -> None:
    atlas, labels = write_atlas(tmp_path), blocks(457)
    cortex, which = permuted(np.where(labels <= 400, labels, 0))
    order = brain_jepa_order(atlas, write_volume(tmp_path / "17.nii.gz", cortex))
    assert order[:50] == tuple(f"p{index}" for index in range(401, 451))
    assert order[50:] == tuple(f"p{which[new]}" for new in range(1, 401))
    assert order[50:] != tuple(f"p{new}" for new in range(1, 401))


def test_a_volume_of_all_450_orders_the_subcortex_too(tmp_path: Path) -> None:
    atlas, labels = write_atlas(tmp_path), blocks(457)
    both, which = permuted(np.where(labels <= 450, labels, 0), seed=3)
    order = brain_jepa_order(atlas, write_volume(tmp_path / "450.nii.gz", both))
    assert order == tuple(f"p{which[new]}" for new in range(1, 451))


def test_volumes_and_atlases_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    atlas, labels = write_atlas(tmp_path), blocks(457)
    few = write_volume(tmp_path / "few.nii.gz", np.where(labels <= 100, labels, 0))
    with pytest.raises(InputError, match=r"few\.nii\.gz has 100 labels; 400 .* or 450"):
        brain_jepa_order(atlas, few)
    shifted = write_volume(tmp_path / "shifted.nii.gz", np.roll(np.where(labels <= 400, labels, 0), 5, axis=1) + 0)
    assert len(brain_jepa_order(atlas, shifted)) == 450  # a roll within a parcel's own column moves nothing
    away = write_volume(tmp_path / "away.nii.gz", np.where(labels > 57, labels - 57, 0)[::2].repeat(2, axis=0)[:457])
    with pytest.raises(InputError, match=r"away\.nii\.gz against .*merged\.nii\.gz: label"):
        brain_jepa_order(atlas, away)
    without = write_atlas(tmp_path, subcortex=0)
    cortex = write_volume(tmp_path / "cortex.nii.gz", np.where(blocks(407) <= 400, blocks(407), 0))
    with pytest.raises(InputError, match=r"has 0 parcels of the network 'Subcortex'"):
        brain_jepa_order(without, cortex)


@pytest.mark.slow
@pytest.mark.skipif(not SCHAEFER.is_file(), reason="the published atlases are not beside the repository")
def test_the_published_volume_in_another_order(tmp_path: Path) -> None:
    """Schaefer's volume with its labels permuted, against the merged atlas whose borders Tian's parcels cut."""
    from boldtable.stages import parcellate

    settings = parcellate.Parcellate.parse({"source": "schaefer400-tian3-buckner7", "folder": str(ATLASES)})
    parcellate.atlas(settings, name="merged", out=tmp_path / "merged.parquet")
    names = store.frame(tmp_path / "merged.parquet", "atlas")["name"].tolist()
    labels, affine = load_labels(SCHAEFER)
    cortex, which = permuted(labels)
    save_image(label_image(cortex, affine), tmp_path / "17.nii.gz")
    order = brain_jepa_order(tmp_path / "merged.parquet", tmp_path / "17.nii.gz")
    assert list(order[:50]) == names[400:450]
    assert [names.index(name) + 1 for name in order[50:]] == [which[new] for new in range(1, 401)]
