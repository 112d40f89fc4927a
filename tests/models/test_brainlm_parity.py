"""The 13 M class gives the numbers that the authors' code gave for the same weights, inputs and noise."""

from __future__ import annotations

import pytest
import torch
from brainlm_case import PARITY, in_order, stored_model
from published_case import Stored
from torch import Tensor

from boldtable.models.brainlm import BrainLM
from boldtable.models.brainlm_layers import interleaved_positions
from boldtable.models.brainlm_published import published_names
from boldtable.objectives.masked_autoencoding import Masking, Reconstruction, keep, masked_error, reconstruct

TOLERANCE = {"atol": 1e-5, "rtol": 0.0}
MASKING = Masking(0.75, "shuffled")
CONVOLUTION, KEY_BIAS, DEAD = "attention.self.conv.weight", "attention.self.key.bias", "decoder.decoder_pred."


@pytest.fixture(scope="module")
def stored() -> Stored:
    return Stored("brainlm_tiny.npz")


@pytest.fixture(scope="module")
def model(stored: Stored) -> BrainLM:
    return stored_model(stored)


@pytest.fixture(scope="module")
def found(stored: Stored, model: BrainLM) -> Reconstruction:
    with torch.no_grad():
        return reconstruct(model, stored["input/signal"], stored["input/noise"], MASKING)


def patches(signal: Tensor) -> Tensor:
    return signal.unflatten(-1, (10, 20))


def test_the_same_tokens_are_hidden(stored: Stored, found: Reconstruction) -> None:
    kept = keep(stored["input/noise"], MASKING)
    assert torch.equal(kept.places, stored["out/ids_keep"])
    assert torch.equal(kept.hidden.unflatten(1, (424, 10)), stored["out/mask"].bool())
    assert torch.equal(patches(found.counted).all(-1), stored["out/mask"].bool())


def test_positions_in_time_and_tokens_equal_the_reference(stored: Stored, model: BrainLM) -> None:
    torch.testing.assert_close(interleaved_positions(16, 64), stored["pe_first16"], **TOLERANCE)
    tokens = model.tokenize(stored["input/signal"])
    rows = stored["out/ids_keep"][:, stored["input/token_subset"]]
    mine = tokens.gather(1, rows[..., None].expand(-1, -1, 64))
    torch.testing.assert_close(mine, stored["out/embeddings_subset"], **TOLERANCE)


def test_latent_equals_the_reference(stored: Stored, found: Reconstruction) -> None:
    cls, rest = found.latent[:, 0], found.latent[:, 1:]
    torch.testing.assert_close(cls, stored["out/latent_cls"], **TOLERANCE)
    torch.testing.assert_close(rest[:, stored["input/token_subset"]], stored["out/latent_subset"], **TOLERANCE)
    torch.testing.assert_close(rest.mean(dim=1), stored["out/latent_mean"], **TOLERANCE)


def test_reconstruction_equals_the_reference(stored: Stored, found: Reconstruction) -> None:
    signal = patches(found.signal)
    torch.testing.assert_close(signal[:, stored["input/parcel_subset"]], stored["out/recon_subset"], **TOLERANCE)
    torch.testing.assert_close(signal.mean(dim=1), stored["out/recon_mean_per_patch"], **TOLERANCE)


@pytest.mark.parametrize("kind", ["mse", "mae"])
def test_losses_equal_the_reference(stored: Stored, found: Reconstruction, kind: str) -> None:
    loss = masked_error(found.signal, stored["input/signal"], found.counted, kind)
    torch.testing.assert_close(loss, stored[f"out/loss_{kind}"], atol=1e-6, rtol=0.0)


def gradients(stored: Stored, double: bool) -> tuple[BrainLM, Tensor, dict[str, Tensor]]:
    """Model, loss, and gradients under the authors' names."""
    model = stored_model(stored)
    x, noise = stored["input/signal"], stored["input/noise"]
    if double:
        model, x = model.double(), x.double()
    made = reconstruct(model, x, noise, MASKING)
    loss = masked_error(made.signal, x, made.counted)
    loss.backward()
    found: dict[str, Tensor] = {}
    for ours, parameter in model.named_parameters():
        names = published_names(ours, images=False)
        found |= dict(zip(names, parameter.grad.chunk(len(names)), strict=True))
    return model, loss, found


def reference_norms(stored: Stored, key: str) -> dict[str, float]:
    """Name → norm of the gradient, of what is used."""
    named = zip(stored.arrays["grad_names"], stored.arrays[key].tolist(), strict=True)
    return {str(name): norm for name, norm in named if not str(name).startswith(DEAD)}


def test_gradients_equal_the_reference_in_float32(stored: Stored) -> None:
    """Without the bias of the keys, whose gradient is zero but for rounding; the convolution's is mostly rounding."""
    _, _, mine = gradients(stored, double=False)
    norms = reference_norms(stored, "out/grad_l2")
    assert set(mine) == set(norms)
    for name, norm in norms.items():
        if not name.endswith(KEY_BIAS):
            tolerance = 0.01 if name.endswith(CONVOLUTION) else 1e-4
            assert mine[name].norm().item() == pytest.approx(norm, rel=tolerance, abs=1e-9), name
    for name, expected in stored.below("out/grad/").items():
        share = 0.05 if name.endswith(CONVOLUTION) else 1e-4
        mine_here = mine[name].reshape(expected.shape)
        atol = share * expected.abs().max().item()
        torch.testing.assert_close(mine_here, expected, atol=atol, rtol=0.0)


@pytest.mark.slow
def test_gradients_equal_the_reference_in_float64(stored: Stored) -> None:
    _, loss, mine = gradients(stored, double=True)
    assert loss.item() == pytest.approx(stored.arrays["out64/loss_mse"].item(), abs=5e-8)
    for name, norm in reference_norms(stored, "out64/grad_l2").items():
        if not name.endswith(KEY_BIAS):
            assert mine[name].norm().item() == pytest.approx(norm, rel=1e-6), name
    for name, expected in stored.below("out64/grad/").items():
        atol = 1e-6 * expected.abs().max().item()
        torch.testing.assert_close(mine[name].reshape(expected.shape), expected, atol=atol, rtol=0.0)


def test_features_are_those_of_the_ordered_pass(stored: Stored, model: BrainLM) -> None:
    """No token hidden, in the order of the atlas; the released model would shuffle them, with another result."""
    x = stored["input/signal"]
    with torch.no_grad():
        torch.testing.assert_close(model.embed(x), stored["out/unmasked_cls_ordered"], **TOLERANCE)
        tokens = model.encode(model.tokenize(x))
    torch.testing.assert_close(tokens[:, 0], stored["out/unmasked_cls_ordered"], **TOLERANCE)
    torch.testing.assert_close(tokens[:, 1:].mean(dim=1), stored["out/unmasked_mean_ordered"], **TOLERANCE)
    some = tokens[:, 1:][:, stored["input/token_subset"]]
    torch.testing.assert_close(some, stored["out/unmasked_tokens_subset_ordered"], **TOLERANCE)


def test_shuffled_tokens_give_the_released_features(stored: Stored, model: BrainLM) -> None:
    nothing_hidden = Masking(0.0, "shuffled")
    with torch.no_grad():
        shuffled = reconstruct(model, stored["input/signal"], stored["input/noise"], nothing_hidden).latent
        ordered = reconstruct(model, stored["input/signal"], in_order(2, 4240), nothing_hidden).latent
    torch.testing.assert_close(shuffled[:, 0], stored["out/unmasked_cls_shuffled"], **TOLERANCE)
    torch.testing.assert_close(shuffled[:, 1:].mean(dim=1), stored["out/unmasked_mean_shuffled"], **TOLERANCE)
    torch.testing.assert_close(ordered[:, 0], stored["out/unmasked_cls_ordered"], **TOLERANCE)
    assert (shuffled[:, 0] - ordered[:, 0]).abs().max() > 0.1


def test_without_the_convolution_or_with_another_eps_it_would_be_seen(stored: Stored) -> None:
    expected = stored["out/unmasked_cls_ordered"]
    without, other = stored_model(stored), stored_model(stored)
    for block in without.blocks:
        block.attn.taps.data.zero_()
    for module in other.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5
    with torch.no_grad():
        assert (without.embed(stored["input/signal"]) - expected).abs().max() > 0.1
        assert (other.embed(stored["input/signal"]) - expected).abs().max() > 2e-5
    assert PARITY.n_patches == 10
