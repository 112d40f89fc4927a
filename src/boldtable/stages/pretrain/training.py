"""The training loop: schedules per step, AdamW, the teacher's average, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boldtable.errors import BoldtableError
from boldtable.objectives import schedules
from boldtable.objectives.distillation import SelfDistillation
from boldtable.progress import say
from boldtable.stages.pretrain.batches import Batches
from boldtable.stages.pretrain.checkpoint import Bench, Stop
from boldtable.stages.pretrain.distributed import Processes
from boldtable.stages.pretrain.log import Log
from boldtable.stages.pretrain.settings import Pretrain

_WARMUP_SHARE = 0.1
_RANK_EVERY = 10  # steps; the rank of the features costs a decomposition
_PARTS = {"total": "loss", "cls": "cls_loss", "tokens": "token_loss", "network": "network_loss"}


class Training:
    """One training: the objective with student and teacher, its optimiser, its batches and its log.

    Every process holds the same weights and takes the same steps; the first one alone writes.
    """

    def __init__(
        self,
        settings: Pretrain,
        objective: SelfDistillation,
        batches: Batches,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        self.settings, self.objective, self.batches, self.device = settings, objective, batches, device
        self.processes = processes or Processes()
        self.log = Log(device, batches.size, batches.names)
        self._parameters = list(objective.student_parameters())
        self._optimiser = torch.optim.AdamW(self._parameters, lr=0.0, fused=True)
        self._losses: Callable[..., dict[str, Tensor]] = objective
        if settings.compile and self.processes.size == 1:
            self._losses = torch.compile(objective)
        elif settings.compile:
            # The encoders alone: what processes exchange in the losses stays out of compiled code.
            objective.student.compile()
            objective.teacher.compile()
        self._peak_lr = settings.lr * batches.size / 256
        self._warmup = int(min(settings.warmup_epochs * batches.per_epoch, _WARMUP_SHARE * batches.total))
        self._autocast = precision(settings, device) == torch.bfloat16
        self._kinds: set[tuple[bool, ...]] = set()
        self._snapshots = {number * batches.total // max(settings.snapshots, 1) for number in range(settings.snapshots)}

    def run(self, bench: Bench, stop: Stop, snapshot: Callable[[Path, int], None]) -> None:
        """Train to the end, from the checkpoint on where there is one; `snapshot` writes a model folder after a step.

        Raises `BoldtableError` where a loss is not finite, `SystemExit` with code 75 after SIGTERM (checkpoint saved).
        """
        first, total = self._resume(bench), self.batches.total
        stop.training = True
        say(f"steps {first} to {total} of {self.batches.size} samples, {self.batches.per_epoch} an epoch")
        with exact(self.device):
            if first == 0 < total:
                self._snapshot(0, bench, snapshot)
            for step in range(first, total):
                self.step(step)
                self._snapshot(step + 1, bench, snapshot)
                self._after(step + 1, bench, stop)
        stop.training = False

    def _snapshot(self, done: int, bench: Bench, write: Callable[[Path, int], None]) -> None:
        """Write the teacher after `done` steps where one is wanted: before the checkpoint, so that none gets lost."""
        if self.processes.first and done in self._snapshots:
            with bench.snapshot(done) as folder:
                write(folder, done)

    def _after(self, done: int, bench: Bench, stop: Stop) -> None:
        """Save where it is due or asked for, and say how it goes at the end of an epoch."""
        epoch, place = divmod(done, self.batches.per_epoch)
        # All processes decide alike: who went on alone would wait for the others for ever.
        received, due = self.processes.agree([stop.received or 0, int(self.processes.first and bench.due())])
        if received or due:
            self.log.fetch()
            if self.processes.first:
                bench.save(self.state(done))
        if received:
            stop.received = received
            self.processes.wait()
            say(f"saved at step {done}; the same command goes on from there")
            stop.leave()
        if done == self.batches.total:
            self.log.fetch()
        if place == 0:
            self.log.line(epoch, self.settings.epochs)

    def step(self, step: int) -> None:
        """One optimiser step: schedules, data, forward, backward, clip, update, teacher."""
        values = self.schedule(step)
        for group in self._optimiser.param_groups:
            group.update(lr=values["lr"], weight_decay=values["weight_decay"])
        begin = self.log.mark()
        batch = self.batches.batch(step)
        ready = self.log.mark()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            parts = self._losses(
                **batch._asdict(), network_weight=values["network_weight"], monitor=step % _RANK_EVERY == 0
            )
        off = {
            "cls": self.settings.cls_weight == 0,
            "tokens": self.settings.token_weight == 0 or batch.mask1 is None,
            "network": values["network_weight"] == 0,
        }
        measured = {_PARTS.get(name, name): value for name, value in parts.items() if not off.get(name)}
        measured |= self._update(parts["total"])
        self.objective.update_teacher(values["momentum"])
        known = {"step": step, "epoch": step // self.batches.per_epoch, **values}
        kind = (*off.values(), step % _RANK_EVERY == 0)
        self.log.add(known, measured, (begin, ready, self.log.mark()), warm=kind in self._kinds)
        self._kinds.add(kind)

    def _update(self, loss: Tensor) -> dict[str, Tensor]:
        """Move the student; returns the norm of the gradient."""
        # Without any loss in this step (all that are on wait for a masked batch) there is nothing to learn from.
        if not loss.requires_grad:
            return {}
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.processes.average(self._parameters)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.clip_norm)
        self._optimiser.step()
        return {"grad_norm": norm}

    def schedule(self, step: int) -> dict[str, float]:
        """What changes with the step: lr, weight_decay, momentum, network_weight."""
        total, chosen = self.batches.total, self.settings
        decay_steps = round(chosen.temporal_share * total)
        return {
            "lr": self._peak_lr * schedules.learning_rate_factor(step, total, self._warmup),
            "weight_decay": schedules.weight_decay(step, total, *chosen.weight_decay),
            "momentum": schedules.ema_momentum(step, total, chosen.momentum),
            "network_weight": schedules.network_weight(step, decay_steps, chosen.temporal_weight * (decay_steps > 0)),
        }

    def state(self, done: int) -> dict[str, Any]:
        """All that the next step depends on, after `done` steps: weights, optimiser, position and log."""
        return {
            "done": done,
            "objective": self.objective.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "log": self.log.tensor(),
        }

    def _resume(self, bench: Bench) -> int:
        found = bench.load()
        done = int(found["done"]) if found else 0
        if self.processes.agree([done, -done]) != [done, -done]:
            raise BoldtableError(
                f"not all processes find the same {bench.file}: put the model folder on a disk that all nodes share"
            )
        if found is None:
            if self.processes.first:
                bench.clear()
            return 0
        self.objective.load_state_dict(found["objective"])
        self._optimiser.load_state_dict(found["optimiser"])
        self.log.resume(found["log"])
        say(f"going on from {bench.file}")
        return done


def precision(settings: Pretrain, device: torch.device) -> torch.dtype:
    """The type matrix products run in."""
    if settings.precision == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Let a CPU choose only algorithms that give the same bits every time; a GPU keeps its fast ones."""
    before = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
