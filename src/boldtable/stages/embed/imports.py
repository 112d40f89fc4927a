"""What every import of published weights has in common: what the user gives, and checks on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.models.checkpoints import Checkpoint
from boldtable.progress import say


@dataclass(frozen=True)
class Request:
    """What an import is given beside the checkpoint; None stands for an option that was not.

    `atlas` is the atlas table of the parcels, `out` the model folder to write; `networks` (Brain-Semantoks) the
    atlas's names of the checkpoint's networks, in its order; `order` (Brain-JEPA) the atlas's names of its parcels, in
    its order, and `gradients` the file that places them; `population` (BrainLM) the statistics that scale its input.
    """

    atlas: Path
    out: Path
    networks: tuple[str, ...] | None = None
    order: tuple[str, ...] | None = None
    gradients: Path | None = None
    population: Path | None = None


@dataclass(frozen=True)
class Format:
    """A published model: how its checkpoint is recognised (by names alone), who imports it, which options it takes."""

    name: str
    recognises: Callable[[Checkpoint], bool]
    write: Callable[[Checkpoint, Request], None]
    options: frozenset[str] = frozenset()


def note_source(atlas: Path, table: AtlasTable, expected: str) -> None:
    """Say it where the atlas was not made from the source that the weights were learnt on."""
    source = (store.provenance(atlas).get("settings") or {}).get("source")
    if source != expected:
        say(f"note: atlas '{table.name}' is of source '{source}', the weights were learnt on {expected}")
