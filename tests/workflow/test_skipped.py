"""A dataset that is not there is left out of the workflow with a line, and an empty study is refused."""

from conftest import Study

LINE = "ukb is not there (no data in nowhere/ukb): without the tasks ukb-sex"


def test_an_optional_dataset_is_left_out_with_a_line_until_it_is_there(study: Study) -> None:
    study.config["collect"]["ukb"] = {"derivatives": "nowhere/ukb", "optional": True}
    study.config["probe"]["ukb-sex"] = study.config["probe"]["sex"] | {"dataset": "ukb"}
    study.config["report"]["main"]["tasks"].append("ukb-sex")
    without = study.snakemake("--dry-run")
    assert without.returncode == 0, without.stderr
    assert without.stderr.count(LINE) == 1
    assert "results/aurora/runs.parquet" in without.stdout
    assert "results/ukb/runs.parquet" not in without.stdout
    (study.folder / "nowhere/ukb/sub-01").mkdir(parents=True)
    with_it = study.snakemake("--dry-run")
    assert LINE not in with_it.stderr
    assert "results/ukb/runs.parquet" in with_it.stdout


def test_a_study_of_nothing_is_refused(study: Study) -> None:
    study.config["collect"]["aurora"] = {"derivatives": "nowhere", "optional": True}
    done = study.snakemake("--dry-run")
    assert done.returncode == 2
    assert "boldtable: error: none of the datasets is there (nowhere): fill in where yours lie" in done.stderr
