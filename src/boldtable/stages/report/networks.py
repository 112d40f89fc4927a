"""Attribution to networks: the score with one network's tokens hidden, and with all but one hidden."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from boldtable.stages.report import numbers
from boldtable.stages.report.read import Task
from boldtable.stages.report.settings import Report

NETWORKS = ("hide_networks", "only_networks")


@dataclass(frozen=True)
class Attribution:
    """One row of the table and, per network, the rows that see it alone (`only`) or all others (`hidden`)."""

    row: str
    only: dict[str, str]
    hidden: dict[str, str]

    @property
    def networks(self) -> list[str]:
        """Every network of the attribution, in the order of the settings."""
        return list(dict.fromkeys([*self.hidden, *self.only]))

    def scores(self, task: Task) -> pd.DataFrame:
        """Mean primary metric of a task per network: columns network, only and hidden, NaN where there is none."""
        cells = task.cells | task.curves

        def mean(row: str | None) -> float:
            return numbers.value(task, row) if row in cells else math.nan

        return pd.DataFrame(
            [
                {"network": name, "only": mean(self.only.get(name)), "hidden": mean(self.hidden.get(name))}
                for name in self.networks
            ]
        )


def attributions(settings: Report, config: Mapping[str, Any]) -> list[Attribution]:
    """The attributions that the rows of a table make up: embed entries that differ in the networks they see alone."""
    embed: Mapping[str, Any] = config.get("embed") or {}
    found: dict[str, Attribution] = {}
    for name in settings.curves:
        about = embed.get(name) or {}
        base = {key: value for key, value in about.items() if key not in NETWORKS}
        row = next((row for row in settings.models if (embed.get(row) or {}) == base), None)
        for kind, field in (("hide_networks", "hidden"), ("only_networks", "only")):
            if row is not None and about.get(kind):
                made = found.setdefault(row, Attribution(row, {}, {}))
                getattr(made, field)[" + ".join(map(str, about[kind]))] = name
    return list(found.values())
