"""Faults on purpose: what goes wrong in which run, and where the workflow must say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from boldtable.simulate.phenotypes import Dataset, Run

Kind = Literal["truncated-gzip", "no-confounds", "too-short", "no-cerebellum", "nan-frames", "missing-participant"]

SHORT_S: Final = 40.0
CUT_BELOW_MM: Final = -25.0  # costs the cerebellum and the undersides of frontal and temporal lobes
NAN_FRAMES: Final = slice(60, 65)
KEEP_OF_GZIP: Final = 0.6


@dataclass(frozen=True)
class Fault:
    """One planted fault; `stage` is where it must surface in the ledger, `words` stand in the reason there."""

    dataset: str
    participant: str
    session: str | None
    run: str | None
    fault: Kind
    stage: str
    words: str


# Dataset → (number of the participant from 0, number of its run from 0, None: all of them; fault; stage; words).
_PLAN: Final[dict[str, tuple[tuple[int, int | None, Kind, str, str], ...]]] = {
    "aurora": (
        (1, 1, "truncated-gzip", "parcellate", "truncated"),
        (2, 1, "too-short", "collect", "too short"),
        (3, None, "missing-participant", "collect", "participants.tsv"),
    ),
    "borealis": (
        (1, 0, "no-confounds", "clean", "confounds"),
        (2, 0, "no-cerebellum", "parcellate", "Cerebellum"),
        (3, 0, "nan-frames", "parcellate", "NaN"),
    ),
}


def plan(dataset: Dataset, participants: int) -> list[Fault]:
    """The faults of one dataset, one row per run concerned; four participants are enough for all of them."""
    faults = []
    for number, which, kind, stage, words in _PLAN[dataset.name]:
        if number < participants:
            runs = dataset.runs(number)
            hit = runs if which is None else [runs[which]]
            faults += [Fault(dataset.name, label(number), r.session, r.run, kind, stage, words) for r in hit]
    return faults


def label(number: int) -> str:
    """The label of participant `number` (from 0), without ``sub-``."""
    return f"{number + 1:02d}"


def of(faults: list[Fault], participant: str, run: Run) -> Kind | None:
    """The fault planted in one run, if there is one."""
    for fault in faults:
        if (fault.participant, fault.session, fault.run) == (participant, run.session, run.run):
            return fault.fault
    return None
