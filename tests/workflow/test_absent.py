"""A dataset that is not there is left out of the workflow with a line, and an empty study is refused."""

from conftest import Study

LINE = "ukb is not there (no data in nowhere/ukb): without the tasks ukb-sex"


def test_an_optional_dataset_that_is_not_there_is_skipped(study: Study) -> None:
    study.config["collect"]["ukb"] = {"derivatives": "nowhere/ukb", "optional": True}
    study.config["probe"]["ukb-sex"] = study.config["probe"]["sex"] | {"dataset": "ukb"}
    study.config["report"]["main"]["tasks"].append("ukb-sex")
    calls = study.run()
    assert any(call.startswith("report") for call in calls)
    assert not any("ukb" in call for call in calls)
    assert study.run() == []
    (study.folder / "nowhere/ukb/sub-01").mkdir(parents=True)
    again = study.run()
    assert any("ukb-sex" in call for call in again)  # it came, so its tasks and the table are made
    assert any(call.startswith("report") for call in again)


def test_it_is_said(study: Study) -> None:
    study.config["collect"]["ukb"] = {"derivatives": "nowhere/ukb", "optional": True}
    study.config["probe"]["ukb-sex"] = study.config["probe"]["sex"] | {"dataset": "ukb"}
    study.config["report"]["main"]["tasks"].append("ukb-sex")
    done = study.snakemake("--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(LINE) == 1


def test_a_study_of_nothing_is_refused(study: Study) -> None:
    study.config["collect"]["aurora"] = {"derivatives": "nowhere", "optional": True}
    done = study.snakemake("--dry-run")
    assert done.returncode == 2
    assert "boldtable: error: none of the datasets is there (nowhere): fill in where yours lie" in done.stderr
