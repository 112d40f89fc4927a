"""File names after BIDS 1.11: entities in the standard's order, labels of letters, digits and plus signs only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from boldtable.errors import InputError

UNKNOWN_TASK = "unknown"  # the task entity is required; a ready parcel series may not name one


def label(value: str, joint: str = "") -> str:
    """A value as a BIDS label; what separates its parts becomes `joint`, nothing or ``+``.

    >>> label("schaefer400-tian3-buckner7", "+")
    'schaefer400+tian3+buckner7'
    """
    made = joint.join(part for part in re.split(r"[^0-9A-Za-z+]+", value) if part)
    if not made:
        raise InputError(f"'{value}' has no letter or digit to make a BIDS label of; rename it")
    return made


def folder(run: Mapping[str, Any]) -> str:
    """The folder of a run's files below the dataset: ``sub-01/ses-1/func``."""
    session = f"ses-{label(run['session'])}/" if run["session"] else ""
    return f"sub-{label(run['participant'])}/{session}func"


def stem(run: Mapping[str, Any]) -> str:
    """The entities that a run has from its source: ``sub-01_ses-1_task-rest_acq-x_run-1``."""
    short = (("sub", "participant"), ("ses", "session"), ("task", "task"), ("acq", "acquisition"), ("run", "run"))
    values = {**run, "task": run["task"] or UNKNOWN_TASK}
    return "_".join(f"{entity}-{label(values[key])}" for entity, key in short if values[key])


def series(run: Mapping[str, Any], space: str | None, atlas: str, recipe: str) -> str:
    """The name of a parcel series without its extension, as XCP-D names them, with the recipe as its ``desc``."""
    where = f"_space-{label(space)}" if space else ""
    return f"{stem(run)}{where}_atlas-{label(atlas, '+')}_stat-mean_desc-{label(recipe)}_timeseries"
