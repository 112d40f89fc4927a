"""figures: what is drawn is what the data say, and the same data give the same bytes."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from boldtable import figures


@pytest.fixture
def scores() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = [{"model": m, "split": s, "value": 50 + 10 * k + s} for k, m in enumerate("ab") for s in range(5)]
    summary = pd.DataFrame({"model": ["a", "b"], "mean": [52.0, 62.0], "ci_low": [50.0, 60.0], "ci_high": [54.0, 64.0]})
    return pd.DataFrame(rows), summary


@pytest.fixture
def qc() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "fd_mm_mean": [0.1, 0.2, 0.9, None],
            "minutes_kept": [5.0, 5.0, 5.0, 5.0],
            "min_coverage": [None] * 4,
            "keep": [True, True, False, False],
        }
    )


def log(steps: int = 1000) -> pd.DataFrame:
    step = np.arange(steps)
    similarity = np.linspace(0.9, 0.1, steps)
    token = np.where(step % 2, 1.0, np.nan)
    return pd.DataFrame(
        {"step": step, "epoch": step // 10, "loss": -step / steps, "token_loss": token, "token_similarity": similarity}
    )


def draw(scores: tuple[pd.DataFrame, pd.DataFrame], salt: str = "x") -> str:
    with figures.canvas(3, 2) as (figure, (ax,)):
        figures.dots(ax, *scores, chance=50, bold=["b"])
        ax.set_xlabel("$x$ <b>&")
        return figures.svg(figure, salt)


def test_svg_is_deterministic_and_dateless(scores: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    text = draw(scores)
    assert text == draw(scores)
    assert text.startswith("<svg")
    assert "<dc:date" not in text
    assert "Matplotlib" not in text


def test_svg_text_is_escaped_and_never_mathematics(scores: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    texts = [element.text for element in ET.fromstring(draw(scores)).iter("{http://www.w3.org/2000/svg}text")]
    assert "$x$ <b>&" in texts


def test_salts_keep_ids_of_two_figures_apart(scores: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    one, two = ({e.get("id") for e in ET.fromstring(draw(scores, salt)).iter() if e.get("id")} for salt in "xy")
    assert one
    assert not one & two


def test_png_is_deterministic(scores: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    with figures.canvas(3, 2) as (figure, (ax,)):
        figures.dots(ax, *scores, chance=None)
        first, second = figures.png(figure, 50), figures.png(figure, 50)
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_dots_show_every_split_the_interval_and_chance(scores: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    with figures.canvas(3, 2) as (_, (ax,)):
        figures.dots(ax, *scores, chance=50)
        points = np.concatenate([np.asarray(found.get_offsets()) for found in ax.collections])
        lines = [tuple(line.get_xdata()) for line in ax.lines]
        labels = [label.get_text() for label in ax.get_yticklabels()]
    assert sorted(points[:, 0]) == sorted([*scores[0]["value"], 52.0, 62.0])
    assert lines == [(50.0, 54.0), (60.0, 64.0), (50, 50)]
    assert labels == ["a", "b"]
    heights = [points[points[:, 0] == value, 1][0] - row for row, value in enumerate([50, 60])]
    assert heights[0] == pytest.approx(heights[1])  # split 0 at the same height in both rows


def test_training_curves_draw_the_losses_there_are() -> None:
    with figures.canvas(3, 2, 2) as (_, (loss, similarity)):
        figures.training_curves(loss, log())
        figures.token_similarity(similarity, log())
        legend = [text.get_text() for text in loss.get_legend().get_texts()]
        lengths = [len(line.get_xdata()) for line in loss.lines]
        drawn = similarity.lines[1].get_ydata()
    assert legend == ["total", "token"]
    assert max(lengths) <= figures.MAX_POINTS
    assert drawn[0] == pytest.approx(0.9, abs=0.01)
    assert drawn[-1] == pytest.approx(0.1, abs=0.01)


def test_training_curves_draw_what_any_objective_calls_its_losses() -> None:
    frame = log().drop(columns="token_loss")
    for same, labels in ((True, ["latent prediction"]), (False, ["total", "latent prediction"])):
        frame["latent_prediction_loss"] = frame["loss"] + (0 if same else 1)
        with figures.canvas(3, 2) as (_, (ax,)):
            figures.training_curves(ax, frame)
            assert [text.get_text() for text in ax.get_legend().get_texts()] == labels


@pytest.mark.parametrize("frame", [log().iloc[:0], log().drop(columns=["loss", "token_loss", "token_similarity"])])
def test_an_empty_log_says_so(frame: pd.DataFrame) -> None:
    with figures.canvas(3, 2, 2) as (_, (loss, similarity)):
        figures.training_curves(loss, frame)
        figures.token_similarity(similarity, frame)
        texts = [ax.texts[0].get_text() for ax in (loss, similarity)]
    assert texts == ["no loss recorded", "not recorded"]


def test_one_step_is_still_visible() -> None:
    with figures.canvas(3, 2) as (_, (ax,)):
        figures.training_curves(ax, log(1).drop(columns="epoch"))
        assert ax.lines[0].get_marker() == "o"


def test_histograms_count_kept_and_dropped_runs(qc: pd.DataFrame) -> None:
    with figures.canvas(8, 2, 3) as (_, (fd, minutes, coverage)):
        figures.motion(fd, qc, threshold_mm=0.5)
        figures.minutes(minutes, qc)
        figures.coverage(coverage, qc)
        labels = [text.get_text() for text in fd.get_legend().get_texts()]
        total = sum(bar.get_height() for bar in minutes.patches)
        threshold = fd.lines[0].get_xdata()[0]
        said = coverage.texts[0].get_text()
    assert labels == ["kept (2)", "dropped (1)"]  # the run without a measure is not shown
    assert total == 4
    assert threshold == 0.5
    assert said == "no coverage measured"


def test_a_share_of_voxels_is_never_drawn_above_one(qc: pd.DataFrame) -> None:
    with figures.canvas(3, 2) as (_, (ax,)):
        figures.coverage(ax, qc.assign(min_coverage=1.0))
        assert sum(bar.get_height() for bar in ax.patches) == len(qc)
        assert ax.get_xlim() == (0, 1)
