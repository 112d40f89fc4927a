"""The stage clean: rows in, rows out, and what each fault costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.stages.clean import Clean, clean_row, run

N_FRAMES, N_PARCELS, TR_S = 300, 5, 0.8
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


def _row(participant: str = "01", seed: int = 0, n_frames: int = N_FRAMES) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    confounds = {name: rng.normal(size=n_frames).cumsum().astype(np.float32) for name in MOTION}
    fd = rng.uniform(0, 0.4, n_frames).astype(np.float32)
    fd[0], fd[[30, 31, 90]] = np.nan, 0.9
    signal = 1000 + rng.normal(size=(n_frames, N_PARCELS)).cumsum(axis=0)
    return {
        "dataset": "toy", "participant": participant, "session": None, "task": "rest", "run": None, "acquisition": None,
        "tr_s": TR_S, "n_frames": n_frames, "signal": signal.astype(np.float32),
        "coverage": np.ones(N_PARCELS, dtype=np.float32), "confounds": {**confounds, "framewise_displacement": fd},
        "status": "ok", "reason": None,
    }  # fmt: skip


def _settings(**changes: Any) -> Clean:
    return Clean.parse({"atlas": "toy5", **changes})


def _shard(path: Path, rows: list[dict[str, Any]], atlas: str = "toy5") -> Path:
    with store.Writer(path, "parcels", store.Provenance("parcellate", atlas=atlas), N_PARCELS) as writer:
        for row in rows:
            writer.append(row)
    return path


def _failure(row: dict[str, Any], **changes: Any) -> str:
    tensor = clean_row(_settings(**changes), row)
    assert tensor["status"] == "failed"
    assert tensor.get("signal") is None
    return str(tensor["reason"])


class TestRow:
    def test_shape_scale_and_grid(self) -> None:
        tensor = clean_row(_settings(), _row())
        assert (tensor["status"], tensor["reason"], tensor["tr_s"]) == ("ok", None, 2.0)
        assert tensor["signal"].shape == (120, N_PARCELS) == (tensor["n_frames"], len(tensor["mean"]))
        assert tensor["signal"].dtype == np.float32
        kept = ~tensor["interpolated"]
        assert 0 < tensor["interpolated"].sum() < 5
        assert np.allclose(tensor["signal"][kept].mean(axis=0), 0, atol=1e-5)
        assert np.allclose(tensor["signal"][kept].std(axis=0), 1, atol=1e-5)

    def test_mean_is_of_the_raw_kept_frames_and_std_undoes_the_zscore(self) -> None:
        row = _row()
        kept = ~(row["confounds"]["framewise_displacement"] > 0.5)
        scaled, plain = clean_row(_settings(), row), clean_row(_settings(normalise="none"), row)
        assert np.allclose(scaled["mean"], row["signal"][kept].mean(axis=0), rtol=1e-6)
        spread = plain["signal"] - plain["signal"][~plain["interpolated"]].mean(axis=0)
        assert np.allclose(scaled["signal"] * scaled["std"], spread, atol=1e-4)

    def test_dummy_frames_have_no_influence(self) -> None:
        row, spoilt = _row(), _row()
        spoilt["signal"][:5] = 1e9
        for values in (row, spoilt):
            values["confounds"]["framewise_displacement"][:5] = 5
        clean, same = (clean_row(_settings(dummy_frames=5), values) for values in (row, spoilt))
        assert np.array_equal(clean["signal"], same["signal"])
        assert clean["n_frames"] == int(294 * TR_S / 2) + 1
        assert not clean["interpolated"][0]

    @pytest.mark.parametrize("garbage", [1e30, np.nan, np.inf])
    def test_garbage_in_censored_frames_changes_nothing(self, garbage: float) -> None:
        row, spoilt = _row(), _row()
        spoilt["signal"][[30, 31, 90]] = garbage
        clean, same = (clean_row(_settings(), values) for values in (row, spoilt))
        for name in ("signal", "mean", "std", "interpolated"):
            assert np.array_equal(clean[name], same[name])

    def test_frames_without_values_are_filled_in_and_marked(self) -> None:
        row = _row()
        row["signal"][200:203, 1] = np.nan
        tensor = clean_row(_settings(tr_s=None), row)
        assert tensor["interpolated"][200:203].all()
        assert np.isfinite(tensor["signal"]).all()

    def test_dvars_and_short_segments_censor(self) -> None:
        row = _row()
        row["confounds"]["std_dvars"] = np.ones(N_FRAMES, dtype=np.float32)
        row["confounds"]["std_dvars"][[95, 150]] = 3
        tensor = clean_row(_settings(dvars=1.5, min_segment_frames=5, tr_s=None), row)
        assert np.flatnonzero(tensor["interpolated"]).tolist() == [30, 31, *range(90, 96), 150]

    def test_missing_and_constant_parcels_are_nan_with_their_coverage(self) -> None:
        row = _row()
        whole = clean_row(_settings(), row)
        row["signal"][:, 2], row["signal"][:, 3], row["coverage"][2] = np.nan, 77, 0.1
        tensor = clean_row(_settings(), row)
        assert np.isnan(tensor["signal"]).all(axis=0).tolist() == [False, False, True, True, False]
        assert np.allclose(tensor["signal"][:, [0, 1, 4]], whole["signal"][:, [0, 1, 4]], atol=1e-5)
        assert (tensor["status"], tensor["mean"][3]) == ("ok", 77)
        assert tensor["coverage"] is row["coverage"]

    def test_input_is_unchanged(self) -> None:
        row, before = _row(), _row()
        clean_row(_settings(), row)
        assert np.array_equal(row["signal"], before["signal"])
        assert all(np.array_equal(row["confounds"][k], v, equal_nan=True) for k, v in before["confounds"].items())

    def test_tr_unknown_needs_nothing_that_needs_it(self) -> None:
        row = _row()
        row.update(tr_s=None, confounds={})
        open_band = {"low_hz": None, "high_hz": None, "tr_s": None, "fd_mm": None, "confounds": "none"}
        tensor = clean_row(_settings(**open_band), row)
        assert (tensor["status"], tensor["tr_s"], tensor["n_frames"]) == ("ok", None, N_FRAMES)
        reason = "TR unknown: set low_hz, high_hz and tr_s to null or declare tr_s in collect"
        for needs in ({"low_hz": 0.01}, {"high_hz": 0.1}, {"tr_s": 2.0}):
            assert _failure(row, **(open_band | needs)) == reason


class TestFaults:
    def test_no_confounds(self) -> None:
        row = _row()
        row["confounds"] = {}
        assert _failure(row) == "no confounds file: recipe needs 24P"
        assert "set fd_mm: null to censor nothing" in _failure(row, confounds="none")
        assert clean_row(_settings(confounds="none", fd_mm=None), row)["status"] == "ok"

    def test_missing_columns_are_named(self) -> None:
        row = _row()
        assert "lack the column white_matter" in _failure(row, confounds="36P")
        assert "lack the column cosine_00" in _failure(row, confounds=["trans_x", "cosine_00"])
        assert _failure(row, dvars=1.5).startswith("confounds lack std_dvars: dvars 1.5 needs it")
        del row["confounds"]["trans_z"]
        assert "lack the column trans_z" in _failure(row)

    def test_confounds_of_another_length(self) -> None:
        row = _row()
        row["confounds"] = {name: values[:-1] for name, values in row["confounds"].items()}
        assert _failure(row) == "confound framewise_displacement has 299 rows, the run has 300 frames"
        assert _failure(row, fd_mm=None) == "confound trans_x has 299 rows, the run has 300 frames"

    def test_too_little_left_after_censoring(self) -> None:
        row = _row()
        row["confounds"]["framewise_displacement"][90:] = 3
        assert _failure(row) == "only 1.2 min left after censoring (minimum 2.0)"
        row["confounds"]["framewise_displacement"][:] = 3
        assert _failure(row, min_minutes=0) == "no frame left after censoring"

    def test_run_shorter_than_the_dummies(self) -> None:
        assert _failure(_row(), dummy_frames=300) == "no frame left after dropping 300 dummy frames"

    @pytest.mark.parametrize("tr_s", [0.0, -1.0, 2000.0, float("nan")])
    def test_impossible_tr(self, tr_s: float) -> None:
        assert "declare tr_s in collect" in _failure({**_row(), "tr_s": tr_s})

    def test_no_signal_at_all(self) -> None:
        row = _row()
        for value in (np.nan, 0, np.inf):
            row["signal"][:] = value
            assert _failure(row) == "no parcel has a signal that varies"

    def test_more_confounds_than_the_band_carries(self) -> None:
        assert _failure(_row(n_frames=120), min_minutes=0).startswith("no degree of freedom left: 24 confounds for")

    def test_a_run_that_failed_before_keeps_its_reason(self) -> None:
        row = {**_row(), "signal": None, "confounds": None, "status": "failed", "reason": "truncated gzip"}
        assert _failure(row) == "truncated gzip"

    def test_a_band_the_wrong_way_round(self) -> None:
        with pytest.raises(SettingsError, match=r"low_hz 0\.2 must be below high_hz 0\.1"):
            _settings(low_hz=0.2)


class TestShard:
    def _rows(self) -> list[dict[str, Any]]:
        failed = {**_row("02"), "signal": None, "coverage": None, "status": "failed", "reason": "truncated gzip"}
        return [_row("01"), failed, _row("03", seed=3, n_frames=250), _row("04", seed=4)]

    def test_every_run_is_written_in_order_with_its_provenance(self, tmp_path: Path) -> None:
        parcels, out = _shard(tmp_path / "parcels.parquet", self._rows()), tmp_path / "tensors.parquet"
        run(_settings(), parcels, out)
        found = list(store.rows(out, "tensors"))
        assert [(row["participant"], row["status"]) for row in found] == [
            ("01", "ok"), ("02", "failed"), ("03", "ok"), ("04", "ok")
        ]  # fmt: skip
        assert found[1]["signal"] is None
        assert found[1]["reason"] == "truncated gzip"
        about = store.provenance(out)
        assert (about["stage"], about["atlas"], about["recipe"]["low_hz"]) == ("clean", "toy5", 0.01)
        assert about["inputs"] == [store.fingerprint(parcels)]

    def test_result_does_not_depend_on_the_shard_or_its_order(self, tmp_path: Path) -> None:
        rows = self._rows()
        run(_settings(), _shard(tmp_path / "a.parquet", rows), tmp_path / "all.parquet")
        run(_settings(), _shard(tmp_path / "b.parquet", rows[::-1]), tmp_path / "reverse.parquet")
        run(_settings(), _shard(tmp_path / "c.parquet", rows[2:3]), tmp_path / "one.parquet")
        whole, reverse, one = (
            list(store.rows(tmp_path / f"{n}.parquet", "tensors")) for n in ("all", "reverse", "one")
        )
        for name in ("signal", "mean", "std", "interpolated"):
            assert np.array_equal(whole[2][name], reverse[1][name])
            assert np.array_equal(whole[2][name], one[0][name])

    def test_plain_pandas_opens_it(self, tmp_path: Path) -> None:
        run(_settings(), _shard(tmp_path / "parcels.parquet", self._rows()), tmp_path / "tensors.parquet")
        table = pd.read_parquet(tmp_path / "tensors.parquet")
        assert list(table.columns) == store.schema("tensors").names
        assert np.stack(list(table["signal"][0])).shape == (120, N_PARCELS)
        assert len(table["interpolated"][0]) == 120

    def test_empty_shard(self, tmp_path: Path) -> None:
        run(_settings(), _shard(tmp_path / "parcels.parquet", []), tmp_path / "tensors.parquet")
        assert list(store.rows(tmp_path / "tensors.parquet", "tensors")) == []

    def test_wrong_or_missing_input_writes_nothing(self, tmp_path: Path) -> None:
        out = tmp_path / "tensors.parquet"
        with pytest.raises(InputError, match=r"not found.*absent\.parquet"):
            run(_settings(), tmp_path / "absent.parquet", out)
        other = _shard(tmp_path / "parcels.parquet", [_row()], atlas="other")
        with pytest.raises(InputError, match="atlas 'other', the recipe is for 'toy5'"):
            run(_settings(), other, out)
        assert [path.name for path in tmp_path.iterdir()] == ["parcels.parquet"]
