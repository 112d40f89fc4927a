"""Linear heads on batch normalisation, trained by SGD: every learning rate of every split in one computation.

The heads of a split see the same minibatches in the same order, so these are gathered and their statistics taken
once. With x̂ = (x - mean) / sd of a minibatch, a head computes W (γ x̂ + β) + b: linear in x, so one product of
(γ W / sd) of all heads with the centred minibatch gives their outputs; and with the gradient d of the outputs, dᵀ x̂
is another one from which all gradients follow: dW = γ dᵀx̂ + β Σd, dγ = Σ_class W dᵀx̂, dβ = Σ_class W Σd, db = Σd.
Nothing of the size heads × batch × feature is ever made.

Of classes, only the differences to the last one count: d sums to 0 over the classes, so U = W - W_last moves by
dU = dW + Σ_class dW and has in dγ and dβ the place of W. Two classes are one column.

All splits go through one order of all rows, each taking its own training rows of it: a random order for every split,
and neighbours in time for the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor

_MOMENTUM = 0.9
_EPS, _RUNNING = 1e-5, 0.1  # of torch.nn.BatchNorm1d
_INITIAL_SD = 2e-5
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Protocol:
    """How the heads are trained: learning rates, epochs, and the largest minibatch."""

    rates: tuple[float, ...]
    epochs: int
    batch_size: int

    def batch(self, n: int) -> int:
        """Rows per minibatch: an eighth of the n training rows, at most `batch_size` and at least two."""
        return max(2, min(self.batch_size, n // 8))


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


class Heads:
    """The heads of some splits with equally many training rows.

    `x` (split or 1, row, feature) holds the features of all rows, for each split or for all; `train` (split, row) says
    which rows each split trains on; `target` (split, row, class) is one-hot, or (split, row, 1) numbers with `numbers`
    (L1 loss); `seeds` (split,) draw what the heads start from. `x` is left as it is.
    """

    def __init__(self, protocol: Protocol, x: Tensor, train: Tensor, target: Tensor, numbers: bool,
                 seeds: Sequence[int]) -> None:  # fmt: skip
        self.protocol, self.numbers, self._x, self._train = protocol, numbers, x, train.cpu()
        self._n = int(self._train[0].sum())
        splits, n_rows, size = len(seeds), *x.shape[1:]
        self._target = (target if numbers else target[:, :, :-1]).to(x).contiguous()
        outputs, heads = self._target.shape[2], len(protocol.rates)
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
        self._running_mean, self._running_var = x.new_zeros(splits, size), x.new_ones(splits, size)
        place = torch.arange(splits)[:, None] * n_rows
        self._places = (place * (len(x) > 1), place)  # of the first row of each split, in `x` and in the target

    @property
    def largest(self) -> int:
        """How many values the largest minibatch of all splits has."""
        return len(self._train) * self.protocol.batch(self._n) * self._x.shape[2]

    def minibatches(self, drawn: Tensor, space: Tensor) -> Iterator[None]:
        """One epoch, a step at a time, in the order `drawn` (row,); `space` (`largest` or more,) is written over.

        A last minibatch of one row, which has no variance, is left out.
        """
        own = torch.stack([drawn[mask[drawn]] for mask in self._train])
        rows, places = ((own + first).to(self._x.device) for first in self._places)
        target = self._target.flatten(0, 1).index_select(0, places.flatten()).view(*own.shape, -1).transpose(1, 2)
        size = self.protocol.batch(self._n)
        for first in range(0, self._n - 1, size):
            part = slice(first, first + size)
            self._step(rows[:, part], target[:, None, :, part], space)
            yield

    def _step(self, rows: Tensor, target: Tensor, space: Tensor) -> None:
        """One minibatch of every split: the numbers of its rows (split, batch), its target (split, 1, output, batch).

        The rows are gathered into `space`: fresh memory would cost as much as a product.
        """
        splits, batch = rows.shape
        x = space[: rows.numel() * self._x.shape[2]].view(rows.numel(), -1)
        torch.index_select(self._x.flatten(0, 1), 0, rows.flatten(), out=x)
        x = x.view(splits, batch, -1)
        statistics = [
            torch.batch_norm_update_stats(x[split], self._running_mean[split], self._running_var[split], _RUNNING)
            for split in range(splits)
        ]
        mean, var = (torch.stack(values)[:, None] for values in zip(*statistics, strict=True))
        inverse = var.add_(_EPS).rsqrt_()[:, None]
        slope = self._slope(self._outputs(x.sub_(mean), inverse), target).mul_(self._rates / batch)
        product = torch.bmm(slope.flatten(1, 2), x).view_as(self.weight).mul_(inverse)
        self._update(product, slope.sum(dim=3, keepdim=True))

    def _outputs(self, centred: Tensor, inverse: Tensor) -> Tensor:
        """What the heads give (split, head, output, row); `inverse` (split, 1, 1, feature) is 1 / sd."""
        constant = (self.weight * self.shift).sum(dim=3, keepdim=True).add_(self.bias)
        weight = (self.scale * inverse).mul(self.weight).flatten(1, 2)
        found = torch.baddbmm(constant.flatten(1, 2), weight, centred.transpose(1, 2))
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
        """Per split the outputs (head, row, output) of all rows, with the running statistics, as BatchNorm1d does.

        Of classes they are logits up to a constant per row: that of the last class is 0.
        """
        inverse = (self._running_var + _EPS).rsqrt()[:, None, None]
        weights = (self.weight * self.scale * inverse).flatten(1, 2)
        constants = (self.weight * self.shift).sum(dim=3, keepdim=True).add_(self.bias)
        for split, (weight, constant, mean) in enumerate(zip(weights, constants, self._running_mean, strict=True)):
            pieces = self._x[split if len(self._x) > 1 else 0].split(_ROWS_AT_ONCE)  # type: ignore[no-untyped-call]
            found = torch.cat([weight @ (piece - mean).T for piece in pieces], dim=1).view(*constant.shape[:2], -1)
            yield (found + constant if self.numbers else _with_last((found + constant)[None])[0]).transpose(1, 2)


def train(together: Sequence[Heads], seed: int, n_rows: int) -> None:
    """All epochs of several groups of heads, step by step in turns: what one has gathered, the next finds in the cache.

    `seed` draws the order of the rows; whoever is trained together, the result is the same.
    """
    space = together[0].weight.new_empty(max(heads.largest for heads in together))
    for epoch in range(together[0].protocol.epochs):
        drawn = order(seed, epoch, n_rows)
        for _ in zip_longest(*(heads.minibatches(drawn, space) for heads in together)):
            pass


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
