"""The benchmark configs: each is sound as it stands, and the ablations give their table on a small cohort."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from simulated import on_cohorts

from boldtable.simulate import cohort
from boldtable.simulate.atlas import demo457
from boldtable.stages.report.published import load
from boldtable.study import Study

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "config/benchmarks"
CONFIGS = sorted(path.name for path in BENCHMARKS.glob("*.yaml"))


def snakemake(folder: Path, config: Path) -> None:
    """Run a study in `folder`, beside which config/ lies as in the repository; show the logs where it fails."""
    (folder.parent / "config").symlink_to(ROOT / "config")
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
        "--configfile", str(config), "--workflow-profile", str(ROOT / "workflow/profiles/default"), "--cores", "2",
    ]  # fmt: skip
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder / ".cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def primary(folder: Path, table: str) -> pd.DataFrame:
    """The printed numbers of a table."""
    rows = pd.read_csv(folder / f"results/tables/{table}.csv")
    return rows[(rows["row"] == "score") & rows["primary"]]


def test_there_are_benchmarks() -> None:
    published = {
        "semantoks.yaml",
        "semantoks-ablations.yaml",
        "semantoks-scaling.yaml",
        "brain-jepa.yaml",
        "brainlm.yaml",
    }
    assert published | {"abide.yaml", "semantoks-learns.yaml", "stages_fep.yaml"} <= set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_sound_and_its_command_names_it(name: str) -> None:
    Study.load(str(BENCHMARKS / name)).check()
    head = (BENCHMARKS / name).read_text(encoding="utf-8")
    assert f"--configfile config/benchmarks/{name}" in head
    assert not re.search(r"\b(MINUTES|HOURS|TODO|TBD|XXX)\b", head), "a placeholder was left"


@pytest.mark.parametrize("name", CONFIGS)
def test_every_model_is_a_row_of_a_table(name: str) -> None:
    """A model that is trained but shown nowhere is a mistake of the config."""
    config = yaml.safe_load((BENCHMARKS / name).read_text(encoding="utf-8"))
    shown = {row for table in config["report"].values() for row in [*table["models"], *table.get("curves", [])]}
    assert shown == set(config["embed"])
    assert set(config["pretrain"]) <= {embed.get("encoder") for embed in config["embed"].values()}


def test_the_grouping_by_hemisphere_is_that_of_the_demo_atlas() -> None:
    parcels = demo457()[0].parcels
    groups = pd.read_csv(BENCHMARKS / "demo457_hemispheres.tsv", sep="\t")
    assert groups["index"].tolist() == parcels["index"].tolist()
    assert groups["name"].tolist() == parcels["name"].tolist()
    expected = [f"{row['network']}-{row['hemisphere']}" for row in parcels.to_dict("records")]
    assert groups["group"].tolist() == expected
    assert groups["group"].nunique() == 17  # eight networks on two sides; the cerebellum is not divided


def test_nothing_of_the_real_parcels_is_guessed() -> None:
    rows = pd.read_csv(BENCHMARKS / "stages_fep_parcels.tsv", sep="\t", keep_default_na=False)
    assert rows["index"].tolist() == list(range(1, 420))
    assert rows["name"].iloc[[0, 418]].tolist() == ["parcel-001", "parcel-419"]
    assert set(rows["hemisphere"]) == set(rows["network"]) == {"n/a"}


@pytest.mark.parametrize("name", CONFIGS)
def test_published_numbers_are_those_of_rows_and_tasks(name: str) -> None:
    """A table that prints published numbers has some to print, and none for a doubtful one."""
    config = Study.load(str(BENCHMARKS / name))
    for table in config.report.values():
        if table.published:
            known = {(number.task, number.model) for number in load(table.published) if number.doubtful is None}
            tasks = {table.published_tasks.get(task, task) for task in table.tasks}
            models = {table.published_models.get(row, row) for row in table.rows}
            assert {(task, model) for task, model in known if task in tasks and model in models}


# The datasets that are replaced by simulated cohorts; the others are not there, and the table has to say so.
SIMULATED = {
    "abide": ["abide"],
    "brain-jepa": ["ukb-pretrain", "ukb"],
    "brainlm": ["ukb-pretrain", "ukb"],
    "semantoks": ["ukb-pretrain", "abide"],
    "semantoks-scaling": ["ukb-pretrain", "abide"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIMULATED)
def test_a_benchmark_gives_its_table_on_simulated_cohorts(name: str, tmp_path: Path) -> None:
    config = yaml.safe_load((BENCHMARKS / f"{name}.yaml").read_text(encoding="utf-8"))
    config = on_cohorts(config, SIMULATED[name])
    folder = tmp_path / name
    cohort(folder / "data", participants=24, workers=2)
    (folder / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    snakemake(folder, folder / "study.yaml")
    rows = primary(folder, name)
    table = config["report"][name]
    assert set(table["models"]) | {"majority", "nuisance", "connectome"} <= set(rows["model"])
    assert rows["mean"].notna().all()
    text = (folder / f"results/tables/{name}.md").read_text(encoding="utf-8")
    for absent in set(config["collect"]) - set(SIMULATED[name]):
        assert f"- {absent} is not there (no data in nowhere/{absent})" in text
    page = (folder / f"results/tables/{name}.html").read_text(encoding="utf-8")
    assert ('id="scaling"' in page) == (name == "semantoks-scaling")
    assert ('id="networks"' in page) == ("attribution" in table)


@pytest.mark.slow
def test_the_ablations_give_their_table(tmp_path: Path) -> None:
    """The config as it stands, but for fewer participants, one epoch and one task."""
    config = yaml.safe_load((BENCHMARKS / "semantoks-ablations.yaml").read_text(encoding="utf-8"))
    for model in config["pretrain"].values():
        model.update(epochs=min(1, model["epochs"]), batch_size=8)
    table = config["report"]["semantoks-ablations"]
    table["tasks"] = ["aurora-diagnosis"]
    config["probe"] = {"aurora-diagnosis": config["probe"]["aurora-diagnosis"] | {"splits": 3}}
    folder = tmp_path / "demo"
    cohort(folder / "data", participants=12)
    (folder / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    snakemake(folder, folder / "study.yaml")
    rows = primary(folder, "semantoks-ablations").set_index("model")
    assert rows.index.tolist() == table["models"]
    assert rows["mean"].between(0, 1).all()
    trained = rows.index.str.startswith("ablation") & (rows.index != "ablation-untrained")
    assert (rows.loc[trained, "scores_sha256"] != rows.loc["ablation-untrained", "scores_sha256"]).all()
    assert (folder / "results/tables/semantoks-ablations.html").exists()
