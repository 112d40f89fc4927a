"""What is left out or done in lower precision to save time changes nothing that is read."""

from __future__ import annotations

import pytest
import torch
from published_case import make_spec
from test_distillation import batch, build, double_batch, gaps
from torch import Tensor
from torch.nn import functional

from boldtable.models import layers
from boldtable.models.connectome import edges
from boldtable.models.flops import forward_flops
from boldtable.models.frozen import _supported, frozen
from boldtable.models.semantoks import Semantoks, semantoks_config
from boldtable.objectives import distillation

NETWORKS = ("vis", "som", "vis", "dmn", "som", "dmn", "dmn")
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def encoder(**more: str) -> Semantoks:
    torch.manual_seed(0)
    return Semantoks(semantoks_config("tiny", NETWORKS, window_frames=60, **more), make_spec(NETWORKS, 60)).eval()


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Windows, hidden tokens, and parcels and frames that are there."""
    g = torch.Generator().manual_seed(1)
    hidden = torch.rand(4, 3, 3, generator=g) < 0.5
    parcels, frames = torch.ones(4, 7, dtype=torch.bool), torch.ones(4, 60, dtype=torch.bool)
    parcels[0, [3, 5, 6]], frames[1, 35:] = False, False
    return torch.randn(4, 7, 60, generator=g), hidden, parcels, frames


@pytest.mark.parametrize("tokenizer", ["network", "single", "parcel-linear"])
@pytest.mark.parametrize("gapped", [False, True])
def test_tokens_computed_alone_equal_those_among_all(tokenizer: str, gapped: bool) -> None:
    model, (x, _, parcels, frames) = encoder(tokenizer=tokenizer), inputs()
    absent = (parcels, frames) if gapped else (None, None)
    with torch.no_grad():
        everything = model(x, None, *absent)
        torch.testing.assert_close(model(x, None, *absent, rows=1), everything[:, :1], **CLOSE)
        places = torch.tensor([0, 9, 3, 2 * everything.shape[1] - 1])
        expected = everything.flatten(0, 1)[places]
        torch.testing.assert_close(model(x, None, *absent, rows=places), expected, **CLOSE)


def gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("all_of_one", [False, True])
def test_hidden_tokens_need_no_tokenizer(monkeypatch: pytest.MonkeyPatch, all_of_one: bool) -> None:
    x, hidden, parcels, frames = inputs()
    hidden[:, 1] |= all_of_one
    results = []
    for spared in (True, False):
        monkeypatch.setattr("boldtable.models.semantoks.varying", lambda _, spared=spared: spared)
        model = encoder()
        found = model(x, hidden, parcels, frames)
        found.square().sum().backward()
        results.append((found.detach(), gradients(model)))
    (found, grads), (expected, theirs) = results
    torch.testing.assert_close(found, expected, **CLOSE)
    assert grads.keys() == theirs.keys()
    for name, grad in theirs.items():
        torch.testing.assert_close(grads[name], grad, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("weights", [{}, {"cls_weight": 0}, {"mask_weight": 0}])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("gapped", [False, True])
def test_losses_that_read_few_tokens_equal_those_that_see_all(
    weights: dict[str, float], masked: bool, gapped: bool
) -> None:
    data = {name: t for name, t in double_batch().items() if gapped or name not in gaps()}
    if not masked:
        data = {name: t for name, t in data.items() if name not in ("mask1", "mask2")}
    few, every = (build(**weights).double() for _ in range(2))
    spared, full = few.losses(**data), every.losses(**data, monitor=True)
    for name in ("total", "cls", "tokens", "network"):
        torch.testing.assert_close(spared[name], full[name], atol=1e-10, rtol=1e-10, msg=name)
    assert spared["token_similarity"].isnan()
    assert not full["token_similarity"].isnan()
    if not full["total"].requires_grad:
        assert not spared["total"].requires_grad
        return
    spared["total"].backward()
    full["total"].backward()
    ours, theirs = gradients(few), gradients(every)
    assert ours.keys() == theirs.keys()
    for name, grad in theirs.items():
        torch.testing.assert_close(ours[name], grad, atol=1e-9, rtol=1e-7, msg=name)


def test_the_last_block_is_asked_for_few_tokens_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, pick, data = [], layers.pick, batch()
    monkeypatch.setattr(layers, "pick", lambda x, rows: asked.append(rows) or pick(x, rows))
    objective, hidden = build(), torch.cat([data["mask1"], data["mask2"]])
    objective.losses(data["view1"], data["view2"])
    assert 1 in asked
    asked.clear()
    objective.losses(**data)
    assert {len(rows) for rows in asked if isinstance(rows, Tensor)} == {len(hidden) + int(hidden.sum())}
    asked.clear()
    objective.losses(**data, network_weight=0.5)
    assert set(asked) == {None}
    # Shapes that depend on values would cost a GPU or a compiler more than they save.
    monkeypatch.setattr(distillation, "varying", lambda _: False)
    objective.losses(**data)
    assert set(asked) == {None}


@pytest.mark.parametrize("tokens", [46, 300])
def test_attention_in_half_precision_equals_the_fused_kernel(tokens: int) -> None:
    g = torch.Generator().manual_seed(2)
    q, k, v = torch.randn(3, 2, 4, tokens, 16, generator=g).bfloat16().requires_grad_().unbind(0)
    keys = torch.rand(2, tokens, generator=g) < 0.7
    keys[:, 0] = True
    for allowed in (None, keys):
        found = layers.attend(q, k, v, allowed)
        mask = None if allowed is None else allowed[:, None, None, :]
        exact = functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), exact, atol=0.02, rtol=0.02)
        ours = torch.autograd.grad(found.float().square().sum(), (q, k, v), retain_graph=True)
        theirs = torch.autograd.grad(exact.square().sum(), (q, k, v), retain_graph=True)
        for mine, reference in zip(ours, theirs, strict=True):
            assert functional.cosine_similarity(mine.float().flatten(), reference.float().flatten(), dim=0) > 0.999


def test_training_in_bfloat16_repeats_to_the_bit() -> None:
    def train() -> list[Tensor]:
        objective = build()
        optimiser = torch.optim.AdamW(objective.student_parameters(), lr=1e-3, fused=True)
        for _ in range(4):
            with torch.autocast("cpu", torch.bfloat16):
                loss = objective.losses(**batch(), **gaps())["total"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            objective.update_teacher(0.9)
        return [loss.detach(), *objective.teacher.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(train(), train(), strict=True))


with_bfloat16 = pytest.mark.skipif(not _supported(), reason="this CPU or PyTorch has no bfloat16 in oneDNN")


@with_bfloat16
@pytest.mark.parametrize("tokenizer", ["network", "single", "parcel-linear"])
@pytest.mark.parametrize("gapped", [False, True])
def test_frozen_features_are_those_of_float32(tokenizer: str, gapped: bool) -> None:
    model, (x, _, parcels, frames) = encoder(tokenizer=tokenizer), inputs()
    with torch.no_grad():
        for scale in (block.ls1.gamma for block in model.blocks):
            scale.uniform_(0.5, 1.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    absent = (parcels, frames) if gapped else ()
    with torch.inference_mode():
        low, high = frozen(model).embed(x, *absent), model.embed(x, *absent)
    assert low.dtype == torch.float32
    assert functional.cosine_similarity(low, high).min() > 0.999
    assert not torch.equal(low, high)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@with_bfloat16
def test_absent_values_do_not_leak_into_frozen_features() -> None:
    model, (x, _, parcels, frames) = frozen(encoder()), inputs()
    spoiled = x.clone()
    spoiled[~parcels[:, :, None].expand_as(x)] = float("nan")
    spoiled[~frames[:, None, :].expand_as(x)] = 1e9
    with torch.inference_mode():
        assert torch.equal(model.embed(x, parcels, frames), model.embed(spoiled, parcels, frames))


def test_what_cannot_be_frozen_comes_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    assert frozen(edges) is edges  # type: ignore[arg-type]
    model = encoder()
    monkeypatch.setattr("boldtable.models.frozen._supported", lambda: False)
    assert frozen(model) is model


def test_arithmetic_of_the_published_size() -> None:
    counts = (61, 77, 46, 47, 26, 52, 91, 50, 7)
    networks = [f"network-{index}" for index, count in enumerate(counts) for _ in range(count)]
    with torch.device("meta"):
        model = Semantoks(semantoks_config("base", networks), make_spec(tuple(networks)))
    assert forward_flops(model) / 1e9 == pytest.approx(5.66, abs=0.005)
    # Attention grows with the square of the tokens, all else with the frames.
    assert 3 < forward_flops(model, 300) / forward_flops(model, 100) < 3.1


def test_arithmetic_counts_products_by_hand() -> None:
    model = encoder(tokenizer="parcel-linear")
    tokens, width = 7 * 3, 96
    products = tokens * 20 * width + 2 * ((tokens + 1) * 12 * width**2 + 2 * (tokens + 1) ** 2 * width)
    assert forward_flops(model) == 2 * products
