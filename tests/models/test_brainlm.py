"""The 13 M class: what is absent has no influence, features are deterministic, a folder gives back every bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from brainlm_case import little_model, make_spec
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from boldtable.errors import InputError, SettingsError
from boldtable.models import Encoder, load_model, save_model
from boldtable.models.brainlm import SIZES, BrainLM, BrainLMConfig, brainlm_config
from boldtable.models.brainlm_layers import TAPS, ConvolvedAttention
from boldtable.models.brainlm_vit import BrainLMImages, ImageConfig


def signal(batch: int = 2, n_frames: int = 20) -> Tensor:
    return torch.randn(batch, 7, n_frames, generator=torch.Generator().manual_seed(3))


def masks(batch: int = 2, n_frames: int = 20) -> tuple[Tensor, Tensor]:
    return torch.ones(batch, 7, dtype=torch.bool), torch.ones(batch, n_frames, dtype=torch.bool)


@pytest.mark.parametrize("pooling", ["cls", "avg", "cls_avg"])
def test_what_is_absent_has_no_influence(pooling: str) -> None:
    model, x = little_model(pooling=pooling), signal()
    parcels, frames = masks()
    parcels[0, [1, 2]] = False
    frames[1, 13:] = False
    other = x.clone()
    other[0, [1, 2]] = torch.nan
    other[1, :, 13:] = 1e9
    with torch.no_grad():
        found = model.embed(x, parcels, frames)
        assert torch.equal(model.embed(other, parcels, frames), found)
        assert (found - model.embed(x)).abs().amax(dim=1).min() > 1e-3
        torch.testing.assert_close(model.embed(x, *masks()), model.embed(x))
    assert isinstance(model, Encoder)
    assert found.shape == (2, model.n_features)


def test_tokens_without_data_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the positions that stand in them: neither by attention nor by the convolution of their neighbours."""
    model, x = little_model(), signal()
    parcels, frames = masks()
    parcels[:, 3] = False
    frames[:, 15:] = False
    keys = model.present(parcels, frames, 20)
    assert keys is not None
    assert keys.sum(dim=1).tolist() == [6 * 3, 6 * 3]
    tokens = model.tokenize(x, parcels, frames)
    changed = torch.where(keys[..., None], tokens, 1e3)
    with torch.no_grad():
        shown = torch.cat([keys.new_ones(2, 1), keys], dim=1)
        assert torch.equal(model.encode(changed, keys)[shown], model.encode(tokens, keys)[shown])
        without = ConvolvedAttention.forward
        monkeypatch.setattr(ConvolvedAttention, "forward", lambda self, x, keys, rows: without(self, x, None, rows))
        assert not torch.equal(model.encode(changed, keys)[:, 0], model.encode(tokens, keys)[:, 0])


def test_a_window_without_any_data_gives_finite_features() -> None:
    model = little_model(pooling="cls_avg")
    nothing = torch.zeros(2, 7, dtype=torch.bool)
    with torch.no_grad():
        assert model.embed(torch.full((2, 7, 20), torch.nan), nothing, None).isfinite().all()


def test_the_first_rows_alone_are_the_same_numbers() -> None:
    model, x = little_model(), signal()
    tokens = model.tokenize(x)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(tokens, None, 1), model.encode(tokens)[:, :1])
        torch.testing.assert_close(model.encode(tokens, None, 3), model.encode(tokens)[:, :3])


def test_the_convolution_is_the_one_of_its_definition() -> None:
    torch.manual_seed(0)
    attention, x = ConvolvedAttention(8, 2), torch.randn(1, 90, 8)
    with torch.no_grad():
        whole = attention(x)
        values = attention.qkv(x)[0, :, 16:].view(90, 2, 4)
        expected = torch.zeros(90, 2, 4)
        for token in range(90):
            for tap in range(TAPS):
                place = token + tap - TAPS // 2
                if 0 <= place < 90:
                    expected[token] += attention.taps[:, tap, None] * values[place]
        attention.taps.zero_()
        part = (whole - attention(x))[0]
        torch.testing.assert_close(part, expected.flatten(1) @ attention.proj.weight.T, rtol=1e-4, atol=1e-5)


def test_windows_of_another_length_are_read_as_well() -> None:
    """A padded window keeps the places of its tokens, a short one has fewer: only the convolution can tell."""
    model = little_model()
    for block in model.blocks:
        block.attn.taps.data.zero_()
    with torch.no_grad():
        short = model.embed(signal(n_frames=13))
        frames = torch.arange(20).expand(2, 20) < 13
        padded = torch.nn.functional.pad(signal(n_frames=13), (0, 7), value=5.0)
        torch.testing.assert_close(model.embed(padded, None, frames), short)
        assert model.embed(signal(n_frames=40)).shape == short.shape


def test_activations_computed_again_give_the_same_gradients() -> None:
    kept, again = little_model(), little_model()
    again.spare_memory = True
    for model in (kept, again):
        model.encode(model.tokenize(signal())).square().sum().backward()
    for (name, one), (_, other) in zip(kept.named_parameters(), again.named_parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None) == name.startswith("decoder."), name
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, msg=name)


def test_a_folder_gives_back_every_bit_with_decoder_and_positions(tmp_path: Path) -> None:
    model = little_model()
    save_model(tmp_path, model, "# A model\n")
    loaded = load_model(tmp_path)
    assert isinstance(loaded, BrainLM)
    assert (loaded.config, loaded.spec) == (model.config, model.spec)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert {"coordinates", "decoder.signal.2.bias"} <= set(loaded.state_dict())
    assert json.loads((tmp_path / "config.json").read_text())["kind"] == "brainlm"


def test_wrong_weights_are_named(tmp_path: Path) -> None:
    save_model(tmp_path, little_model(), "# A model\n")
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    save_file({name: tensor for name, tensor in weights.items() if name != "coordinates"}, path)
    with pytest.raises(InputError, match=r"model\.safetensors: tensor 'coordinates' is missing"):
        load_model(tmp_path)
    save_file({**weights, "coordinates": torch.zeros(8, 3)}, path)
    with pytest.raises(InputError, match=r"'coordinates' has shape \(8, 3\), expected \(7, 3\)"):
        load_model(tmp_path)


def test_bfloat16_gives_the_same_but_for_rounding() -> None:
    model, x = little_model(), signal()
    parcels, frames = masks()
    parcels[0, 2] = False
    with torch.no_grad():
        exact = model.embed(x, parcels, frames)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.embed(x, parcels, frames)
    torch.testing.assert_close(rough.float(), exact, rtol=0, atol=0.1)
    assert not torch.equal(rough.float(), exact)


def test_positions_change_the_features() -> None:
    model, moved = little_model(), little_model()
    moved.coordinates[2] += 5
    with torch.no_grad():
        assert (moved.embed(signal()) - model.embed(signal())).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"window_frames": 21}, "window_frames 21 must be a multiple of patch_frames 20"),
        ({"heads": 3}, r"width 512 must be a multiple of twice the heads \(3\)"),
        ({"pooling": "mean"}, "unknown pooling 'mean'"),
    ],
)
def test_wrong_architectures_are_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        BrainLMConfig(**{"n_parcels": 7, **wrong})


def test_sizes() -> None:
    with pytest.raises(SettingsError, match="did you mean 'base'"):
        brainlm_config("bas", 7)
    assert list(SIZES) == ["tiny", "small", "base"]
    with torch.device("meta"):
        published = BrainLM(brainlm_config("base", 424), make_spec(424))
    # 13,429,292 as the authors count them, less their output layer of 768 pixels that is never used
    assert sum(weight.numel() for weight in published.parameters()) == 13_429_292 - 768 * 513


VIT_B = ImageConfig(424, 432, 16, 768, 12, 12, 3072, 512, 8, 16, 2048)
VIT_H = ImageConfig(424, 434, 14, 1280, 32, 16, 5120, 512, 8, 16, 2048)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: BrainLM(brainlm_config("base", 424), make_spec(424)), 220.8),
        (lambda: BrainLMImages(VIT_B, make_spec(424)), 144.5),
        (lambda: BrainLMImages(VIT_H, make_spec(424)), 1363.5),
    ],
    ids=["13M", "111M", "650M"],
)
def test_the_arithmetic_is_that_of_the_published_models(build: Callable[[], Any], expected: float) -> None:
    """As counted on the authors' code: forward of the encoder, nothing hidden, a multiplication and an addition each.

    There the 13 M class has 219.7: the band matrices of `along_tokens` count their zeros.
    """
    with torch.device("meta"):
        model, x = build(), torch.empty(1, 424, 200)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.encode(model.tokenize(x))
    assert counter.get_total_flops() / 1e9 == pytest.approx(expected, abs=0.05)
