"""Figures for quality control: what is drawn is what the files say; whole files, PNG and SVG, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from results_files import N_CLEAN, NETWORKS, Study
from typer.testing import CliRunner

from boldtable import draw, figures, results, store
from boldtable.cli import app
from boldtable.errors import InputError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> results.Dataset:
    return results.dataset(Study(tmp_path_factory.mktemp("study")).write(), "toy")


FIRST = {"participant": "01", "session": "1"}


class TestCarpet:
    def test_rows_are_parcels_grouped_by_network(self) -> None:
        signal = np.tile(np.arange(40.0)[:, None] % 7, (1, 6)) * np.array([1, 1, -1, -1, 1, -1])
        with figures.canvas(4, 3) as (_, (ax,)):
            figures.carpet(ax, signal, NETWORKS, 2.0, start_s=60)
            image = ax.images[0].get_array()
            labels = [label.get_text() for label in ax.get_yticklabels()]
            extent = ax.images[0].get_extent()
        assert labels == ["Vis", "Limbic"]
        assert (image[:3] == image[0]).all()  # the Vis parcels first
        assert (image[3:] == -image[0]).all()
        assert extent[:2] == pytest.approx((1 - 1 / 60, 1 + 79 / 60))

    def test_missing_and_constant_parcels_are_coloured_not_grey(self) -> None:
        signal = np.random.default_rng(0).normal(size=(30, 6))
        signal[:, 1], signal[:, 2] = np.nan, 5.0
        with figures.canvas(4, 3) as (_, (ax,)):
            figures.carpet(ax, signal, NETWORKS, None)
            masked = np.ma.getmaskarray(ax.images[0].get_array()).all(axis=1)
            assert ax.get_xlabel() == "frame"
        assert masked.tolist() == [False, True, False, True, False, False]

    def test_censored_frames_are_marked_where_they_are(self) -> None:
        marked = np.zeros(30, dtype=bool)
        marked[[4, 9]] = True
        with figures.canvas(4, 3) as (_, (ax,)):
            figures.carpet(ax, np.random.default_rng(0).normal(size=(30, 6)), NETWORKS, 3.0, marked=marked)
            ticks = next(line for line in ax.lines if line.get_marker() == "|")
        assert list(ticks.get_xdata()) == pytest.approx([0.2, 0.45])

    @pytest.mark.parametrize("sizes", [[5, 1, 1, 1, 90], [90, 1, 1, 1, 1], [20] * 5])
    def test_network_names_keep_apart_in_order_and_inside(self, sizes: list[int]) -> None:
        networks = [f"n{k}" for k, size in enumerate(sizes) for _ in range(size)]
        with figures.canvas(4, 3) as (_, (ax,)):
            figures.carpet(ax, np.random.default_rng(0).normal(size=(20, len(networks))), networks, 2.0)
            places = ax.get_yticks()
        assert np.diff(places).min() >= 0.049 * len(networks)
        assert places[0] >= 0
        assert places[-1] <= len(networks)


class TestDisplacement:
    def test_marks_frames_over_the_threshold(self) -> None:
        fd = np.array([np.nan, 0.1, 0.7, 0.2, 0.9])
        with figures.canvas(4, 2) as (_, (ax,)):
            figures.displacement(ax, fd, 60.0, 0.5)
            points = np.asarray(ax.collections[-1].get_offsets())
        assert points.tolist() == [[2, 0.7], [4, 0.9]]

    def test_says_where_motion_is_unknown_and_keeps_the_shared_axis(self) -> None:
        with figures.stack(4, 3, [1, 2]) as (_, (above, below)):
            below.plot([0, 1, 2], [0, 1, 0])
            figures.displacement(above, None, 2.0, 0.5)
            assert above.texts[0].get_text() == "no motion known"
            assert len(below.get_xticks()) > 0


def summary() -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for group, shift in (("before", 0.4), ("after", 0.0)):
        rows += [
            {"measure": f"qcfc_{name}", "group": group, "value": 0.25} for name in ("median_abs", "share_significant")
        ]
        rows += [{"measure": "qcfc_distance_spearman", "group": group, "value": -0.5 if shift else None}]
        lefts = np.linspace(-1, 1, 41)[:-1]
        share = np.exp(-(((lefts - shift) / 0.2) ** 2))
        for left, value in zip(lefts, share / share.sum(), strict=True):
            rows.append({"measure": "qcfc_histogram", "group": group, "level": f"{left:.2f}", "value": value})
        for distance in (20, 60, 120):
            rows.append({"measure": "qcfc_by_distance", "group": group, "level": str(distance), "value": shift})
    return pd.DataFrame(rows)


class TestQCFC:
    def test_draws_before_and_after(self) -> None:
        with figures.canvas(8, 3, 2) as (_, (histogram, distance)):
            figures.qcfc(histogram, summary())
            figures.qcfc_distance(distance, summary())
            texts = [text.get_text() for ax in (histogram, distance) for text in ax.get_legend().get_texts()]
            lines = {line.get_label(): line for line in distance.lines}
            histogram.set_ylim(0, 0.11)  # steps of 2.5 %
            ticks = zip(histogram.get_yticks(), histogram.get_yticklabels(), strict=True)
            assert all(float(label.get_text().rstrip(" %")) == pytest.approx(100 * at, abs=1e-9) for at, label in ticks)
        wanted = "median |r| 0.25, 25 % of edges significant"
        assert texts == [f"before: {wanted}", f"after: {wanted}", "before: Spearman -0.50", "after"]
        assert list(lines["after"].get_xdata()) == [20, 60, 120]

    def test_says_where_there_is_too_little(self) -> None:
        nothing = summary().iloc[:2]
        with figures.canvas(8, 3, 2) as (_, axes):
            figures.qcfc(axes[0], nothing)
            figures.qcfc_distance(axes[1], nothing)
            assert [ax.texts[0].get_text() for ax in axes] == ["too few participants with known motion"] * 2


class TestGlassBrain:
    def test_one_dot_per_known_parcel_and_low_ones_last(self) -> None:
        values = np.array([0.2, 1.0, np.nan, 0.9])
        centroids = np.array([[-30.0, 0, 0], [30, 0, 0], [0, 20, 20], [0, -60, 20]])
        with figures.glass_brain(values, centroids, "title", "label") as figure:
            dots = [found for ax in figure.axes for found in ax.collections if isinstance(found, PathCollection)]
            sizes = [np.round(found.get_sizes(), 1).tolist() for found in dots]
        small, middle, large = 12, 16.8, 50.4  # covered, nearly, hardly
        left, front, right, above = sizes
        assert (left, right) == ([middle, large], [small, middle])
        assert front == above == [small, middle, large]


class TestCommand:
    @pytest.mark.parametrize("kind", ["carpet", "motion", "coverage", "qcfc"])
    def test_every_figure_is_written_and_the_same_again(
        self, dataset: results.Dataset, tmp_path: Path, kind: str
    ) -> None:
        wanted = {} if kind == "qcfc" else FIRST
        made = []
        for name in ("a.png", "a.svg", "b/a.svg"):
            draw.run(kind, dataset, wanted, tmp_path / name)
            made.append((tmp_path / name).read_bytes())
        assert made[0].startswith(b"\x89PNG")
        assert made[1].startswith(b"<svg")
        assert made[1] == made[2]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "b"]

    def test_coverage_of_the_dataset_is_the_mean_over_runs(self, dataset: results.Dataset, tmp_path: Path) -> None:
        draw.run("coverage", dataset, {}, tmp_path / "c.svg")
        assert "toy: mean over 4 runs, 1 of 6 parcels not wholly covered" in (tmp_path / "c.svg").read_text()

    def test_the_carpet_says_what_is_missing_and_censored(self, dataset: results.Dataset, tmp_path: Path) -> None:
        draw.run("carpet", dataset, {"participant": "02"}, tmp_path / "c.svg")
        text = (tmp_path / "c.svg").read_text()
        assert "1 of 6 parcels missing" in text
        assert f"1 of {N_CLEAN} frames censored" in text

    @pytest.mark.parametrize(
        ("kind", "wanted", "out", "line"),
        [
            (
                "carpet",
                {"participant": "01"},
                "c.png",
                "2 runs of toy agree .*toy sub-01 ses-1 task-rest, toy sub-01 ses-2",
            ),
            ("carpet", {"participant": "09"}, "c.png", "no run of toy has participant=09; there are: toy sub-01 ses-1"),
            ("carpets", FIRST, "c.png", "no figure 'carpets', did you mean 'carpet'"),
            ("carpet", FIRST, "c.gif", "the ending says the format"),
        ],
    )
    def test_faults_are_one_line(
        self, dataset: results.Dataset, tmp_path: Path, kind: str, wanted: dict[str, str], out: str, line: str
    ) -> None:
        with pytest.raises(InputError, match=line):
            draw.run(kind, dataset, wanted, tmp_path / out)
        assert list(tmp_path.iterdir()) == []

    def test_a_run_without_signal_is_refused_with_its_reason(self, tmp_path: Path) -> None:
        study = Study(tmp_path)
        for rows in (study.parcels, study.tensors):
            rows[0].update(
                signal=None, coverage=None, confounds=None, interpolated=None, status="failed", reason="cut off"
            )
        dataset = results.dataset(study.write(), "toy")
        for kind in ("carpet", "motion", "coverage"):
            with pytest.raises(InputError, match="cut off"):
                draw.run(kind, dataset, FIRST, tmp_path / "c.png")

    def test_the_command_line_chooses_the_run(self, dataset: results.Dataset, tmp_path: Path) -> None:
        where = ["--results", str(dataset.results), "--dataset", "toy", "--out", str(tmp_path / "m.svg")]
        done = CliRunner().invoke(app, ["figure", "motion", *where, "--participant", "01", "--session", "2"])
        assert done.exit_code == 0, done.output
        assert "toy sub-01 ses-2 task-rest: mean FD 0.11 mm, kept" in (tmp_path / "m.svg").read_text()

    def test_a_single_run_is_read_wherever_its_row_group_lies(self, dataset: results.Dataset) -> None:
        for about in dataset.rows:
            whole = {
                (row["participant"], row["session"]): row
                for row in store.rows(dataset.tensors / "0.parquet", "tensors")
            }
            one = dataset.row("tensors", about)
            expected = whole[about["participant"], about["session"]]
            np.testing.assert_array_equal(one["signal"], expected["signal"])
            assert one["participant"] == about["participant"]
