"""The connectome baseline against numpy and against known structure."""

from __future__ import annotations

import numpy as np
import pytest

from boldtable.models import connectome


def signal(n_frames: int = 80, n_parcels: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n_frames, n_parcels)) @ rng.normal(size=(n_parcels, n_parcels))).astype(np.float32)


def test_edges_are_fisher_z_of_numpy_correlations() -> None:
    x = signal()
    expected = np.arctanh(np.corrcoef(x.astype(float).T)[np.triu_indices(6, 1)])
    found = connectome.edges(x)
    assert found.dtype == np.float32
    assert len(found) == connectome.n_edges(6) == 15
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_edges_do_not_depend_on_offset_and_scale() -> None:
    x = signal()
    np.testing.assert_allclose(connectome.edges(x * 3 + 100), connectome.edges(x), atol=1e-4)


def test_a_missing_and_a_constant_parcel_give_nan_edges_and_nothing_else() -> None:
    x = signal()
    whole = connectome.edges(x)
    x[:, 1], x[:, 4] = np.nan, 7.5
    found = connectome.edges(x)
    first, second = np.triu_indices(6, 1)
    touched = np.isin(first, [1, 4]) | np.isin(second, [1, 4])
    assert np.isnan(found[touched]).all()
    np.testing.assert_array_equal(found[~touched], whole[~touched])


def test_only_kept_frames_count() -> None:
    x = signal()
    kept = np.arange(80) % 3 != 0
    spoilt = np.where(kept[:, None], x, 1e4).astype(np.float32)
    np.testing.assert_allclose(connectome.edges(spoilt, kept), connectome.edges(x[kept]), atol=1e-6)


def test_identical_parcels_stay_finite() -> None:
    x = np.repeat(signal(n_parcels=1), 2, axis=1)
    assert connectome.edges(x)[0] == pytest.approx(7.25, abs=0.01)


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 frames, found 2"):
        connectome.edges(signal(), np.arange(80) < 2)
