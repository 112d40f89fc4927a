"""The training loop: schedules per step, AdamW, the teacher's average, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from boldtable.errors import BoldtableError, SettingsError
from boldtable.objectives.base import Batch, Objective
from boldtable.progress import say
from boldtable.stages.pretrain.batches import Batches
from boldtable.stages.pretrain.checkpoint import Bench, Stop
from boldtable.stages.pretrain.distributed import Processes
from boldtable.stages.pretrain.log import Log
from boldtable.stages.pretrain.settings import Pretrain, Steps

_RANK_EVERY = 10  # steps; the rank of the features costs a decomposition


class Training:
    """One training: the objective with all that is trained, its optimiser, its batches and its log.

    Every process holds the same weights and takes the same steps; the first one alone writes.
    """

    def __init__(
        self,
        settings: Pretrain,
        objective: Objective,
        batches: Batches,
        device: torch.device,
        processes: Processes | None = None,
    ) -> None:
        self.settings, self.objective, self.batches, self.device = settings, objective, batches, device
        self.processes = processes or Processes()
        if settings.micro_batch is not None and not objective.separable:
            raise SettingsError(
                f"micro_batch: the losses of '{settings.model}' compare the samples of a batch: leave it null"
            )
        self.log = Log(device, batches.size, batches.names, objective.columns, objective.scheduled)
        self.steps = Steps(batches.total, batches.per_epoch, batches.size)
        self._parameters = [parameter for _, parameter in objective.trained()]
        self._optimiser = torch.optim.AdamW(self._groups(), lr=0.0, fused=True)
        self._losses: Callable[..., dict[str, Tensor]] = objective
        if settings.compile and self.processes.size == 1:
            self._losses = torch.compile(objective)
        elif settings.compile:
            # The encoders alone: what processes exchange in the losses stays out of compiled code.
            for module in objective.compilable():
                module.compile()
        self._autocast = precision(settings, device) == torch.bfloat16
        self._kinds: set[frozenset[str]] = set()
        self._snapshots = {number * batches.total // max(settings.snapshots, 1) for number in range(settings.snapshots)}

    def _groups(self) -> list[dict[str, Any]]:
        """The parameters by whether they decay, for the optimiser."""
        free = {
            name
            for name, parameter in self.objective.trained()
            if self.settings.decayed == "matrices" and self.objective.undecayed(name, parameter)
        }
        decayed = [parameter for name, parameter in self.objective.trained() if name not in free]
        others = [parameter for name, parameter in self.objective.trained() if name in free]
        groups = [{"params": decayed, "decayed": True}, {"params": others, "decayed": False}]
        return [group for group in groups if group["params"]]

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
        """Write the encoder after `done` steps where one is wanted: before the checkpoint, so that none gets lost."""
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
        """One optimiser step: schedules, data, forward, backward, clip, optimiser, the objective's own update."""
        values = self.settings.schedule(step, self.steps)
        for group in self._optimiser.param_groups:
            group.update(lr=values["lr"], weight_decay=values["weight_decay"] if group["decayed"] else 0.0)
        begin = self.log.mark()
        batch = self.batches.batch(step)
        ready = self.log.mark()
        scheduled = {name: values[name] for name in self.objective.scheduled}
        self._optimiser.zero_grad(set_to_none=True)
        measured = self._backward(batch, step % _RANK_EVERY == 0, scheduled)
        kind = frozenset(measured)
        measured |= self._move()
        self.objective.update(values.get("momentum", math.nan))
        known = {"step": step, "epoch": step // self.batches.per_epoch, **values}
        self.log.add(known, measured, (begin, ready, self.log.mark()), warm=kind in self._kinds)
        self._kinds.add(kind)

    def _backward(self, batch: Batch, monitor: bool, scheduled: dict[str, float]) -> dict[str, Tensor]:
        """Add up the gradients of the batch, part after part; returns its losses and what is watched."""
        found: dict[str, Tensor] = {}
        for part, weight in self._parts(batch):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
                values = self._losses(part, monitor=monitor, **scheduled)
            loss = values["total"] if weight == 1 else values["total"] * weight
            # Without any loss in this step (all that are on wait for a masked batch) there is nothing to learn from.
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
            for name, value in values.items():
                before, more = found.get(name), value.detach() if weight == 1 else value.detach() * weight
                found[name] = more if before is None else before + more
        return {"loss": found.pop("total"), **found}

    def _parts(self, batch: Batch) -> Iterator[tuple[Batch, float]]:
        """The batch in parts of at most `micro_batch` samples, each with its share of the samples of all processes."""
        if self.settings.micro_batch is None:
            yield batch, 1.0
            return
        shares = [Processes(rank, self.processes.size).share(self.steps.samples) for rank in range(self.processes.size)]
        sizes = [last - first for first, last in shares]
        # As many parts in every process, for they exchange losses.
        n_parts = min(-(-max(sizes) // self.settings.micro_batch), min(sizes))
        mine = sizes[self.processes.rank]
        for number in range(n_parts):
            bounds = [(number * size // n_parts, (number + 1) * size // n_parts) for size in sizes]
            together = sum(last - first for first, last in bounds)
            yield batch.part(number * mine // n_parts, (number + 1) * mine // n_parts), together / sum(sizes)

    def _move(self) -> dict[str, Tensor]:
        """Move what is trained; returns the norm of the gradient, or nothing where there is no gradient."""
        if all(parameter.grad is None for parameter in self._parameters):
            return {}
        self.processes.average(self._parameters)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.clip_norm or math.inf)
        self._optimiser.step()
        return {"grad_norm": norm}

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
