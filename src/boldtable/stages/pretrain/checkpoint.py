"""Unfinished training: an atomic checkpoint beside the model folder, and a request to stop that loses nothing."""

from __future__ import annotations

import pickle
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch

from boldtable.errors import BoldtableError
from boldtable.progress import say
from boldtable.running import refuse_outlived
from boldtable.writing import alone, atomic, sync

EX_TEMPFAIL = 75  # sysexits.h: "try again"; Snakemake's retries and Slurm's requeue take it up
_SHARE_OF_TIME = 0.02


class Bench:
    """The hidden folder ``.{model}.training`` beside the model folder, where unfinished work lies.

    It is outside the model folder because a workflow manager deletes the unfinished outputs of a failed job, and on the
    same file system because the finished model takes its place by a rename.
    """

    def __init__(self, out: Path, identity: str, every_s: float) -> None:
        self.out = out
        self.folder = out.parent / f".{out.name}.training"
        self.file = self.folder / "checkpoint.pt"
        self.snapshots = self.folder / "snapshots"
        self._identity = identity
        self._every_s = every_s
        self._last = time.monotonic()

    def held(self) -> AbstractContextManager[int]:
        """Keep other processes from training the same model into the same place; one that does is waited for."""
        return alone(self.folder)

    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() - self._last >= self._every_s

    def save(self, state: dict[str, Any]) -> None:
        """Write tensors and plain values atomically; the next one is due so late that saving stays below 2 %."""
        began = time.monotonic()
        with atomic(self.file) as temporary:
            torch.save({"identity": self._identity, **state}, temporary)
        self._last = time.monotonic()
        self._every_s = max(self._every_s, (self._last - began) / _SHARE_OF_TIME if self._every_s else 0)

    def load(self) -> dict[str, Any] | None:
        """Return the state of an interrupted training with the same settings and data, or None with a line why not."""
        if not self.file.exists():
            return None
        try:
            # weights_only: a checkpoint can hold numbers, never code.
            found: dict[str, Any] = torch.load(self.file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            say(f"{self.file} cannot be read ({str(error).splitlines()[0]}): training starts afresh")
            return None
        if found.pop("identity", None) != self._identity:
            say(f"{self.file} belongs to other settings, data or version: training starts afresh")
            return None
        return found

    def clear(self) -> None:
        """Forget the snapshots of a training that is not gone on with."""
        shutil.rmtree(self.snapshots, ignore_errors=True)

    @contextmanager
    def snapshot(self, step: int) -> Iterator[Path]:
        """Yield an empty folder that becomes the snapshot of this step, whole, and part of the finished model."""
        target, new = self.snapshots / f"{step:06d}", self.folder / "snapshot"
        for leftover in (target, new):
            shutil.rmtree(leftover, ignore_errors=True)
        _make(new)
        yield new
        target.parent.mkdir(exist_ok=True)
        new.rename(target)

    @contextmanager
    def finish(self) -> Iterator[Path]:
        """Yield an empty folder that becomes the model folder, whole, when the block ends without an error."""
        new, old = self.folder / "model", self.folder / "old"
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        _make(new)
        yield new
        refuse_outlived(self.out)
        if self.snapshots.exists():
            self.snapshots.rename(new / "snapshots")
        if self.out.exists():
            self.out.rename(old)
        new.rename(self.out)
        sync(self.out.parent)
        shutil.rmtree(self.folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise BoldtableError(f"cannot write {folder}: {error.strerror}; choose a folder that can be written") from None


class Stop:
    """What SIGTERM and SIGINT do: outside training they exit at once, within it after the step, once it is saved.

    SIGTERM exits with code 75, SIGINT (Ctrl-C) raises `KeyboardInterrupt`. A second Ctrl-C exits at once; a second
    SIGTERM changes nothing, for a cluster and the launcher may each send one, and who is in a hurry sends SIGKILL. With
    `patient` (several processes: the launcher passes on what the terminal has sent already) neither does Ctrl-C.
    """

    def __init__(self) -> None:
        self.training = self.patient = False
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        first, self.received = self.received is None, self.received or number
        again = not first and number == signal.SIGINT and not self.patient
        if again or not self.training:
            self.leave()
        if first:
            say(f"{signal.Signals(number).name}: stopping after this step")

    def leave(self) -> NoReturn:
        """Exit with the code of the signal that was received."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(EX_TEMPFAIL)
