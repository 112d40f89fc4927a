"""Hiding one network at a time finds the networks in which a phenotype was planted, and no others."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from boldtable.atlas.table import AtlasTable
from boldtable.simulate.atlas import NETWORKS
from boldtable.simulate.signal import EFFECTS, Traits, parcel_signals, person
from boldtable.stages.embed.baselines import Connectome

PARCELS = [network for network in NETWORKS for _ in range(6)]
TABLE = AtlasTable("few", "MNI", pd.DataFrame({"index": range(1, 55), "name": PARCELS, "network": PARCELS}))
PEOPLE = 80


def run(number: int) -> dict[str, np.ndarray | None]:
    rng = np.random.default_rng([3, number])
    someone = person(Traits("control", "FM"[number % 2], 50, "heads"), PARCELS, rng)
    signal = parcel_signals(someone, PARCELS, n_frames=200, tr_s=2.0, rng=rng).astype(np.float32)
    return {"signal": signal, "interpolated": None}


def test_sex_is_in_the_networks_that_it_alters_and_nowhere_else() -> None:
    planted = set(EFFECTS["sex"].within)
    assert planted == {"SomMot", "Vis"}
    runs, sex = [run(number) for number in range(PEOPLE)], np.arange(PEOPLE) % 2

    def accuracy(shown: np.ndarray | None) -> float:
        encoder = Connectome("connectome", TABLE, shown)
        x = np.stack([encoder._run(row) for row in runs])
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
        return float(cross_val_score(probe, x, sex, cv=5).mean())

    names, whole = np.array(PARCELS), accuracy(None)
    only = {network: accuracy(names == network) for network in NETWORKS}
    without = {network: accuracy(names != network) for network in NETWORKS}
    for network in NETWORKS:
        if network in planted:
            assert only[network] > 0.68
            assert without[network] < whole - 0.1
        else:
            assert only[network] < 0.62
            assert abs(without[network] - whole) < 0.08
