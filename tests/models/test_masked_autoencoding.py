"""Masked autoencoding: what is hidden, what is counted, and that absent values reach neither loss nor gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from brainlm_case import little_model
from sklearn.metrics import r2_score
from torch import Tensor

from boldtable.objectives.base import Batch
from boldtable.objectives.masked_autoencoding import (
    MaskedAutoencoding,
    Masking,
    explained,
    keep,
    masked_error,
    per_sample_dropout,
    r_squared,
    reconstruct,
)

SHUFFLED, SORTED = Masking(0.75, "shuffled"), Masking(0.75, "atlas")


def noise(batch: int = 2, n_tokens: int = 28, seed: int = 1) -> Tensor:
    return torch.rand(batch, n_tokens, generator=torch.Generator().manual_seed(seed))


def signal(batch: int = 2) -> Tensor:
    return torch.randn(batch, 7, 20, generator=torch.Generator().manual_seed(3))


def present(batch: int = 2) -> Tensor:
    mask = torch.ones(batch, 28, dtype=torch.bool)
    mask[0, :12] = False
    return mask


@pytest.mark.parametrize(("ratio", "kept"), [(0.0, 28), (0.2, 22), (0.75, 7), (0.9, 2), (0.999, 1)])
def test_the_share_that_is_hidden(ratio: float, kept: int) -> None:
    found = keep(noise(), Masking(ratio, "shuffled"))
    assert found.places.shape == (2, kept)
    assert found.hidden.sum(dim=1).tolist() == [28 - kept] * 2
    assert not found.hidden.gather(1, found.places).any()
    assert found.allowed is None


def test_every_token_is_hidden_alike_often() -> None:
    hidden = keep(noise(4000), SHUFFLED).hidden.float().mean(dim=0)
    assert (hidden - 0.75).abs().max() < 0.04


def test_tokens_without_data_are_neither_read_nor_counted() -> None:
    """16 of 28 have data in the first sample: 4 are read, 12 are hidden; in the second 7 and 21."""
    for masking in (SHUFFLED, SORTED):
        found = keep(noise(), masking, present())
        assert found.allowed is not None
        assert found.allowed.sum(dim=1).tolist() == [4, 7]
        assert found.hidden.sum(dim=1).tolist() == [12, 21]
        assert not found.hidden[~present()].any()
        read = found.places[0][found.allowed[0]]
        assert (read >= 12).all()
        assert (found.places[0][~found.allowed[0]] == 28).all()
        assert not found.hidden[0][read].any()


def test_the_order_of_the_atlas_keeps_the_same_tokens() -> None:
    shuffled, ordered = keep(noise(), SHUFFLED).places, keep(noise(), SORTED).places
    assert torch.equal(shuffled.sort(dim=1).values, ordered)
    assert not torch.equal(shuffled, ordered)
    assert torch.equal(shuffled, noise().argsort(dim=1)[:, :7])


def test_kept_values_come_from_where_they_lie_and_hidden_ones_are_not_seen() -> None:
    model, x = little_model(), signal()
    with torch.no_grad():
        first = reconstruct(model, x, noise(), SHUFFLED)
        other = torch.where(first.counted, 1e3, x)
        assert torch.equal(reconstruct(model, other, noise(), SHUFFLED).signal, first.signal)
        changed = torch.where(first.counted, x, x + 1)
        assert (reconstruct(model, changed, noise(), SHUFFLED).signal - first.signal).abs().max() > 1e-3
    assert first.signal.shape == x.shape
    assert first.counted.sum(dim=(1, 2)).tolist() == [21 * 5] * 2


def holes() -> tuple[Tensor, Tensor]:
    parcels, frames = torch.ones(2, 7, dtype=torch.bool), torch.ones(2, 20, dtype=torch.bool)
    parcels[0, [0, 5]] = False
    frames[1, 13:] = False
    return parcels, frames


def loss_and_gradient(x: Tensor) -> tuple[Tensor, list[Tensor]]:
    model, (parcels, frames) = little_model(), holes()
    made = reconstruct(model, x, noise(), Masking(0.5, "shuffled"), parcels, frames)
    loss = masked_error(made.signal, x, made.counted)
    loss.backward()
    return loss, [weight.grad for weight in model.parameters()]


def test_absent_values_reach_neither_loss_nor_gradient() -> None:
    x, (parcels, frames) = signal(), holes()
    other = x.masked_fill(~(parcels[:, :, None] & frames[:, None, :]), torch.nan)
    (one, gradients), (two, others) = loss_and_gradient(x), loss_and_gradient(other)
    assert torch.equal(one, two)
    for a, b in zip(gradients, others, strict=True):
        assert torch.equal(a, b)


def test_the_error_is_of_hidden_values_that_are_present() -> None:
    x, (parcels, frames) = signal(), holes()
    with torch.no_grad():
        made = reconstruct(little_model(), x, noise(), Masking(0.5, "shuffled"), parcels, frames)
    assert not made.counted[0, [0, 5]].any()
    assert not made.counted[1, :, 13:].any()
    by_hand = [((made.signal[i] - x[i])[made.counted[i]] ** 2).mean() for i in range(2)]
    torch.testing.assert_close(masked_error(made.signal, x, made.counted), torch.stack(by_hand).mean())
    absolute = [(made.signal[i] - x[i])[made.counted[i]].abs().mean() for i in range(2)]
    torch.testing.assert_close(masked_error(made.signal, x, made.counted, "mae"), torch.stack(absolute).mean())


def test_r_squared_is_scikit_learns_over_all_batches() -> None:
    rng = torch.Generator().manual_seed(0)
    target, guess = torch.randn(6, 7, 20, generator=rng), torch.randn(6, 7, 20, generator=rng)
    guess = 0.7 * target + 0.3 * guess + 0.1
    counted = torch.rand(6, 7, 20, generator=rng) < 0.4
    target = torch.where(counted, target, torch.nan)
    parts = [explained(guess[i : i + 2], target[i : i + 2], counted[i : i + 2]) for i in (0, 2, 4)]
    found = r_squared(torch.stack(parts).sum(dim=0)).item()
    assert found == pytest.approx(r2_score(target[counted].double().numpy(), guess[counted].double().numpy()), abs=1e-9)
    constant = explained(guess, torch.ones_like(target), counted)
    assert math.isnan(r_squared(constant).item())


def test_dropout_belongs_to_the_sample() -> None:
    tokens = torch.ones(4, 50, 8)
    whole = per_sample_dropout(0.25, [3, 5, 7, 9], tokens.device)
    half = per_sample_dropout(0.25, [7, 9], tokens.device)
    first, second = whole(tokens), whole(tokens)
    assert torch.equal(half(tokens[2:]), first[2:])
    assert torch.equal(half(tokens[2:]), second[2:])
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert first.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (first == 0).float().mean() == pytest.approx(0.25, abs=0.03)


def objective(dropout: float = 0.0) -> MaskedAutoencoding:
    return MaskedAutoencoding(little_model(), SHUFFLED, "mse", dropout)


def batch(n: int = 4) -> Batch:
    draws = objective().draws(n, torch.Generator().manual_seed(8))
    return Batch(signal(n)[None], None, None, draws)


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    whole, parts = objective(0.1), objective(0.1)
    total = whole(batch())["total"]
    total.backward()
    for first in (0, 2):
        (parts(batch().part(first, first + 2))["total"] / 2).backward()
    for (name, one), (_, other) in zip(whole.named_parameters(), parts.named_parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_the_parts_of_the_log() -> None:
    made = objective()(batch(), monitor=True)
    assert set(made) == {"total", *MaskedAutoencoding.columns}
    assert torch.equal(made["total"], made["reconstruction_loss"])
    assert "cls_rank" not in objective()(batch())
    assert -5 < made["r2"] < 1
    noise_drawn, seeds = batch().masks
    assert (noise_drawn.shape, seeds.shape) == ((4, 28), (4,))


def test_dropout_is_for_training_alone() -> None:
    quiet, loud = objective(0.0), objective(0.3)
    assert not torch.equal(loud(batch())["total"], quiet(batch())["total"])
    assert torch.equal(loud.eval()(batch())["total"], quiet(batch())["total"])


def test_it_learns_what_is_common_to_the_parcels() -> None:
    """All parcels carry the same wave: what is hidden can be told from what is not."""
    torch.manual_seed(0)
    learner = MaskedAutoencoding(little_model(), Masking(0.5, "shuffled"), "mse")
    optimiser = torch.optim.AdamW(learner.parameters(), lr=3e-3)
    rng, found = np.random.default_rng(0), []
    for step in range(150):
        waves = np.sin(rng.uniform(0, 6, (16, 1, 1)) + np.arange(20) * rng.uniform(0.2, 0.6, (16, 1, 1)))
        x = torch.tensor(np.repeat(waves, 7, axis=1) * 1.4, dtype=torch.float32)
        made = learner(Batch(x[None], None, None, learner.draws(16, torch.Generator().manual_seed(step))))
        optimiser.zero_grad()
        made["total"].backward()
        optimiser.step()
        found.append(made["r2"].item())
    assert np.mean(found[:5]) < 0.1
    assert np.mean(found[-20:]) > 0.5
