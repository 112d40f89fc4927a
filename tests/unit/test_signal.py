"""Properties of the pure array functions, on signals whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from boldtable.errors import RunError
from boldtable.signal import Band, censor, confounds, denoise
from boldtable.signal.filter import bandpass, detrend, response
from boldtable.signal.measure import global_signal_share, tsnr
from boldtable.signal.normalise import zscore
from boldtable.signal.regress import orthonormal, regress
from boldtable.signal.resample import carry_marks, n_resampled, resample

BAND = Band(0.01, 0.1, 2.0)
PHASES = np.linspace(0, 2 * np.pi, 8, endpoint=False)
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


def _sines(frequency_hz: float, n_frames: int, tr_s: float) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(n_frames)[:, None] * tr_s + PHASES)


def _fit(values: np.ndarray, frequency_hz: float, tr_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude and phase error (degrees) of each column over the middle half of the run."""
    middle = slice(len(values) // 4, 3 * len(values) // 4)
    turn = 2 * np.pi * frequency_hz * np.arange(len(values))[middle] * tr_s
    sine, cosine = np.linalg.lstsq(np.stack([np.sin(turn), np.cos(turn)], axis=1), values[middle], rcond=None)[0]
    error = np.angle((sine + 1j * cosine) * np.exp(-1j * PHASES))
    return np.hypot(sine, cosine), np.degrees(error)


def _noise(seed: int, n_frames: int, n_columns: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_frames, n_columns))


class TestFilter:
    @pytest.mark.parametrize("tr_s", [0.72, 0.8, 2.0, 3.0])
    @pytest.mark.parametrize("frequency_hz", [0.015, 0.03, 0.06, 0.09, 0.1])
    def test_sine_inside_the_band_keeps_amplitude_and_phase(self, tr_s: float, frequency_hz: float) -> None:
        n_frames = round(900 / tr_s)
        sines = _sines(frequency_hz, n_frames, tr_s)
        passed = bandpass(sines, response(n_frames, tr_s, 0.01, 0.1))
        amplitude, phase = _fit(passed, frequency_hz, tr_s)
        assert np.abs(amplitude - 1).max() < 0.01
        assert np.abs(phase).max() < 1

    @pytest.mark.parametrize("tr_s", [0.72, 0.8, 2.0, 3.0])
    @pytest.mark.parametrize("frequency_hz", [0.002, 0.005, 0.11, 0.13, 0.16])
    def test_sine_outside_the_band_falls_by_20_db(self, tr_s: float, frequency_hz: float) -> None:
        n_frames = round(900 / tr_s)
        sines = _sines(frequency_hz, n_frames, tr_s)
        passed = bandpass(sines, response(n_frames, tr_s, 0.01, 0.1))
        middle = slice(n_frames // 4, 3 * n_frames // 4)
        left = np.sqrt((passed[middle] ** 2).mean(axis=0) / (sines[middle] ** 2).mean(axis=0))
        assert left.max() < 0.1

    def test_open_band_changes_nothing_and_a_lower_edge_removes_the_mean(self) -> None:
        values = _noise(0, 100, 3) + 5
        assert np.allclose(bandpass(values, response(100, 2.0, None, None)), values)
        assert np.allclose(bandpass(values, response(100, 2.0, 0.01, None)).mean(axis=0), 0)

    def test_detrend_fits_kept_frames_only(self) -> None:
        kept = np.ones(50, dtype=bool)
        kept[[3, 20]] = False
        line = 7 + 0.5 * np.arange(50.0)[:, None]
        spoilt = line.copy()
        spoilt[~kept] = 1e9
        assert np.allclose(detrend(spoilt, kept)[kept], 0)
        assert np.allclose(detrend(line, kept), 0)


class TestCensor:
    def test_marks_over_the_limit_and_not_the_first_unknown(self) -> None:
        traces = {"fd": np.array([np.nan, 0.2, 0.6, 0.5]), "dvars": np.array([np.nan, 3.0, 1.0, 1.0])}
        assert censor.mark(traces, {"fd": 0.5}, 4).tolist() == [True, True, False, True]
        assert censor.mark(traces, {"fd": 0.5, "dvars": 2.0}, 4).tolist() == [True, False, False, True]

    def test_incomplete_frames_go_missing_parcels_do_not(self) -> None:
        signal = np.ones((5, 3))
        signal[:, 1] = np.nan
        signal[2, 0] = np.inf
        assert censor.mark_incomplete(signal, np.ones(5, dtype=bool)).tolist() == [True, True, False, True, True]

    def test_short_segments_go(self) -> None:
        kept = np.array([1, 0, 1, 1, 0, 1, 1, 1, 0, 1], dtype=bool)
        assert censor.drop_short(kept, 3).tolist() == [False] * 5 + [True] * 3 + [False] * 2
        assert censor.drop_short(kept, 1).tolist() == kept.tolist()

    def test_interpolation_is_a_line_inside_and_held_at_the_ends(self) -> None:
        kept = np.array([0, 1, 0, 0, 1, 1, 0], dtype=bool)
        values = np.array([[np.nan], [1], [np.inf], [-5], [4], [2], [99]])
        assert censor.interpolate(values, kept).ravel().tolist() == [1, 1, 2, 3, 4, 2, 2]
        assert np.isnan(values[0, 0])

    def test_nothing_to_fill(self) -> None:
        values = _noise(0, 5, 2)
        assert np.array_equal(censor.interpolate(values, np.ones(5, dtype=bool)), values)


class TestConfounds:
    def _columns(self, n_frames: int = 40) -> dict[str, np.ndarray]:
        bases = (*MOTION, "white_matter", "csf", "global_signal")
        values = _noise(1, n_frames, len(bases)).astype(np.float32)
        return dict(zip(bases, values.T, strict=True))

    @pytest.mark.parametrize(("strategy", "count"), [("24P", 24), ("27P", 27), ("36P", 36), ("none", 0)])
    def test_strategies_have_their_number_of_columns(self, strategy: str, count: int) -> None:
        columns = self._columns()
        chosen = confounds.names(strategy)
        design = confounds.design(chosen, columns, np.ones(40, dtype=bool), 0)
        assert design.shape == (40, count)
        assert len(set(chosen)) == count
        assert np.isfinite(design).all()

    def test_derivatives_and_powers_are_computed_where_the_file_has_none(self) -> None:
        x = np.array([1.0, 3.0, 2.0, 2.0])
        chosen = ["x", "x_derivative1", "x_power2", "x_derivative1_power2"]
        design = confounds.design(chosen, {"x": x}, np.ones(4, dtype=bool), 0)
        expected = [[1, 0, 1, 0], [3, 2, 9, 4], [2, -1, 4, 1], [2, 0, 4, 0]]
        assert np.allclose(design, expected)

    def test_a_column_of_the_file_is_taken_as_it_is(self) -> None:
        given = {"x": np.arange(4.0), "x_derivative1": np.array([np.nan, 7, 7, 7])}
        design = confounds.design(["x_derivative1"], given, np.ones(4, dtype=bool), 0)
        assert design.ravel().tolist() == [0, 7, 7, 7]

    def test_first_frame_after_dummies_has_a_true_difference(self) -> None:
        design = confounds.design(["x_derivative1"], {"x": np.array([0.0, 5, 6, 8])}, np.ones(3, dtype=bool), 1)
        assert design.ravel().tolist() == [5, 1, 2]

    def test_leading_unknowns_become_the_mean_of_kept_frames(self) -> None:
        kept = np.array([True, True, True, False])
        design = confounds.design(["dvars"], {"dvars": np.array([np.nan, 2.0, 4.0, 1e9])}, kept, 0)
        assert design[0, 0] == 3

    def test_unknown_later_is_an_error_unless_censored(self) -> None:
        x = np.array([1.0, 2.0, np.nan, 4.0])
        with pytest.raises(RunError, match="confound x is n/a at frame 2"):
            confounds.design(["x"], {"x": x}, np.ones(4, dtype=bool), 0)
        assert confounds.design(["x"], {"x": x}, ~np.isnan(x), 0).shape == (4, 1)

    def test_missing_column_and_wrong_length_are_named(self) -> None:
        columns = self._columns()
        del columns["rot_y"]
        with pytest.raises(RunError, match="lack the column rot_y"):
            confounds.design(confounds.names("24P"), columns, np.ones(40, dtype=bool), 0)
        with pytest.raises(RunError, match="trans_x has 40 rows, the run has 41 frames"):
            confounds.design(["trans_x"], columns, np.ones(41, dtype=bool), 0)

    @pytest.mark.parametrize(
        ("pattern", "strategy", "count"),
        [
            ("test-v21_*.tsv", "36P", 36),
            ("ds000031*/**/*.tsv", "24P", 24),
        ],
    )
    def test_real_files_of_fmriprep(self, pattern: str, strategy: str, count: int) -> None:
        files = sorted((Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "confounds").glob(pattern))
        if not files:
            pytest.skip("no real confounds in ../shared/data/confounds")
        table = pd.read_csv(files[0], sep="\t", na_values="n/a").astype(np.float32)
        columns = {str(name): table[name].to_numpy() for name in table}
        chosen = confounds.names(strategy)
        design = confounds.design(chosen, columns, np.ones(len(table), dtype=bool), 0)
        assert design.shape == (len(table), count)
        assert np.isfinite(design).all()


class TestRegress:
    def test_residual_is_orthogonal_on_kept_frames_and_confounds_may_be_redundant(self) -> None:
        nuisance = _noise(0, 80, 4)
        nuisance = np.column_stack([nuisance, nuisance[:, 0] - 2 * nuisance[:, 1], np.zeros(80)])
        kept = np.random.default_rng(1).random(80) > 0.2
        basis = orthonormal(nuisance, kept, np.ones(6))
        assert basis.shape == (80, 4)
        cleaned = regress(_noise(2, 80, 5), basis, kept)
        assert np.abs(nuisance[kept].T @ cleaned[kept]).max() < 1e-10

    def test_planted_confound_is_removed_and_the_rest_stays(self) -> None:
        nuisance, truth = _noise(0, 400, 2), _noise(1, 400, 3)
        kept = np.ones(400, dtype=bool)
        basis = orthonormal(nuisance, kept, np.ones(2))
        truth = regress(truth, basis, kept)
        assert np.allclose(regress(truth + nuisance @ _noise(2, 2, 3), basis, kept), truth)

    def test_no_confounds_change_nothing(self) -> None:
        values, kept = _noise(0, 30, 2), np.ones(30, dtype=bool)
        basis = orthonormal(np.empty((30, 0)), kept, np.empty(0))
        assert np.array_equal(regress(values, basis, kept), values)


class TestResample:
    @pytest.mark.parametrize("tr_s", [0.4, 0.72, 0.8, 1.0, 2.0, 2.5, 3.0, 4.0])
    @pytest.mark.parametrize("target_tr_s", [0.4, 0.72, 0.735, 1.5, 2.0, 2.2, 3.0, 4.0])
    def test_band_limited_signal_equals_the_analytic_one(self, tr_s: float, target_tr_s: float) -> None:
        rng = np.random.default_rng(3)
        frequencies, turns = rng.uniform(0.01, 0.1, 12), rng.uniform(0, 2 * np.pi, 12)

        def truth(times: np.ndarray) -> np.ndarray:
            return np.sin(2 * np.pi * frequencies * times[:, None] + turns).sum(axis=1, keepdims=True)

        n_frames = round(600 / tr_s)
        moved = resample(truth(np.arange(n_frames) * tr_s), tr_s, target_tr_s)
        assert len(moved) == n_resampled(n_frames, tr_s, target_tr_s)
        times = np.arange(len(moved)) * target_tr_s
        inside = (times > 60) & (times < times[-1] - 60)
        expected = truth(times)
        assert np.abs(moved - expected)[inside].max() < 0.01 * expected.std()

    def test_what_the_target_cannot_carry_is_damped(self) -> None:
        sines = _sines(0.4, 800, 0.8)
        moved = resample(sines, 0.8, 2.0)
        assert np.abs(moved[40:-40]).max() < 0.01
        assert np.abs(sines[::5]).max() > 0.5

    @pytest.mark.parametrize(
        ("n_frames", "tr_s", "target_tr_s", "expected"),
        [(10, 2, 2, 10), (11, 0.8, 2, 5), (490, 0.735, 2, 180), (3, 3, 0.6, 11)],
    )
    def test_length(self, n_frames: int, tr_s: float, target_tr_s: float, expected: int) -> None:
        assert n_resampled(n_frames, tr_s, target_tr_s) == expected
        assert len(resample(np.zeros((n_frames, 1)), tr_s, target_tr_s)) == expected

    def test_same_tr_returns_a_copy(self) -> None:
        values = _noise(0, 9, 2)
        same = resample(values, 2.0, 2.0)
        assert np.array_equal(same, values)
        assert not np.shares_memory(same, values)

    def test_marks_follow_the_nearest_frame(self) -> None:
        marks = np.array([0, 0, 1, 0, 0, 0], dtype=bool)
        assert carry_marks(marks, 1.0, 2.0).tolist() == [False, True, False]
        assert carry_marks(marks, 1.0, 0.5).tolist() == [False] * 3 + [True] * 3 + [False] * 5
        assert carry_marks(marks, 2.0, 2.0).tolist() == marks.tolist()


class TestNormalise:
    def test_zscore_of_kept_frames(self) -> None:
        values, kept = _noise(0, 60, 4) * 3 + 10, np.ones(60, dtype=bool)
        kept[:10] = False
        scaled, std = zscore(values, kept)
        assert np.allclose(scaled[kept].mean(axis=0), 0)
        assert np.allclose(scaled[kept].std(axis=0), 1)
        assert np.allclose(std, values[kept].std(axis=0))

    def test_constant_parcel_is_nan_and_alone(self) -> None:
        values = _noise(0, 20, 3)
        values[:, 1] = 4
        scaled, std = zscore(values, np.ones(20, dtype=bool))
        assert np.isnan(scaled).any(axis=0).tolist() == [False, True, False]
        assert std[1] == 0


class TestDenoise:
    N, P, TR = 300, 6, 0.8

    def _run(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        kept = np.random.default_rng(9).random(self.N) > 0.15
        signal = _noise(4, self.N, self.P).cumsum(axis=0) + 1000
        nuisance = _noise(5, self.N, 5).cumsum(axis=0)
        return signal + nuisance @ _noise(6, 5, self.P), nuisance, kept

    def test_garbage_in_censored_frames_changes_nothing(self) -> None:
        signal, nuisance, kept = self._run()
        clean = denoise(signal, nuisance, kept, self.TR, BAND)
        signal[~kept], nuisance[~kept] = 1e30, np.nan
        spoilt = denoise(signal, nuisance, kept, self.TR, BAND)
        assert (~kept).sum() > 20
        for name in ("signal", "mean", "interpolated"):
            assert np.array_equal(getattr(clean, name), getattr(spoilt, name))

    @pytest.mark.parametrize("band", [Band(0.01, 0.1, None), Band(None, None, None)])
    def test_result_is_orthogonal_to_filtered_confounds_on_kept_frames(self, band: Band) -> None:
        signal, nuisance, kept = self._run()
        cleaned = denoise(signal, nuisance, kept, self.TR, band).signal
        filtered = detrend(censor.interpolate(nuisance, kept), kept)
        filtered = bandpass(filtered, response(self.N, self.TR, band.low_hz, band.high_hz))[kept]
        cosines = (filtered / np.linalg.norm(filtered, axis=0)).T @ (
            cleaned[kept] / np.linalg.norm(cleaned[kept], axis=0)
        )
        assert np.abs(cosines).max() < 1e-9

    def test_averaging_voxels_first_or_last_is_the_same(self) -> None:
        voxels, nuisance, kept = self._run()
        last = denoise(voxels, nuisance, kept, self.TR, BAND).signal.mean(axis=1)
        first = denoise(voxels.mean(axis=1, keepdims=True), nuisance, kept, self.TR, BAND).signal[:, 0]
        assert np.allclose(first, last, atol=1e-8 * first.std())

    def test_missing_and_constant_parcels_are_nan_and_touch_no_other(self) -> None:
        signal, nuisance, kept = self._run()
        whole = denoise(signal, nuisance, kept, self.TR, BAND)
        signal[:, 1], signal[:, 4] = np.nan, 1234.5
        holed = denoise(signal, nuisance, kept, self.TR, BAND)
        others = [0, 2, 3, 5]
        assert np.isnan(holed.signal[:, [1, 4]]).all()
        assert np.allclose(holed.signal[:, others], whole.signal[:, others], rtol=0, atol=1e-9)
        assert np.isnan(holed.mean[1])
        assert holed.mean[4] == 1234.5

    def test_parcel_made_of_confounds_and_trend_is_nan(self) -> None:
        signal, nuisance, kept = self._run()
        signal[:, 2] = 3 * nuisance[:, 0] + 0.01 * np.arange(self.N) + 100
        assert np.isnan(denoise(signal, nuisance, kept, self.TR, BAND).signal).any(axis=0).tolist() == [
            column == 2 for column in range(self.P)
        ]

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_equals_nilearn_where_both_do_the_same(self) -> None:
        nilearn_signal = pytest.importorskip("nilearn.signal")
        signal, nuisance, _ = self._run()
        options = {"detrend": True, "standardize": None, "filter": False}
        expected = nilearn_signal.clean(signal, confounds=nuisance, **options)
        found = denoise(signal, nuisance, np.ones(self.N, dtype=bool), None, Band(None, None, None)).signal
        assert np.allclose(found, expected, atol=1e-8)

    def test_inputs_are_unchanged(self) -> None:
        signal, nuisance, kept = self._run()
        before = signal.copy(), nuisance.copy(), kept.copy()
        denoise(signal, nuisance, kept, self.TR, BAND)
        assert all(np.array_equal(a, b) for a, b in zip(before, (signal, nuisance, kept), strict=True))

    def test_sine_survives_the_whole_road_and_drift_and_motion_do_not(self) -> None:
        n_frames, tr_s = 1000, 0.8
        times = np.arange(n_frames) * tr_s
        kept = np.ones(n_frames, dtype=bool)
        kept[np.arange(25, 975, 50)] = False
        nuisance = np.sin(2 * np.pi * times[:, None] * [0.025, 0.07, 0.2])
        truth = np.sin(2 * np.pi * 0.04 * times)
        spoilt = 500 + 0.05 * times + truth + 2 * nuisance.sum(axis=1)
        spoilt[~kept] += 100
        cleaned = denoise(spoilt[:, None], nuisance, kept, tr_s, BAND)
        expected = np.sin(2 * np.pi * 0.04 * np.arange(len(cleaned.signal)) * 2.0)
        middle = slice(40, -40)
        assert np.corrcoef(cleaned.signal[middle, 0], expected[middle])[0, 1] > 0.999

    def test_tr_unknown_without_band_keeps_the_grid(self) -> None:
        signal, nuisance, kept = self._run()
        cleaned = denoise(signal, nuisance, kept, None, Band(None, None, None))
        assert cleaned.tr_s is None
        assert cleaned.signal.shape == signal.shape
        assert np.array_equal(cleaned.interpolated, ~kept)

    def test_nothing_left_is_refused(self) -> None:
        signal, nuisance, kept = self._run()
        with pytest.raises(RunError, match="no frame left"):
            denoise(signal, nuisance, np.zeros(self.N, dtype=bool), self.TR, BAND)
        with pytest.raises(RunError, match="no parcel has a signal"):
            denoise(np.full((self.N, 2), np.nan), nuisance, kept, self.TR, BAND)
        with pytest.raises(RunError, match=r"no degree of freedom left: 50 confounds for \d+ independent"):
            denoise(signal, _noise(0, self.N, 50), kept, self.TR, BAND)


class TestMeasure:
    def test_tsnr_of_known_noise_and_drift(self) -> None:
        signal = 1000 + 10 * _noise(0, 2000, 5) + np.linspace(0, 200, 2000)[:, None]
        signal[:, 2] = np.nan
        found = tsnr(signal)
        assert found is not None
        assert abs(found - 110) < 5
        assert tsnr(np.full((10, 2), np.nan)) is None
        assert tsnr(np.ones((10, 2))) is None

    def test_global_signal_share(self) -> None:
        kept = np.ones(5000, dtype=bool)
        shared = _noise(0, 5000, 1)
        assert global_signal_share(np.repeat(shared, 4, axis=1), kept) == pytest.approx(1)
        independent = global_signal_share(_noise(1, 5000, 100), kept)
        assert independent is not None
        assert independent == pytest.approx(0.01, abs=0.005)
        half = global_signal_share(shared + _noise(2, 5000, 200), kept)
        assert half == pytest.approx(0.5, abs=0.03)
        assert global_signal_share(np.full((10, 3), np.nan), kept[:10]) is None
