"""report: sites left out, with intervals and tests over participants; the metric a task chooses; transfer; k-fold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from task_files import Dataset, notes, split
from task_files import settings as task_settings
from test_report import write_qc
from test_report_page import Page

from boldtable import store
from boldtable.errors import SettingsError
from boldtable.stages import report
from boldtable.stages.probe import metrics
from boldtable.stages.report import Report

SITES: dict[str, Any] = {"scheme": "leave-one-site-out", "target": "sex"}


def write(results: Path, model: str, people: pd.DataFrame, **task: Any) -> None:
    """Scores and predictions of a task as a probe writes them; `people` has participant, split, site, target, p."""
    made, rows, scores = task_settings(**{**SITES, **task}), [], []
    for number, part in people.groupby("split"):
        truth, p = (part["target"] == "b").to_numpy().astype(int), part["p"].to_numpy()
        for metric, value in metrics.classification(truth, np.stack([1 - p, p], axis=1)).items():
            counts = {"n_train": 40, "n_val": 8, "n_test": len(part)}
            scores.append(
                {"model": model, "task": "sex", "split": number, "seed": 0, "metric": metric, "value": value, **counts}
            )
        rows += [
            {"model": model, "task": "sex", "dataset": "aurora", "participant": one.participant, "site": one.site,
             "group": one.group, "split": number, "target": one.target, "prediction": "b" if one.p > 0.5 else "a",
             "score": one.p, "probabilities": [1 - one.p, one.p]}
            for one in part.itertuples()
        ]  # fmt: skip
    path = results / "scores" / model / "sex.parquet"
    store.write(path, "scores", scores, store.Provenance("probe", made))
    about = store.Provenance("probe", made, classes=("a", "b"))
    store.write(path.with_name("sex.predictions.parquet"), "predictions", rows, about)


def cohort(sizes: list[int], p: np.ndarray | None = None) -> pd.DataFrame:
    """Participants at sites of these sizes, half of each class, each site a split; `p` (of b) is right by default."""
    site = np.repeat(np.arange(len(sizes)), sizes)
    target = np.concatenate([np.arange(n) % 2 for n in sizes])
    names = [f"{i:03d}" for i in range(len(site))]
    return pd.DataFrame(
        {"participant": names, "group": names, "split": site, "site": [f"site{k}" for k in site],
         "target": np.where(target, "b", "a"), "p": np.where(target, 0.9, 0.1) if p is None else p}
    )  # fmt: skip


def run(results: Path, models: list[str], **values: Any) -> pd.DataFrame:
    report.ledger([write_qc(results, name) for name in ("aurora", "borealis")], results / "ledger.parquet")
    settings = Report(models=models, tasks=["sex"], reference=models[0], **values)
    report.run(settings, table="t", results=results, config=None, out=results / "t")
    return pd.read_csv(results / "t.csv")


def test_equal_sites_have_an_interval_over_participants_and_an_exact_test(tmp_path: Path) -> None:
    """Case 16: two sites of 8, A right on 7 of 8 in both and B on 8 of 8."""
    right = cohort([8, 8])
    wrong = right.assign(p=right["p"].where(~right.index.isin([0, 9]), 1 - right["p"]))
    for model, people in (("a", wrong), ("b", right), ("b-untrained", wrong)):
        write(tmp_path, model, people)
    rows = run(tmp_path, ["a", "b-untrained", "b"])
    score = rows.query("row == 'score' and primary").set_index("model")
    assert score.loc["a", ["mean", "ci_low", "ci_high"]].tolist() == pytest.approx([0.875, 0.640, 0.965], abs=1e-3)
    assert score.loc["b", "p"] == pytest.approx(0.5)
    assert score.loc["b", "p_holm"] == pytest.approx(1), "against the reference and its untrained self"
    assert score["inference"].unique().tolist() == ["participants"]
    text = (tmp_path / "t.md").read_text()
    assert "87.5 [64.0, 96.5]" in text
    assert "87.5 ± 0.0" not in text
    assert "[100.0, 100.0]" not in text
    assert "Better than a after correction: no model on any task." in (tmp_path / "t.html").read_text()


def test_sites_are_listed_with_classes_and_scores(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    people = cohort([40, 30, 12])
    for model, shift in (("a", 0.3), ("b", 1.0)):
        p = 1 / (
            1 + np.exp(-(shift * np.where(people["target"] == "b", 1, -1) + rng.normal(size=82) + people["split"]))
        )
        write(tmp_path, model, people.assign(p=p))
    rows = run(tmp_path, ["a", "b"])
    sites = rows.query("row == 'site' and model == 'b'").set_index("site")
    assert sites["n"].tolist() == [40, 30, 12]
    assert sites.loc["site0", "classes"] == "a 20, b 20"
    scores = store.frame(tmp_path / "scores/b/sex.parquet", "scores").query("metric == 'balanced_accuracy'")
    assert sites["mean"].tolist() == pytest.approx(scores["value"].tolist(), rel=1e-5)
    whole = rows.query("row == 'score' and model == 'b'").set_index("metric")
    assert whole.loc["balanced_accuracy", "mean"] == whole.loc["balanced_accuracy", "pooled"]
    assert whole.loc["auroc", "mean"] == whole.loc["auroc", "weighted_mean"] != whole.loc["auroc", "pooled"]
    assert whole.loc["balanced_accuracy", "part_mean"] == pytest.approx(scores["value"].mean(), rel=1e-5)
    html = (tmp_path / "t.html").read_text()
    page = Page(html)
    assert ("section", "id", "sites") in page.attributes
    assert {"site1", "a 15, b 15", "mean over sites, by participants"} <= {text.strip() for text in page.text}
    assert html.count("site2") >= 2 + 1, "dots are labelled"
    assert "## Sites of sex: balanced accuracy (%)" in (tmp_path / "t.md").read_text()
    assert "each of 3 sites is left out once; balanced accuracy is pooled over all participants" in html


def test_a_site_of_five_is_not_tested_and_named(tmp_path: Path) -> None:
    """Case 20: one site of 3 + 2 people among larger ones."""
    aurora = Dataset(tmp_path, n=53)
    aurora.people.loc[48:, "site"] = "tiny"
    aurora.people.loc[48:, "diagnosis"] = ["patient"] * 3 + ["control"] * 2
    made = split(aurora, scheme="leave-one-site-out")
    assert set(made["held_out"]) == {"s0", "s1", "s2"}
    assert set(made.loc[made["part"] == "train", "site"]) >= {"tiny"}
    line = "site tiny is not tested: participants per class: control 2, patient 3, fewer than site_minimum (5)"
    assert notes(aurora) == [line]
    assert "tiny" in set(split(aurora, scheme="leave-one-site-out", site_minimum=2)["held_out"])
    made = split(aurora, scheme="leave-one-site-out", kind="regression", target="age_years", site_minimum=6)
    assert "tiny" not in set(made["held_out"])
    assert notes(aurora) == ["site tiny is not tested: 5 participant(s), fewer than site_minimum (6)"]


def test_a_task_chooses_its_metric(tmp_path: Path) -> None:
    people = cohort([20, 20, 20])
    for model in ("a", "b"):
        write(tmp_path, model, people.assign(p=np.random.default_rng(len(model)).random(60)), metric="auroc")
    rows = run(tmp_path, ["a", "b"])
    assert rows.query("row == 'score' and primary")["metric"].unique().tolist() == ["auroc"]
    assert set(rows.query("row == 'score'")["metric"]) == {"auroc", "balanced_accuracy", "accuracy", "f1"}
    assert rows.query("p == p")["metric"].unique().tolist() == ["auroc"]
    assert "balanced accuracy " in next(
        line for line in (tmp_path / "t.md").read_text().splitlines() if "| b |" in line
    )
    with pytest.raises(SettingsError, match="metric 'r2' is none of kind 'classification'"):
        task_settings(metric="r2")


@pytest.mark.parametrize("scheme", ["kfold", "transfer"])
def test_whoever_is_tested_equally_often_is_the_unit(tmp_path: Path, scheme: str) -> None:
    rng = np.random.default_rng(1)
    people = cohort([60])
    more: dict[str, Any] = {"splits": 6, "folds": 3} if scheme == "kfold" else {"test_dataset": "borealis"}
    for model in ("a", "b"):
        repeated = []
        for repetition in range(2):
            fold = rng.permutation(60) % 3 if scheme == "kfold" else np.zeros(60, dtype=int)
            p = np.clip(np.where(people["target"] == "b", 0.6, 0.4) + 0.25 * rng.normal(size=60), 0.01, 0.99)
            repeated.append(people.assign(p=p, split=fold + repetition * (3 if scheme == "kfold" else 1)))
        rng = np.random.default_rng(1)  # the same folds for both
        write(tmp_path, model, pd.concat(repeated), scheme=scheme, **more)
    score = run(tmp_path, ["a", "b"]).query("row == 'score' and primary").set_index("model")
    assert score["inference"].unique().tolist() == ["participants"]
    width = score.loc["a", "ci_high"] - score.loc["a", "ci_low"]
    assert 0.15 < width < 0.3, "that of 60 participants, not of 120 tests or of two splits"


def test_families_are_counted_as_one(tmp_path: Path) -> None:
    people = cohort([24, 24])
    people["group"] = [f"family {i // 2}" for i in range(48)]
    people["p"] = np.where(np.arange(48) // 2 % 4 == 0, 1 - people["p"], people["p"])
    write(tmp_path, "a", people)
    run(tmp_path, ["a"])
    assert "over 24 families of 48 participants" in (tmp_path / "t.md").read_text()


def test_what_is_hostile_stays_text_in_every_format(tmp_path: Path) -> None:
    people = cohort([16, 16])
    people["site"] = people["site"].map({"site0": "=HYPERLINK(1)", "site1": "a\x1b[31mred|[x](http://e.x) ![i](j)"})
    write(tmp_path, "a", people)
    title = "![pixel](http://evil.example/p.png) [link](x) <b> $y$ \x1b]0;t\x07 \\input{z}"
    run(tmp_path, ["a"], title=title)
    csv, md, tex = ((tmp_path / f"t.{end}").read_text() for end in ("csv", "md", "tex"))
    assert ",'=HYPERLINK(1)," in csv
    assert not re.search(r"(^|,)\"?=", csv, flags=re.M)
    assert "\x1b" not in csv + md + tex
    assert r"!\[pixel\](http:\//evil.example/p.png)" in md
    assert not re.search(r"(?<!\\)\[[^\]]*(?<!\\)\]\(", md)
    assert r"\textbackslash{}input\{z\}" in tex
    assert r"\input{z}" not in "\n".join(line for line in tex.splitlines())
