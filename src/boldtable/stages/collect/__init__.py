"""collect: derivatives + participants.tsv → the tables of runs and participants.

Importing this module needs neither an image nor a BIDS library, so that its settings can be read anywhere.
"""

from __future__ import annotations

from pathlib import Path

from boldtable.stages.collect.settings import Collect, Phenotypes

__all__ = ["Collect", "Phenotypes", "run"]


def run(settings: Collect, dataset: str, runs: Path, participants: Path) -> None:
    """Index a dataset once: write `runs` (one row per run, found or excluded) and `participants`.

    Reads names, headers, sidecars and tables of people only, never the images' data. A run that cannot be used is an
    excluded row with its reason; what makes the whole dataset unusable raises `InputError` or `SettingsError`, and
    nothing is written. Rows are ordered by their keys.
    """
    from boldtable.stages.collect.dataset import collect_dataset

    collect_dataset(settings, dataset, runs, participants)
