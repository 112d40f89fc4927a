"""The demographics baseline: what a participant's age and sex alone would predict. No weights, numpy only.

A task whose target is one of them must not see it: every feature carries the name of its column, as ``age_years`` or
``sex=F``, so that the probe can leave the target's out. The majority baseline is the constant part of these features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# The same for everybody, so that whoever is of unknown age and sex is predicted too, as the majority.
CONSTANT = {"zero": 0.0, "one": 1.0}


def names(sexes: Sequence[str]) -> list[str]:
    """The features in order: the constants, age in years, then one indicator per sex."""
    return [*CONSTANT, "age_years", *(f"sex={sex}" for sex in sexes)]


def features(age_years: float | None, sex: str | None, sexes: Sequence[str]) -> npt.NDArray[np.float32]:
    """One participant's features, shape (len(names(sexes)),): an unknown age is NaN, an unknown sex 0 at every sex."""
    age = np.nan if age_years is None else age_years
    return np.array([*CONSTANT.values(), age, *(float(sex == other) for other in sexes)], dtype=np.float32)
