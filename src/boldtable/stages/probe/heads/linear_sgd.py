"""Linear heads on batch normalisation, trained by SGD: every learning rate of every split in one computation.

The heads of a split see the same minibatches in the same order, so these are gathered and their statistics taken
once. With x̂ = (x - mean) / sd of a minibatch, a head computes W (γ x̂ + β) + b: linear in x, so one product of
(γ W / sd) of all heads with the minibatch gives their outputs; and with the gradient d of the outputs, dᵀ x̂ is another
one from which all gradients follow: dW = γ dᵀx̂ + β Σd, dγ = Σ_class W dᵀx̂, dβ = Σ_class W Σd, db = Σd. Nothing of
the size heads × batch × feature is ever made.

Of classes, only the differences to the last one count: d sums to 0 over the classes, so U = W - W_last moves by
dU = dW + Σ_class dW and has in dγ and dβ the place of W. Two classes are one column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_MOMENTUM = 0.9
_EPS, _RUNNING = 1e-5, 0.1  # of torch.nn.BatchNorm1d
_INITIAL_SD = 2e-5


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
    """The order (n,) in which a split's training rows come in an epoch."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(n))


class Heads:
    """The heads of some splits with equally many training rows.

    `x` (split, row, feature) holds the features of all rows of each split; `train` (split, sample) says which rows are
    trained on; `target` (split, row, class) is one-hot, or (split, row, 1) numbers with `numbers` (L1 loss).
    """

    def __init__(self, protocol: Protocol, x: Tensor, train: Tensor, target: Tensor, numbers: bool,
                 seeds: Sequence[int]) -> None:  # fmt: skip
        self.protocol, self.numbers, self.seeds = protocol, numbers, seeds
        self._standardise(x, train)
        splits, _, size = x.shape
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

    def _standardise(self, x: Tensor, train: Tensor) -> None:
        """Features in units of their training sd, where sums of squares lose nothing in float32.

        Batch normalisation undoes it, but for its eps and for what its running statistics start from: both are moved
        to the same units.
        """
        splits, n_rows, _ = x.shape
        place = torch.arange(splits, device=x.device)[:, None]
        seen = x[place, train]
        mean, sd = seen.mean(dim=1, keepdim=True), seen.std(dim=1, keepdim=True, correction=0)
        sd = torch.where(sd > 1e-7 * mean.abs(), sd, 1)
        self._x = x.sub(mean).div_(sd)
        self._rows = place * n_rows + train
        self._eps = _EPS / sd.square()
        self._running_mean, self._running_var = -mean / sd, sd.pow(-2)

    def train(self) -> None:
        """All epochs. A last minibatch of one row, which has no variance, is left out."""
        n = self._rows.shape[1]
        size = self.protocol.batch(n)
        for epoch in range(self.protocol.epochs):
            drawn = torch.stack([order(seed, epoch, n) for seed in self.seeds]).to(self._rows.device)
            rows = self._rows.gather(1, drawn)
            for first in range(0, n - 1, size):
                self.step(rows[:, first : first + size])

    def step(self, rows: Tensor) -> None:
        """One minibatch of every split; `rows` (split, batch) index the rows of all splits under each other."""
        splits, batch = rows.shape
        rows = rows.flatten()
        x = self._x.flatten(0, 1).index_select(0, rows).view(splits, batch, -1)
        target = self._target.flatten(0, 1).index_select(0, rows).view(splits, 1, batch, -1).transpose(2, 3)
        share = x.new_full((splits, 1, batch), 1 / batch)
        mean = torch.bmm(share, x)
        var = torch.bmm(share, x * x).sub_(mean.square()).clamp_(min=0)
        self._running_mean.lerp_(mean, _RUNNING)
        self._running_var.lerp_(var * (batch / (batch - 1)), _RUNNING)
        mean, inverse = mean[:, None], (var + self._eps).rsqrt_()[:, None]
        slope = self._slope(self._outputs(x, mean, inverse), target).mul_(self._rates / batch)
        total = slope.sum(dim=3, keepdim=True)
        product = torch.bmm(slope.flatten(1, 2), x).view_as(self.weight)
        self._update(product.sub_(total * mean).mul_(inverse), total)

    def _outputs(self, x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
        """What the heads give (split, head, output, row), normalising by `mean` and 1 / sd (split, 1, 1, feature)."""
        scale = self.scale * inverse
        constant = (self.weight * (self.shift - scale * mean)).sum(dim=3, keepdim=True).add_(self.bias)
        weight = (self.weight * scale).flatten(1, 2)
        return torch.baddbmm(constant.flatten(1, 2), weight, x.transpose(1, 2)).view(*constant.shape[:3], -1)

    def _slope(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The gradient of the absolute error, or of cross-entropy, by each row's outputs."""
        if self.numbers:
            return torch.sign(outputs - target)
        return with_last(outputs).softmax(dim=2)[:, :, :-1].sub(target)

    def _update(self, product: Tensor, total: Tensor) -> None:
        """SGD with momentum; both arguments carry the learning rate and the mean over the minibatch already."""
        self._velocity.mul_(_MOMENTUM)
        weight, scale, shift = _parts(self._velocity)
        scale.add_((self.weight * product).sum(dim=2, keepdim=True))
        shift.add_((self.weight * total).sum(dim=2, keepdim=True))
        weight.add_(self._of_differences(product.mul_(self.scale).addcmul_(self.shift, total)))
        self._parameters.sub_(self._velocity)
        self.bias.sub_(self._bias_velocity.mul_(_MOMENTUM).add_(self._of_differences(total)))

    def _of_differences(self, gradient: Tensor) -> Tensor:
        return gradient if self.numbers else gradient + gradient.sum(dim=2, keepdim=True)

    def evaluate(self) -> Tensor:
        """Outputs (split, head, row, output) of all rows with the running statistics, as BatchNorm1d does.

        Of classes they are logits up to a constant per row: that of the last class is 0.
        """
        inverse = (self._running_var + self._eps).rsqrt()
        outputs = self._outputs(self._x, self._running_mean[:, None], inverse[:, None])
        return (outputs if self.numbers else with_last(outputs)).transpose(2, 3)


def with_last(outputs: Tensor) -> Tensor:
    """Differences to the last class (split, head, class - 1, row) with those of the last class, 0."""
    return torch.cat([outputs, outputs.new_zeros(*outputs.shape[:2], 1, outputs.shape[3])], dim=2)


def _parts(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U, γ and β (views) of heads whose rows they are."""
    return parameters[:, :, :-2], parameters[:, :, -2:-1], parameters[:, :, -1:]
