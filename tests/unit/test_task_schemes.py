"""Schemes of a task: each site tested once, folds, transfer, fixed lists; what cannot be split is said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from task_files import Dataset, notes, score, settings, split

from boldtable import store
from boldtable.errors import InputError, SettingsError


@pytest.fixture
def aurora(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


@pytest.fixture
def borealis(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path, "borealis", 30)


def parts(made: pd.DataFrame, split: int = 0) -> dict[str, int]:
    return made[made["split"] == split].groupby("part").size().to_dict()


LOSO: dict[str, Any] = {"scheme": "leave-one-site-out"}
TRANSFER: dict[str, Any] = {"scheme": "transfer", "test_dataset": "borealis"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scheme": "transfer"}, "scheme 'transfer' and test_dataset go together"),
        ({"test_dataset": "borealis"}, "scheme 'transfer' and test_dataset go together"),
        ({"scheme": "files"}, "scheme 'files' and split_file go together"),
        ({"scheme": "transfer", "test_dataset": "aurora"}, "test_dataset is dataset 'aurora' itself"),
        ({"scheme": "kfold", "splits": 7}, "splits 7 is no multiple of folds 5"),
        ({"scheme": "kfold", "folds": 2, "splits": 2, "val_share": 0.5}, "leave nobody to train on"),
        ({"kind": "fingerprint", "target": None, "scheme": "kfold"}, "has no scheme"),
        ({"classes": {"a": [1], "b": [1.0]}}, "value '1' is in two of them"),
        ({"classes": {"a": [1]}}, "must be two or more"),
        ({"kind": "regression", "classes": {"a": [1], "b": [2]}}, "classes are for kind 'classification'"),
        ({"where": {"age_years": {"min": 60, "max": 18}}}, "min 60 is above max 18"),
        ({"where": {"age_years": {"minimum": 18}}}, "minimum"),
    ],
)
def test_settings_that_contradict(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings(**values)


# Leave one site out


def test_each_site_is_tested_once_and_leads_to_scores(aurora: Dataset) -> None:
    made = split(aurora, **LOSO)
    assert made.groupby("split")["held_out"].first().tolist() == ["s0", "s1", "s2"]
    tested = made[made["part"] == "test"]
    assert (tested["site"] == tested["held_out"]).all()
    assert sorted(tested["participant"]) == sorted(aurora.people["participant"])
    assert parts(made) == {"test": 16, "train": 26, "val": 6}
    assert notes(aurora) == []
    aurora.embed()
    scores, predictions = score(aurora, **LOSO)
    assert scores[scores["metric"] == "auroc"]["value"].min() > 0.9
    assert predictions.groupby("participant").size().eq(1).all()


def test_a_site_with_one_class_is_not_tested_and_still_trains(
    aurora: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    aurora.people.loc[aurora.people["site"] == "s1", "diagnosis"] = "control"
    made = split(aurora, **LOSO)
    assert made.groupby("split")["held_out"].first().tolist() == ["s0", "s2"]
    assert set(made.loc[made["part"] == "train", "site"]) == {"s0", "s1", "s2"}
    assert notes(aurora) == ["site s1 is not tested: all 16 participant(s) have diagnosis control"]
    assert "task: site s1 is not tested" in capsys.readouterr().err


def test_a_class_that_only_one_site_has_leaves_it_out_of_the_test(aurora: Dataset) -> None:
    aurora.people.loc[0:14:3, "diagnosis"] = "other"
    made = split(aurora, **LOSO)
    assert set(made["held_out"]) == {"s1", "s2"}
    assert notes(aurora) == ["site s0 is not tested: 0 participant(s) of class other elsewhere to train on"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda people: people.assign(site=None), "needs two sites, found none"),
        (lambda people: people.assign(site="one"), "needs two sites, found one"),
        (lambda people: people.assign(diagnosis=people["site"]), r"no site can be tested: s0 \(all 16 .* have .* s0\)"),
    ],
)
def test_sites_that_cannot_be_left_out(aurora: Dataset, change: Any, message: str) -> None:
    aurora.people = change(aurora.people)
    with pytest.raises(InputError, match=message):
        split(aurora, **LOSO)


def test_who_has_no_site_or_several_takes_no_part(aurora: Dataset) -> None:
    aurora.people.loc[0, "site"] = None
    second = aurora.people[aurora.people["participant"] == "05"].assign(session="2", site="s0")
    aurora.people = pd.concat([aurora.people, second], ignore_index=True)
    made = split(aurora, **LOSO)
    assert set(aurora.people["participant"]) - set(made["participant"]) == {"00", "05"}
    assert "2 participant(s) without a site, or with several, take no part" in notes(aurora)


def test_relatives_at_other_sites_do_not_train_what_is_tested_on_them(aurora: Dataset) -> None:
    aurora.people.loc[[0, 1, 2], "family"] = "F1"
    made = split(aurora, **LOSO)
    family = made[made["group"] == "family F1"]
    assert family.groupby("split").size().tolist() == [1, 1, 1]
    assert (family["part"] == "test").all()
    line = (
        "of 48 participants, in no part (relatives of the tested, or not listed): 2 in split 0 (s0), 2 in split 1 (s1)"
    )
    assert notes(aurora) == [line + ", 2 in split 2 (s2)"]


def test_regression_over_sites_of_other_ages(aurora: Dataset) -> None:
    aurora.people["site"] = [f"s{index // 16}" for index in range(48)]
    made = split(aurora, **LOSO, kind="regression", target="age_years")
    assert parts(made) == {"test": 16, "train": 26, "val": 6}


# k-fold


def test_folds_test_everybody_once_per_repetition(aurora: Dataset) -> None:
    made = split(aurora, scheme="kfold", folds=4, splits=8)
    tested = made[made["part"] == "test"].assign(repetition=lambda rows: rows["split"] // 4)
    assert tested.groupby(["repetition", "participant"]).size().eq(1).all()
    assert len(tested) == 2 * 48
    assert {tuple(sorted(parts(made, number).items())) for number in range(8)} == {
        (("test", 12), ("train", 26), ("val", 10))
    }
    first, again = (tested.loc[tested["split"] == number, "participant"].tolist() for number in (0, 4))
    assert first != again


def test_a_class_with_fewer_participants_than_folds(aurora: Dataset) -> None:
    aurora.people.loc[[0, 1, 6], "diagnosis"] = "rare"
    with pytest.raises(InputError, match=r"task 'task', column 'diagnosis': class 'rare' has 3 .*too few for 5 folds"):
        split(aurora, scheme="kfold", splits=5)


# Train here, test there


def test_transfer_tests_the_other_dataset_whole(aurora: Dataset, borealis: Dataset) -> None:
    made = split(aurora, borealis, **TRANSFER)
    test = made[made["part"] == "test"]
    assert set(test["dataset"]) == {"borealis"}
    assert test.groupby("split").size().tolist() == [30] * 4
    assert set(made.loc[made["part"] != "test", "dataset"]) == {"aurora"}
    assert parts(made) == {"test": 30, "train": 38, "val": 10}
    assert set(made["held_out"]) == {"borealis"}
    aurora.embed(features="three features of model 'm'")
    borealis.embed(features="three features of model 'm'")
    scores, predictions = score(aurora, borealis, **TRANSFER)
    assert scores[scores["metric"] == "auroc"]["value"].min() > 0.9
    assert set(predictions["dataset"]) == {"borealis"}
    borealis.embed(features="three features of model 'other'")
    with pytest.raises(InputError, match="embed both datasets with the same model"):
        score(aurora, borealis, **TRANSFER)


def test_named_features_are_joined_by_name(aurora: Dataset, borealis: Dataset) -> None:
    split(aurora, borealis, **TRANSFER)
    aurora.embed(features=["motion", "site=s0", "minutes"])
    borealis.embed(features=["minutes", "site=elsewhere", "motion"])
    scores, _ = score(aurora, borealis, **TRANSFER)
    assert '"n_features": 4' in scores["hyperparameters"].iloc[0]


def test_people_in_both_datasets_never_train(aurora: Dataset, borealis: Dataset) -> None:
    made = split(aurora, borealis, **TRANSFER, shared_ids=True)
    assert len(made[(made["split"] == 0) & (made["dataset"] == "aurora")]) == 18
    assert notes(aurora) == ["30 participant(s) in no part of any split: 00, 01, 02, 03, 04 and 25 more"]
    borealis.runs.loc[3, "signal_sha256"] = "aurora 7"
    with pytest.raises(InputError, match="aurora sub-07 run-1 and borealis sub-03 run-1 are one recording"):
        split(aurora, borealis, **TRANSFER)


@pytest.mark.parametrize(
    ("value", "message"),
    [("elsewhere", "class 'elsewhere' is in borealis, but nobody of aurora"), ("control", "is 'control' for all 30")],
)
def test_targets_that_do_not_transfer(aurora: Dataset, borealis: Dataset, value: str, message: str) -> None:
    borealis.people.loc[:, "diagnosis"] = value
    if value == "elsewhere":
        borealis.people.loc[0, "diagnosis"] = "control"
    with pytest.raises(InputError, match=message):
        split(aurora, borealis, **TRANSFER)


# Fixed lists


def lists(folder: Path, rows: pd.DataFrame, name: str = "lists.tsv") -> dict[str, Any]:
    path = folder / name
    rows.to_csv(path, sep="," if name.endswith("csv") else "\t", index=False)
    return {"scheme": "files", "split_file": str(path)}


def fixed(aurora: Dataset) -> pd.DataFrame:
    names = aurora.people["participant"]
    part = ["test" if index < 12 else "val" if index < 18 else "train" for index in range(48)]
    first = pd.DataFrame({"split": "10", "participant": "sub-" + names, "part": part})
    return pd.concat([first, first.assign(split="2", part=part[::-1])])


@pytest.mark.parametrize("name", ["lists.tsv", "lists.csv"])
def test_fixed_lists_are_taken_as_they_are(aurora: Dataset, tmp_path: Path, name: str) -> None:
    given = fixed(aurora)
    made = split(aurora, **lists(tmp_path, given, name))
    assert parts(made, 0) == parts(made, 1) == {"test": 12, "train": 30, "val": 6}
    second = made[made["split"] == 1].set_index("participant")["part"]
    expected = given[given["split"] == "10"].set_index("participant")["part"]
    assert notes(aurora) == [f"splits of {name} are numbered in the order of their names: 0 is '2', 1 is '10'"]
    assert second.to_dict() == {name.removeprefix("sub-"): part for name, part in expected.items()}
    inputs = [entry["name"] for entry in store.provenance(aurora.folder / "splits.parquet")["inputs"]]
    assert name in inputs


def test_lists_without_validation_and_with_strangers(aurora: Dataset, tmp_path: Path) -> None:
    given = fixed(aurora).drop(columns="split").drop_duplicates("participant").replace({"part": {"val": "Train"}})
    given = pd.concat([given, pd.DataFrame({"participant": ["99"], "part": ["test"]})]).iloc[1:]
    made = split(aurora, **lists(tmp_path, given))
    assert parts(made) == {"test": 11, "train": 28, "val": 8}
    assert notes(aurora) == [
        "1 participant(s) of lists.tsv are not in the task: 99",
        "1 participant(s) in no part of any split: 00",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.assign(part="test"), "split 0 of the lists has nobody of the task in train"),
        (lambda rows: rows.drop(columns="part"), "has no column 'part'"),
        (lambda rows: rows.assign(participant="x" + rows["participant"]), "split '2' of .* names nobody of the task"),
        (lambda rows: rows.assign(part="holdout"), "'holdout' is none of train, val, test"),
        (lambda rows: pd.concat([rows, rows.iloc[[0]].assign(part="train")]), "'00' is in test and train of split 1"),
        (lambda rows: pd.concat([rows, rows.iloc[[0]]]), "'00' is in test twice of split 1"),
        (lambda rows: rows.assign(part=rows["part"].mask(rows["participant"] == "sub-00")), "row 2 lacks a split"),
    ],
)
def test_lists_that_are_wrong(aurora: Dataset, tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(aurora, **lists(tmp_path, change(fixed(aurora))))


def test_relatives_on_both_sides_of_a_list(aurora: Dataset, tmp_path: Path) -> None:
    aurora.people.loc[[0, 40], "family"] = "F1"
    with pytest.raises(InputError, match=r"group 'family F1' is in .* of split 0"):
        split(aurora, **lists(tmp_path, fixed(aurora)))


def test_a_list_that_is_not_there(aurora: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"split_file not found: .*gone\.tsv"):
        split(aurora, scheme="files", split_file=str(tmp_path / "gone.tsv"))
