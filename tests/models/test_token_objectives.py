"""Semantic tokens under other objectives: masked autoencoding and contrast, alone and over several processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from published_case import make_spec
from torch import Tensor, distributed, multiprocessing
from torch.nn import functional

from boldtable.models.semantoks import Semantoks, semantoks_config
from boldtable.objectives.base import Batch, Objective
from boldtable.objectives.contrast import Contrast, nt_xent
from boldtable.objectives.masks import slice_masks
from boldtable.objectives.token_autoencoding import TokenAutoencoding, TokenDecoder, hidden_signal_loss

NETWORKS = ("vis", "som", "vis", "dmn", "som", "dmn", "dmn", "lim")
SAMPLES, FRAMES = 5, 60  # two processes have shares of two and three


def encoder() -> Semantoks:
    torch.manual_seed(0)
    return Semantoks(semantoks_config("tiny", NETWORKS, window_frames=FRAMES), make_spec(NETWORKS, FRAMES))


def autoencoding() -> TokenAutoencoding:
    return TokenAutoencoding(encoder(), 48, 1, 2)


def contrast() -> Contrast:
    return Contrast(encoder(), 32, 16, 0.1)


def batch(views: int) -> Batch:
    """Views with a missing parcel, a short run and masks."""
    g = torch.Generator().manual_seed(1)
    parcels, frames = torch.ones(SAMPLES, 8).bool(), torch.ones(views, SAMPLES, FRAMES).bool()
    parcels[0, 7] = parcels[1, 2] = False
    frames[0, 2, 40:] = False
    x = torch.randn(views, SAMPLES, 8, FRAMES, generator=g)
    return Batch(x * parcels[:, :, None] * frames[:, :, None], parcels, frames, (slice_masks(SAMPLES, 4, 3, g),))


CASES: list[tuple[Callable[[], Objective], int]] = [(autoencoding, 1), (contrast, 2)]


def test_nt_xent_is_its_definition() -> None:
    g = torch.Generator().manual_seed(2)
    units = functional.normalize(torch.randn(2, 4, 3, generator=g), dim=-1)
    rows, expected, right = units.flatten(0, 1), [], 0
    for row in range(8):
        others = [other for other in range(8) if other != row]
        logits = torch.stack([rows[row] @ rows[other] / 0.3 for other in others])
        place = others.index((row + 4) % 8)
        expected.append(-logits.log_softmax(dim=0)[place])
        right += int(logits.argmax() == place)
    loss, retrieval = nt_xent(units, 0.3)
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    assert retrieval == pytest.approx(right / 8)
    same = torch.eye(4).expand(2, 4, 4)
    assert nt_xent(same, 0.05)[0] < 1e-6
    assert nt_xent(same, 0.05)[1] == 1


def test_hidden_signals_are_not_seen_and_absent_ones_not_counted() -> None:
    objective, given = autoencoding(), batch(1)
    (hidden,) = given.masks or ()
    counted = objective._counted(
        hidden, given.parcel_mask, given.frame_mask[0] if given.frame_mask is not None else None
    )
    assert not counted[0, 7].any()
    assert not counted[1, 2].any()
    assert not counted[2, :, 40:].any()
    for parcel, name in enumerate(NETWORKS):
        rows = hidden[3, list(dict.fromkeys(NETWORKS)).index(name)].repeat_interleave(20)
        assert torch.equal(counted[3, parcel], rows)
    seen: list[Tensor] = []
    objective.decoder.register_forward_hook(lambda _module, _args, found: seen.append(found))
    before = objective(given)["total"]
    changed = torch.where(counted, given.views + 5, given.views)
    assert objective(given._replace(views=changed))["total"] > before
    torch.testing.assert_close(seen[0], seen[1])
    # Where a parcel or a frame is absent, not even NaN has an influence.
    absent = ~(given.parcel_mask[:, :, None] & given.frame_mask[0][:, None])  # type: ignore[index]
    torch.testing.assert_close(objective(given._replace(views=given.views.masked_fill(absent, 7.0)))["total"], before)


def test_the_error_is_that_of_windows_and_their_counted_values() -> None:
    signal, predicted, counted = torch.zeros(3, 2, 4), torch.zeros(3, 2, 4), torch.zeros(3, 2, 4).bool()
    counted[0, 0, :2], counted[1] = True, True
    signal[0, 0], signal[1, :, 0], signal[2] = 2.0, 4.0, 100.0
    loss, r2 = hidden_signal_loss(predicted, signal, counted)
    assert loss.item() == pytest.approx((4.0 + 4.0) / 2)
    values = signal[counted]
    assert r2.item() == pytest.approx(1 - values.square().sum().item() / (values - values.mean()).square().sum().item())
    assert hidden_signal_loss(signal, signal, counted)[1] == 1


@pytest.mark.parametrize("tokenizer", ["network", "single", "parcel-linear"])
def test_the_decoder_gives_every_parcel_its_own_patches(tokenizer: Any) -> None:
    torch.manual_seed(0)
    config = semantoks_config("tiny", NETWORKS, window_frames=FRAMES, tokenizer=tokenizer)
    decoder = TokenDecoder(Semantoks(config, make_spec(NETWORKS, FRAMES)), 48, 1, 2)
    grid = torch.randn(2, len(config.groups), 3, 48)
    found = decoder._series(grid)
    assert found.shape == (2, 8, FRAMES)
    for number, group in enumerate(config.groups):
        head = decoder.signals[0 if tokenizer == "parcel-linear" else number]
        for place, parcel in enumerate(group):
            for patch in range(3):
                expected = head(grid[:, number, patch])[:, 20 * place : 20 * place + 20]
                torch.testing.assert_close(found[:, parcel, 20 * patch : 20 * patch + 20], expected)


@pytest.mark.parametrize(("make", "views"), CASES)
def test_half_precision_is_close(make: Callable[[], Objective], views: int) -> None:
    objective = make()
    with torch.autocast("cpu", torch.bfloat16):
        low = objective(batch(views))["total"]
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, objective(batch(views))["total"], atol=0.03, rtol=0.03)


@pytest.mark.parametrize(("make", "views"), CASES)
def test_parts_add_up_and_gradients_reach_all_that_is_trained(make: Callable[[], Objective], views: int) -> None:
    objective = make()
    parts = objective(batch(views), monitor=True)
    torch.testing.assert_close(sum(v for k, v in parts.items() if k.endswith("_loss")), parts["total"])
    assert set(parts) == {"total", *objective.columns}
    assert all(value.shape == () and value.isfinite() for value in parts.values())
    parts["total"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for _, p in objective.trained())
    assert "cls_rank" not in objective(batch(views))


def test_parts_of_a_batch_average_to_the_whole() -> None:
    objective, given = autoencoding().double(), batch(1)
    given = given._replace(views=given.views.double())
    whole = objective(given)["total"]
    parts = [objective(given.part(first, last))["total"] * (last - first) / SAMPLES for first, last in ((0, 2), (2, 5))]
    torch.testing.assert_close(sum(parts), whole)


def gradients(rank: int, world: int, folder: str) -> None:
    """Losses and averaged gradients of this process's share, in float64; process 0 stores them."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world)
    for make, views in CASES:
        objective, given = make().double(), batch(views)
        given = given._replace(views=given.views.double())
        total = objective(given.part(rank * SAMPLES // world, (rank + 1) * SAMPLES // world))["total"]
        total.backward()
        found = [parameter.grad for _, parameter in objective.trained()]
        for gradient in found:
            distributed.all_reduce(gradient)
            gradient /= world
        if rank == 0:
            torch.save((total.detach(), found), f"{folder}/{make.__name__}.pt")
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    multiprocessing.spawn(gradients, args=(2, str(tmp_path)), nprocs=2)
    for make, views in CASES:
        total, found = torch.load(tmp_path / f"{make.__name__}.pt", weights_only=True)
        objective, given = make().double(), batch(views)
        alone = objective(given._replace(views=given.views.double()))["total"]
        alone.backward()
        torch.testing.assert_close(total, alone.detach(), atol=1e-10, rtol=1e-10)
        for ours, (name, parameter) in zip(found, objective.trained(), strict=True):
            torch.testing.assert_close(ours, parameter.grad, atol=1e-10, rtol=1e-8, msg=name)
