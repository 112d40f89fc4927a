"""The three regions of Brain-JEPA's masks, in the paper's version and in the code's, for any atlas and length."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from boldtable.objectives.spatiotemporal_masks import MaskScales, compose, draw_blocks, draw_masks

GROUP = 16
SHAPES = [(450, 10), (457, 5), (12, 3), (5, 2), (4, 1)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cells(places: Tensor, n: int) -> Tensor:
    return torch.zeros(len(places), n, dtype=torch.bool).scatter(1, places, True)


@pytest.mark.parametrize("version", ["paper", "code"])
@pytest.mark.parametrize(("n_parcels", "n_patches"), SHAPES)
def test_context_and_targets_never_meet_and_are_never_empty(n_parcels: int, n_patches: int, version: str) -> None:
    for seed in range(20):
        context, targets = draw_masks(8, n_parcels, n_patches, generator(seed), version, GROUP)
        assert len(context) == len(targets) == 8
        assert context.shape[1] > 0
        assert targets.shape[1] > 0
        n = n_parcels * n_patches
        assert max(int(context.max()), int(targets.max())) < n
        assert not (cells(context, n) & cells(targets, n)).any()


@pytest.mark.parametrize("version", ["paper", "code"])
def test_the_same_generator_gives_the_same_masks(version: str) -> None:
    first, again = (draw_masks(4, 20, 6, generator(5), version, GROUP) for _ in range(2))
    other = draw_masks(4, 20, 6, generator(6), version, GROUP)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first.context.shape != other.context.shape or not torch.equal(first.context, other.context)


def test_the_paper_never_counts_a_target_twice_and_the_code_does() -> None:
    twice = {"paper": 0, "code": 0}
    for version in twice:
        for seed in range(20):
            targets = draw_masks(8, 450, 10, generator(seed), version, GROUP).targets
            twice[version] += sum(len(row) - len(row.unique()) for row in targets)
    assert twice["paper"] == 0
    assert twice["code"] > 0


def test_the_last_patch_is_in_the_papers_context_and_never_in_the_codes() -> None:
    seen = {
        version: torch.cat([draw_masks(16, 450, 10, generator(s), version, GROUP).context.flatten() for s in range(30)])
        % 10
        for version in ("paper", "code")
    }
    assert (seen["code"] == 9).sum() == 0
    assert (seen["paper"] == 9).sum() > 0
    first, last = ((seen["paper"] == place).float().mean() for place in (0, 9))
    assert 0.5 < first / last < 2  # neither end of the window is preferred


@pytest.mark.parametrize("version", ["paper", "code"])
def test_regions_of_the_targets(version: str) -> None:
    """Cross-ROI: other parcels, times of the context. Sides: parcels of the pool and others, patches of the ends."""
    for seed in range(10):
        blocks = draw_blocks(8, 450, 10, generator(seed), version, GROUP, MaskScales())
        (observed, times), (cross, cross_times) = blocks.observed, blocks.cross
        assert (cross.sum(1) == cross[0].sum()).all()
        assert (observed.sum(1) == observed[0].sum()).all()
        assert not (cross_times & ~times).any()
        pool = observed & (cross if version == "code" else ~cross)
        for (parcels, patches), ends in zip(blocks.sides, ((7, 8, 9), (0, 1, 2)), strict=True):
            assert not patches[:, [p for p in range(10) if p not in ends]].any()
            for members in (pool, ~pool):
                share = (parcels & members).sum(1) / members.sum(1)
                assert ((share > 0.14) & (share < 0.3)).all()
        context = cells(compose(blocks, version, GROUP, generator()).context, 4500).view(8, 450, 10)
        beside = blocks.sides[0][1] | blocks.sides[1][1]
        assert not (context & cross[:, :, None]).any()
        assert not (context & beside[:, None]).any()
        assert not (context & ~observed[:, :, None]).any()


def test_cross_time_reads_the_contexts_parcels_in_the_paper() -> None:
    """15 to 30 % of the context's own parcels are predicted at other times; in the code the pools are swapped."""
    blocks = draw_blocks(16, 450, 10, generator(), "paper", GROUP, MaskScales())
    context = blocks.observed[0] & ~blocks.cross[0]
    for parcels, _ in blocks.sides:
        share = (parcels & context).sum(1) / context.sum(1)
        assert share.min() > 0.14
        assert share.max() < 0.3


@pytest.mark.parametrize(("version", "last"), [("paper", True), ("code", False)])
def test_what_is_cut_from_longer_lists(version: str, last: bool) -> None:
    """The code loses the last parcels of every longer context, the paper's version none in particular."""
    kept = torch.zeros(450)
    for seed in range(60):
        context = draw_masks(16, 450, 10, generator(seed), version, GROUP).context
        kept += cells(context // 10, 450).sum(0)
    ratio = kept[400:].mean() / kept[:50].mean()
    assert (ratio > 0.93) == last
    assert ratio < 1.07


def test_sizes_are_those_measured_with_the_authors_code() -> None:
    """300 batches of 16: contexts of 824 tokens on average (592 to 1242), targets of 865 (404 to 1504)."""
    drawn = [draw_masks(16, 450, 10, generator(seed), "code", GROUP) for seed in range(100)]
    context, targets = (torch.tensor([float(m[part].shape[1]) for m in drawn]) for part in (0, 1))
    assert abs(context.mean() - 824) < 60
    assert abs(targets.mean() - 865) < 90
    assert context.min() > 500
    assert targets.max() < 1600


def test_too_few_parcels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 4 parcels, found 3"):
        draw_masks(2, 3, 10, generator(), "paper", GROUP)


@pytest.mark.parametrize("version", ["paper", "code"])
def test_every_group_has_its_own_sizes_and_lengths(version: str) -> None:
    """Ten windows in groups of four: lists are as long as their group's poorest, and end in -1 where others go on."""
    context, targets = draw_masks(10, 450, 10, generator(2), version, 4)
    for lists in (context, targets):
        lengths = (lists >= 0).sum(dim=1)
        assert [len(lengths[first : first + 4].unique()) for first in (0, 4, 8)] == [1, 1, 1]
        assert len(lengths.unique()) == 3
        assert lengths.max() == lists.shape[1]
        assert all((row[:length] >= 0).all() for row, length in zip(lists, lengths, strict=True))
    blocks = draw_blocks(10, 450, 10, generator(2), version, 4, MaskScales())
    sizes = blocks.cross[0].sum(dim=1)
    assert [len(sizes[first : first + 4].unique()) for first in (0, 4, 8)] == [1, 1, 1]
    assert len(sizes.unique()) > 1
