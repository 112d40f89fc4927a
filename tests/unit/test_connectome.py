"""The connectome baselines against numpy and scikit-learn, and against known structure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

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


def test_covariance_is_ledoit_wolf_of_the_standardised_parcels() -> None:
    x = signal().astype(float)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    np.testing.assert_allclose(connectome.covariance(x), LedoitWolf().fit(z).covariance_, atol=1e-12)
    np.testing.assert_allclose(connectome.covariance(x * 9 + 50), connectome.covariance(x), atol=1e-12)


def test_covariance_is_positive_definite_with_few_frames_and_with_identical_parcels() -> None:
    assert np.linalg.eigvalsh(connectome.covariance(signal(8, 40))).min() > 0
    alike = np.repeat(np.array([[1.0], [-1.0]] * 5), 3, axis=1)
    assert np.linalg.eigvalsh(connectome.covariance(alike)).min() > 0
    assert np.isfinite(connectome.partial_edges(alike)).all()


def test_partial_correlation_removes_what_goes_through_a_third_parcel() -> None:
    rng = np.random.default_rng(0)
    middle = rng.normal(size=20_000)
    chain = np.stack([middle + rng.normal(size=20_000), middle, middle + rng.normal(size=20_000)], axis=1)
    assert connectome.edges(chain)[1] > 0.5
    assert abs(connectome.partial_edges(chain)[1]) < 0.03
    residuals = [chain[:, i] - np.polyval(np.polyfit(chain[:, 2], chain[:, i], 1), chain[:, 2]) for i in (0, 1)]
    expected = np.arctanh(np.corrcoef(residuals)[0, 1])
    assert connectome.partial_edges(chain)[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("kind", [connectome.partial_edges, connectome.covariance])
def test_missing_and_constant_parcels_change_no_other_pair(kind: Callable[..., np.ndarray]) -> None:
    x, shown = signal(), [0, 2, 3, 5]
    x[:, 1], x[:, 4] = np.nan, 7.5
    found, expected = kind(x), kind(x[:, shown])
    if kind is connectome.covariance:
        found = connectome.matrix_to_vector(found)
        expected = connectome.matrix_to_vector(expected)
    first, second = np.triu_indices(6, 1 if kind is connectome.partial_edges else 0)
    known = np.isin(first, shown) & np.isin(second, shown)
    assert np.isnan(found[~known]).all()
    np.testing.assert_allclose(found[known], expected, atol=1e-6)


def test_only_kept_frames_shrink() -> None:
    x, kept = signal(), np.arange(80) % 3 != 0
    spoilt = np.where(kept[:, None], x, 1e4).astype(np.float32)
    np.testing.assert_allclose(connectome.covariance(spoilt, kept), connectome.covariance(x[kept]), atol=1e-12)


def test_a_matrix_and_its_vector_are_one_another() -> None:
    matrix = np.stack([connectome.covariance(signal(seed=seed)) for seed in range(3)])
    vector = connectome.matrix_to_vector(matrix)
    assert vector.shape == (3, 21)
    np.testing.assert_array_equal(vector[0, :6], matrix[0, 0])
    np.testing.assert_array_equal(connectome.vector_to_matrix(vector), matrix)
    with pytest.raises(ValueError, match="20 values are no upper triangle"):
        connectome.vector_to_matrix(vector[:, :20])
