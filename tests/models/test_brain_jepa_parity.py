"""Encoder, predictor, loss, gradients, masks and schedules give the numbers of the authors' code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brain_jepa_case import CONFIG, NAME, stored_objective
from published_case import Stored
from torch import Tensor, nn

from boldtable.models.published_jepa import _ENCODER, _PREDICTOR, _theirs
from boldtable.objectives import schedules
from boldtable.objectives.joint_embedding import JointEmbedding, latent_loss, listed
from boldtable.objectives.spatiotemporal_masks import Blocks, MaskScales, compose, draw_blocks, draw_sizes

TOLERANCE = {"atol": 1e-5, "rtol": 0.0}


@pytest.fixture(scope="module")
def stored() -> Stored:
    return Stored(NAME)


@pytest.fixture(scope="module")
def objective(stored: Stored) -> JointEmbedding:
    return stored_objective(stored)


@pytest.fixture(scope="module")
def windows(stored: Stored) -> Tensor:
    return stored["input/x"].squeeze(1)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, **TOLERANCE)


@torch.no_grad()
def test_positions(stored: Stored, objective: JointEmbedding) -> None:
    encoder = objective.student
    close(encoder.positions(encoder.gradients, 10).flatten(0, 1), stored["out/pos_embed"])
    close(objective.predictor.positions(encoder.gradients, 10).flatten(0, 1), stored["out/pred_pos_embed"])


@torch.no_grad()
def test_tokens_of_the_whole_window(stored: Stored, objective: JointEmbedding, windows: Tensor) -> None:
    subset = stored["input/token_subset"]
    encoder = objective.student
    close(encoder.patch(encoder.patches(windows))[:, subset], stored["out/patch_embed_subset"])
    tokens = encoder(windows)
    close(tokens[:, subset], stored["out/tokens_subset"])
    close(tokens.mean(dim=1), stored["out/tokens_mean"])
    close(tokens.std(dim=1, correction=0), stored["out/tokens_std"])
    close(encoder.embed(windows), stored["out/tokens_mean"])
    theirs = objective.teacher(windows)
    close(theirs[:, subset], stored["out/ema_tokens_subset"])
    close(theirs.mean(dim=1), stored["out/ema_tokens_mean"])


@torch.no_grad()
def test_context_targets_and_predictions(stored: Stored, objective: JointEmbedding, windows: Tensor) -> None:
    context, targets = stored["input/context_idx"], stored["input/target_idx"]
    seen = objective.student(windows, context)
    close(seen[:, stored["input/context_subset"]], stored["out/context_tokens_subset"])
    close(seen.mean(dim=1), stored["out/context_tokens_mean"])
    patches = objective.student.patches(windows)
    predicted = objective.predict(patches, listed(context, None), listed(targets, None))
    close(predicted[:, stored["input/target_subset"]], stored["out/pred_subset"])
    close(predicted.mean(dim=1), stored["out/pred_mean"])
    tokens = objective.teacher(windows).gather(1, targets[..., None].expand(-1, -1, 64))
    goal = nn.functional.layer_norm(tokens, (64,))
    close(goal[:, stored["input/target_subset"]], stored["out/target_subset"])
    close(goal.mean(dim=1), stored["out/target_mean"])
    each = torch.stack([latent_loss(p[None], g[None], "smooth-l1") for p, g in zip(predicted, goal, strict=True)])
    torch.testing.assert_close(each, stored["out/loss_per_sample"], atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("spare_memory", [False, True])
def test_loss_and_gradients(stored: Stored, windows: Tensor, spare_memory: bool) -> None:
    objective = stored_objective(stored)
    objective.student.spare_memory = objective.predictor.spare_memory = spare_memory
    found = objective.losses(windows, stored["input/context_idx"], stored["input/target_idx"])
    torch.testing.assert_close(found["total"].detach(), stored["out/loss_smooth_l1"], atol=1e-6, rtol=0.0)
    found["total"].backward()
    assert all(weight.grad is None for weight in objective.teacher.parameters())
    for what, part, names in (("encoder", objective.student, _ENCODER), ("predictor", objective.predictor, _PREDICTOR)):
        gradients = {_theirs(name, names): weight.grad for name, weight in part.named_parameters()}
        listed = [str(name) for name in stored.arrays[f"grad_names_{what}"]]
        assert set(listed) == set(gradients)
        for name, norm in zip(listed, stored[f"out/grad_l2_{what}"], strict=True):
            torch.testing.assert_close(gradients[name].double().norm(), norm, rtol=1e-4, atol=1e-9, msg=name)
        for name, full in stored.below(f"out/grad/{what}.").items():
            error = (gradients[name].view(full.shape) - full).abs().max()
            assert error <= 1e-4 * full.abs().max(), name


def test_the_loss_of_the_paper(stored: Stored, windows: Tensor) -> None:
    objective = stored_objective(stored, "mse")
    with torch.no_grad():
        found = objective.losses(windows, stored["input/context_idx"], stored["input/target_idx"])
    torch.testing.assert_close(found["total"], stored["out/loss_mse"], atol=1e-6, rtol=0.0)


def test_teacher_update(stored: Stored) -> None:
    objective = stored_objective(stored)
    objective.update_teacher(0.996)
    weights = {_theirs(name, _ENCODER): weight for name, weight in objective.teacher.named_parameters()}
    for name, expected in stored.below("ema/after/").items():
        torch.testing.assert_close(weights[name].view(expected.shape), expected, atol=1e-6, rtol=0.0, msg=name)


@torch.no_grad()
@pytest.mark.parametrize("mistake", ["gelu", "eps", "heads", "times", "places"])
def test_a_mistake_would_be_seen(stored: Stored, windows: Tensor, mistake: str) -> None:
    wrong = stored_objective(stored).student
    for module in wrong.modules():
        if isinstance(module, nn.GELU) and mistake == "gelu":
            module.approximate = "tanh"
        if isinstance(module, nn.LayerNorm) and mistake == "eps":
            module.eps = 1e-5
    if mistake == "heads":
        for block in wrong.blocks:
            block.attn.heads = 1
    if mistake == "times":
        windows = windows.view(2, 450, 10, 16).flip(2).reshape(windows.shape)
    if mistake == "places":
        wrong.gradients.copy_(wrong.gradients.flip(0))
    found = wrong(windows)[:, stored["input/token_subset"]]
    assert (found - stored["out/tokens_subset"]).abs().max() > 2e-5, mistake


@pytest.mark.parametrize("batch", range(20))
def test_block_sizes_are_drawn_as_theirs(stored: Stored, batch: int) -> None:
    drawn = draw_sizes(1, 450, 10, torch.Generator().manual_seed(batch), MaskScales())[0].tolist()
    names = ("alpha_rois", "alpha_frames", "obs_rois", "obs_frames")
    assert drawn == [int(stored.arrays[f"mask/{name}"][batch]) for name in names]


def block(places: list[int], lost: int = 0) -> tuple[Tensor, Tensor]:
    """The parcels and patches of a list of tokens; `lost` parcels that came after it, and were cut off, are added."""
    parcels, patches = torch.zeros(450, dtype=torch.bool), torch.zeros(10, dtype=torch.bool)
    parcels[sorted({place // 10 for place in places})] = True
    patches[sorted({place % 10 for place in places})] = True
    free = [parcel for parcel in range(max(places, default=0) // 10 + 1, 450) if not parcels[parcel]]
    parcels[free[len(free) - lost :]] = True
    return parcels, patches


@pytest.mark.parametrize("number", [0, 1, 2])
def test_blocks_give_their_lists_of_tokens(stored: Stored, number: int) -> None:
    """From the blocks that the stored lists show, the same lists: order, doubles and where they are cut."""
    contexts, targets = (stored.arrays[f"mask/sample{number}_{what}_idx"] for what in ("context", "target"))
    sizes = stored.arrays[f"mask/sample{number}_sizes_right_left"]
    (n_observed, _), (n_cross, n_patches) = stored.arrays[f"mask/sample{number}_sizes_obs_alpha"]
    found = []
    for context, target, sides in zip(contexts.tolist(), targets.tolist(), sizes.tolist(), strict=True):
        cross, rest = block(target[: n_cross * n_patches]), target[n_cross * n_patches :]
        beside = []
        for one, two, taken_one, taken_two, n in sides:
            assert one + two == 450
            mine, rest = rest[: (taken_one + taken_two) * n], rest[(taken_one + taken_two) * n :]
            beside.append(block(mine, lost=taken_one + taken_two - len({p // 10 for p in mine}) if n else 0))
        observed, times = block(context)
        assert not (observed & cross[0]).any()
        left_over = int(n_observed) - sides[0][0] - int(observed.sum())  # cut off at the end
        candidates = [p for p in range(max(context) // 10 + 1, 450) if not cross[0][p]]
        observed[candidates[len(candidates) - left_over :] if left_over else []] = True
        found.append(((observed, times), cross, *beside))
    stacked = [(torch.stack([row[k][0] for row in found]), torch.stack([row[k][1] for row in found])) for k in range(4)]
    masks = compose(Blocks(stacked[0], stacked[1], (stacked[2], stacked[3])), "code", len(found), torch.Generator())
    assert np.array_equal(masks.context.numpy(), contexts)
    assert np.array_equal(masks.targets.numpy(), targets)


def test_sizes_and_pools_of_the_sides_are_distributed_as_theirs(stored: Stored) -> None:
    """Pool sizes, shares taken from both pools and number of patches, over many draws."""
    g = torch.Generator().manual_seed(3)
    counts: dict[str, list[Tensor]] = {"pool": [], "share": [], "other": [], "patches": []}
    for _ in range(40):
        drawn = draw_blocks(16, 450, 10, g, "code", 16, MaskScales())
        pool = drawn.observed[0] & drawn.cross[0]
        for parcels, patches in drawn.sides:
            counts["pool"].append(pool.sum(1))
            counts["share"].append((parcels & pool).sum(1) / pool.sum(1))
            counts["other"].append((parcels & ~pool).sum(1) / (~pool).sum(1))
            counts["patches"].append(patches.sum(1))
    ours = {name: torch.cat(values).double().mean().item() for name, values in counts.items()}
    both = np.concatenate([stored.arrays["mask/right"], stored.arrays["mask/left"]]).reshape(-1, 5)
    theirs = {
        "pool": both[:, 0].mean(), "share": (both[:, 2] / both[:, 0]).mean(),
        "other": (both[:, 3] / both[:, 1]).mean(), "patches": both[:, 4].mean(),
    }  # fmt: skip
    assert ours["pool"] == pytest.approx(theirs["pool"], rel=0.05)
    for name in ("share", "other"):
        assert ours[name] == pytest.approx(theirs[name], rel=0.03)
    assert ours["patches"] == pytest.approx(theirs["patches"], abs=0.15)


def test_schedules(stored: Stored) -> None:
    steps = range(10)
    found = [schedules.warmed_cosine(step, 10, 4, 5e-5, 1e-3, 1e-6) for step in steps]
    assert found == pytest.approx(stored.arrays["sched/lr"], abs=1e-12)
    found = [schedules.cosine_weight_decay(step, 10, 0.04, 0.4) for step in steps]
    assert found == pytest.approx(stored.arrays["sched/wd"], abs=1e-12)
    found = [schedules.linear_momentum(step, 10, 0.996, 1.0, fold=8) for step in steps]
    assert found == pytest.approx(stored.arrays["sched/momentum_used_per_optimiser_step"], abs=1e-12)
    assert schedules.linear_momentum(10, 10, 0.996, 1.0) == 1.0


def test_parameters_of_the_published_sizes() -> None:
    from boldtable.models.brain_jepa import SIZES, brain_jepa_config
    from boldtable.models.published_jepa import published_shapes

    expected = {"small": (22.17, 3.25), "base": (86.81, 12.11), "large": (304.65, None)}
    for size, (encoder, predictor) in expected.items():
        shapes = published_shapes(brain_jepa_config(size, 450), *SIZES[size][3:])
        assert sum(map(np.prod, shapes["encoder"].values())) / 1e6 == pytest.approx(encoder, abs=0.005)
        if predictor:
            assert sum(map(np.prod, shapes["predictor"].values())) / 1e6 == pytest.approx(predictor, abs=0.005)
    assert CONFIG.n_patches == 10
