"""What changes over training, as functions of the optimiser step (from 0). Plain floats, no state."""

from __future__ import annotations

import math
from typing import Literal


def ema_momentum(step: int, total: int, base: float = 0.99) -> float:
    """Return the teacher's momentum: from `base` at step 0 to 1 at step `total`, along a half cosine."""
    return 1 - (1 - base) * _falling(step / max(total, 1))


def learning_rate_factor(step: int, total: int, warmup: int) -> float:
    """Return the learning rate over its base: 0 at step 0, linear to 1 at `warmup`, then a half cosine to 0."""
    if step < warmup:
        return step / warmup
    return max(0.0, _falling((step - warmup) / max(total - warmup, 1)))


def weight_decay(step: int, total: int, start: float = 0.05, end: float = 0.3) -> float:
    """Return the weight decay: from `start` to `end` along a half cosine."""
    return end + (start - end) * _falling(step / max(total, 1))


def network_weight(
    step: int, decay_steps: int, weight: float = 0.5, delay: int = 0, shape: Literal["cosine", "linear"] = "cosine"
) -> float:
    """Return the weight of the temporal regulariser: 0 before `delay`, `weight` at it, 0 again `decay_steps` later.

    The published recipe takes 5 of 100 epochs, no delay and the cosine.
    """
    share = (step - delay) / max(decay_steps, 1)
    if share < 0 or share >= 1:
        return 0.0
    return weight * (_falling(share) if shape == "cosine" else 1 - share)


def _falling(share: float) -> float:
    """Return the half cosine from 1 at share 0 to 0 at share 1."""
    return 0.5 * (1 + math.cos(math.pi * share))


def warmed_cosine(step: int, total: int, warmup: int, start: float, peak: float, end: float) -> float:
    """Return a learning rate: from `start` to `peak` over `warmup` steps, then a half cosine to `end` at the last step.

    As in I-JEPA and Brain-JEPA a step takes the value reached when it is done: step 0 is one step above `start`.
    """
    done = step + 1
    if done < warmup:
        return start + (peak - start) * done / warmup
    return max(end, end + (peak - end) * _falling((done - warmup) / max(total - warmup, 1)))


def cosine_weight_decay(step: int, total: int, start: float, end: float) -> float:
    """Return the weight decay of Brain-JEPA: `weight_decay`, but `end` is reached at the last step."""
    return weight_decay(step + 1, total, start, end)


def linear_momentum(step: int, total: int, start: float, end: float, fold: int = 1) -> float:
    """Return the teacher's momentum: from `start` at step 0 along a line that would reach `end` at step `total * fold`.

    The authors of Brain-JEPA advance it once per optimiser step over a line made for all their `fold` = 8 accumulated
    batches: it ends at 0.9965 instead of 1.
    """
    return start + (end - start) * step / max(total * fold, 1)
