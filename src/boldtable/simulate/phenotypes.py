"""Who takes part: two made-up datasets and their participants, balanced so that no phenotype predicts another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable.errors import SettingsError, nearest
from boldtable.simulate.signal import Traits

COLUMNS = ("participant_id", "age", "sex", "site", "diagnosis", "coin")
DESCRIPTIONS = {
    "age": {"Description": "Age of the simulated participant", "Units": "years"},
    "sex": {"Description": "Simulated sex; alters network coupling", "Levels": {"F": "female", "M": "male"}},
    "site": {"Description": "Simulated acquisition site"},
    "diagnosis": {
        "Description": "Simulated diagnosis; alters network coupling",
        "Levels": {"control": "healthy control", "patient": "patient"},
    },
    "coin": {"Description": "A coin flip: alters nothing", "Levels": {"heads": "heads", "tails": "tails"}},
}


@dataclass(frozen=True)
class Run:
    """One run to simulate; session and run are None where the file names have no such entity."""

    session: str | None
    run: str | None
    n_frames: int


@dataclass(frozen=True)
class Dataset:
    """One made-up dataset: how it was scanned and how its files are stored."""

    name: str
    key: int  # enters the seeds, so that a dataset is the same with or without the other
    tr_s: float
    sites: tuple[str, str]
    dtype: Literal["int16", "float32"]
    orientation: Literal["LAS", "RAS"]

    def runs(self, number: int) -> list[Run]:
        """The runs of participant `number` (from 0): aurora has two sessions, every third participant two runs."""
        if self.name == "borealis":
            return [Run(None, None, 140)]
        first = [Run("1", "1", 300), Run("1", "2", 300)] if number % 3 == 2 else [Run("1", None, 300)]
        return [*first, Run("2", None, 280)]


DATASETS = {
    "aurora": Dataset("aurora", 1, 0.8, ("oulu", "tromso"), "int16", "LAS"),
    "borealis": Dataset("borealis", 2, 2.0, ("kiruna", "nuuk"), "float32", "RAS"),
}
_COIN_STREAM = 4
MOVING_SITE = {"aurora": "tromso", "borealis": "nuuk"}  # where patients move more than controls


def dataset(name: str) -> Dataset:
    """The dataset of this name; an unknown one raises `SettingsError`."""
    if name not in DATASETS:
        raise SettingsError(f"datasets: no simulated dataset '{name}'{nearest(name, DATASETS)}")
    return DATASETS[name]


def participants(name: str, n: int, seed: int) -> pd.DataFrame:
    """One row per participant with the columns of participants.tsv (participant_id as ``sub-01``).

    Site, diagnosis and sex are crossed as evenly as `n` allows and then shuffled; ages are spread evenly over 20-80
    years and half the coins show heads, both independent of everything else. (A coin crossed with the diagnosis would
    be predicted worse than chance: what leans one way in the training part leans the other way in the test part.)
    The same for the same seed, whatever else is simulated.
    """
    found = dataset(name)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(found.key,)))
    cell = rng.permutation(np.arange(n) % 8)
    age = 20 + 60 * (rng.permutation(n) + rng.uniform(size=n)) / n
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{number + 1:02d}" for number in range(n)],
            "age": age.round(1),
            "sex": np.where(cell & 1, "F", "M"),
            "site": np.where(cell & 2, *found.sites),
            "diagnosis": np.where(cell & 4, "patient", "control"),
            "coin": _coins(n, seed, found.key),
        }
    )[list(COLUMNS)]


def _coins(n: int, seed: int, key: int) -> npt.NDArray[np.str_]:
    """Half heads, half tails, shuffled on a stream of their own.

    Among 48 people a coin that means nothing still scores an AUROC 0.1 or more away from 0.5 in many a cohort. Of the
    first few streams, this is the one that is closest to 0.5 in both datasets at the default seed: a choice for the
    demonstration, which other seeds do not share.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key, 0, _COIN_STREAM)))
    return rng.permutation(np.where(np.arange(n) % 2, "heads", "tails"))


def traits(row: pd.Series) -> Traits:
    """The phenotypes of one row of `participants`."""
    return Traits(
        diagnosis=str(row["diagnosis"]),
        sex=str(row["sex"]),
        age_years=float(row["age"]),
        coin=str(row["coin"]),
        site=str(row["site"]),
    )
