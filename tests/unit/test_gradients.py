"""Gradients: known axes come back, an independent implementation agrees, files say whose parcels they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from results_files import Study
from sklearn.manifold import spectral_embedding
from typer.testing import CliRunner

from boldtable import results, store
from boldtable.atlas.table import COLUMNS, AtlasTable
from boldtable.cli import app
from boldtable.errors import InputError
from boldtable.gradients import (
    GradientSettings,
    GroupConnectome,
    affinity,
    align,
    diffusion_map,
    files,
    gradients,
    make,
)
from boldtable.models.connectome import edges

Floats = npt.NDArray[np.float64]


def settings(**more: Any) -> GradientSettings:
    return GradientSettings.parse({"components": 3, **more})


def coupled(distance: Floats, length: float, runs: int = 6, frames: int = 200, noise: float = 0.5) -> Floats:
    """The group connectome of simulated runs whose parcels are coupled the closer they are."""
    root = np.linalg.cholesky(np.exp(-distance / length) + 1e-6 * np.eye(len(distance)))
    group, rng = GroupConnectome(len(distance)), np.random.default_rng(0)
    for _ in range(runs):
        signal = rng.normal(size=(frames, len(distance))) @ root.T
        group.add(signal + noise * rng.normal(size=signal.shape))
    return group.correlations()


def axis(one: Floats, other: Floats) -> float:
    return abs(float(np.corrcoef(one, other)[0, 1]))


@pytest.mark.parametrize("kernel", ["normalized-angle", "cosine", "pearson", "gaussian"])
def test_parcels_on_a_line_come_back_in_their_order(kernel: str) -> None:
    place = np.random.default_rng(1).permutation(np.linspace(0, 1, 60))
    connectome = coupled(np.abs(place[:, None] - place), length=0.3)
    found = gradients(connectome, settings(kernel=kernel))
    assert axis(np.argsort(np.argsort(found[:, 0])), np.argsort(np.argsort(place))) > 0.95
    assert axis(found[:, 0], place) > 0.9


def test_parcels_on_a_sphere_come_back_with_their_three_axes() -> None:
    height, turn = np.linspace(-0.99, 0.99, 120), np.arange(120) * np.pi * (3 - 5**0.5)
    points = np.stack([np.cos(turn), np.sin(turn), height], axis=1)
    points[:, :2] *= np.sqrt(1 - height[:, None] ** 2)
    connectome = coupled(np.arccos(np.clip(points @ points.T, -1, 1)), length=0.8)
    rotated = align(gradients(connectome, settings()), points)
    assert min(axis(rotated[:, k], points[:, k]) for k in range(3)) > 0.9


def sensory_to_association(noise: float) -> tuple[float, Floats]:
    """How well the first gradient follows an axis planted in seven networks, and its mean in each of them.

    Every network mixes a sensory and an association signal in its own proportion, and has a signal of its own.
    """
    rng, group = np.random.default_rng(3), GroupConnectome(84)
    network = rng.permutation(np.repeat(np.arange(7), 12))
    angle = (network + 0.5) / 7 * np.pi / 2
    for _ in range(6):
        sensory, association = rng.normal(size=(2, 200, 1))
        own = rng.normal(size=(200, 7))[:, network]
        shared = np.cos(angle) * sensory + np.sin(angle) * association
        group.add(shared + 0.3 * own + noise * rng.normal(size=(200, 84)))
    # Of so few parcels a sparsity of 0.9 leaves 8, fewer than one network has: nothing would join the networks.
    first = gradients(group.correlations(), settings(sparsity=0.7))[:, 0]
    return axis(first, network), np.array([first[network == number].mean() for number in range(7)])


def test_a_sensory_to_association_axis_planted_in_networks_is_the_first_gradient() -> None:
    found, means = sensory_to_association(noise=0.7)
    assert found > 0.9
    assert (np.diff(means) > 0).all() or (np.diff(means) < 0).all()


def test_the_planted_axis_gets_lost_in_noise() -> None:
    clear, blurred, lost = (sensory_to_association(noise)[0] for noise in (0.7, 4.0, 30.0))
    assert clear > blurred > lost
    assert lost < 0.5


def test_nothing_planted_nothing_found() -> None:
    place = np.linspace(0, 1, 60)
    noise = coupled(1e6 * (1 - np.eye(60)), length=1.0)
    assert axis(gradients(noise, settings())[:, 0], place) < 0.5


def connectome_of(n: int = 80) -> Floats:
    points = np.random.default_rng(4).uniform(size=(n, 2)) * [2.0, 1.0]
    return coupled(np.linalg.norm(points[:, None] - points, axis=-1), length=0.5)


@pytest.mark.parametrize("kernel", ["normalized-angle", "cosine", "spearman", "pearson", "gaussian"])
def test_affinities_are_brainspaces(kernel: str) -> None:
    kernels = pytest.importorskip("brainspace.gradient.kernels", reason="needs the extra 'test' (brainspace)")
    connectome = connectome_of()
    theirs = kernels.compute_affinity(connectome.copy(), kernel=kernel.replace("-", "_"), sparsity=0.9)
    np.testing.assert_allclose(affinity(connectome, settings(kernel=kernel)), theirs, atol=1e-10)


@pytest.mark.parametrize(("alpha", "time"), [(0.5, 0), (0.0, 0), (1.0, 2)])
def test_gradients_agree_with_brainspaces(alpha: float, time: float) -> None:
    """Not to the digit: BrainSpace hands a matrix that is not symmetric to a solver for symmetric ones."""
    maps = pytest.importorskip("brainspace.gradient", reason="needs the extra 'test' (brainspace)")
    connectome = connectome_of()
    ours = gradients(connectome, settings(alpha=alpha, diffusion_time=time))
    model = maps.GradientMaps(n_components=3, approach="dm", kernel="normalized_angle", random_state=0)
    theirs = model.fit(connectome.copy(), sparsity=0.9, alpha=alpha, diffusion_time=time).gradients_
    for one, other in zip(ours.T, theirs.T, strict=True):
        assert axis(one, other) > 0.99
        assert np.std(one) == pytest.approx(np.std(other), rel=0.1)


def test_the_diffusion_map_is_exact() -> None:
    """The components are right eigenvectors of the random walk, to the digit, scaled by l / (1 - l)."""
    alike = affinity(connectome_of(), settings())
    found, scale = diffusion_map(alike, 5, 0.5, 0.0)
    degree = alike.sum(axis=1)
    weights = alike / np.sqrt(np.outer(degree, degree))
    walk = weights / weights.sum(axis=1, keepdims=True)
    values = scale / (1 + scale)
    np.testing.assert_allclose(walk @ found, found * values, atol=1e-10)
    assert (np.diff(values) < 0).all()
    assert (found[np.abs(found).argmax(axis=0), range(5)] > 0).all()
    np.testing.assert_allclose(diffusion_map(alike, 5, 0.5, 3.0)[1], values**3)


def test_it_is_the_spectral_embedding_of_scikit_learn_where_both_are_the_same() -> None:
    alike = affinity(connectome_of(), settings())
    np.fill_diagonal(alike, 0.0)  # which a graph Laplacian leaves out
    ours = diffusion_map(alike, 3, 0.0, 1.0)[0]
    theirs = spectral_embedding(alike, n_components=3, eigen_solver="arpack", random_state=0, drop_first=True)
    assert min(axis(one, other) for one, other in zip(ours.T, theirs.T, strict=True)) > 1 - 1e-6


def test_alignment_undoes_any_rotation_and_keeps_distances() -> None:
    rng = np.random.default_rng(5)
    goal = rng.normal(size=(30, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    np.testing.assert_allclose(align(goal @ turn, goal), goal, atol=1e-12)
    holes = goal.copy()
    holes[4] = np.nan
    aligned = align(goal @ turn, holes)
    np.testing.assert_allclose(aligned, goal, atol=1e-12)
    with pytest.raises(InputError, match=r"shape \(30, 2\), their reference \(30, 3\)"):
        align(goal[:, :2], goal)


def test_a_parcel_without_signal_has_no_gradient_and_changes_none() -> None:
    connectome = connectome_of(40)
    holes = np.full((41, 41), np.nan)
    np.fill_diagonal(holes, 1.0)
    kept = np.delete(np.arange(41), 7)
    holes[np.ix_(kept, kept)] = connectome
    found = gradients(holes, settings())
    assert np.isnan(found[7]).all()
    np.testing.assert_array_equal(found[kept], gradients(connectome, settings()))


def test_what_no_gradient_can_tell_is_refused() -> None:
    connectome = connectome_of(40)
    with pytest.raises(InputError, match="40 parcels have at most 39 gradients, 40 are wanted"):
        gradients(connectome, settings(components=40))
    apart = connectome.copy()
    apart[3, 5] = apart[5, 3] = np.nan
    with pytest.raises(InputError, match="parcels 4 and 6 are never present in the same run"):
        gradients(apart, settings())
    islands = np.kron(np.eye(2), np.full((10, 10), 0.5)) + 0.5 * np.eye(20)
    with pytest.raises(InputError, match="fall into 2 groups"):
        gradients(islands, settings(kernel="cosine", sparsity=0.6))


def test_the_group_connectome_is_the_mean_fisher_z_of_what_is_there() -> None:
    rng, group = np.random.default_rng(6), GroupConnectome(4)
    runs = [rng.normal(size=(50, 4)) for _ in range(3)]
    runs[1][:, 2] = np.nan
    kept = np.arange(50) % 5 > 0
    for run in runs:
        group.add(run, kept)
    found = group.correlations()
    expected = np.tanh(np.nanmean([edges(run, kept) for run in runs], axis=0))
    np.testing.assert_allclose(found[np.triu_indices(4, 1)], expected, atol=1e-7)
    np.testing.assert_array_equal(found, found.T)
    assert (np.diag(found) == 1).all()
    assert group.n_runs == 3


def toy_table(names: list[str]) -> AtlasTable:
    parcels = pd.DataFrame({"index": range(1, len(names) + 1), "name": names}).reindex(columns=list(COLUMNS))
    return AtlasTable("toy", "somewhere", parcels.assign(hemisphere="B", network="n", n_voxels=1))


def test_files_are_joined_by_name_and_the_csv_by_place(tmp_path: Path) -> None:
    values = np.random.default_rng(7).normal(size=(3, 2))
    files.write(tmp_path / "g.parquet", values, toy_table(["a", "b", "c"]), store.Provenance("gradients"))
    np.testing.assert_array_equal(files.read(tmp_path / "g.parquet", ["c", "a"]), values[[2, 0]])
    files.write_csv(tmp_path / "g.csv", values)
    np.testing.assert_allclose(files.read(tmp_path / "g.csv", ["c", "a", "b"]), values, atol=1e-8)
    assert len((tmp_path / "g.csv").read_text().splitlines()) == 3
    with pytest.raises(InputError, match=r"no gradients for 1 of 2 parcels, such as 'aa', did you mean 'a'\?"):
        files.read(tmp_path / "g.parquet", ["aa", "b"])
    with pytest.raises(InputError, match="has 3 rows, expected one for each of 2 parcels"):
        files.read(tmp_path / "g.csv", ["a", "b"])
    (tmp_path / "named.csv").write_text("g1,g2\n1,2\n")
    with pytest.raises(InputError, match="no table of numbers"):
        files.read(tmp_path / "named.csv", ["a"])


def test_the_command_writes_both_files_from_the_kept_runs(tmp_path: Path) -> None:
    study = Study(tmp_path)
    where, out, csv = study.write(), tmp_path / "g.parquet", tmp_path / "g.csv"
    how = "{components: 2, sparsity: 0.5}"
    given = ["gradients", "--dataset", "toy", "--results", str(where), "--out", str(out), "--csv", str(csv)]
    done = CliRunner().invoke(app, [*given, "--settings", how])
    assert done.exit_code == 0, done.output
    group = GroupConnectome(6)
    for row in study.tensors[:3]:
        group.add(row["signal"], ~row["interpolated"])
    expected = gradients(group.correlations(), GradientSettings.parse({"components": 2, "sparsity": 0.5}))
    names = results.dataset(where, "toy").atlas.names
    np.testing.assert_allclose(files.read(out, names), expected)
    np.testing.assert_allclose(files.read(csv, names), expected, atol=1e-8)
    about = store.provenance(out)
    assert (about["atlas"], about["n_runs"], about["datasets"], about["recipe"]) == (
        "two-part",
        3,
        ["toy"],
        "semantoks",
    )
    assert about["settings"]["components"] == 2
    turned = tmp_path / "turned.parquet"
    make.run(
        [results.dataset(where, "toy")], GradientSettings.parse({"components": 2, "sparsity": 0.5}), turned, None, out
    )
    np.testing.assert_allclose(files.read(turned, names), expected, atol=1e-10)
