"""The training log: one row a step, kept on the device and fetched in blocks; stops on what is not finite."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from boldtable import store
from boldtable.errors import BoldtableError
from boldtable.progress import say

# loss is the sum of the three weighted losses; a loss that is off in a step is null there.
COLUMNS = (
    "step", "epoch", "loss", "cls_loss", "token_loss", "network_loss", "cls_compression", "cls_expansion",
    "network_compression", "network_expansion", "token_similarity", "cls_rank", "grad_norm", "lr", "weight_decay",
    "momentum", "network_weight", "samples_per_s", "data_share", "memory_mb",
)  # fmt: skip
_WHOLE = ("step", "epoch")
_FINITE = ("loss", "grad_norm")
_COLLAPSE = 0.95
_SECONDS_BETWEEN_LINES = 10.0
_NAMES_IN_ERROR = 8
_GPU_BLOCK = 16  # a GPU runs ahead of the log by up to this many steps: fetching numbers makes it wait


class Log:
    """Rows of `COLUMNS`. `names` gives the runs of a step, for the error when its loss is not finite."""

    def __init__(self, device: torch.device, batch: int, names: Callable[[int], list[str]]) -> None:
        self.rows: list[list[float]] = []
        self._device, self._batch, self._names = device, batch, names
        self._block = _GPU_BLOCK if device.type == "cuda" else 1
        self._pending: list[tuple[dict[str, float], dict[str, Tensor], tuple[Any, Any, Any]]] = []
        self._line = self._fetched = time.monotonic()
        self._warned = False

    def mark(self) -> Any:
        """A point in time of the device's work."""
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def add(self, known: dict[str, float], measured: dict[str, Tensor], marks: tuple[Any, Any, Any]) -> None:
        """Note a step: plain numbers, scalars on the device, and the marks before data, after data, at the end."""
        self._pending.append((known, measured, marks))
        if len(self._pending) >= self._block:
            self.fetch()

    def fetch(self) -> None:
        """Bring pending rows over; raises `BoldtableError` naming step and runs where something is not finite."""
        if not self._pending:
            return
        values = torch.stack(
            [value.detach().double() for _, row, _ in self._pending for value in row.values()]
        ).tolist()
        speed = self._batch * len(self._pending) / max(time.monotonic() - self._fetched, 1e-9)
        numbers = iter(values)
        for known, measured, marks in self._pending:
            row = {**known, **{name: next(numbers) for name in measured}}
            row |= {"samples_per_s": speed, "data_share": _share(marks), "memory_mb": memory_mb(self._device)}
            self._check(row)
            self.rows.append([row.get(name, math.nan) for name in COLUMNS])
        self._pending.clear()
        self._fetched = time.monotonic()

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
        if row["token_similarity"] > _COLLAPSE and row["lr"] > 0 and not self._warned:
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
        last = dict(zip(COLUMNS, self.rows[-1], strict=True))
        say(
            f"epoch {epoch}/{epochs}: loss {last['loss']:.4f}, token similarity {last['token_similarity']:.3f}, "
            f"{last['samples_per_s']:.0f} samples/s"
        )

    def resume(self, rows: Tensor) -> None:
        """Take up the rows of a checkpoint."""
        self.rows = rows.tolist()

    def tensor(self) -> Tensor:
        """All fetched rows (step, column), float64, for a checkpoint."""
        return torch.tensor(self.rows, dtype=torch.float64).reshape(-1, len(COLUMNS))

    def frame(self) -> pd.DataFrame:
        """All rows as a table."""
        table = pd.DataFrame(self.rows, columns=list(COLUMNS), dtype="float64")
        return table.astype(dict.fromkeys(_WHOLE, "int64"))


def write(path: Path, table: pd.DataFrame, provenance: store.Provenance) -> None:
    """Write the log as Parquet, NaN as null."""
    found = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(provenance.metadata())
    with store.atomic(path) as temporary:
        pq.write_table(found, temporary, compression="zstd")


def memory_mb(device: torch.device) -> float:
    """The peak memory so far: of the GPU's tensors, or of the process on a CPU (MB)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _share(marks: tuple[Any, Any, Any]) -> float:
    """The share of a step that went into preparing its data."""
    begin, ready, end = marks
    if isinstance(begin, float):
        return float((ready - begin) / max(end - begin, 1e-12))
    return float(begin.elapsed_time(ready) / max(begin.elapsed_time(end), 1e-9))
