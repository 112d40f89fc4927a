"""The nuisance baseline: its features and their names."""

from __future__ import annotations

import numpy as np

from boldtable.models import nuisance

MEASURES = {
    "fd_mm_mean": 0.1,
    "fd_mm_max": 2.0,
    "fd_share_over": 0.05,
    "n_spikes": 4.0,
    "dvars": 1.2,
    "minutes": 6.0,
    "minutes_kept": 5.5,
    "n_frames": 180.0,
    "tsnr": 60.0,
}


def test_features_follow_their_names() -> None:
    names = nuisance.names(["Berlin", "Oslo"])
    found = dict(zip(names, nuisance.features(MEASURES, "Oslo", ["Berlin", "Oslo"]), strict=True))
    assert found["n_spikes"] == 4
    assert (found["site=Berlin"], found["site=Oslo"]) == (0, 1)
    assert np.isclose(found["fd_mm_mean"], 0.1)


def test_unknown_measures_are_nan_and_an_unknown_site_is_nowhere() -> None:
    found = nuisance.features({**MEASURES, "minutes": None}, None, ["Berlin", "Oslo"])
    assert [nuisance.MEASURES[index] for index in np.flatnonzero(np.isnan(found))] == ["minutes"]
    assert found[-2:].tolist() == [0, 0]
