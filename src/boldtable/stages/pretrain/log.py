"""The training log: one row a step, kept on the device and fetched in blocks; stops on what is not finite."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from boldtable import store
from boldtable.errors import BoldtableError
from boldtable.progress import say

# What every training notes; between them stand the columns of its objective, and after lr what its schedule changes.
# loss is the sum of the weighted losses; a loss that is off in a step is null there. Of several processes, losses and
# gradient are those of the whole batch; what is watched (token_similarity, ranks) and memory are those of the first.
# samples_per_s is of the whole batch and of this step alone, with what came between it and the step before; it is null
# where that would not be speed: in the first step after a start, and the first of each kind (with or without masks,
# regulariser, rank), which may be compiled.
_BEFORE, _BETWEEN = ("step", "epoch", "loss"), ("grad_norm", "lr", "weight_decay", "momentum")
_AFTER = ("samples_per_s", "data_share", "memory_mb")
_WHOLE = ("step", "epoch")
_FINITE = ("loss", "grad_norm")
_COLLAPSE = 0.95
_SECONDS_BETWEEN_LINES = 10.0
_RECENT_STEPS = 50  # whose median speed the line says
_NAMES_IN_ERROR = 8
_GPU_BLOCK = 16  # a GPU runs ahead of the log by up to this many steps: fetching numbers makes it wait


class Log:
    """One row a step. `names` gives the runs of a step, for the error when its loss is not finite.

    `measured` and `scheduled` name the columns of the objective and of its schedule.
    """

    def __init__(
        self,
        device: torch.device,
        batch: int,
        names: Callable[[int], list[str]],
        measured: Sequence[str],
        scheduled: Sequence[str],
    ) -> None:
        self.columns = (*_BEFORE, *measured, *_BETWEEN, *scheduled, *_AFTER)
        self.rows: list[list[float]] = []
        self._device, self._batch, self._names = device, batch, names
        self._block = _GPU_BLOCK if device.type == "cuda" else 1
        self._pending: list[tuple[dict[str, float], dict[str, Tensor], tuple[Any, Any, Any], bool]] = []
        self._line = time.monotonic()
        self._last: Any = None
        self._warned = False

    def mark(self) -> Any:
        """A point in time of the device's work."""
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def add(
        self, known: dict[str, float], measured: dict[str, Tensor], marks: tuple[Any, Any, Any], warm: bool = True
    ) -> None:
        """Note a step: plain numbers, scalars on the device, and the marks before data, after data, at the end.

        `warm` is False where the step did more than its kind usually does.
        """
        self._pending.append((known, measured, marks, warm))
        if len(self._pending) >= self._block:
            self.fetch()

    def fetch(self) -> None:
        """Bring pending rows over; raises `BoldtableError` naming step and runs where something is not finite."""
        if not self._pending:
            return
        values = torch.stack(
            [value.detach().double() for _, row, _, _ in self._pending for value in row.values()]
        ).tolist()
        numbers = iter(values)
        for known, measured, (begin, ready, end), warm in self._pending:
            row = {**known, **{name: next(numbers) for name in measured}}
            if warm and self._last is not None:
                row["samples_per_s"] = self._batch / max(_seconds(self._last, end), 1e-9)
            self._last = end
            row["data_share"] = _seconds(begin, ready) / max(_seconds(begin, end), 1e-9)
            row["memory_mb"] = memory_mb(self._device)
            self._check(row)
            self.rows.append([row.get(name, math.nan) for name in self.columns])
        self._pending.clear()

    def _check(self, row: dict[str, float]) -> None:
        step = int(row["step"])
        if not all(math.isfinite(row.get(name, 0.0)) for name in _FINITE):
            names = self._names(step)
            say(f"runs of step {step}: {'; '.join(names)}")
            more = f" and {len(names) - _NAMES_IN_ERROR} more, in the log" if len(names) > _NAMES_IN_ERROR else ""
            raise BoldtableError(
                f"training stopped at step {step} (epoch {int(row['epoch'])}): loss {row['loss']:g}, gradient norm "
                f"{row.get('grad_norm', math.nan):g}; runs of the batch: {', '.join(names[:_NAMES_IN_ERROR])}{more}; "
                "look at these runs, or set a lower lr or 'precision: float32'"
            )
        if row.get("token_similarity", 0.0) > _COLLAPSE and row["lr"] > 0 and not self._warned:
            self._warned = True
            say(
                f"warning: step {step}: the tokens of a window are nearly alike (mean cosine "
                f"{row['token_similarity']:.3f}): the model is collapsing"
            )

    def line(self, epoch: int, epochs: int) -> None:
        """Say how training goes, at most every ten seconds and at the last epoch."""
        if not self.rows or (time.monotonic() - self._line < _SECONDS_BETWEEN_LINES and epoch < epochs):
            return
        self._line = time.monotonic()
        said = [f"loss {self.rows[-1][self.columns.index('loss')]:.4f}"]
        if similar := self._recent("token_similarity"):
            said.append(f"token similarity {similar[-1]:.3f}")
        if speeds := self._recent("samples_per_s"):
            said.append(f"{median(speeds):.0f} samples/s")
        say(f"epoch {epoch}/{epochs}: {', '.join(said)}")

    def _recent(self, name: str) -> list[float]:
        """What is known of a column in the last steps; nothing where this training has no such column."""
        if name not in self.columns:
            return []
        values = [row[self.columns.index(name)] for row in self.rows[-_RECENT_STEPS:]]
        return [value for value in values if math.isfinite(value)]

    def resume(self, rows: Tensor) -> None:
        """Take up the rows of a checkpoint."""
        self.rows = rows.tolist()

    def tensor(self) -> Tensor:
        """All fetched rows (step, column), float64, for a checkpoint."""
        return torch.tensor(self.rows, dtype=torch.float64).reshape(-1, len(self.columns))

    def frame(self) -> pd.DataFrame:
        """All rows as a table."""
        table = pd.DataFrame(self.rows, columns=list(self.columns), dtype="float64")
        return table.astype(dict.fromkeys(_WHOLE, "int64"))


def write(path: Path, table: pd.DataFrame, provenance: store.Provenance) -> None:
    """Write the log as Parquet, NaN as null."""
    found = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(provenance.metadata())
    with store.sealed(path) as temporary:
        pq.write_table(found, temporary, **store.OPTIONS)


def memory_mb(device: torch.device) -> float:
    """The peak memory so far: of the GPU's tensors, or of the process on a CPU (MB)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _seconds(first: Any, second: Any) -> float:
    """The time between two marks (s)."""
    if isinstance(first, float):
        return float(second - first)
    return float(first.elapsed_time(second)) / 1e3
