"""linear-sgd: all heads at once compute what each computes alone with torch's own layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import plain_probe as plain
from boldtable.stages.probe import Probe, heads
from boldtable.stages.probe.heads import Part, Samples
from boldtable.stages.probe.heads.linear_sgd import Protocol, initial, order, train

PROTOCOL = Protocol((0.03, 0.01, 1e-3), 6, 256)


def settings(**values: Any) -> Probe:
    given = {"kind": "classification", "target": "t", "probe": "linear-sgd", "device": "cpu", **values}
    return Probe.parse({"dataset": "aurora", **given})


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_all_at_once_equals_one_after_another(dtype: torch.dtype, tolerance: float, outputs: int) -> None:
    """Features of very different scale, one constant, one with an outlier; three rates; a last minibatch of one row."""
    g = torch.Generator().manual_seed(0)
    n, size, numbers = 90, 20, outputs == 1
    x = (torch.randn(n, size, generator=g) * torch.logspace(-3, 2, size) + 3 * torch.randn(size, generator=g)).to(dtype)
    x[:, 3], x[11, 4] = 5, 3e4
    target = torch.randn(n, 1, generator=g) if numbers else torch.eye(outputs)[torch.arange(n) % outputs]
    target = target.to(dtype)
    masks = torch.zeros(3, n, dtype=torch.bool)
    for mask, rows in zip(masks, (57, 57, 80), strict=True):  # minibatches of 7, and 1 over; minibatches of 10
        mask[torch.randperm(n, generator=g)[:rows]] = True
    seeds = [5, 6, 7]
    together = train(PROTOCOL, x, masks, target.expand(3, n, outputs), numbers, seeds, 21)
    for mask, seed, found in zip(masks, seeds, together, strict=True):
        for place, rate in enumerate(PROTOCOL.rates):
            alone = plain.train(PROTOCOL, rate, x, mask, target, numbers, seed, 21)
            expected = alone if numbers else alone - alone[:, -1:]
            torch.testing.assert_close(found[place], expected, atol=tolerance, rtol=tolerance)


def test_minibatches_are_an_eighth_of_the_rows_and_at_most_256() -> None:
    assert [PROTOCOL.batch(n) for n in (9, 80, 4800)] == [2, 10, 256]
    drawn = order(21, 0, 100)
    assert sorted(drawn.tolist()) == list(range(100))
    assert not torch.equal(drawn, order(21, 1, 100))
    assert not torch.equal(drawn, order(22, 0, 100))
    weight, bias = initial(21, 10_000, 3, torch.float64)
    assert weight.std().item() == pytest.approx(2e-5, rel=0.02)
    assert bias.abs().max() <= 0.01


class Cohort:
    """Forty participants with a few windows each, whose mean tells the class (and the number)."""

    def __init__(self, n: int = 40, windows: int = 6, size: int = 10) -> None:
        rng = np.random.default_rng(0)
        self.y, self.age = np.arange(n) % 2, rng.uniform(20, 80, n)
        self.owner = np.repeat(np.arange(n), windows)[:-2]  # the last participant has fewer
        x = rng.normal(size=(len(self.owner), size))
        x[:, 0] += 1.5 * self.y[self.owner]
        x[:, 1] += (self.age[self.owner] - 50) / 5
        self.samples = Samples(x.astype(np.float32), self.owner)

    def part(self, seed: int = 21, first: int = 0, n_classes: int = 2) -> Part:
        places = np.roll(np.arange(40), first)
        y = self.y if n_classes else self.age
        return Part(np.sort(places[:20]), np.sort(places[20:30]), y, n_classes, np.arange(40), seed)


def fit(cohort: Cohort, probe: Probe, *parts: Part) -> list[heads.Fitted]:
    return list(heads.fit(probe, cohort.samples, parts))


def test_classes_and_numbers_are_learnt_from_windows() -> None:
    cohort = Cohort()
    test = np.arange(30, 40)
    fitted = fit(cohort, settings(), cohort.part())[0]
    assert fitted.output.shape == (40, 2)
    np.testing.assert_allclose(fitted.output.sum(axis=1), 1)
    assert (fitted.output[test].argmax(axis=1) == cohort.y[test]).mean() > 0.8
    numbers = fit(cohort, settings(kind="regression"), cohort.part(n_classes=0))[0]
    assert np.corrcoef(numbers.output[test], cohort.age[test])[0, 1] > 0.9
    assert np.abs(numbers.output[test] - cohort.age[test]).mean() < 9


def test_logits_are_averaged_over_windows_and_the_rate_chosen_on_windows_or_participants() -> None:
    """The chosen rate and the outputs, from the plain heads of every rate."""
    cohort = Cohort()
    probe, part = settings(epochs=3), cohort.part()
    x = torch.from_numpy(cohort.samples.values)
    mask = torch.from_numpy(np.isin(cohort.owner, part.train))
    target = torch.eye(2)[torch.from_numpy(cohort.y[cohort.owner])]
    protocol = Protocol(tuple(probe.rates), 3, 256)
    logits = {rate: plain.train(protocol, rate, x, mask, target, False, 21, 21).double() for rate in probe.rates}
    mean = {
        rate: torch.stack([found[torch.from_numpy(cohort.owner == one)].mean(dim=0) for one in range(40)])
        for rate, found in logits.items()
    }
    truth = cohort.y[cohort.owner]
    val = cohort.samples.rows(part.val)
    by_window = {rate: (found.argmax(dim=1).numpy() == truth)[val] for rate, found in logits.items()}
    by_person = {rate: (found.argmax(dim=1).numpy() == cohort.y)[part.val] for rate, found in mean.items()}
    for where, right, y in (("windows", by_window, truth[val]), ("participants", by_person, cohort.y[part.val])):
        good = {rate: np.mean([hit[y == label].mean() for label in (0, 1)]) for rate, hit in right.items()}
        fitted = fit(cohort, settings(epochs=3, validate_on=where), part)[0]
        assert fitted.chosen == max(probe.rates, key=good.__getitem__)
        assert fitted.validation == pytest.approx(good[fitted.chosen])
        np.testing.assert_allclose(fitted.output, mean[fitted.chosen].softmax(dim=1).numpy(), atol=1e-4)


def test_a_split_does_not_depend_on_those_it_is_trained_with() -> None:
    cohort = Cohort()
    smaller = replace(cohort.part(23), train=np.arange(18))  # another number of training rows
    parts = [cohort.part(21), cohort.part(22, first=7), smaller, cohort.part(24, first=3)]
    probe = settings(epochs=3)
    alone = [fit(cohort, probe, part)[0] for part in parts]
    for one, other in zip(alone, fit(cohort, probe, *parts), strict=True):
        assert one.chosen == other.chosen
        np.testing.assert_allclose(one.output, other.output, atol=1e-5)


def test_missing_values_are_the_training_mean() -> None:
    cohort = Cohort()
    cohort.samples.values[5:9, 2] = np.nan
    assert np.isfinite(fit(cohort, settings(epochs=2), cohort.part())[0].output).all()
