"""report: new sites first, seeds as one row, shared participants, chance, mean ranks, published numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_report import Task, write_qc, write_scores

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.stages import report
from boldtable.stages.report import Report, published

UNTRAINED = ["semantoks-untrained-1", "semantoks-untrained-2", "semantoks-untrained-3"]
SPLITS, PEOPLE = 6, 30


class SplitTask(Task):
    """A task whose settings say how it is split."""

    scheme: str = "random"


def write(results: Path, model: str, task: str, made: Task, levels: list[float], metric: str = "") -> None:
    """Scores of these values on every split; predictions are right as often as the level says."""
    metric = metric or ("mae" if made.kind == "regression" else "balanced_accuracy")
    write_scores(results, model, task, made, {metric: levels})
    rng = np.random.default_rng(3)
    rows = []
    for split, level in enumerate(levels):
        for i in (np.arange(12) + 10 * split) % PEOPLE:
            right = rng.random() < level
            rows.append(
                {"model": model, "task": task, "split": split, "participant": f"{i:02d}", "target": f"c{i % 2}",
                 "prediction": f"c{(i + (not right)) % 2}"}
            )  # fmt: skip
    path = results / "scores" / model / f"{task}.predictions.parquet"
    store.write(path, "predictions", rows, store.Provenance("probe", made))


def run(results: Path, settings: Report) -> pd.DataFrame:
    report.ledger([write_qc(results, "aurora")], results / "ledger.parquet")
    report.run(settings, table="t", results=results, config=None, out=results / "t")
    return pd.read_csv(results / "t.csv")


def sex(scheme: str = "random") -> SplitTask:
    return SplitTask(dataset="aurora", kind="classification", target="sex", scheme=scheme)


def test_new_sites_lead_the_table_with_the_random_splits_beside_them(tmp_path: Path) -> None:
    age = SplitTask(dataset="aurora", kind="classification", target="age")
    for model in ("connectome", "nuisance"):
        write(tmp_path, model, "aurora-sex", sex(), [0.6] * SPLITS)
        write(tmp_path, model, "aurora-age", age, [0.7] * SPLITS)
        write(tmp_path, model, "aurora-sex-sites", sex("leave-one-site-out"), [0.5] * SPLITS)
    tasks = ["aurora-age", "aurora-sex", "aurora-sex-sites"]
    rows = run(tmp_path, Report(models=["connectome", "nuisance"], tasks=tasks))
    shown = rows.query("row == 'score' and primary")
    assert shown["task"].drop_duplicates().tolist() == ["aurora-sex-sites", "aurora-sex", "aurora-age"]
    assert shown.set_index("task").loc["aurora-sex-sites", "scheme"].unique() == ["leave-one-site-out"]
    text = (tmp_path / "t.md").read_text()
    assert "| model | aurora-sex-sites (sites left out) | aurora-sex | aurora-age |" in text
    assert "aurora-sex-sites: one site of 6 is left out at a time" in text
    assert "sites left out" in (tmp_path / "t.html").read_text()
    assert "sites left out" in (tmp_path / "t.tex").read_text()


def test_a_table_without_new_sites_says_that_the_scanner_may_help(tmp_path: Path) -> None:
    people = [{"dataset": "aurora", "participant": f"{i:02d}", "group": f"{i:02d}"} for i in range(PEOPLE)]
    for task, made, n_sites in (("sex", sex(), 2), ("sex-sites", sex("leave-one-site-out"), 2), ("one", sex(), 1)):
        write(tmp_path, "connectome", task, made, [0.6] * SPLITS)
        rows = [
            {**one, "site": f"s{i % n_sites}", "task": task, "split": 0, "part": "test", "target": "m"}
            for i, one in enumerate(people)
        ]
        store.write(tmp_path / "splits" / f"{task}.parquet", "splits", rows, store.Provenance("split", made))
    line = "participants of several sites stand on both sides"
    run(tmp_path, Report(models=["connectome"], tasks=["sex", "one"]))
    assert f"- sex: {line}" in (tmp_path / "t.md").read_text()
    run(tmp_path, Report(models=["connectome"], tasks=["sex", "sex-sites"]))
    assert line not in (tmp_path / "t.md").read_text()


def test_several_seeds_are_one_row_and_their_mean(tmp_path: Path) -> None:
    for k, model in enumerate(UNTRAINED):
        write(tmp_path, model, "sex", sex(), [0.5 + 0.03 * k + 0.01 * split for split in range(SPLITS)])
    write(tmp_path, "connectome", "sex", sex(), [0.7] * SPLITS)
    settings = Report(models=["connectome", *UNTRAINED], tasks=["sex"], pairs=[("connectome", "semantoks-untrained")])
    assert settings.rows == {"connectome": ["connectome"], "semantoks-untrained": UNTRAINED}
    rows = run(tmp_path, settings).query("row == 'score'").set_index("model")
    assert rows.index.tolist() == ["connectome", "semantoks-untrained"]
    assert rows.loc["semantoks-untrained", "mean"] == pytest.approx(0.53 + 0.025)
    assert rows.loc["semantoks-untrained", "n_seeds"] == 3
    assert rows.loc["semantoks-untrained", "sd"] == pytest.approx(np.std(0.01 * np.arange(SPLITS), ddof=1), rel=1e-5)
    assert "| semantoks-untrained (mean of 3 seeds) |" in (tmp_path / "t.md").read_text()


def test_one_seed_or_a_model_of_that_name_are_left_as_they_are() -> None:
    assert Report(models=["connectome", UNTRAINED[0]], tasks=["sex"]).rows[UNTRAINED[0]] == [UNTRAINED[0]]
    both = Report(models=["connectome", "semantoks-untrained", *UNTRAINED], tasks=["sex"])
    assert list(both.rows) == both.models


def drop(path: Path, gone: set[str]) -> None:
    rows = store.frame(path, "predictions")
    store.write(path, "predictions", rows[~rows["participant"].isin(gone)], store.Provenance("probe"))


def test_models_tested_on_different_people_are_compared_on_those_they_share(tmp_path: Path) -> None:
    for model, level in (("connectome", 0.9), ("nuisance", 0.5)):
        write(tmp_path, model, "sex", sex(), [level] * SPLITS)
    path = tmp_path / "scores/nuisance/sex.predictions.parquet"
    drop(path, {"00", "01", "02"})
    rows = run(tmp_path, Report(models=["connectome", "nuisance"], tasks=["sex"])).query("row == 'score'")
    rows = rows.set_index("model")
    assert rows["n"].tolist() == [27, 27]
    kept = store.frame(tmp_path / "scores/connectome/sex.predictions.parquet", "predictions")
    kept = kept[~kept["participant"].isin({"00", "01", "02"})].assign(right=lambda t: t["target"] == t["prediction"])
    by_hand = kept.groupby(["split", "target"])["right"].mean().groupby("split").mean().mean()
    assert rows.loc["connectome", "mean"] == pytest.approx(by_hand, rel=1e-5)
    text = (tmp_path / "t.md").read_text()
    assert (
        "sex: its models were tested on different participants (connectome 30, nuisance 27); the table uses the 27"
        in text
    )
    drop(path, {f"{i:02d}" for i in range(PEOPLE) if i != 5})
    with pytest.raises(InputError, match=r"'sex': its models share no test participant in split 1 \(connectome 30"):
        run(tmp_path, Report(models=["connectome", "nuisance"], tasks=["sex"]))


def test_a_test_against_chance_stands_beside_every_cell(tmp_path: Path) -> None:
    for model, level in (("connectome", 0.95), ("nuisance", 0.5), ("nuisance-untrained", 0.5)):
        write(tmp_path, model, "sex", sex(), [level] * SPLITS)
    settings = Report(models=["connectome", "nuisance", "nuisance-untrained"], tasks=["sex"])
    rows = run(tmp_path, settings).query("row == 'score'").set_index("model")
    assert rows.loc["connectome", "p_chance"] == pytest.approx(1 / 2000)
    assert rows.loc["nuisance", "p_chance"] > 0.05
    assert rows.loc["nuisance", "p_chance_holm"] == rows.loc["nuisance", "p_chance"], "alone in its family: trained"
    assert np.isnan(rows.loc["connectome", "p_chance_holm"])
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert "p <0.001" in next(line for line in lines if line.startswith("| connectome"))
    assert "1999 permutations" in "".join(lines)
    without = settings.model_copy(update={"permutations": 0})
    assert run(tmp_path, without)["p_chance"].isna().all()


def test_mean_ranks_share_ties_and_mind_the_direction(tmp_path: Path) -> None:
    years = SplitTask(dataset="aurora", kind="regression", target="age_years")
    for model, share, error in (("a", 0.8, 9.0), ("b", 0.8, 5.0), ("c", 0.6, 7.0)):
        write(tmp_path, model, "sex", sex(), [share] * SPLITS)
        write_scores(tmp_path, model, "age", years, {"mae": [error] * SPLITS})
    rows = run(tmp_path, Report(models=["a", "b", "c"], tasks=["sex", "age"], reference="a"))
    ranks = rows.query("row == 'rank'").set_index("model")
    assert ranks["mean"].to_dict() == {"a": 2.25, "b": 1.25, "c": 2.5}
    assert set(ranks["n_splits"]) == {2}
    last = [line for line in (tmp_path / "t.md").read_text().splitlines() if line.startswith(("| a", "| b", "| c"))]
    assert [line.rstrip("| ").rsplit(" ", 1)[1] for line in last[:3]] == ["2.2", "1.2", "2.5"]


def test_a_published_number_stands_beside_the_measured_one(tmp_path: Path) -> None:
    write(tmp_path, "ours", "autism", sex(), [0.66, 0.64, 0.65, 0.63, 0.67, 0.65])
    settings = Report(
        models=["ours"], tasks=["autism"], reference="ours", published="semantoks",
        published_tasks={"autism": "abide-autism"}, published_models={"ours": "semantoks"},
    )  # fmt: skip
    row = run(tmp_path, settings).iloc[0]
    assert row["published"] == pytest.approx(0.6513)
    assert row["published_difference"] == pytest.approx(0.65 - 0.6513, rel=1e-3)
    assert row["published_inside"]
    assert "Table 1" in row["published_source"]
    text = (tmp_path / "t.md").read_text()
    assert "## Measured beside published" in text
    assert "| autism | ours | balanced accuracy (%) | 65.0 [" in text
    assert "| 65.1 | \N{MINUS SIGN}0.1 | yes |" in text
    assert "Table 1" in (tmp_path / "t.html").read_text()
    none = settings.model_copy(update={"published": None})
    assert run(tmp_path, none)["published"].isna().all()
    with pytest.raises(SettingsError, match="did you mean 'semantoks'"):
        run(tmp_path, settings.model_copy(update={"published": "semantok"}))
    with pytest.raises(SettingsError, match="need 'published'"):
        Report.parse({"models": ["connectome"], "tasks": ["a"], "published_tasks": {"a": "b"}})


@pytest.mark.parametrize("name", ["semantoks", "brain-jepa", "brainlm"])
def test_every_published_number_has_a_source_and_no_doubtful_one_is_printed(name: str) -> None:
    numbers = published.load(name)
    plain = [number for number in numbers if number.doubtful is None]
    assert all(number.source for number in numbers)
    assert len({(number.task, number.model, number.metric) for number in plain}) == len(plain)
    for number in numbers:
        settings = Report(models=[number.model], tasks=[number.task], reference=number.model, published=name)
        row: dict[str, Any] = {"task": number.task, "model": number.model, "metric": number.metric}
        shown = published.beside(settings, numbers, row | {"mean": 0.5, "ci_low": 0.4, "ci_high": 0.6})
        if number.doubtful:
            assert shown.get("published") != pytest.approx(number.measured_as)
        else:
            assert shown["published"] == number.measured_as


def test_the_averages_that_a_summary_confused_are_doubtful() -> None:
    known = {(number.model, number.value): number.doubtful for number in published.load("semantoks")}
    assert known["brain-jepa", 47.32]
    assert known["brainlm", 50.07]
    assert known["semantoks-no-cls-loss", 47.32] is None
    root = Path(__file__).resolve().parents[2]
    texts = [*root.glob("*.md"), *root.glob("config/**/*.*"), *root.glob("src/**/*.py"), *root.glob("src/**/*.jinja")]
    assert len(texts) > 50
    for path in texts:
        assert not {"47.32", "50.07"} & set(path.read_text(encoding="utf-8").split()), path


def test_what_is_skipped_is_said(tmp_path: Path) -> None:
    write(tmp_path, "ours", "sex", sex(), [0.6] * SPLITS)
    line = "ukb is not there (no folder data/ukb): without ukb-sex and ukb-age"
    run(tmp_path, Report(models=["ours"], tasks=["sex"], reference="ours", skipped=[line]))
    assert f"- {line}" in (tmp_path / "t.md").read_text()
    assert line in (tmp_path / "t.html").read_text()
