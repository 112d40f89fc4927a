"""report: numbers with known truth, errors that name the file, and outputs that never change by themselves."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from boldtable import statistics, store
from boldtable.errors import InputError, SettingsError
from boldtable.settings import Settings
from boldtable.stages import report
from boldtable.stages.report import Report
from boldtable.stages.report.terminal import terminal

MODELS = ("nuisance", "connectome", "semantoks-untrained", "semantoks")
LEVELS = {"nuisance": 0.52, "connectome": 0.70, "semantoks-untrained": 0.60, "semantoks": 0.69}
DATASETS = ("aurora", "borealis")
TARGETS = {"diagnosis": "classification", "sex": "classification", "age": "binned", "coin": "classification"}
N = {"n_train": 28, "n_val": 9, "n_test": 10}
SMALL = ["aurora-sex", "borealis-sex"]
CONFIG = {
    "collect": {name: {"derivatives": f"data/{name}"} for name in DATASETS},
    "parcellate": {"demo457": {"source": "demo457"}},
    "embed": {model: {"encoder": model} for model in MODELS},
}


class Task(Settings):
    """Stands for the settings a probe records in its scores."""

    dataset: str
    kind: str
    target: str | None = None
    bins: int = 5
    seed: int = 21


def write_scores(
    results: Path, model: str, task: str, made: Task, values: dict[str, list[float]], **counts: int
) -> None:
    """Scores of one model on one task, one value per split and metric, and predictions of as many participants."""
    n = N | counts
    rows = [
        {"model": model, "task": task, "split": split, "seed": made.seed + split, "metric": metric, "value": value, **n}
        for metric, found in values.items()
        for split, value in enumerate(found)
    ]
    classes = {"classification": 2, "binned": made.bins}.get(made.kind, 40)
    predictions = [
        {
            "model": model,
            "task": task,
            "split": 0,
            "participant": f"{i:02d}",
            "target": f"c{i % classes}",
            "prediction": "c0",
        }
        for i in range(40)
    ]
    folder = results / "scores" / model
    provenance = store.Provenance("probe", made)
    store.write(folder / f"{task}.parquet", "scores", rows, provenance)
    store.write(folder / f"{task}.predictions.parquet", "predictions", predictions, provenance)


def write_qc(results: Path, dataset: str, reason: str = "gzip ends early") -> Path:
    """48 runs with motion, two of them left out and one noted."""
    rng = np.random.default_rng(len(dataset))
    rows = []
    for i in range(48):
        keep = i not in (3, 7)
        status, stage = ("failed", "parcellate") if i == 3 else ("dropped", "qc") if i == 7 else ("ok", None)
        status, stage = ("unlabelled", "collect") if i == 11 else (status, stage)
        rows.append(
            {
                "dataset": dataset, "participant": f"{i:02d}", "session": "1", "task": "rest", "shard": "000",
                "tr_s": 2.0, "n_frames": 150, "minutes": 5.0, "minutes_kept": 4.8 - rng.random(),
                "fd_mm_mean": float(rng.gamma(3, 0.06)), "min_coverage": float(1 - 0.3 * rng.random() ** 3),
                "keep": keep, "stage": stage, "status": status, "reasons": None if status == "ok" else reason,
            }
        )  # fmt: skip
    path = results / dataset / "qc.parquet"
    store.write(path, "qc", rows, store.Provenance("qc"))
    return path


def write_model(results: Path, name: str, steps: int = 120) -> None:
    """A model folder with config.json and a training log."""
    step = np.arange(steps)
    frame = pd.DataFrame(
        {
            "step": step, "epoch": step // 3, "loss": 1.2 * np.exp(-step / 40) - 1 + 0.05 * np.sin(step),
            "cls_loss": 0.9 * np.exp(-step / 40) - 0.8, "lr": 1e-3,
            "token_loss": np.where(step % 2, 0.3 * np.exp(-step / 40), np.nan),
            "samples_per_s": 100.0, "token_similarity": 0.3 + 0.2 * np.exp(-step / 30),
        }
    )  # fmt: skip
    folder = results / "models" / name
    about = {"kind": "semantoks", "architecture": {"width": 192, "depth": 4}, "input": {"recipe": "r", "tr_s": 2.0}}
    store.write_text(folder / "config.json", json.dumps(about))
    frame.to_parquet(folder / "training.parquet")


def build(results: Path) -> Report:
    """The results folder of a small study with 4 models and 8 tasks, and the settings of its table."""
    rng = np.random.default_rng(1)
    tasks = [f"{dataset}-{target}" for target in TARGETS for dataset in DATASETS]
    for task in tasks:
        dataset, target = task.split("-")
        made = Task(dataset=dataset, kind=TARGETS[target], target=target)
        difficulty = rng.normal(0, 0.04, 10)  # splits are hard or easy for every model alike
        for model in MODELS:
            level = 0.5 if target == "coin" else LEVELS[model] if target != "age" else LEVELS[model] * 0.5
            scores = list(np.clip(level + difficulty + rng.normal(0, 0.02, 10), 0, 1))
            values = {
                "balanced_accuracy": scores,
                "auroc": [x + 0.02 for x in scores],
                "accuracy": scores,
                "f1": scores,
            }
            write_scores(results, model, task, made, values)
    report.ledger([write_qc(results, dataset) for dataset in DATASETS], results / "ledger.parquet")
    write_model(results, "semantoks")
    write_model(results, "semantoks-untrained", steps=0)
    return Report(title="A table", models=list(MODELS), tasks=tasks, pairs=[("semantoks", "semantoks-untrained")])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    results = tmp_path_factory.mktemp("results")
    return build(results), results


@pytest.fixture(scope="module")
def written(study: tuple[Report, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings, results = study
    out = tmp_path_factory.mktemp("tables") / "demo"
    report.run(settings, table="demo", results=results, config=str(CONFIG), out=out)
    return out


@pytest.fixture(scope="module")
def rows(written: Path) -> pd.DataFrame:
    return pd.read_csv(written.with_suffix(".csv"))


def copy(study: tuple[Report, Path], folder: Path) -> Report:
    """A copy of the results that a test may damage, and a table of its two smallest tasks."""
    shutil.copytree(study[1], folder, dirs_exist_ok=True)
    return study[0].model_copy(update={"tasks": SMALL})


def values_of(results: Path, model: str, task: str, metric: str = "balanced_accuracy") -> np.ndarray:
    scores = store.frame(results / "scores" / model / f"{task}.parquet", "scores")
    return scores.loc[scores["metric"] == metric].sort_values("split")["value"].to_numpy()


def test_every_number_is_that_of_the_scores(study: tuple[Report, Path], rows: pd.DataFrame) -> None:
    settings, results = study
    assert len(rows) == len(settings.tasks) * (len(MODELS) * 4 + 1) + len(MODELS)  # a pair a task, a rank a model
    score = rows[rows["row"] == "score"].set_index(["task", "model", "metric"])
    for task in settings.tasks:
        found = score.loc[(task, "semantoks", "auroc")]
        truth = values_of(results, "semantoks", task, "auroc")
        expected = statistics.summary(truth, N["n_train"], N["n_test"])
        assert found[["mean", "sd", "ci_low", "ci_high"]].tolist() == pytest.approx(
            [expected.mean, expected.sd, expected.low, expected.high], rel=1e-5
        )
        assert found[["n_splits", "n_train", "n_val", "n_test"]].tolist() == [10, 28, 9, 10]


def test_differences_are_paired_tests_against_the_reference(study: tuple[Report, Path], rows: pd.DataFrame) -> None:
    _, results = study
    row = rows.query("task == 'aurora-sex' and model == 'nuisance' and primary and row == 'score'").iloc[0]
    both = [values_of(results, model, "aurora-sex") for model in ("nuisance", "connectome")]
    test = statistics.corrected_paired_test(*both, N["n_train"], N["n_test"])
    assert row["reference"] == "connectome"
    assert row[["difference", "p"]].tolist() == pytest.approx([test.difference, test.p], rel=1e-5)
    assert row["difference_low"] < row["difference"] < row["difference_high"] < 0


def test_holm_counts_every_primary_test_of_the_table_once(rows: pd.DataFrame) -> None:
    tested = rows[rows["p"].notna()]
    assert len(tested) == 8 * 4  # three models against the reference and one pair, on eight tasks
    assert set(tested["metric"]) == {"balanced_accuracy"}
    primary = tested[tested["family"] == "primary"]
    assert set(zip(primary["model"], primary["reference"], strict=True)) == {
        ("semantoks", "connectome"),
        ("semantoks", "semantoks-untrained"),
    }
    assert primary["p_holm"].to_numpy() == pytest.approx(statistics.holm(primary["p"].to_numpy()), rel=1e-4)
    rest = tested[tested["family"] == "exploratory"]
    assert rest["p_holm"].isna().all()


def test_baselines_and_controls_do_not_inflate_the_family(study: tuple[Report, Path], tmp_path: Path) -> None:
    settings, results = study
    controls = [task for task in settings.tasks if task.endswith("coin")]
    fewer = settings.model_copy(update={"controls": controls})
    report.run(fewer, table="x", results=results, config=None, out=tmp_path / "x")
    found = pd.read_csv(tmp_path / "x.csv")
    primary = found[found["p_holm"].notna()]
    assert len(primary) == 6 * 2
    assert not primary["task"].isin(controls).any()
    text = (tmp_path / "x.md").read_text()
    assert "but on aurora-coin, borealis-coin" in text
    assert "semantoks on 6 of 6 tasks" in text.replace("\n", " ") or "of 6 tasks" in (tmp_path / "x.html").read_text()


def test_a_pair_with_the_reference_is_no_second_test(study: tuple[Report, Path], tmp_path: Path) -> None:
    settings, results = study
    both = settings.model_copy(update={"pairs": [("connectome", "semantoks")], "tasks": SMALL})
    report.run(both, table="x", results=results, config=None, out=tmp_path / "x")
    found = pd.read_csv(tmp_path / "x.csv")
    once = found[found["p_holm"].notna()].drop_duplicates(["task", "p"])
    assert len(once) == 2 * 2  # against the reference and against its untrained self
    assert once["p_holm"].to_numpy() == pytest.approx(statistics.holm(once["p"].to_numpy()), rel=1e-4)
    pair = found.query("row == 'pair' and task == 'aurora-sex' and model == 'connectome'").iloc[0]
    mirror = found.query("row == 'score' and primary and task == 'aurora-sex' and model == 'semantoks'").iloc[0]
    assert pair["difference"] == pytest.approx(-mirror["difference"])
    assert pair["p_holm"] == mirror["p_holm"]


def test_chance_best_and_marks(rows: pd.DataFrame) -> None:
    shown = rows.query("row == 'score' and primary").set_index(["task", "model"])
    assert shown.loc[("aurora-sex", "semantoks"), "chance"] == 0.5
    assert shown.loc[("aurora-age", "semantoks"), "chance"] == 0.2
    assert (shown.groupby("task")["best"].sum() == 1).all()
    assert (shown.loc[shown["best"], "mean"] == shown.groupby("task")["mean"].transform("max")[shown["best"]]).all()
    assert shown.loc[("aurora-sex", "nuisance"), ["family", "p_holm"]].fillna("").tolist() == ["exploratory", ""]
    auroc = rows.query("metric == 'auroc'")
    assert (auroc["chance"] == 0.5).all()


def test_two_runs_give_the_same_bytes(study: tuple[Report, Path], written: Path, tmp_path: Path) -> None:
    settings, results = study
    report.run(settings, table="demo", results=results, config=str(CONFIG), out=tmp_path / "demo")
    for suffix in (".csv", ".md", ".tex", ".html"):
        assert (tmp_path / f"demo{suffix}").read_bytes() == written.with_suffix(suffix).read_bytes(), suffix


def test_fingerprints_follow_data_and_settings(study: tuple[Report, Path], rows: pd.DataFrame, tmp_path: Path) -> None:
    settings = copy(study, tmp_path / "results")
    rows = rows[rows["task"].isin(SMALL)].reset_index(drop=True)
    changed = tmp_path / "results/borealis/qc.parquet"
    qc = store.frame(changed, "qc")
    store.write(changed, "qc", qc.assign(n_frames=149), store.Provenance("qc"))
    other = CONFIG | {"qc": {"recipe": "other"}}
    report.run(settings, table="demo", results=tmp_path / "results", config=str(other), out=tmp_path / "demo")
    again = pd.read_csv(tmp_path / "demo.csv").query("row != 'rank'")
    same = (again["data_sha256"] == rows["data_sha256"]).groupby(rows["dataset"]).agg(["all", "any"])
    assert same.loc["aurora", "all"]
    assert not same.loc["borealis", "any"]
    assert (again["task"] == rows["task"]).all()
    assert (again["settings_sha256"] != rows["settings_sha256"]).all()
    assert (again["scores_sha256"] == rows["scores_sha256"]).all()


def test_markdown_is_a_github_table(written: Path) -> None:
    lines = written.with_suffix(".md").read_text().splitlines()
    grid = [line for line in lines if line.startswith("|")][:8]
    assert {line.count("|") for line in grid} == {11}
    assert "| *n* | 28/9/10 |" in grid[7]
    semantoks = next(line for line in grid if line.startswith("| semantoks |"))
    assert "±" in semantoks
    assert "[" in semantoks
    cells = np.array([line.strip("| ").split(" | ") for line in grid[2:6]])
    assert (np.char.count(cells[:, 1:-1], "**").sum(axis=0) == 2).all()  # one bold number in every column
    assert "▽" in next(line for line in grid if line.startswith("| nuisance |"))
    assert "†" not in "".join(grid)


def test_latex_escapes_names_and_uses_booktabs(study: tuple[Report, Path], tmp_path: Path) -> None:
    settings, results = study
    wild = settings.model_copy(update={"tasks": SMALL, "title": r"100% of R&D_2 \input{x} $y$"})
    report.run(wild, table="a_b", results=results, config=None, out=tmp_path / "t")
    text = (tmp_path / "t.tex").read_text()
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert r"100\% of R\&D\_2 \textbackslash{}input\{x\} \$y\$" in body
    assert r"\label{tab:a-b}" in body
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert rule in body
    table_lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in table_lines} == {3}


@pytest.mark.parametrize("width", [80, 160])
def test_terminal_table_fits_its_console(written: Path, width: int) -> None:
    stream = io.StringIO()
    Console(file=stream, width=width).print(terminal(written.with_suffix(".csv")))
    text = stream.getvalue()
    assert max(len(line) for line in text.splitlines()) <= width
    assert "connectome *" in text
    assert "…" not in text
    assert text.count("diagnosis") == 2
    assert text.count("[") == 4 * 8 + 1


def test_terminal_refuses_other_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="table not found"):
        terminal(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="column row is missing"):
        terminal(tmp_path / "other.csv")


def test_regression_and_fingerprint(tmp_path: Path) -> None:
    age = Task(dataset="aurora", kind="regression", target="age_years")
    twin = Task(dataset="aurora", kind="fingerprint")
    for model, error in (("one", 9.0), ("two", 5.0)):
        found = {"mae": [error, error + 1, error + 0.5], "r2": [0.1, 0.2, 0.15], "pearson_r": [0.3, 0.4, 0.35]}
        write_scores(tmp_path, model, "age", age, found)
        values = {"accuracy": [0.9], "mean_rank": [1.5]}
        write_scores(tmp_path, model, "again", twin, values, n_train=0, n_val=0, n_test=20)
    report.ledger([write_qc(tmp_path, "aurora")], tmp_path / "ledger.parquet")
    settings = Report(models=["one", "two"], tasks=["age", "again"], reference="one")
    report.run(settings, table="t", results=tmp_path, config=None, out=tmp_path / "t")
    rows = pd.read_csv(tmp_path / "t.csv").set_index(["task", "model", "metric"])
    assert rows.loc[("age", "two", "mae"), "best"]
    assert rows.loc[("age", "two", "mae"), "difference"] == pytest.approx(-4)
    assert np.isnan(rows.loc[("age", "two", "mae"), "chance"])
    assert rows.loc[("age", "two", "r2"), "chance"] == 0
    again = rows.loc[("again", "two", "accuracy")]
    assert again["chance"] == pytest.approx(1 / 20)
    assert again[["ci_low", "ci_high"]].tolist() == pytest.approx(list(statistics.wilson(18, 20)), rel=1e-5)
    assert np.isnan(again["p"])
    assert rows.loc[("again", "two", "mean_rank"), "chance"] == pytest.approx(10.5)
    assert "Wilson" in (tmp_path / "t.md").read_text()


def test_pretraining_on_test_participants_is_said(study: tuple[Report, Path], tmp_path: Path) -> None:
    settings = copy(study, tmp_path)
    seen = '{"trained": true, "participants": {"aurora": ["00", "01", "99"]}}'
    store.write_text(tmp_path / "models/semantoks/data.json", seen)
    store.write_text(tmp_path / "models/semantoks-untrained/data.json", seen.replace("true", "false"))
    report.run(settings, table="t", results=tmp_path, config=None, out=tmp_path / "t")
    notes = [line for line in (tmp_path / "t.md").read_text().splitlines() if "was pretrained" in line]
    assert len(notes) == 1
    assert "- semantoks was" in notes[0]
    assert "2 of 40 (aurora-sex)" in notes[0]
    assert "borealis" not in notes[0]


def test_missing_files_name_the_stage_to_run(study: tuple[Report, Path], tmp_path: Path) -> None:
    settings = copy(study, tmp_path)
    cases = {
        "scores/semantoks/aurora-sex.parquet": "stage 'probe'",
        "scores/nuisance/aurora-sex.predictions.parquet": "stage 'probe'",
        "borealis/qc.parquet": "stage 'qc'",
        "ledger.parquet": "ledger",
    }
    for name, hint in cases.items():
        path = tmp_path / name
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(InputError, match=hint) as raised:
            report.run(settings, table="t", results=tmp_path, config=None, out=tmp_path / "t")
        assert str(path) in str(raised.value)
        path.write_bytes(kept)
    assert not list(tmp_path.glob("t.*"))


def test_unknown_models_are_named(tmp_path: Path, study: tuple[Report, Path]) -> None:
    settings, results = study
    wrong = Report(models=["connectome", "semantok"], tasks=settings.tasks)
    with pytest.raises(InputError, match="did you mean 'semantoks'"):
        report.run(wrong, table="t", results=results, config=None, out=tmp_path / "t")
    with pytest.raises(SettingsError, match="'semantok' is not defined in the 'embed' block, did you mean"):
        report.run(wrong, table="t", results=results, config=str(CONFIG), out=tmp_path / "t")


def test_models_on_different_splits_are_refused(study: tuple[Report, Path], tmp_path: Path) -> None:
    settings = copy(study, tmp_path)
    made = Task(dataset="aurora", kind="classification", target="sex")
    write_scores(tmp_path, "semantoks", "aurora-sex", made, {"balanced_accuracy": [0.5, 0.6]})
    with pytest.raises(InputError, match=r"aurora-sex.*0 to 9 \(10\).*'semantoks' has 0 to 1 \(2\)"):
        report.run(settings, table="t", results=tmp_path, config=None, out=tmp_path / "t")


def test_models_with_different_metrics_or_none_are_refused(study: tuple[Report, Path], tmp_path: Path) -> None:
    settings = copy(study, tmp_path)
    made = Task(dataset="aurora", kind="classification", target="sex")
    write_scores(tmp_path, "semantoks", "aurora-sex", made, {"balanced_accuracy": [0.5] * 10})
    with pytest.raises(InputError, match=r"has the metrics accuracy, auroc, .*'semantoks' has balanced_accuracy"):
        report.run(settings, table="t", results=tmp_path, config=None, out=tmp_path / "t")
    for model in MODELS:
        values = [float("nan")] * 10 if model == "semantoks" else [0.5] * 10
        write_scores(tmp_path, model, "aurora-sex", made, {"balanced_accuracy": values})
    with pytest.raises(InputError, match="'semantoks': no split has a value"):
        report.run(settings, table="t", results=tmp_path, config=None, out=tmp_path / "t")


def test_different_numbers_of_participants_are_said(study: tuple[Report, Path], tmp_path: Path) -> None:
    settings = copy(study, tmp_path)
    made = Task(dataset="aurora", kind="classification", target="sex")
    for model in MODELS:
        values = {"balanced_accuracy": [0.5, 0.6, float("nan") if model == "nuisance" else 0.7]}
        write_scores(tmp_path, model, "aurora-sex", made, values, n_test=8 if model == "semantoks" else 10)
    report.run(settings, table="t", results=tmp_path, config=None, out=tmp_path / "t")
    text = (tmp_path / "t.md").read_text()
    assert "different numbers of participants (nuisance 10, connectome 10, semantoks-untrained 10, semantoks 8)" in text
    assert "nuisance has no balanced_accuracy in 1 of its splits" in text


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"reference": "connectom"}, "did you mean 'connectome'"),
        ({"pairs": [["connectome", "connectome"]]}, "against itself"),
        ({"models": ["connectome", "connectome"]}, "twice"),
        ({"pair": []}, "did you mean 'pairs'"),
    ],
)
def test_settings_that_disagree_are_refused(change: dict[str, object], hint: str) -> None:
    good = {"models": ["connectome", "nuisance"], "tasks": ["sex"]}
    with pytest.raises(SettingsError, match=hint):
        Report.parse(good | change)


def test_settings_are_read_without_the_packages_of_the_page() -> None:
    code = "import sys, boldtable.stages.report; print({'matplotlib', 'jinja2', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_ledger_holds_every_run_that_is_not_ok(tmp_path: Path) -> None:
    paths = [write_qc(tmp_path, dataset) for dataset in reversed(DATASETS)]
    found = report.ledger(paths, tmp_path / "ledger.parquet")
    again = store.frame(tmp_path / "ledger.parquet", "ledger")
    assert found["participant"].tolist() == ["03", "07", "11"] * 2
    assert found["dataset"].tolist() == ["aurora"] * 3 + ["borealis"] * 3
    assert again["stage"].tolist() == ["parcellate", "qc", "collect"] * 2
    assert again["status"].tolist() == ["failed", "dropped", "unlabelled"] * 2
    assert set(again["reason"]) == {"gzip ends early"}


def test_ledger_of_nothing_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "qc.parquet"
    store.write(path, "qc", [], store.Provenance("qc"))
    assert report.ledger([path], tmp_path / "ledger.parquet").empty
    assert store.frame(tmp_path / "ledger.parquet", "ledger").empty
