"""Robust and population normalisation, and the statistics of a population."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.stages.clean import Clean, clean_row, fit, run

N_FRAMES, N_PARCELS = 300, 4
PLAIN = {"atlas": "toy4", "confounds": "none", "fd_mm": None, "tr_s": None, "min_minutes": 0}
POPULATION = {**PLAIN, "normalise": "population", "population": ["one", "two"]}


def a_row(participant: str, seed: int, scale: float = 1.0, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    signal = 1000 + scale * rng.normal(size=(N_FRAMES, N_PARCELS)).cumsum(axis=0) * [1, 2, 3, 4]
    return {
        "dataset": "toy", "participant": participant, "session": None, "task": "rest", "run": None, "acquisition": None,
        "tr_s": 2.0, "n_frames": N_FRAMES, "signal": signal.astype(np.float32), "confounds": {},
        "coverage": np.ones(N_PARCELS, dtype=np.float32), "status": "ok", "reason": None, **more,
    }  # fmt: skip


def dataset(folder: Path, shards: dict[str, list[dict[str, Any]]], atlas_sha256: str = "a") -> tuple[Path, Path]:
    """The folder of parcels and the table of runs of a dataset."""
    about = store.Provenance("parcellate", atlas="toy4", atlas_sha256=atlas_sha256)
    rows = []
    for shard, members in shards.items():
        with store.Writer(folder / "parcels" / f"{shard}.parquet", "parcels", about, N_PARCELS) as writer:
            for row in members:
                writer.append(row)
                plain = {name: row[name] for name in (*store.KEYS, "tr_s", "n_frames")}
                rows.append({**plain, "shard": shard, "status": "found"})
    store.write(folder / "runs.parquet", "runs", rows, store.Provenance("collect"))
    return folder / "parcels", folder / "runs.parquet"


def fitted(folder: Path, settings: Clean, *datasets: tuple[Path, Path], splits: Path | None = None) -> pd.DataFrame:
    out = folder / "population.parquet"
    fit(settings, [parcels for parcels, _ in datasets], [runs for _, runs in datasets], out, splits)
    return store.frame(out, "population")


def cleaned(row: dict[str, Any]) -> np.ndarray:
    return clean_row(Clean.parse(PLAIN | {"normalise": "none"}), row)["signal"].astype(float)


def test_robust_uses_median_and_range_of_the_kept_frames() -> None:
    row = a_row("01", 1)
    fd = np.full(N_FRAMES, 0.1, dtype=np.float32)
    fd[50:60] = 2
    row["confounds"] = {"framewise_displacement": fd}
    settings = Clean.parse(PLAIN | {"fd_mm": 0.5, "normalise": "robust"})
    tensor = clean_row(settings, row)
    kept = ~tensor["interpolated"]
    low, median, high = np.quantile(tensor["signal"][kept], [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(median, 0, atol=1e-6)
    np.testing.assert_allclose(high - low, 1, atol=1e-6)
    spoilt = a_row("01", 1, confounds=row["confounds"])
    spoilt["signal"][50:60] = 1e9
    np.testing.assert_array_equal(clean_row(settings, spoilt)["signal"], tensor["signal"])


@pytest.mark.parametrize("normalise", ["zscore", "robust", "none"])
def test_every_normalisation_is_undone_alike(normalise: str) -> None:
    row = a_row("01", 2)
    tensor = clean_row(Clean.parse(PLAIN | {"normalise": normalise}), row)
    signal = tensor["signal"].astype(float)
    back = (signal - signal.mean(axis=0)) / signal.std(axis=0) * tensor["std"]
    np.testing.assert_allclose(back, cleaned(row), atol=1e-3)


@pytest.mark.parametrize("normalise", ["robust", "none"])
def test_a_parcel_without_variation_is_nan(normalise: str) -> None:
    row = a_row("01", 2)
    row["signal"][:, 1] = 55
    signal = clean_row(Clean.parse(PLAIN | {"normalise": normalise}), row)["signal"]
    assert np.isnan(signal).all(axis=0).tolist() == [False, True, False, False]


def test_statistics_are_those_of_all_frames_of_all_declared_runs(tmp_path: Path) -> None:
    rows = [a_row(f"{n:02d}", n, scale=n) for n in range(1, 5)]
    rows[1]["signal"][:, 3] = np.nan
    one = dataset(tmp_path / "one", {"0": rows[:1], "1": rows[1:2]})
    two = dataset(tmp_path / "two", {"0": [rows[2], {**rows[3], "status": "failed", "signal": None}]})
    found = fitted(tmp_path, Clean.parse(POPULATION), one, two)
    pooled = np.concatenate([cleaned(row) for row in rows[:3]])
    low, median, high = np.nanquantile(pooled, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(found["median"], median, atol=1e-4)
    np.testing.assert_allclose(found["iqr"], high - low, rtol=1e-5)
    assert found["n_frames"].tolist() == [900, 900, 900, 600]
    assert found["n_runs"].tolist() == [3] * 4
    swapped = fitted(tmp_path, Clean.parse(POPULATION), two, one)
    pd.testing.assert_frame_equal(found, swapped)


def test_a_cap_takes_as_many_frames_of_every_run(tmp_path: Path) -> None:
    rows = [a_row("01", 1), a_row("02", 2)]
    one = dataset(tmp_path / "one", {"0": rows})
    settings = Clean.parse(POPULATION | {"population_frames": 20, "population": ["one"]})
    found = fitted(tmp_path, settings, one)
    places = np.linspace(0, N_FRAMES - 1, 10).round().astype(int)
    pooled = np.concatenate([cleaned(row)[places] for row in rows])
    np.testing.assert_allclose(found["median"], np.median(pooled, axis=0), atol=1e-4)
    assert found["n_frames"].tolist() == [20] * 4


def test_clean_uses_what_was_fitted(tmp_path: Path) -> None:
    rows = [a_row("01", 1, scale=5), a_row("02", 2)]
    rows[0]["signal"][:, 2] = np.nan
    one = dataset(tmp_path / "one", {"0": rows[:1]})
    settings = Clean.parse(POPULATION | {"population": ["one"]})
    found = fitted(tmp_path, settings, one)
    parcels, _ = dataset(tmp_path / "other", {"0": rows[1:]})
    out = tmp_path / "tensors.parquet"
    run(settings, parcels / "0.parquet", out, tmp_path / "population.parquet")
    (tensor,) = store.rows(out, "tensors")
    expected = (cleaned(rows[1]) - found["median"].to_numpy()) / found["iqr"].to_numpy()
    np.testing.assert_allclose(tensor["signal"], expected, rtol=1e-4, atol=1e-6)
    assert np.isnan(tensor["signal"]).all(axis=0).tolist() == [False, False, True, False]
    names = [entry["name"] for entry in store.provenance(out)["inputs"]]
    assert names == ["0.parquet", "population.parquet"]


def test_only_the_training_part_of_a_split_is_seen(tmp_path: Path) -> None:
    rows = [a_row(f"{n:02d}", n, scale=n) for n in range(1, 4)]
    one = dataset(tmp_path / "one", {"0": rows})
    settings = Clean.parse(POPULATION | {"population": ["one"], "population_split": "sex/1"})
    parts = [("01", 0, "test"), ("01", 1, "train"), ("02", 0, "train"), ("02", 1, "test"), ("03", 1, "val")]
    made = [{"task": "sex", "participant": name, "split": split, "part": part} for name, split, part in parts]
    made = [{**row, "dataset": rows[0]["dataset"]} for row in made]
    store.write(tmp_path / "splits.parquet", "splits", made, store.Provenance("split"))
    found = fitted(tmp_path, settings, one, splits=tmp_path / "splits.parquet")
    assert found["n_runs"].tolist() == [1] * 4
    np.testing.assert_allclose(found["median"], np.median(cleaned(rows[0]), axis=0), atol=1e-4)
    with pytest.raises(InputError, match="needs the table of splits"):
        fitted(tmp_path, settings, one)
    other = settings.model_copy(update={"population_split": "sex/7"})
    with pytest.raises(InputError, match="has no split 7"):
        fitted(tmp_path, other, one, splits=tmp_path / "splits.parquet")


def test_statistics_of_another_recipe_or_atlas_are_refused(tmp_path: Path) -> None:
    one = dataset(tmp_path / "one", {"0": [a_row("01", 1)]})
    settings = Clean.parse(POPULATION | {"population": ["one"]})
    fitted(tmp_path, settings, one)
    parcels, fit_file, out = one[0] / "0.parquet", tmp_path / "population.parquet", tmp_path / "t.parquet"
    with pytest.raises(InputError, match="fitted for another recipe"):
        run(settings.model_copy(update={"low_hz": 0.02}), parcels, out, fit_file)
    other, _ = dataset(tmp_path / "two", {"0": [a_row("01", 1)]}, atlas_sha256="b")
    with pytest.raises(InputError, match="another recipe or atlas"):
        run(settings, other / "0.parquet", out, fit_file)
    with pytest.raises(InputError, match="run 'boldtable population' first"):
        run(settings, parcels, out)
    with pytest.raises(InputError, match="different atlases"):
        fitted(tmp_path, settings, one, dataset(tmp_path / "two", {"0": [a_row("01", 1)]}, atlas_sha256="b"))
    assert not out.exists()


def test_a_population_without_a_usable_run_is_refused(tmp_path: Path) -> None:
    settings = Clean.parse(POPULATION | {"population": ["one"]})
    nothing = dataset(tmp_path / "one", {"0": [{**a_row("01", 1), "status": "failed", "signal": None}]})
    with pytest.raises(InputError, match="no run to fit"):
        fitted(tmp_path, settings, nothing)
    flat = dataset(tmp_path / "two", {"0": [a_row("01", 1, scale=0)]})
    with pytest.raises(InputError, match="every one failed"):
        fitted(tmp_path, settings, flat)
    with pytest.raises(InputError, match="needs no population statistics"):
        fitted(tmp_path, Clean.parse(PLAIN), flat)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"population": []}, "go together"),
        ({"normalise": "robust"}, "go together"),
        ({"population_split": "sex/0"}, "the task's dataset, and no other"),
        ({"population_split": "sex"}, "population_split"),
    ],
)
def test_settings_that_do_not_agree(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        Clean.parse(POPULATION | changes)
