"""The encoder gives the numbers that the authors' code gave for the same weights and inputs."""

from __future__ import annotations

import pytest
import torch
from published_case import Stored, stored_encoder
from torch import Tensor, nn

from boldtable.models.semantoks import Semantoks
from boldtable.models.tokenizers import LongConvolution

TOLERANCE = {"atol": 1e-5, "rtol": 0.0}


@pytest.fixture(scope="module")
def stored() -> Stored:
    return Stored("semantoks_tiny.npz")


@pytest.fixture(scope="module")
def encoder(stored: Stored) -> Semantoks:
    return stored_encoder(stored).eval()


def inside(encoder: Semantoks, x: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """Record what enters block 0 and what leaves every block."""
    seen: dict[str, Tensor] = {}
    hooks = [encoder.blocks[0].register_forward_pre_hook(lambda _, args: seen.update(seq_in=args[0]))]
    for index, block in enumerate(encoder.blocks):
        name = f"block{index}"
        hooks.append(block.register_forward_hook(lambda _, args, out, name=name: seen.update({name: out})))
    with torch.no_grad():
        seen["tokens"] = encoder(x, mask)
    for hook in hooks:
        hook.remove()
    seen["global_cls"] = seen["tokens"][:, 0]
    seen["cls_avg"] = encoder.pool(seen["tokens"])
    return seen


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["seq_in", "block0", "block1", "tokens", "global_cls", "cls_avg"])
def test_every_step_equals_the_reference(stored: Stored, encoder: Semantoks, name: str, masked: bool) -> None:
    mask = stored["input/mask"] if masked else None
    found = inside(encoder, stored["input/x"], mask)[name]
    torch.testing.assert_close(found, stored[f"out/{name}{'_masked' if masked else ''}"], **TOLERANCE)


def test_tokenizer_tokens_equal_the_reference(stored: Stored, encoder: Semantoks) -> None:
    with torch.no_grad():
        found = encoder.tokenize(stored["input/x"])
    torch.testing.assert_close(found, stored["out/tokenizer_tokens"], **TOLERANCE)


def test_features_equal_the_reference_also_frame_major_and_in_float64(stored: Stored, encoder: Semantoks) -> None:
    x = stored["input/x"]
    frame_major = x.transpose(1, 2).contiguous().transpose(1, 2)
    with torch.no_grad():
        torch.testing.assert_close(encoder.embed(x), stored["out/cls_avg"], **TOLERANCE)
        torch.testing.assert_close(encoder.embed(frame_major), stored["out/cls_avg"], **TOLERANCE)
        double = stored_encoder(stored).double().embed(x.double()).float()
    torch.testing.assert_close(double, stored["out/cls_avg"], atol=3e-6, rtol=0.0)


def test_one_network_shown(stored: Stored, encoder: Semantoks) -> None:
    hide = torch.ones_like(stored["input/mask"])
    hide[:, 3] = False
    with torch.no_grad():
        found = encoder.pool(encoder(stored["input/x"], hide))
    torch.testing.assert_close(found, stored["out/cls_avg_only_network3"], **TOLERANCE)


def long_convolution(stored: Stored, state: str) -> LongConvolution:
    long = LongConvolution(7, 3)
    with torch.no_grad():
        for index, taps in enumerate(long.scales):
            taps.copy_(stored[f"{state}/kernel_list.{index}"])
        long.skip.copy_(stored[f"{state}/D"])
    return long


def test_long_convolution_freezes_the_norm_of_its_first_kernels(stored: Stored) -> None:
    torch.manual_seed(0)
    fresh = LongConvolution(7, 3)
    kernels = torch.cat([4 * fresh.scales[0], 2 * fresh.scales[1], fresh.scales[2].repeat_interleave(2, -1)], -1)
    torch.testing.assert_close(fresh.norm, kernels.norm(dim=-1, keepdim=True))
    before = fresh.norm.clone()
    with torch.no_grad():
        fresh.scales[0].add_(1.0)
        fresh(torch.zeros(1, 7, 20))
    assert torch.equal(fresh.norm, before)


@pytest.mark.parametrize(
    ("state", "norm", "output"),
    [
        ("slconv/fresh_state", "slconv/kernel_norm_after_first", "slconv/y_first"),
        ("slconv/state", "slconv/state/kernel_norm", "slconv/y_frozen"),
    ],
)
def test_long_convolution_equals_the_reference(stored: Stored, state: str, norm: str, output: str) -> None:
    long = long_convolution(stored, state)
    long.norm.copy_(stored[norm])
    with torch.no_grad():
        torch.testing.assert_close(long(stored["slconv/x"]), stored[output], **TOLERANCE)


def test_recomputed_norm_would_be_wrong(stored: Stored) -> None:
    long = long_convolution(stored, "slconv/state")
    long.norm.copy_(stored["slconv/kernel_norm_after_first"])
    right = long(stored["slconv/x"])
    kernels = torch.cat([4 * long.scales[0], 2 * long.scales[1], long.scales[2].repeat_interleave(2, -1)], -1)
    long.norm.copy_(kernels.detach().norm(dim=-1, keepdim=True))
    assert (long(stored["slconv/x"]) - right).abs().max() > 1e-2


def test_folded_products_equal_the_two_convolutions(encoder: Semantoks, stored: Stored) -> None:
    network = encoder.tokenizer.networks[8]
    parcels = list(encoder.config.groups[8])
    patch = stored["input/x"][:, parcels, 20:40]
    with torch.no_grad():
        expected = network.definition(patch)
        found = encoder.tokenize(stored["input/x"])[:, 8, 1]
    torch.testing.assert_close(found, expected, **TOLERANCE)


def test_a_tanh_gelu_or_another_eps_would_be_seen(stored: Stored) -> None:
    for change in ("gelu", "eps"):
        wrong = stored_encoder(stored)
        for module in wrong.modules():
            if isinstance(module, nn.GELU) and change == "gelu":
                module.approximate = "tanh"
            if isinstance(module, nn.LayerNorm) and change == "eps":
                module.eps = 1e-6
        with torch.no_grad():
            error = (wrong(stored["input/x"]) - stored["out/tokens"]).abs().max()
        assert error > 5e-5, change
