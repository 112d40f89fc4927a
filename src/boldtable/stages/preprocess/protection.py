"""Finished derivatives lose their write permission, as Snakemake's ``protected`` outputs do.

The derivatives are no outputs of a rule, so Snakemake never deletes them, whatever it is told or stopped by; this
guards them against people. Hours of computing are not lost to a slip.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from boldtable.progress import say
from boldtable.stages.preprocess.outcome import reports
from boldtable.stages.preprocess.settings import Preprocess
from boldtable.stages.preprocess.units import Unit

_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def protect(settings: Preprocess, unit: Unit) -> None:
    """Take the write permission from a unit's derivatives; a file system without permissions is said, no error."""
    _change(settings, unit, lambda mode: mode & ~_WRITE)


def release(settings: Preprocess, unit: Unit) -> None:
    """Give the owner the write permission back, for fMRIPrep to go on with a unit."""
    _change(settings, unit, lambda mode: mode | stat.S_IWUSR)


def _change(settings: Preprocess, unit: Unit, change: Callable[[int], int]) -> None:
    try:
        for path in _paths(settings, unit):
            mode = stat.S_IMODE(path.lstat().st_mode)
            if not path.is_symlink() and change(mode) != mode:
                path.chmod(change(mode))
    except OSError as error:
        say(f"preprocess: permissions of {unit.folder(settings.derivatives)} stay as they are: {error.strerror}")


def _paths(settings: Preprocess, unit: Unit) -> Iterator[Path]:
    for parent, _, files in os.walk(unit.folder(settings.derivatives)):
        yield Path(parent)
        yield from (Path(parent) / name for name in files)
    yield from reports(settings, unit)
