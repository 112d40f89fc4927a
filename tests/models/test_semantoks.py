"""What must hold for any Semantoks model: size, grouping, masks that do not leak, any length, autocast."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from published_case import Stored, make_spec
from torch import Tensor

from boldtable.errors import InputError, SettingsError
from boldtable.models.base import Encoder
from boldtable.models.semantoks import Semantoks, SemantoksConfig, semantoks_config

NETWORKS = ("vis", "som", "vis", "dmn", "som", "dmn", "dmn")


def build(config: SemantoksConfig, seed: int = 0) -> Semantoks:
    torch.manual_seed(seed)
    return Semantoks(config, make_spec(config.networks, config.window_frames)).eval()


@pytest.fixture(scope="module")
def encoder() -> Semantoks:
    return build(semantoks_config("tiny", NETWORKS, window_frames=60))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 7, 60, generator=torch.Generator().manual_seed(1))


def masks() -> tuple[Tensor, Tensor]:
    """Window 0 lacks network dmn, window 1 parcel 0 and its last patch and a bit, window 2 nothing."""
    parcels = torch.ones(3, 7, dtype=torch.bool)
    parcels[0, [3, 5, 6]] = False
    parcels[1, 0] = False
    frames = torch.ones(3, 60, dtype=torch.bool)
    frames[1, 35:] = False
    return parcels, frames


def test_published_size_has_58_7_million_live_parameters() -> None:
    ids = Stored("semantoks_tiny.npz").arrays["input/network_ids"]
    config = semantoks_config("base", [f"network-{index}" for index in ids])
    with torch.device("meta"):
        encoder = Semantoks(config, make_spec(config.networks))
    # Tokenizers 2,014,115; blocks 56,696,832; last norm, CLS and mask token, nine network embeddings.
    assert sum(p.numel() for p in encoder.tokenizer.parameters()) == 2_014_115
    assert sum(p.numel() for p in encoder.parameters()) == 58_720_931
    assert encoder.n_features == 1536


def test_networks_stand_in_order_of_first_appearance() -> None:
    assert semantoks_config("tiny", NETWORKS).groups == ((0, 2), (1, 4), (3, 5, 6))
    assert semantoks_config("tiny", NETWORKS, tokenizer="single").groups == (tuple(range(7)),)
    assert semantoks_config("tiny", ["unknown"] * 7).groups == (tuple(range(7)),)
    assert len(semantoks_config("tiny", NETWORKS, tokenizer="parcel-linear").groups) == 7


def test_every_parcel_reaches_only_its_network(encoder: Semantoks, x: Tensor) -> None:
    with torch.no_grad():
        before = encoder.tokenize(x)
        for parcel, network in enumerate((0, 1, 0, 2, 1, 2, 2)):
            changed = x.clone()
            changed[:, parcel, 25] += 1.0
            differs = (encoder.tokenize(changed) - before).abs().amax(dim=(0, 3)) > 0
            expected = torch.zeros(3, 3, dtype=torch.bool)
            expected[network, 1] = True
            assert torch.equal(differs, expected)


@pytest.mark.parametrize("tokenizer", ["network", "single", "parcel-linear"])
@pytest.mark.parametrize("junk", [1e3, float("nan"), float("inf")])
def test_absent_values_never_leak(x: Tensor, tokenizer: str, junk: float) -> None:
    encoder = build(semantoks_config("tiny", NETWORKS, window_frames=60, tokenizer=tokenizer))
    parcels, frames = masks()
    spoiled = x.clone()
    spoiled[~parcels[:, :, None].expand_as(x)] = junk
    spoiled[~frames[:, None, :].expand_as(x)] = junk
    with torch.no_grad():
        assert torch.equal(encoder.embed(x, parcels, frames), encoder.embed(spoiled, parcels, frames))
        assert torch.equal(encoder(x, None, parcels, frames), encoder(spoiled, None, parcels, frames))
    assert torch.isfinite(encoder.embed(spoiled, parcels, frames)).all()


def test_absent_parcels_get_no_gradient(encoder: Semantoks, x: Tensor) -> None:
    parcels, frames = masks()
    inputs = x.clone().requires_grad_()
    encoder.embed(inputs, parcels, frames).sum().backward()
    assert inputs.grad is not None
    there = parcels[:, :, None] & frames[:, None, :]
    assert (inputs.grad[~there] == 0).all()
    assert (inputs.grad[there] != 0).any()


def test_a_network_without_parcels_is_as_if_it_were_not_there(encoder: Semantoks, x: Tensor) -> None:
    parcels, _ = masks()
    with torch.no_grad():
        tokens = encoder(x[:1], None, parcels[:1])
        keep = [0, 1, 2, 3, 4, 5, 6]  # CLS, three patches of vis and of som
        short = torch.cat([encoder.cls_token.expand(1, 1, -1), _positioned(encoder, x[:1])[:, :2].flatten(1, 2)], 1)
        for block in encoder.blocks:
            short = block(short)
        expected = encoder.norm(short)
    torch.testing.assert_close(tokens[:, keep], expected, atol=1e-5, rtol=0.0)
    features = encoder.embed(x[:1], parcels[:1])
    torch.testing.assert_close(features[:, :96], expected[:, 1:].mean(dim=1), atol=1e-5, rtol=0.0)


def _positioned(encoder: Semantoks, x: Tensor) -> Tensor:
    from boldtable.models.layers import sincos_positions

    return encoder.tokenize(x) + encoder.network_embedding[:, None] + sincos_positions(3, 96)


def test_a_padded_short_run_equals_the_short_run(encoder: Semantoks, x: Tensor) -> None:
    frames = torch.zeros(3, 60, dtype=torch.bool)
    frames[:, :40] = True
    with torch.no_grad():
        padded = encoder.embed(x, None, frames)
        torch.testing.assert_close(padded, encoder.embed(x[..., :40]), atol=1e-5, rtol=0.0)


@given(n_frames=st.integers(1, 130))
@settings(max_examples=12, deadline=None)
def test_any_length(n_frames: int) -> None:
    encoder = build(semantoks_config("tiny", NETWORKS, window_frames=60))
    x = torch.randn(2, 7, n_frames)
    n_patches = -(-n_frames // 20)
    with torch.no_grad():
        assert encoder(x).shape == (2, 1 + 3 * n_patches, 96)
        zeros = torch.nn.functional.pad(x, (0, -n_frames % 20))
        assert torch.equal(encoder.embed(x), encoder.embed(zeros))
        full = torch.ones(2, 7, dtype=torch.bool), torch.ones(2, n_frames, dtype=torch.bool)
        torch.testing.assert_close(encoder.embed(x, *full), encoder.embed(x), atol=1e-5, rtol=0.0)


def test_a_window_without_any_data_gives_finite_features(encoder: Semantoks) -> None:
    nothing = torch.full((1, 7, 60), float("nan"))
    features = encoder.embed(nothing, torch.zeros(1, 7, dtype=torch.bool), torch.zeros(1, 60, dtype=torch.bool))
    assert torch.isfinite(features).all()
    assert (features[:, :96] == 0).all()


def test_hidden_tokens_do_not_show_their_input(encoder: Semantoks, x: Tensor) -> None:
    hidden = torch.zeros(3, 3, 3, dtype=torch.bool)
    hidden[:, 1] = True
    changed = x.clone()
    changed[:, [1, 4]] = 7.0
    with torch.no_grad():
        assert torch.equal(encoder(x, hidden), encoder(changed, hidden))
        assert not torch.equal(encoder(x), encoder(changed))


@pytest.mark.parametrize(("pooling", "width"), [("cls_avg", 192), ("cls", 96), ("avg", 96)])
def test_pooling(x: Tensor, pooling: str, width: int) -> None:
    encoder = build(semantoks_config("tiny", NETWORKS, window_frames=60, pooling=pooling))
    whole = build(semantoks_config("tiny", NETWORKS, window_frames=60)).embed(x)
    part = {"cls_avg": whole, "avg": whole[:, :96], "cls": whole[:, 96:]}[pooling]
    assert encoder.n_features == width
    assert torch.equal(encoder.embed(x), part)


def test_bfloat16_features_are_close(encoder: Semantoks, x: Tensor) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = encoder.embed(x)
    with torch.no_grad():
        high = encoder.embed(x)
    assert torch.nn.functional.cosine_similarity(low.float(), high).min() > 0.999


def test_same_seed_same_model_same_features(x: Tensor) -> None:
    config = semantoks_config("tiny", NETWORKS, window_frames=60)
    assert torch.equal(build(config, 5).embed(x), build(config, 5).embed(x))
    assert not torch.equal(build(config, 5).embed(x), build(config, 6).embed(x))


def test_half_precision_input(encoder: Semantoks, x: Tensor) -> None:
    assert torch.equal(encoder.embed(x.half()), encoder.embed(x.half().float()))


def test_it_is_an_encoder(encoder: Semantoks) -> None:
    assert isinstance(encoder, Encoder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window_frames": 50}, "multiple of patch_frames 20"),
        ({"heads": 5}, "width 768"),
        ({"tokenizer": "parcel"}, "did you mean 'parcel-linear'"),
        ({"networks": ()}, "no parcels"),
    ],
)
def test_wrong_architectures_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        SemantoksConfig(**({"networks": NETWORKS} | change))


def test_unknown_size_is_refused() -> None:
    with pytest.raises(SettingsError, match="did you mean 'base'"):
        semantoks_config("bse", NETWORKS)


def test_the_input_is_joined_by_name() -> None:
    spec = make_spec(NETWORKS)
    assert spec.columns(spec.parcels) == [0, 1, 2, 3, 4, 5, 6]
    assert spec.columns(("another", *spec.parcels[::-1])) == [7, 6, 5, 4, 3, 2, 1]
    with pytest.raises(InputError, match=r"'parcel-6' \(atlas 'test', 7 parcels\) and 1 more is none of the 5 parcels"):
        spec.columns(spec.parcels[:5])
    with pytest.raises(InputError, match="have parcel 'parcel-2' twice"):
        spec.columns((*spec.parcels[1:], *spec.parcels[1:3]))
    same = dataclasses.replace(spec, parcels=("a",) * 7)
    assert same.columns(["a"] * 7) == [0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(InputError, match="one network name per parcel"):
        dataclasses.replace(spec, networks=("vis",))
