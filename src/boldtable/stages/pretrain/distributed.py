"""Several processes train one model: who is who, averaged gradients, and decisions that all take together.

A launcher (torchrun, or srun with the same variables) starts the processes and tells each its place through RANK,
LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Without them there is one process and nothing here costs anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed, nn

from boldtable.errors import SettingsError
from boldtable.progress import say

_WANTED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Processes:
    """The processes that train one model: this one's `rank`, their number `size`, and its `local` rank on its node."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes logs, checkpoints and the model."""
        return self.rank == 0

    def share(self, n: int) -> tuple[int, int]:
        """The part of `n` samples that is this process's: first and one past the last; parts differ by at most one."""
        return self.rank * n // self.size, (self.rank + 1) * n // self.size

    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients over all processes in one exchange.

        Which parameters have a gradient depends on settings, step and the coin of the whole batch, never on the
        process, so that all processes exchange the same numbers in the same order.
        """
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, averaged in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(averaged.view_as(gradient))

    def agree(self, values: Sequence[int]) -> list[int]:
        """The largest of each value over all processes; exchanged between CPUs, so that no GPU waits for it."""
        if self.size == 1:
            return list(values)
        largest = torch.tensor(values)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return [int(value) for value in largest.tolist()]

    def wait(self) -> None:
        """Return when all processes are here."""
        self.agree([0])


def place() -> Processes:
    """Who this process is among those that a launcher started; alone without one.

    Raises `SettingsError` where the launcher's variables are not whole numbers or do not fit together.
    """
    if not all(name in os.environ for name in _WANTED):
        return Processes()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    texts = [os.environ.get(name, "0") for name in names]
    if not all(text.isdecimal() for text in texts) or int(texts[0]) >= int(texts[1]):
        given = ", ".join(f"{name}={text}" for name, text in zip(names, texts, strict=True))
        raise SettingsError(f"the launcher says {given}: start with torchrun, which sets them")
    rank, size, local = map(int, texts)
    return Processes(rank, size, local)


@contextmanager
def together(device: torch.device) -> Iterator[Processes]:
    """Connect the processes, and silence the progress lines of all but the first; errors of any of them are printed.

    CPU tensors are exchanged by gloo, those on a GPU by NCCL.
    """
    here = place()
    if here.size == 1:
        yield here
        return
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    with quiet() if here.rank else nullcontext():
        say(f"{here.size} processes train together")
        yield here
    # Not after an error: where a process is gone, closing the group would wait for it.
    distributed.destroy_process_group()


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what is said; an error that leaves the block is printed as always."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        yield


def choose(wanted: str, local: int) -> torch.device:
    """The device to train on; says so where a GPU was hoped for and there is none.

    On a node with several processes each takes the GPU of its local rank.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise SettingsError("device is 'cuda', but there is no GPU here: set 'device: auto' to train on the CPU")
    if wanted == "cpu" or not there:
        if wanted == "auto":
            say("no GPU here: training on the CPU")
        return torch.device("cpu")
    if local >= torch.cuda.device_count():
        raise SettingsError(
            f"process {local + 1} on this node, but it has {torch.cuda.device_count()} GPUs: start at most as many "
            "processes as there are GPUs (torchrun --nproc-per-node)"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)
