"""Brain-JEPA on any atlas and length: masks that leak nothing, positions, folders, sizes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from brain_jepa_case import SMALL, small_encoder, spec_of, window

from boldtable.errors import InputError, SettingsError
from boldtable.models.base import Encoder
from boldtable.models.brain_jepa import SIZES, BrainJepa, BrainJepaConfig, brain_jepa_config
from boldtable.models.brain_jepa_layers import initialise
from boldtable.models.flops import forward_flops
from boldtable.models.folder import load_model, save_model
from boldtable.objectives.joint_embedding import (
    JointEmbedding,
    JointEmbeddingConfig,
    joint_embedding_config,
    latent_loss,
)
from boldtable.objectives.spatiotemporal_masks import draw_masks


def masks(batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return draw_masks(batch, SMALL.n_parcels, SMALL.n_patches, torch.Generator().manual_seed(seed), "paper", batch)


def small_objective(**more: object) -> JointEmbedding:
    torch.manual_seed(3)
    return JointEmbedding(small_encoder(), JointEmbeddingConfig(8, 2, **more))


def gap() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two windows, the first with a missing parcel, the second with a short run; which values are present."""
    parcels, frames = torch.ones(2, 6, dtype=torch.bool), torch.ones(2, 16, dtype=torch.bool)
    parcels[0, 2] = False
    frames[1, 10:] = False
    return parcels, frames, parcels[:, :, None] & frames[:, None, :]


@torch.no_grad()
@pytest.mark.parametrize("junk", [math.nan, 1e6])
def test_absent_values_never_reach_the_features(junk: float) -> None:
    encoder, x = small_encoder(), window()
    parcels, frames, present = gap()
    assert isinstance(encoder, Encoder)
    expected = encoder.embed(torch.where(present, x, 0.0), parcels, frames)
    found = encoder.embed(torch.where(present, x, junk), parcels, frames)
    assert torch.equal(found, expected)
    assert torch.isfinite(found).all()
    assert (encoder.embed(x) - found).abs().max() > 1e-3


@torch.no_grad()
def test_a_missing_parcel_is_as_if_the_atlas_had_none() -> None:
    """Left out of attention and of the mean, it leaves the features of the other parcels alone."""
    encoder, x = small_encoder(), window()
    present = torch.ones(2, 6, dtype=torch.bool)
    present[:, 4] = False
    without = small_encoder(config=dataclasses.replace(SMALL, n_parcels=5))
    rest = [0, 1, 2, 3, 5]
    weights = {**encoder.state_dict(), "gradients": encoder.gradients[rest]}
    without.load_state_dict(weights)
    # Places are scaled by the extremes of all parcels: keep both in the smaller atlas.
    places = encoder.positions.place(encoder.gradients)
    if {int(places.argmax()) // 8, int(places.argmin()) // 8} & {4}:
        pytest.fail("choose another parcel to leave out")
    torch.testing.assert_close(encoder.embed(x, present, None), without.embed(x[:, rest]), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_window_without_data_gives_zeros() -> None:
    none = torch.zeros(2, 6, dtype=torch.bool)
    assert small_encoder().embed(window(), none, None).abs().max() == 0


@torch.no_grad()
def test_kept_tokens_are_all_that_is_read() -> None:
    encoder, x = small_encoder(), window()
    kept = torch.tensor([[0, 5, 9], [2, 3, 20]])
    before = encoder(x, kept)
    changed = x.clone().view(2, 24, 4)
    hidden = torch.ones(2, 24, dtype=torch.bool).scatter(1, kept, False)
    changed[hidden] = 1e4
    assert torch.equal(encoder(changed.view(x.shape), kept), before)
    everything = torch.arange(24).expand(2, -1)
    torch.testing.assert_close(encoder(x, everything), encoder(x))


@torch.no_grad()
def test_any_length_and_any_number_of_parcels() -> None:
    encoder = small_encoder()
    assert encoder(window()[:, :, :9]).shape == (2, 6 * 3, 16)
    positions = encoder.positions(encoder.gradients, 7)
    assert positions.shape == (6, 7, 16)
    assert positions[..., 8:].min() == -1
    assert positions[..., 8:].max() == 1
    assert torch.equal(positions[0, :, 8:], positions[0, :1, 8:].expand(7, -1))
    assert torch.equal(positions[0, :, :8], positions[5, :, :8])
    padded = torch.nn.functional.pad(window()[:, :, :9], (0, 3))
    assert torch.equal(encoder(window()[:, :, :9]), encoder(padded))


@pytest.mark.parametrize("loss", ["smooth-l1", "mse"])
def test_absent_values_reach_neither_loss_nor_gradients(loss: str) -> None:
    x, (context, targets) = window(), masks(2)
    parcels, frames, present = gap()
    found = []
    for junk in (0.0, math.nan):
        objective = small_objective(loss=loss)
        parts = objective.losses(torch.where(present, x, junk), context, targets, parcels, frames, monitor=True)
        parts["total"].backward()
        found.append([p.grad.clone() for p in objective.student_parameters()] + [v.detach() for v in parts.values()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert all(torch.isfinite(a).all() for a in found[0])


def test_tokens_without_data_are_not_counted_and_windows_count_alike() -> None:
    predicted, goal = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    counted = torch.tensor([[True, True, False], [True, False, False]])
    each = [torch.nn.functional.mse_loss(p[c], g[c]) for p, g, c in zip(predicted, goal, counted, strict=True)]
    torch.testing.assert_close(latent_loss(predicted, goal, "mse", counted), (each[0] + each[1]) / 2)
    assert latent_loss(predicted, goal, "mse", torch.zeros_like(counted)) == 0


def test_padding_of_lists_changes_no_number() -> None:
    x, (context, targets) = window(), masks(2)
    objective = small_objective()
    shorter = targets.clone()
    shorter[1, -2:] = -1
    found = objective.losses(x, context, shorter, monitor=True)
    padded = [torch.nn.functional.pad(places, (0, 3), value=-1) for places in (context, shorter)]
    again = objective.losses(x, *padded, monitor=True)
    assert all(torch.equal(found[name], again[name]) for name in found)
    alone = [objective.losses(x[k : k + 1], context[k : k + 1], shorter[k : k + 1])["total"] for k in (0, 1)]
    torch.testing.assert_close(found["total"], (alone[0] + alone[1]) / 2)


def test_only_student_and_predictor_learn_and_the_teacher_follows() -> None:
    objective, (context, targets) = small_objective(), masks(2)
    objective.losses(window(), context, targets)["total"].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in objective.student_parameters())
    before = objective.teacher.norm.weight.clone()
    with torch.no_grad():
        objective.student.norm.weight.add_(1.0)
    objective.update_teacher(0.9)
    torch.testing.assert_close(objective.teacher.norm.weight, before + 0.1)


def test_spared_memory_changes_no_number() -> None:
    x, (context, targets) = window(), masks(2)
    found = []
    for spare in (False, True):
        objective = small_objective(spare_memory=spare)
        objective.losses(x, context, targets)["total"].backward()
        found.append([p.grad.clone() for p in objective.student_parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_collapse_shows() -> None:
    objective, (context, targets) = small_objective(), masks(2)
    healthy = objective.losses(window(), context, targets, monitor=True)
    with torch.no_grad():
        objective.teacher.norm.weight.zero_()
        objective.teacher.norm.bias.fill_(1.0)
    collapsed = objective.losses(window(), context, targets, monitor=True)
    assert healthy["token_similarity"] < 0.9
    assert collapsed["token_similarity"] == pytest.approx(1.0, abs=1e-4)
    assert healthy["feature_rank"] == pytest.approx(1.0, abs=1e-4)  # two windows have one direction
    assert collapsed["feature_rank"] <= 1.0 + 1e-4


def test_deep_branches_start_smaller_where_that_is_wanted() -> None:
    encoder = BrainJepa(dataclasses.replace(SMALL, width=256, depth=8), spec_of(SMALL))
    torch.manual_seed(0)
    initialise(encoder)
    assert [encoder.blocks[i].mlp[2].weight.std().item() for i in (0, 7)] == pytest.approx([0.02, 0.02], rel=0.05)
    initialise(encoder, rescale=True)
    for name in ("attn.proj", "mlp.2"):
        stds = [encoder.blocks[i].get_submodule(name).weight.std().item() for i in (0, 7)]
        assert stds == pytest.approx([0.02 / 2**0.5, 0.02 / 4], rel=0.05)
    assert encoder.blocks[7].attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_a_folder_gives_back_every_bit_and_the_gradients(tmp_path: Path) -> None:
    encoder = small_encoder()
    save_model(tmp_path / "model", encoder, "card")
    again = load_model(tmp_path / "model")
    assert isinstance(again, BrainJepa)
    assert (again.config, again.spec) == (encoder.config, encoder.spec)
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), encoder.state_dict().values(), strict=True)
    )
    assert "gradients" in again.state_dict()
    text = (tmp_path / "model/config.json").read_text()
    (tmp_path / "model/config.json").write_text(text.replace('"n_components": 3', '"n_components": 4'))
    with pytest.raises(InputError, match="'gradients' has shape"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"window_frames": 15}, "multiple of patch_frames"),
        ({"width": 18}, "multiple of 4 and of heads"),
        ({"n_components": 0}, "n_components 0 must be at least 1"),
    ],
)
def test_impossible_architectures_are_refused(wrong: dict[str, int], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        BrainJepaConfig(**{**dataclasses.asdict(SMALL), **wrong})


def test_sizes() -> None:
    with pytest.raises(SettingsError, match="did you mean 'base'"):
        brain_jepa_config("bas", 450)
    for size in SIZES:
        assert joint_embedding_config(size).width % brain_jepa_config(size, 450).heads == 0
    with pytest.raises(SettingsError, match=r"gradients of shape \(3, 3\), expected \(6, 3\)"):
        BrainJepa(SMALL, spec_of(SMALL), torch.zeros(3, 3))


def test_arithmetic_of_the_published_size() -> None:
    names = tuple(map(str, range(450)))
    config = brain_jepa_config("base", 450)
    with torch.device("meta"):
        encoder = BrainJepa(config, dataclasses.replace(spec_of(SMALL), parcels=names, networks=names, n_frames=160))
    assert forward_flops(encoder) / 1e9 == pytest.approx(1511, abs=0.5)
    assert sum(weight.numel() for weight in encoder.parameters()) == 85_080_960
    assert forward_flops(encoder, 80) < forward_flops(encoder) / 2
