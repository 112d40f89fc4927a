"""The linear-sgd probe: windows as samples, the learning rate chosen on validation, outputs averaged over windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch

from boldtable.errors import SettingsError
from boldtable.progress import say
from boldtable.stages.probe.heads.choose import Fitted, constant, goodness
from boldtable.stages.probe.heads.linear_sgd import Heads, Protocol
from boldtable.stages.probe.heads.prepare import Array, Prepared, prepare
from boldtable.stages.probe.heads.samples import Part, Samples
from boldtable.stages.probe.settings import Probe

_SPLITS_AT_ONCE = 2  # on a CPU, where a minibatch of each should stay in its cache
_VALUES_AT_ONCE = 2**32  # on a GPU: 16 GB of features, and as much again while they are standardised
_Ready = tuple[Part, Prepared]


def fit(settings: Probe, samples: Samples, parts: Sequence[Part]) -> Iterator[Fitted]:
    """The chosen head of every split, in order; splits with equally many training rows are trained together."""
    device = _device(settings)
    ready = ((part, prepare(settings, samples, part.train, part.y, part.n_classes)) for part in parts)
    at_once = _SPLITS_AT_ONCE if device == "cpu" else max(1, _VALUES_AT_ONCE // samples.values.size)
    for _, alike in groupby(ready, key=lambda one: (len(one[1].train), one[1].size, one[0].n_classes)):
        for together in _batched(alike, at_once):
            yield from _together(settings, samples, together, device)


def _batched(items: Iterator[_Ready], size: int) -> Iterator[list[_Ready]]:
    batch: list[_Ready] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _together(settings: Probe, samples: Samples, ready: list[_Ready], device: str) -> Iterator[Fitted]:
    numbers = ready[0][0].n_classes == 0
    x = torch.from_numpy(np.stack([prepared.all().astype(np.float32) for _, prepared in ready])).to(device)
    train = torch.from_numpy(np.stack([prepared.train for _, prepared in ready])).to(device)
    target = torch.from_numpy(np.stack([_target(part)[samples.owner] for part, _ in ready])).to(device)
    protocol = Protocol(tuple(settings.rates), settings.epochs, settings.batch_size)
    trained = Heads(protocol, x, train, target, numbers, [part.seed for part, _ in ready])
    del x
    trained.train()
    for (part, prepared), rates in zip(ready, trained.evaluate().double().cpu().numpy(), strict=True):
        flat = not (prepared.values[prepared.train] != prepared.values[prepared.train[0]]).any()
        yield _chosen(settings, samples, part, rates, flat)


def _target(part: Part) -> Array:
    """One-hot classes (participant, class), or numbers (participant, 1) in units of the training sd around its mean."""
    if part.n_classes:
        one_hot: Array = np.eye(part.n_classes)[part.classes]
        return one_hot
    mean, sd = _unit(part)
    return (part.numbers[:, None] - mean) / sd


def _unit(part: Part) -> tuple[float, float]:
    train = part.numbers[part.train]
    return float(train.mean()), float(train.std()) or 1.0


def _chosen(settings: Probe, samples: Samples, part: Part, rates: Array, flat: bool) -> Fitted:
    """The first of the best learning rates; `rates` (rate, row, output)."""
    val, on_windows = samples.rows(part.val), settings.validate_on == "windows"
    fits = []
    for rate, output in zip(settings.rates, rates, strict=True):
        averaged = constant(part, part.train) if flat else _result(part, samples.average(output))
        judged = _result(part, output)[val] if on_windows and not flat else averaged[part.val]
        truth = part.y[samples.owner[val]] if on_windows and not flat else part.y[part.val]
        fits.append(Fitted(rate, goodness(truth, judged, part.n_classes), averaged))
    return max(fits, key=lambda fit: fit.validation)


def _result(part: Part, output: Array) -> Array:
    """Probabilities from logits (…, class), or numbers in their own unit."""
    if part.n_classes:
        shifted = np.exp(output - output.max(axis=-1, keepdims=True))
        shares: Array = shifted / shifted.sum(axis=-1, keepdims=True)
        return shares
    mean, sd = _unit(part)
    values: Array = output[..., 0] * sd + mean
    return values


def _device(settings: Probe) -> str:
    if torch.cuda.is_available() and settings.device != "cpu":
        return "cuda"
    if settings.device == "cuda":
        raise SettingsError("device: cuda, but there is no GPU here; set device: auto")
    if settings.device == "auto":
        say("no GPU here: probing on the CPU")
    return "cpu"
