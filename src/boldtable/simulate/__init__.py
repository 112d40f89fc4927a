"""Synthetic cohorts with known truth, written as the real files a user would have."""

from boldtable.simulate.atlas import demo457
from boldtable.simulate.cohorts import Truth, cohort, load_truth
from boldtable.simulate.faults import Fault
from boldtable.simulate.image import write_bold
from boldtable.simulate.phenotypes import participants
from boldtable.simulate.signal import Person, Traits, parcel_signals, person

__all__ = [
    "Fault",
    "Person",
    "Traits",
    "Truth",
    "cohort",
    "demo457",
    "load_truth",
    "parcel_signals",
    "participants",
    "person",
    "write_bold",
]
