"""QC-FC and the summary of a dataset: known truth in, the same truth out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from qc_files import N_FRAMES, N_PARCELS, Cohort
from scipy.stats import pearsonr, spearmanr

from boldtable import store
from boldtable.stages import qc
from boldtable.stages.qc.qcfc import QCFC, distance_dependence, distances, strengths
from boldtable.stages.qc.summary import membership
from boldtable.stages.qc.summary import rows as summary_rows


def moving(n_participants: int, n_parcels: int, coupled: int, seed: int = 0) -> list[tuple[float, np.ndarray]]:
    """Mean FD and signal (frame, parcel) per participant; motion adds one signal to the first `coupled` parcels."""
    rng = np.random.default_rng(seed)
    made = []
    for fd_mm in rng.uniform(0.05, 1, n_participants):
        signal = rng.normal(size=(200, n_parcels))
        signal[:, :coupled] += 2 * fd_mm * rng.normal(size=(200, 1))
        made.append((fd_mm, 100 + signal))
    return made


class TestStrengths:
    def test_are_fisher_z_of_pearson_correlations(self) -> None:
        signal = moving(1, 7, 3)[0][1]
        upper = QCFC(7).upper
        expected = np.arctanh(np.corrcoef(signal.T)[np.triu_indices(7, 1)])
        np.testing.assert_allclose(strengths(signal.astype(np.float32), upper), expected, atol=1e-5)

    def test_missing_and_constant_parcels_are_nan_and_broken_frames_left_out(self) -> None:
        signal = moving(1, 7, 3)[0][1].astype(np.float32)
        broken = signal.copy()
        broken[:, 1], broken[:, 5], broken[17, 2] = np.nan, 1000.1, np.nan
        z = strengths(broken, QCFC(7).upper)
        first, second = np.triu_indices(7, 1)
        gone = np.isin(first, [1, 5]) | np.isin(second, [1, 5])
        assert np.isnan(z[gone]).all()
        whole = strengths(np.delete(signal, 17, axis=0), QCFC(7).upper)
        np.testing.assert_allclose(z[~gone], whole[~gone], atol=1e-6)


class TestQCFC:
    def test_equals_pearson_over_participants_whatever_the_order_of_runs(self) -> None:
        rng = np.random.default_rng(3)
        runs = [(f"{k % 12}", fd, x) for k, (fd, x) in enumerate(moving(30, 6, 3))]
        runs[4][2][:, 2] = np.nan  # one run, then a whole participant, without a parcel
        for name, _, signal in runs:
            if name == "7":
                signal[:, 5] = np.nan
        sums = QCFC(6)
        for index in rng.permutation(len(runs)):
            sums.add(*runs[index])
        for name in {name for name, _, _ in runs}:
            sums.close(name)
            sums.close(name)  # a participant counts once
        r, p = sums.correlations()
        table = pd.DataFrame([{"who": n, "fd": fd, **dict(enumerate(strengths(x, sums.upper)))} for n, fd, x in runs])
        means = table.groupby("who").mean()
        assert sums.n_participants == 12
        for edge in range(15):
            known = means[edge].notna()
            expected = pearsonr(means["fd"][known], means[edge][known])
            assert (r[edge], p[edge]) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-4)

    def test_finds_the_edges_that_follow_motion_and_no_others(self) -> None:
        sums = QCFC(20)
        for number, (fd_mm, signal) in enumerate(moving(60, 20, 5)):
            sums.add(str(number), fd_mm, signal)
            sums.close(str(number))
        r, p = sums.correlations()
        first, second = np.triu_indices(20, 1)
        follows = (first < 5) & (second < 5)
        assert r[follows].min() > 0.5
        assert (p[follows] < 0.05).all()
        assert (p[~follows] < 0.05).mean() < 0.15

    def test_too_few_participants_say_nothing(self) -> None:
        sums = QCFC(5)
        for number, (fd_mm, signal) in enumerate(moving(3, 5, 2)):
            sums.add(str(number), fd_mm, signal)
            sums.close(str(number))
        assert np.isnan(np.concatenate(sums.correlations())).all()

    def test_distance_dependence_is_spearmans(self) -> None:
        rng = np.random.default_rng(0)
        centroids, sums = rng.normal(size=(9, 3)) * 40, QCFC(9)
        distance_mm = distances(centroids, sums.upper)
        first, second = np.triu_indices(9, 1)
        np.testing.assert_allclose(distance_mm, np.linalg.norm(centroids[first] - centroids[second], axis=1))
        r = np.tanh(-distance_mm / 100 + 0.2 * rng.normal(size=36)).round(1)  # with ties
        assert distance_dependence(r, distance_mm) == pytest.approx(spearmanr(r, distance_mm).statistic)
        assert distance_dependence(-distance_mm, distance_mm) == pytest.approx(-1)
        assert distance_dependence(r, np.full(36, np.nan)) is None


def summary_of(cohort: Cohort, **settings: object) -> pd.DataFrame:
    cohort.rows(**settings)
    return store.frame(cohort.folder / "qc_summary.parquet", "qc_summary")


def value(summary: pd.DataFrame, measure: str, group: str, **where: str) -> float:
    found = summary.loc[(summary["measure"] == measure) & (summary["group"] == group)]
    for column, wanted in where.items():
        found = found.loc[found[column] == wanted]
    assert len(found) == 1
    return float(found["value"].iloc[0])


class TestSummary:
    @pytest.fixture
    def cohort(self, tmp_path: Path) -> Cohort:
        """Twelve participants whose raw signals carry motion in every parcel and whose tensors do not."""
        made = Cohort(tmp_path, tuple(f"{number:02d}" for number in range(1, 13)))
        rng = np.random.default_rng(1)
        for number, row in enumerate(made.parcels.values()):
            fd_mm = 0.02 + 0.03 * number
            row["confounds"]["framewise_displacement"][1:] = fd_mm
            row["signal"] += (60 * fd_mm * rng.normal(size=(N_FRAMES, 1))).astype(np.float32)
        return made

    def test_cleaning_takes_motion_out_of_the_edges(self, cohort: Cohort) -> None:
        summary = summary_of(cohort)
        assert set(summary["dataset"]) == {"toy"}
        assert value(summary, "qcfc_median_abs", "before") > 0.9
        assert value(summary, "qcfc_share_significant", "before") == 1
        assert value(summary, "qcfc_median_abs", "after") < 0.4
        assert value(summary, "qcfc_share_significant", "after") < 0.3
        bins = summary.loc[(summary["measure"] == "qcfc_histogram") & (summary["group"] == "before")]
        assert bins["value"].sum() == pytest.approx(1)
        assert bins["n"].sum() == N_PARCELS * (N_PARCELS - 1) / 2
        centre = (bins["level"].astype(float) * bins["value"]).sum() + 0.025
        assert centre > 0.85
        assert np.isnan(value(summary, "qcfc_distance_spearman", "after"))  # the toy atlas has no coordinates

    def test_censored_frames_of_the_tensors_do_not_count(self, cohort: Cohort) -> None:
        plain = summary_of(cohort)
        for row in cohort.tensors.values():
            row["interpolated"][:20] = True
        marked = summary_of(cohort)
        for row in cohort.tensors.values():
            row["signal"][:20] = 50 * np.random.default_rng(0).normal(size=(20, 1))
        spoilt = summary_of(cohort)
        pd.testing.assert_frame_equal(marked, spoilt)
        assert value(plain, "qcfc_median_abs", "after") != value(marked, "qcfc_median_abs", "after")

    def test_dropped_runs_do_not_count(self, cohort: Cohort) -> None:
        summary = summary_of(cohort, max_fd_mm_mean=0.21)
        assert value(summary, "participants", "kept") == 7
        assert value(summary, "participants", "dropped") == 5
        assert set(summary.loc[summary["measure"] == "qcfc_median_abs", "n"]) == {7}

    def test_can_be_left_out(self, cohort: Cohort) -> None:
        assert not summary_of(cohort, qcfc=False)["measure"].str.startswith("qcfc").any()

    def test_without_motion_there_are_no_participants_and_no_values(self, cohort: Cohort) -> None:
        for row in cohort.parcels.values():
            row["confounds"] = {}
        summary = summary_of(cohort)
        found = summary.loc[summary["measure"] == "qcfc_median_abs"]
        assert found["n"].tolist() == [0, 0]
        assert found["value"].isna().all()
        assert not (summary["measure"] == "qcfc_histogram").any()


def test_missing_values_and_demographics_by_group() -> None:
    people = pd.DataFrame(
        {
            "participant": ["01", "01", "02", "03", "04"],
            "session": ["1", "2", None, None, None],
            "age_years": [20.0, 20.0, 30.0, np.nan, 70.0],
            "sex": ["F", None, "M", None, "F"],
            "remark": [None] * 5,
            "code": [f"text {k}" for k in range(5)],
        }
    )
    runs = [
        {"participant": name, "keep": keep} for name, keep in (("01", False), ("01", True), ("02", True), ("03", 0))
    ]
    assert membership(runs, people) == {"01": "kept", "02": "kept", "03": "dropped", "04": "without_runs"}
    settings = qc.QC.parse({"recipe": "r"})
    found = pd.DataFrame(list(summary_rows(settings, "toy", runs, people, np.zeros((2, 3)), {})))
    assert value(found, "runs", "kept") == value(found, "runs", "dropped") == 2
    assert value(found, "missing", "kept", variable="age_years") == 0
    assert value(found, "missing", "dropped", variable="age_years") == 1
    assert value(found, "missing", "kept", variable="remark") == 1
    assert value(found, "mean", "kept", variable="age_years") == 25
    assert value(found, "sd", "kept", variable="age_years") == pytest.approx(np.std([20, 30], ddof=1))
    assert value(found, "mean", "without_runs", variable="age_years") == 70
    assert value(found, "share", "kept", variable="sex", level="F") == 0.5
    assert value(found, "share", "without_runs", variable="sex", level="M") == 0
    assert found.loc[(found["variable"] == "sex") & (found["group"] == "dropped"), "measure"].tolist() == ["missing"]


@pytest.mark.parametrize(
    ("setting", "limit", "line"),
    [
        ("max_fd_mm_max", 0.05, "largest framewise displacement 0.10 mm over 0.05"),
        ("max_dvars", 1.1, "mean DVARS 1.20 over 1.1"),
        ("min_tsnr", 5000, "temporal signal-to-noise ratio"),
        ("max_global_signal_share", 0.01, "global signal explains"),
    ],
)
def test_every_threshold_can_drop_a_run(tmp_path: Path, setting: str, limit: float, line: str) -> None:
    cohort = Cohort(tmp_path)
    assert all(row["keep"] for row in cohort.rows().values())
    rows = cohort.rows(**{setting: limit})
    assert all((row["status"], row["keep"]) == ("dropped", False) for row in rows.values())
    assert all(line in row["reasons"] for row in rows.values())


def test_spikes_are_frames_over_either_threshold(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path)
    confounds = cohort.parcels["01"]["confounds"]
    confounds["framewise_displacement"][[5, 6]] = 0.6
    confounds["std_dvars"][[6, 7, 8]] = 1.7
    assert cohort.rows()["01"]["n_spikes"] == 4
    assert cohort.rows(spike_dvars=2)["01"]["n_spikes"] == 2


def test_rows_in_another_order_are_still_joined(tmp_path: Path) -> None:
    cohort = Cohort(tmp_path)
    first = cohort.rows()
    cohort.tensors = dict(reversed(cohort.tensors.items()))
    assert cohort.rows() == first
