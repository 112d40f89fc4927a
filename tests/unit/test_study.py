"""One config file: its blocks agree, its folders are there, its names are free."""

import copy

import pytest

from boldtable.errors import InputError, SettingsError
from boldtable.generate import EXAMPLES
from boldtable.study import Study


@pytest.fixture
def blocks():
    return copy.deepcopy(EXAMPLES)


def test_the_examples_agree(blocks):
    Study.parse(blocks).check()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("clean", "semantoks", "atlas"), "other", "'other' is not defined in the 'parcellate' block"),
        (("qc", "recipe"), "semantok", "did you mean 'semantoks'?"),
        (("pretrain", "my_model", "datasets"), ["your_dataset"], "did you mean 'my_dataset'?"),
        (("embed", "my_model", "encoder"), "your_model", "'your_model' is not defined in the 'pretrain' block"),
        (("report", "main", "tasks"), ["sex"], "is not defined in the 'probe' block"),
        (("collect", "atlases"), {"derivatives": "x"}, "collect.atlases: boldtable uses the name 'atlases' itself"),
        (("collect", "../x"), {"derivatives": "x"}, "collect"),
    ],
)
def test_what_does_not_agree_is_named(blocks, path, value, message):
    node = blocks
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(SettingsError) as error:
        Study.parse(blocks).check()
    assert message in str(error.value)


def test_a_model_cannot_take_the_name_of_a_baseline(blocks):
    blocks["pretrain"]["connectome"] = blocks["pretrain"]["my_model"]
    with pytest.raises(SettingsError, match="uses the name 'connectome' itself"):
        Study.parse(blocks).check()


def test_preprocess_and_collect_name_one_folder(blocks):
    blocks["preprocess"] = {"my_dataset": {"bids": "/raw", "derivatives": "/elsewhere", "license_file": "/l"}}
    with pytest.raises(SettingsError, match="name the same folder"):
        Study.parse(blocks).check()


@pytest.mark.parametrize("state", ["missing", "empty", "a file"])
def test_a_derivatives_folder_that_cannot_be_used(blocks, tmp_path, monkeypatch, state):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "derivatives"
    if state == "empty":
        folder.mkdir()
    if state == "a file":
        folder.write_text("")
    blocks["collect"]["my_dataset"]["derivatives"] = str(folder)
    way_out = "name another" if state == "empty" else "correct it in the config"
    with pytest.raises(InputError, match=rf"collect\.my_dataset\.derivatives: .*derivatives.*{way_out}"):
        Study.parse(blocks).check_folders()


def test_a_relative_folder_says_where_it_was_looked_for(blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks["collect"]["my_dataset"]["derivatives"] = "data/fmriprep"
    with pytest.raises(InputError, match="data/fmriprep") as error:
        Study.parse(blocks).check_folders()
    assert str(tmp_path / "data/fmriprep") in str(error.value)


def test_results_that_cannot_be_written(blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "derivatives/sub-01").mkdir(parents=True)
    (tmp_path / "results").write_text("in the way")
    blocks["collect"]["my_dataset"]["derivatives"] = "derivatives"
    with pytest.raises(InputError, match="choose another --directory"):
        Study.parse(blocks).check_folders()


def test_a_task_names_datasets_and_lists_that_are_there(blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = blocks["probe"]["my_dataset-sex"]
    task |= {"scheme": "transfer", "test_dataset": "your_dataset"}
    with pytest.raises(SettingsError, match=r"probe\.my_dataset-sex\.dataset: 'your_dataset' is not defined"):
        Study.parse(blocks).check()
    (tmp_path / "derivatives/sub-01").mkdir(parents=True)
    blocks["collect"]["my_dataset"]["derivatives"] = "derivatives"
    blocks["probe"]["my_dataset-sex"] = {**task, "scheme": "files", "test_dataset": None, "split_file": "lists.tsv"}
    with pytest.raises(InputError, match=r"probe\.my_dataset-sex\.split_file: no such file: .*lists\.tsv"):
        Study.parse(blocks).check_folders()


def test_halves_are_compared_where_they_are_embedded(blocks):
    blocks["probe"]["halves"] = {"dataset": "my_dataset", "kind": "fingerprint", "across": "half"}
    blocks["embed"]["mine"] = {"recipe": "semantoks", "encoder": "connectome"}
    blocks["report"] = {
        "main": {"models": [], "tasks": ["my_dataset-sex"]},
        "halves": {"models": ["mine"], "tasks": ["halves"], "reference": "connectome-partial"},
    }
    with pytest.raises(SettingsError, match=r"task 'halves' compares the halves.*embed\.mine embeds whole runs"):
        Study.parse(blocks).check()
    blocks["embed"]["mine"]["halves"] = True
    study = Study.parse(blocks)
    study.check()
    cut = [name for name, row in study.embed.items() if row.halves]
    assert cut == ["mine", "connectome", "connectome-partial", "connectome-tangent"]
