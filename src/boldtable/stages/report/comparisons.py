"""Which comparisons a table declares, and which are exploratory.

Primary is every trained model against the reference and against its untrained self, on every task that is no control.
They alone are corrected, as one family, and they alone make claims. Baselines against the reference, further pairs and
controls are exploratory: their p are printed without correction and as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boldtable.stages.report.settings import Report

PRIMARY, EXPLORATORY = "primary", "exploratory"


@dataclass(frozen=True)
class Declared:
    """The trained rows of a table, each with its untrained self (None where the table has none)."""

    trained: Mapping[str, str | None]
    reference: str
    controls: tuple[str, ...]

    def family(self, task: str, one: str, two: str) -> str:
        """Return ``primary`` or ``exploratory`` for a comparison of two rows."""
        if task in self.controls:
            return EXPLORATORY
        asked = any(
            first in self.trained and second in (self.reference, self.trained[first])
            for first, second in ((one, two), (two, one))
        )
        return PRIMARY if asked else EXPLORATORY

    def alone(self, task: str, row: str) -> str:
        """Return the family of a test of one row against chance."""
        return PRIMARY if row in self.trained and task not in self.controls else EXPLORATORY

    def pairs(self, given: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return every trained row and its untrained self, then further pairs; none that the reference is part of."""
        own = [(row, other) for row, other in self.trained.items() if other and self.reference not in (row, other)]
        return list(dict.fromkeys([*own, *given]))


def declared(settings: Report, config: Mapping[str, Any]) -> Declared:
    """Return what a table declares; a row of which the config is silent is trained if its untrained self is there."""
    embed, pretrain = config.get("embed") or {}, config.get("pretrain") or {}
    trained: dict[str, str | None] = {}
    for row, models in settings.rows.items():
        name = re.compile(re.escape(row) + r"-untrained(-\d+)?")
        other = next((one for one in settings.rows if name.fullmatch(one)), None)
        if other is not None or _is_trained(embed.get(models[0]) or {}, pretrain):
            trained[row] = other
    return Declared(trained, settings.reference, tuple(settings.controls))


def _is_trained(about: Mapping[str, Any], pretrain: Mapping[str, Any]) -> bool:
    if about.get("untrained_seed") is not None or about.get("snapshot") == 0:
        return False
    made = pretrain.get(str(about.get("encoder")))
    return bool(about.get("weights")) or (made is not None and made.get("epochs") != 0)
