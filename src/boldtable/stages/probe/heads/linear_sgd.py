"""Linear heads on batch normalisation, trained by SGD: every learning rate of every split in one computation.

All splits go through one order of all rows, each taking its own training rows of it: a random order for every split,
whose minibatches lie at nearly the same places. A step gathers the rows of all these minibatches once, and a mask says
which of them are whose. With x̂ = (x - mean) / sd of a minibatch, a head computes W (γ x̂ + β) + b: linear in x, so one
product of γ W / sd of all heads with the rows gives their outputs; and with the gradient d of the outputs, 0 in rows of
others, dᵀ x̂ = (dᵀ x - Σd mean) / sd is another one from which all gradients follow: dW = γ dᵀx̂ + β Σd,
dγ = Σ_class W dᵀx̂, dβ = Σ_class W Σd, db = Σd. Two more, of the masks with x and with x², give mean and sd. Nothing of
the size heads × batch × feature is ever made. A typical value is taken off each feature beforehand: of small numbers
these differences lose nothing.

Of classes, only the differences to the last one count: d sums to 0 over the classes, so U = W - W_last moves by
dU = dW + Σ_class dW and has in dγ and dβ the place of W. Two classes are one column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_MOMENTUM = 0.9
_EPS, _RUNNING = 1e-5, 0.1  # of torch.nn.BatchNorm1d
_INITIAL_SD = 2e-5
_ROWS_OF_MEDIAN = 256


@dataclass(frozen=True)
class Protocol:
    """How the heads are trained: learning rates, epochs, and the largest minibatch."""

    rates: tuple[float, ...]
    epochs: int
    batch_size: int

    def batch(self, n: int) -> int:
        """Rows per minibatch: an eighth of the n training rows, at most `batch_size` and at least two."""
        return max(2, min(self.batch_size, n // 8))

    def steps(self, n: int) -> int:
        """Minibatches per epoch; a last one of one row, which has no variance, is left out."""
        return -(-(n - 1) // self.batch(n))


def initial(seed: int, n_features: int, n_outputs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The weight (output, feature) and bias (output,) that all heads of a split start from.

    Weight: normal of sd 2e-5 (a truncation at ±2 is 100,000 sd away); bias: uniform within 1 / sqrt(features).
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n_outputs, n_features, generator=generator, dtype=torch.float64) * _INITIAL_SD
    bias = (torch.rand(n_outputs, generator=generator, dtype=torch.float64) * 2 - 1) * n_features**-0.5
    return weight.to(dtype), bias.to(dtype)


def order(seed: int, epoch: int, n: int) -> Tensor:
    """The order (n,) in which all rows come in an epoch."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(n))


def train(protocol: Protocol, x: Tensor, mask: Tensor, target: Tensor, numbers: bool, seeds: Sequence[int],
          order_seed: int) -> list[Tensor]:  # fmt: skip
    """What the heads of each split give (rate, row, output) after training, for all rows, in the order of the splits.

    `x` (row, feature) holds the features; `mask` (split, row) says which rows each split trains on; `target` (split,
    row, class) is one-hot, or (split, row, 1) numbers with `numbers` (L1 loss); `seeds` (split,) draw what the heads
    start from and `order_seed` the order of the rows. Outputs are those of BatchNorm1d in evaluation; of classes they
    are logits up to a constant per row: that of the last class is 0.
    """
    centre = _typical(x, mask)
    x = x - centre
    found: dict[int, Tensor] = {}
    for group in _groups(protocol, mask):
        heads = Heads(protocol, x, centre, mask[group], target[group], numbers, [seeds[place] for place in group])
        for epoch in range(protocol.epochs):
            heads.epoch(order(order_seed, epoch, len(x)))
        found.update(zip(group, heads.evaluate(), strict=True))
    return [found[split] for split in range(len(seeds))]


def _typical(x: Tensor, mask: Tensor) -> Tensor:
    """The median (feature,) of a few hundred training rows: no outlier moves it, and what is constant becomes 0."""
    training = mask.any(dim=0).nonzero()[:, 0]
    few = training[:: max(1, len(training) // _ROWS_OF_MEDIAN)]
    return x[few.to(x.device)].median(dim=0).values


def _groups(protocol: Protocol, mask: Tensor) -> list[list[int]]:
    """The splits that go step by step together: those with equally many minibatches of one size."""
    groups: dict[tuple[int, int], list[int]] = {}
    for split, n in enumerate(mask.sum(dim=1).tolist()):
        groups.setdefault((protocol.batch(n), protocol.steps(n)), []).append(split)
    return list(groups.values())


class Heads:
    """The heads of some splits with equally many minibatches of one size; arguments of `train`, `x` less `centre`."""

    def __init__(self, protocol: Protocol, x: Tensor, centre: Tensor, mask: Tensor, target: Tensor, numbers: bool,
                 seeds: Sequence[int]) -> None:  # fmt: skip
        self.protocol, self.numbers, self._x, self._mask = protocol, numbers, x, mask.cpu()
        splits, size = len(seeds), x.shape[1]
        self._target = (target if numbers else target[:, :, :-1]).to(x).transpose(1, 2).contiguous()
        outputs, heads = self._target.shape[1], len(protocol.rates)
        # U (a row per output), γ and β of a head under each other, so that one update moves all.
        self._parameters = x.new_zeros(splits, heads, outputs + 2, size)
        self.weight, self.scale, self.shift = _parts(self._parameters)
        self.scale.fill_(1)
        self.bias = x.new_zeros(splits, heads, outputs, 1)
        for split, seed in enumerate(seeds):
            weight, bias = initial(seed, size, target.shape[2], x.dtype)
            self.weight[split] = weight if numbers else weight[:-1] - weight[-1]
            self.bias[split, :, :, 0] = bias if numbers else bias[:-1] - bias[-1]
        self._velocity, self._bias_velocity = torch.zeros_like(self._parameters), torch.zeros_like(self.bias)
        self._rates = x.new_tensor(protocol.rates)[:, None, None]
        self._running_mean, self._running_var = -centre.repeat(splits, 1), x.new_ones(splits, size)
        self._space = x.new_empty(2, 0, size)

    def epoch(self, drawn: Tensor) -> None:
        """All minibatches, of the rows in the order `drawn` (row,)."""
        mask = self._mask[:, drawn]
        n = int(mask[0].sum())
        numbers = (mask.cumsum(dim=1) - 1).div_(self.protocol.batch(n), rounding_mode="floor")  # ascending
        steps = torch.arange(self.protocol.steps(n) + 1).repeat(len(mask), 1)
        first = torch.searchsorted(numbers, steps)
        places = zip(first.amin(dim=0)[:-1].tolist(), first.amax(dim=0)[1:].tolist(), strict=True)
        for step, (start, stop) in enumerate(places):
            whose = mask[:, start:stop] & (numbers[:, start:stop] == step)
            used = whose.any(dim=0)
            self._step(drawn[start:stop][used].to(self._x.device), whose[:, used].to(self._x))

    def _step(self, rows: Tensor, whose: Tensor) -> None:
        """One minibatch of every split: the numbers (row,) of the rows of all, and 1 where a split's (split, row)."""
        powers = self._gathered(rows)
        x, count = powers[0], whose.sum(dim=1, keepdim=True)
        mean, var = (whose @ powers).div_(count)
        var.addcmul_(mean, mean, value=-1).clamp_(min=0)
        self._running_mean.lerp_(mean, _RUNNING)
        self._running_var.lerp_(var * (count / (count - 1)), _RUNNING)
        mean, inverse = mean[:, None, None], var.add_(_EPS).rsqrt_()[:, None, None]
        slope = self._slope(self._outputs(x, mean, inverse), self._target[:, None, :, rows])
        slope.mul_((whose / count)[:, None, None]).mul_(self._rates)
        total = slope.sum(dim=3, keepdim=True)
        product = (slope.flatten(0, 2) @ x).view_as(self.weight).addcmul_(total, mean, value=-1).mul_(inverse)
        self._update(product, total)

    def _gathered(self, rows: Tensor) -> Tensor:
        """The rows and their squares (2, row, feature), in memory kept for them: fresh memory costs as much again."""
        if self._space.shape[1] < len(rows):
            self._space = self._x.new_empty(2, len(rows), self._x.shape[1])
        powers = self._space[:, : len(rows)]
        torch.index_select(self._x, 0, rows, out=powers[0])
        torch.mul(powers[0], powers[0], out=powers[1])
        return powers

    def _outputs(self, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
        """What the heads give (split, head, output, row); `mean` and 1 / sd, `inverse`, (split, 1, 1, feature)."""
        factor = self.scale * inverse
        constant = (self.weight * self.shift.addcmul(factor, mean, value=-1)).sum(dim=3, keepdim=True).add_(self.bias)
        found = torch.addmm(constant.view(-1, 1), factor.mul(self.weight).flatten(0, 2), x.T)
        return found.view(*constant.shape[:3], -1)

    def _slope(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The gradient of the absolute error, or of cross-entropy, by each row's outputs."""
        if self.numbers:
            return outputs.sub_(target).sign_()
        if outputs.shape[2] == 1:
            return outputs.sigmoid_().sub_(target)
        return _with_last(outputs).softmax(dim=2)[:, :, :-1].sub(target)

    def _update(self, product: Tensor, total: Tensor) -> None:
        """SGD with momentum; both arguments carry the learning rate and the mean over the minibatch already."""
        self._velocity.mul_(_MOMENTUM)
        weight, scale, shift = _parts(self._velocity)
        _add_products(scale, self.weight, product)
        _add_products(shift, self.weight, total)
        weight.add_(self._of_differences(product.mul_(self.scale).addcmul_(self.shift, total)))
        self._parameters.sub_(self._velocity)
        self.bias.sub_(self._bias_velocity.mul_(_MOMENTUM).add_(self._of_differences(total)))

    def _of_differences(self, gradient: Tensor) -> Tensor:
        return gradient if self.numbers else gradient + gradient.sum(dim=2, keepdim=True)

    def evaluate(self) -> Iterator[Tensor]:
        """Per split the outputs (head, row, output) of all rows, with the running statistics."""
        mean, inverse = self._running_mean[:, None, None], (self._running_var + _EPS).rsqrt()[:, None, None]
        for found in self._outputs(self._x, mean, inverse):
            yield (found if self.numbers else _with_last(found[None])[0]).transpose(1, 2)


def _with_last(outputs: Tensor) -> Tensor:
    """Differences to the last class (split, head, class - 1, row) with those of the last class, 0."""
    return torch.cat([outputs, outputs.new_zeros(*outputs.shape[:2], 1, outputs.shape[3])], dim=2)


def _add_products(to: Tensor, one: Tensor, other: Tensor) -> None:
    """Add the sum of products over the outputs (third axis)."""
    if one.shape[2] == 1:
        to.addcmul_(one, other)
    else:
        to.add_((one * other).sum(dim=2, keepdim=True))


def _parts(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U, γ and β (views) of heads whose rows they are."""
    return parameters[:, :, :-2], parameters[:, :, -2:-1], parameters[:, :, -1:]
