"""What starts a training again and what does not: the list of kept runs, and nothing else of quality control."""

import os
from collections import Counter

import pytest


def stages(calls):
    return Counter(call.split()[0] for call in calls)


LATE = {"collect": 1, "target": 1, "qc": 1, "ledger": 1, "split": 1, "probe": 2, "report": 1}


def test_a_further_phenotype_table_trains_and_embeds_nothing_again(study):
    study.run()
    (study.folder / "scores.csv").write_text("participant_id,score\n01,3\n")
    study.config["collect"]["aurora"]["phenotypes"] = [{"table": "scores.csv"}]
    assert stages(study.run()) == LATE
    assert study.run() == []


def test_a_threshold_that_drops_nobody_trains_nothing_again_and_one_that_does_trains(study):
    study.run()
    study.config["qc"]["max_fd_mm_mean"] = 0.4
    assert stages(study.run()) == {name: n for name, n in LATE.items() if name not in ("collect", "target")}
    study.config["qc"]["max_fd_mm_mean"] = 0.3
    (study.folder / "dropped.txt").write_text("sub-03")
    calls = stages(study.run())
    assert (calls["pretrain"], calls["embed"], calls["parcellate"], calls["clean"]) == (1, 2, 0, 0)


@pytest.mark.slow
def test_a_further_task_trains_nothing_again(study):
    study.run()
    study.config["probe"]["age"] = {"dataset": "aurora", "kind": "regression", "target": "age_years"}
    study.config["report"]["main"]["tasks"] = ["sex", "age"]
    assert stages(study.run()) == {"target": 1, "split": 1, "probe": 2, "report": 1}


def test_splits_come_before_what_costs_hours(study):
    names = [call.split()[0] for call in study.run()]
    assert names.index("split") < min(names.index("pretrain"), names.index("embed"))


@pytest.mark.slow
def test_statistics_and_what_follows_them_stay_where_only_a_phenotype_is_new(study):
    study.config["clean"]["population"] = {
        "atlas": "demo457", "normalise": "population", "population": ["aurora"], "population_split": "sex/0",
    }  # fmt: skip
    study.config["pretrain"]["semantoks"]["recipe"] = "population"
    study.config["embed"]["semantoks"]["recipe"] = "population"
    study.run()
    (study.folder / "scores.csv").write_text("participant_id,score\n01,3\n")
    study.config["collect"]["aurora"]["phenotypes"] = [{"table": "scores.csv"}]
    assert stages(study.run()) == LATE
    study.config["probe"]["sex"]["splits"] = 4  # the stand-in's splits say nothing: the task's settings do not count
    calls = stages(study.run())
    assert calls["pretrain"] == calls["population"] == calls["clean"] == 0


def edited(path, text):
    """Change a file and keep its time, as a restored backup does."""
    about = path.stat()
    path.write_text(text)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize("kept_time", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_an_edited_atlas_runs_again_with_everything_after_it(study, kept_time):
    (study.folder / "own.nii.gz").write_text("image")
    (study.folder / "own.tsv").write_text("index\tname\n")
    study.config["parcellate"]["demo457"] = {
        "source": "file", "image": "own.nii.gz", "table": "own.tsv", "space": "MNI152NLin6Asym",
    }  # fmt: skip
    first = stages(study.run())
    for name, text in (("own.nii.gz", "other"), ("own.tsv", "index\tnome\n")):
        edited(study.folder / name, text) if kept_time else (study.folder / name).write_text(text)
        calls = stages(study.run())
        assert {**calls, "collect": 1, "target": 1} == first
    assert study.run() == []


@pytest.mark.slow
def test_tables_of_people_that_are_edited_with_their_time_kept_are_read_again(study):
    people, scores = study.folder / "derivatives/participants.tsv", study.folder / "scores.csv"
    people.write_text("participant_id\tage\n01\t30\n")
    scores.write_text("participant_id,score\n01,3\n")
    (study.folder / "lists.tsv").write_text("participant\tpart\n01\ttrain\n02\ttest\n")
    study.config["collect"]["aurora"]["phenotypes"] = [{"table": "scores.csv"}]
    study.config["probe"]["sex"] |= {"scheme": "files", "split_file": "lists.tsv"}
    study.run()
    edited(people, "participant_id\tage\n01\t31\n")
    assert stages(study.run())["collect"] == 1
    edited(scores, "participant_id,score\n01,4\n")
    assert stages(study.run())["collect"] == 1
    edited(study.folder / "lists.tsv", "participant\tpart\n01\ttest\n02\ttrain\n")
    assert stages(study.run()) == {"target": 1, "split": 1, "probe": 2, "report": 1}


@pytest.mark.slow
def test_what_is_new_in_one_dataset_leaves_the_embeddings_of_another_alone(study):
    (study.folder / "elsewhere/sub-21").mkdir(parents=True)
    study.config["collect"]["borealis"] = {"derivatives": "elsewhere"}
    study.config["clean"]["population"] = {"atlas": "demo457", "normalise": "population", "population": ["borealis"]}
    study.config["pretrain"]["semantoks"] |= {"datasets": ["aurora", "borealis"], "recipe": "population"}
    study.config["embed"]["semantoks"]["recipe"] = "population"
    study.run()
    (study.folder / "scores.csv").write_text("participant_id,score\n21,3\n")
    study.config["collect"]["borealis"]["phenotypes"] = [{"table": "scores.csv"}]
    calls = stages(study.run())
    assert {"collect", "qc", "report"} <= set(calls)
    assert not {"parcellate", "clean", "population", "pretrain", "embed"} & set(calls)


@pytest.mark.parametrize("name", ["sub-01_task-rest_desc-confounds_timeseries.json"])
def test_a_file_edited_inside_a_participants_folder_is_seen_with_its_size_and_time_kept(study, name):
    func = study.folder / "derivatives/sub-01/func"
    func.mkdir()
    (func / name).write_text('{"a": 1}')
    study.run()
    assert study.run() == []
    edited(func / name, '{"a": 2}')
    assert stages(study.run()) == {"collect": 1, "target": 1, "qc": 1, "ledger": 1, "split": 1, "probe": 2, "report": 1}
    assert study.run() == []
