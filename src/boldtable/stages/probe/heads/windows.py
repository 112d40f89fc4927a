"""The linear-sgd probe: windows as samples, the learning rate chosen on validation, outputs averaged over windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from boldtable.errors import SettingsError
from boldtable.progress import say
from boldtable.stages.probe.heads import linear_sgd
from boldtable.stages.probe.heads.choose import Fitted, constant, goodness
from boldtable.stages.probe.heads.prepare import Array, prepare
from boldtable.stages.probe.heads.samples import Part, Samples
from boldtable.stages.probe.settings import Probe


def fit(settings: Probe, samples: Samples, parts: Sequence[Part]) -> Iterator[Fitted]:
    """The chosen head of every split, in order.

    Where the features are the same in every split, because nothing but batch normalisation is fitted to them, all
    splits are trained together.
    """
    device = _device(settings)
    alike = samples.transform is None and settings.harmonise == "none" and not settings.confounds
    if alike and settings.select is None and np.isfinite(samples.values).all():
        outputs = _train(settings, samples, parts, torch.from_numpy(samples.values).to(device))
        yield from (_chosen(settings, samples, part, found) for part, found in zip(parts, outputs, strict=True))
    else:
        for part in parts:
            prepared = prepare(settings, samples, part.train, part.y, part.n_classes).all(np.float32)
            outputs = _train(settings, samples, [part], torch.from_numpy(prepared).to(device))
            yield _chosen(settings, samples, part, outputs[0])


def _train(settings: Probe, samples: Samples, parts: Sequence[Part], x: torch.Tensor) -> list[torch.Tensor]:
    """Per split the outputs (rate, row, output) of its heads, on the features `x` (row, feature)."""
    mask = np.stack([np.isin(samples.owner, part.train) for part in parts])
    target = np.stack([_target(part)[samples.owner] for part in parts])
    protocol = linear_sgd.Protocol(tuple(settings.rates), settings.epochs, settings.batch_size)
    seeds, numbers = [part.seed for part in parts], parts[0].n_classes == 0
    return linear_sgd.train(
        protocol, x, torch.from_numpy(mask), torch.from_numpy(target), numbers, seeds, settings.seed
    )


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


def _chosen(settings: Probe, samples: Samples, part: Part, rates: torch.Tensor) -> Fitted:
    """The first of the best learning rates; `rates` (rate, row, output)."""
    train, val = samples.rows(part.train), samples.rows(part.val)
    flat = not (samples.values[train] != samples.values[train[0]]).any()
    fits = []
    for rate, output in zip(settings.rates, rates.double().cpu().numpy(), strict=True):
        averaged = constant(part, part.train) if flat else _result(part, samples.average(output))
        judged, whose = averaged[part.val], part.val
        if settings.validate_on == "windows":
            whose = samples.owner[val]
            judged = averaged[whose] if flat else _result(part, output[val])
        fits.append(Fitted(rate, goodness(settings.measure, part.y[whose], judged), averaged))
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
