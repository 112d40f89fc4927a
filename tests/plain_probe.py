"""The linear-sgd probe one head after another, with torch's own layers: what tests and benchmark compare with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from boldtable.stages.probe.heads.linear_sgd import Protocol, initial, order


def head(seed: int, x: Tensor, n_outputs: int) -> nn.Sequential:
    """A head with the starting values of a split."""
    model = nn.Sequential(nn.BatchNorm1d(x.shape[1]), nn.Linear(x.shape[1], n_outputs)).to(x.dtype)
    weight, bias = initial(seed, x.shape[1], n_outputs, x.dtype)
    with torch.no_grad():
        model[1].weight.copy_(weight)
        model[1].bias.copy_(bias)
    return model


def train(protocol: Protocol, rate: float, x: Tensor, mask: Tensor, target: Tensor, numbers: bool, seed: int,
          order_seed: int) -> Tensor:  # fmt: skip
    """One head on the rows of `x` (row, feature) that `mask` (row,) marks; its outputs (row, output) for all rows.

    `target` (row, class) is one-hot, or (row, 1) numbers.
    """
    model = head(seed, x, target.shape[1])
    loss: nn.Module = nn.L1Loss() if numbers else nn.CrossEntropyLoss()
    truth = target if numbers else target.argmax(dim=1)
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    n = int(mask.sum())
    size = protocol.batch(n)
    for epoch in range(protocol.epochs):
        drawn = order(order_seed, epoch, len(x))
        rows = drawn[mask[drawn]]
        for first in range(0, n - 1, size):
            batch = rows[first : first + size]
            optimiser.zero_grad()
            loss(model(x[batch]), truth[batch]).backward()
            optimiser.step()
    model.eval()
    with torch.no_grad():
        return model(x)
