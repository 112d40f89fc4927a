"""Masks hide what the published recipe hides; crops and augmentations do what they say, per window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from published_case import Stored
from torch import Tensor

from boldtable.objectives.augment import Augmentation, augment, crop_starts, crops
from boldtable.objectives.masks import network_masks, random_masks, slice_masks, temporal_masks

N = 4000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def stored() -> Stored:
    return Stored("semantoks_losses.npz")


def shares(values: Tensor) -> dict[int, float]:
    found, counts = values.unique(return_counts=True)
    return {int(value): int(count) / len(values) for value, count in zip(found, counts, strict=True)}


def assert_alike(ours: dict[int, float], reference: dict[int, float], n: int = 200) -> None:
    """Compare shares: equal support, and no share further off than 4 standard errors of the stored draws."""
    assert ours.keys() == reference.keys()
    for value, share in ours.items():
        assert abs(share - reference[value]) < 4 * np.sqrt(share * (1 - share) / n), value


def test_network_masks_hide_5_or_6_of_9(stored: Stored) -> None:
    masks = network_masks(N, 9, 5, generator())
    assert (masks.all(dim=2) | ~masks.any(dim=2)).all()
    counts = shares(masks[:, :, 0].sum(dim=1))
    assert counts == pytest.approx({5: 0.5, 6: 0.5}, abs=0.04)
    assert_alike(counts, shares(stored["masks/network"][:, :, 0].sum(dim=1)))
    assert masks[:, :, 0].float().mean(dim=0).numpy() == pytest.approx(np.full(9, 5.5 / 9), abs=0.04)


def test_temporal_masks_hide_3_or_4_consecutive_of_5(stored: Stored) -> None:
    masks = temporal_masks(N, 9, 5, generator())
    assert (masks == masks[:, :1]).all()
    row, reference = masks[:, 0].long(), stored["masks/temporal"][:, 0].long()
    assert ((row.diff(dim=1) == 1).sum(dim=1) + row[:, 0] == 1).all()
    counts = shares(row.sum(dim=1))
    assert counts == pytest.approx({3: 0.75, 4: 0.25}, abs=0.04)
    assert_alike(counts, shares(reference.sum(dim=1)))
    for length in (3, 4):
        starts = shares(row[row.sum(dim=1) == length].argmax(dim=1))
        among = reference[reference.sum(dim=1) == length]
        assert_alike(starts, shares(among.argmax(dim=1)), len(among))


def test_nominal_masks_hide_the_share_that_the_paper_says() -> None:
    networks = network_masks(N, 9, 5, generator(), nominal=True)[:, :, 0].sum(dim=1)
    times = temporal_masks(N, 9, 5, generator(), nominal=True)[:, 0].sum(dim=1)
    assert shares(networks) == pytest.approx({6: 0.65 / 1.8, 7: 1 / 1.8, 8: 0.15 / 1.8}, abs=0.04)
    assert shares(times) == pytest.approx({3: 0.25, 4: 0.75}, abs=0.04)
    hidden = slice_masks(N, 9, 5, generator(), nominal=True).float().mean().item()
    assert 0.65 < hidden < 0.85
    assert slice_masks(N, 9, 5, generator()).float().mean().item() < 0.65


def test_slice_masks_are_half_one_half_the_other(stored: Stored) -> None:
    masks, reference = slice_masks(N, 9, 5, generator()), stored["masks/slice"]
    by_network = (masks.all(dim=2) | ~masks.any(dim=2)).all(dim=1)
    by_time = (masks == masks[:, :1]).all(dim=2).all(dim=1)
    assert (by_network ^ by_time).all()
    assert by_network.float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert masks.float().mean().item() == pytest.approx(0.63, abs=0.01)
    assert masks.float().mean().item() == pytest.approx(reference.float().mean().item(), abs=0.02)


def test_random_masks_hide_the_nominal_share_of_tokens() -> None:
    masks = random_masks(N, 9, 5, generator())
    counts = masks.sum(dim=(1, 2))
    assert counts.min() >= 29
    assert counts.max() <= 38
    assert masks.float().mean().item() == pytest.approx(0.75, abs=0.01)
    assert masks.float().mean(dim=0).numpy() == pytest.approx(np.full((9, 5), 0.75), abs=0.04)


@given(n_networks=st.integers(1, 12), n_patches=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_never_all_and_never_nothing_is_hidden(n_networks: int, n_patches: int, seed: int) -> None:
    if n_networks * n_patches == 1:
        return
    for draw in (slice_masks, random_masks):
        masks = draw(16, n_networks, n_patches, generator(seed))
        hidden = masks.flatten(1).sum(dim=1)
        assert masks.shape == (16, n_networks, n_patches)
        assert (hidden > 0).all()
        assert (hidden < n_networks * n_patches).all()


@pytest.mark.parametrize("draw", [slice_masks, network_masks, temporal_masks, random_masks])
def test_masks_follow_their_generator(draw: object) -> None:
    assert callable(draw)
    assert torch.equal(draw(50, 9, 5, generator(4)), draw(50, 9, 5, generator(4)))
    assert not torch.equal(draw(50, 9, 5, generator(4)), draw(50, 9, 5, generator(5)))


# Crops


def test_crop_starts_are_uniform_over_all_places() -> None:
    starts = crop_starts(torch.full((N,), 106), 100, generator())
    assert starts.shape == (2, N)
    for view in starts:
        assert shares(view) == pytest.approx(dict.fromkeys(range(7), 1 / 7), abs=0.03)
    assert abs(np.corrcoef(starts.numpy())[0, 1]) < 0.05
    assert (crop_starts(torch.tensor([100, 40]), 100, generator()) == 0).all()


def test_crops_cut_the_right_frames_and_pad_short_runs() -> None:
    lengths = torch.tensor([5, 3, 6])
    offsets = torch.tensor([0, 5, 8])
    frames = torch.arange(14.0)[:, None] + torch.tensor([0.0, 100.0])
    windows, present = crops(frames, offsets, lengths, torch.tensor([1, 0, 2]), 4)
    assert windows.shape == (3, 2, 4)
    assert windows[:, 0].tolist() == [[1, 2, 3, 4], [5, 6, 7, 0], [10, 11, 12, 13]]
    assert windows[0, 1].tolist() == [101, 102, 103, 104]
    assert present.tolist() == [[True] * 4, [True, True, True, False], [True] * 4]


# Augmentations

NONE = Augmentation(parcel_share=0, frame_share=0, gain=None, noise_sd=0)
ONES = torch.ones(300, 57, 100)


def test_everything_off_changes_nothing() -> None:
    assert torch.equal(augment(ONES, NONE, generator()), ONES)


def test_parcels_are_zeroed() -> None:
    found = augment(ONES, Augmentation(0.1, 0, None, 0), generator())
    zeroed = (found == 0).all(dim=2)
    assert torch.equal(found == 0, zeroed[:, :, None].expand_as(found))
    assert set(shares(zeroed.sum(dim=1))) == {1, 2, 3, 4, 5}


def test_one_block_of_frames_is_zeroed() -> None:
    found = augment(ONES, Augmentation(0, 0.3, None, 0), generator())
    zeroed = (found == 0).all(dim=1)
    assert torch.equal(found == 0, zeroed[:, None].expand_as(found))
    counts = zeroed.sum(dim=1)
    assert counts.min() == 1
    assert 27 <= counts.max() < 30
    edges = zeroed.long().diff(dim=1).abs().sum(dim=1) + zeroed[:, 0].long() + zeroed[:, -1].long()
    assert (edges == 2).all()
    assert zeroed.any(dim=0).float().mean() > 0.95


def test_gain_is_one_factor_per_window_and_noise_is_everywhere() -> None:
    found = augment(ONES, Augmentation(0, 0, (0.8, 1.2), 0), generator())
    assert (found == found[:, :1, :1]).all()
    assert 0.8 <= found.min() < 0.82
    assert 1.18 < found.max() <= 1.2
    noise = augment(torch.zeros(20, 57, 100), Augmentation(), generator())
    assert noise.std().item() == pytest.approx(0.1, rel=0.02)
    assert abs(noise.mean().item()) < 0.002


def test_augment_leaves_its_input_alone_keeps_nan_and_follows_the_generator() -> None:
    x = torch.randn(4, 57, 100)
    x[1, 3] = float("nan")
    before = x.clone()
    first, again = (augment(x, Augmentation(), generator(2)) for _ in range(2))
    assert torch.equal(x.nan_to_num(9), before.nan_to_num(9))
    assert torch.equal(first.nan_to_num(9), again.nan_to_num(9))
    assert torch.equal(first.isnan(), x.isnan())
    frame_major = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(augment(frame_major, Augmentation(), generator(2)).nan_to_num(9), first.nan_to_num(9))
    assert augment(x.half(), Augmentation(), generator(2)).dtype == torch.float32
