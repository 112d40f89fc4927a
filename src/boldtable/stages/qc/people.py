"""What quality control asks the participants table: whether it knows somebody, and how much they moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from boldtable.stages.qc.measures import Row


@dataclass(frozen=True)
class Person:
    """A participant who has a row, with their published mean framewise displacement (mm) where there is one."""

    fd_mm_mean: float | None = None


class People:
    """The participants table as seen from a run: the row of its session counts, else what its participant has."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._known = set(table["participant"])
        self._motion: dict[tuple[str, str | None], float] = {}
        published = table[table["fd_mm_mean"].notna()]
        columns = (published[name].tolist() for name in ("participant", "session", "fd_mm_mean"))
        for participant, session, fd_mm_mean in zip(*columns, strict=True):
            self._motion[(participant, _session(session))] = float(fd_mm_mean)

    def of(self, run: Row) -> Person | None:
        """The participant of a run; None for a stranger to the table."""
        name, session = run["participant"], _session(run["session"])
        if name not in self._known:
            return None
        return Person(self._motion.get((name, session), self._motion.get((name, None))))


def _session(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)
