"""Who and which runs a task takes: filters, classes, rules for several runs, doubled recordings, halves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from task_files import Dataset, score, settings, split

from boldtable import store
from boldtable.errors import InputError
from boldtable.stages.probe import features, runs


@pytest.fixture
def aurora(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


# Filters and classes


def test_filters_by_value_list_and_range(aurora: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    aurora.people.loc[0, "age_years"] = None
    aurora.people["hand"] = ["left" if index == 20 else "right" for index in range(48)]
    where = {"age_years": {"min": 25, "max": 70}, "site": ["s0", "s1"], "hand": "right"}
    made = split(aurora, where=where)
    ages = aurora.people.set_index("participant").loc[sorted(set(made["participant"]))]
    assert ages["age_years"].between(25, 70).all()
    assert set(ages["site"]) == {"s0", "s1"}
    said = capsys.readouterr().err
    assert (
        f"{len(ages)} participants; left out: 0 without diagnosis, by where: age_years 12 (1 unknown), site 12" in said
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"where": {"agee": 3}}, "where: .*has no column 'agee', did you mean 'age_years'"),
        ({"where": {"site": "s9"}}, "where.site: no value is s9; there are: s0, s1, s2"),
        ({"where": {"site": {"min": 1}}}, "where.site: 's0' is no number"),
        ({"where": {"age_years": {"min": 90}}}, r"no participant with a kept run .*by where: age_years 48"),
        ({"runs_where": {"fd_mm": {"max": 1}}}, "runs_where: .*has no column 'fd_mm', did you mean 'fd_mm_m"),
        ({"runs_where": {"fd_mm_mean": {"max": 0.01}}}, "no run passes runs_where: fd_mm_mean 48"),
        ({"classes": {"ASD": [1], "control": [2]}}, "nobody has a value of class 'ASD'; .* control, patient"),
    ],
)
def test_filters_that_leave_nobody(aurora: Dataset, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(aurora, **values)


def test_classes_take_values_and_count_what_belongs_to_none(
    aurora: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    aurora.people["dx"] = [float(index % 4) if index else None for index in range(48)]
    made = split(aurora, target="dx", classes={"ASD": [1], "control": [2, "3"]})
    counts = made[made["split"] == 0].groupby("target").size()
    assert counts.to_dict() == {"ASD": 12, "control": 24}
    assert "left out: 1 without dx, 11 of no class (0: 11), 0 without a kept run" in capsys.readouterr().err


def test_limits_on_runs_count_for_splits_and_embeddings(aurora: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    aurora.add_runs(run="2", fd_mm_mean=2.0)
    limit = {"runs_where": {"fd_mm_mean": {"max": 0.4}}}
    made = split(aurora, **limit)
    assert made["participant"].nunique() == 36
    said = capsys.readouterr().err
    assert "task: 36 of 96 kept runs used; left out by runs_where: fd_mm_mean 60" in said
    assert "36 participants; left out: 0 without diagnosis, 12 without a kept run" in said
    aurora.embed()
    sick = aurora.people.set_index("participant")["diagnosis"] == "patient"
    rows = [
        {"dataset": "aurora", "participant": row["participant"], "run": row["run"], "window": 0,
         "embedding": np.array([sick[row["participant"]] * 1.0, 0.0]) if row["run"] == "1" else np.full(2, 1e6)}
        for row in aurora.runs.to_dict("records")
    ]  # fmt: skip
    aurora.embed(rows)
    scores, _ = score(aurora, **limit)
    assert scores[scores["metric"] == "accuracy"]["value"].eq(1).all()


# Several runs


@pytest.mark.parametrize(("rule", "expected"), [("all", ["10", "2", "1"]), ("first", ["1"]), ("longest", ["10"])])
def test_rules_for_several_runs(aurora: Dataset, rule: str, expected: list[str]) -> None:
    aurora.add_runs(run="10", minutes_kept=7.0)
    aurora.add_runs(run="2", minutes_kept=None)
    found = runs.used(settings(runs=rule), [aurora.write()["qc"]])
    assert found["participant"].nunique() == 48
    assert set(found["run"]) == set(expected)


def test_a_fingerprint_takes_two_units_by_their_natural_order(aurora: Dataset) -> None:
    aurora.runs["session"] = "10"
    aurora.add_runs(session="9")
    aurora.add_runs(session="11")
    found = runs.used(settings(kind="fingerprint", target=None), [aurora.write()["qc"]])
    assert found.groupby("unit")["session"].unique().map(list).to_dict() == {0: ["9"], 1: ["10"]}


@pytest.mark.parametrize("probe", ["logistic", "knn", "linear-sgd"])
def test_windows_are_samples_and_outputs_are_averaged(aurora: Dataset, probe: str) -> None:
    """A window alone is mostly noise; who has eight of them, and more of them to learn from, is told well."""
    sick = aurora.people.set_index("participant")["diagnosis"] == "patient"
    rng = np.random.default_rng(1)
    rows = [
        {"dataset": "aurora", "participant": name, "run": "1", "window": window,
         "embedding": rng.normal(size=4) + np.array([2.0, 0, 0, 0]) * sick[name]}
        for name in aurora.people["participant"]
        for window in range(8 if name != "05" else 3)
    ]  # fmt: skip
    split(aurora, splits=6)
    aurora.embed(rows)
    values = {"splits": 6, "probe": probe, "windows": "samples", "neighbours": [15], "strengths": [1.0], "epochs": 20}
    scores, predictions = score(aurora, **values)
    assert scores[scores["metric"] == "auroc"]["value"].mean() > 0.95
    assert predictions.groupby(["split", "participant"]).size().eq(1).all()
    assert scores[["n_train", "n_val", "n_test"]].drop_duplicates().to_numpy().tolist() == [[28, 10, 10]]


# One recording under two names


def test_a_recording_under_two_names_is_refused_at_both_places(aurora: Dataset) -> None:
    made = split(aurora)
    aurora.runs.loc[5, "signal_sha256"] = "aurora 9"
    message = "aurora sub-05 run-1 and aurora sub-09 run-1 are one recording: their parcel signals are identical; leave"
    with pytest.raises(InputError, match=message):
        split(aurora)
    aurora.embed()
    with pytest.raises(InputError, match=r"splits.parquet: " + message):
        score(aurora)
    aurora.people.loc[[5, 9], "family"] = "twins"
    again = split(aurora)
    assert len(again) == len(made)


def test_a_fingerprint_of_one_recording_twice_is_refused(aurora: Dataset) -> None:
    aurora.add_runs(run="2")
    aurora.runs.loc[48, "signal_sha256"] = aurora.runs.loc[0, "signal_sha256"]
    with pytest.raises(InputError, match="aurora sub-00 run-1 and aurora sub-00 run-2 are one recording"):
        split(aurora, kind="fingerprint", target=None, across="run")


# Halves of a run

HALF: dict[str, Any] = {"kind": "fingerprint", "target": None, "across": "half"}


def test_halves_are_compared_and_other_tasks_do_not_see_them(aurora: Dataset) -> None:
    assert split(aurora, **HALF)["part"].eq("test").all()
    aurora.embed()
    with pytest.raises(InputError, match="holds no halves of runs: set halves: true in the embed block"):
        score(aurora, **HALF)
    rng = np.random.default_rng(0)
    rows = []
    for name in aurora.people["participant"]:
        own = rng.normal(size=8)
        pieces = [(None, np.full(8, 50.0)), (1, own), (2, own + 0.1 * rng.normal(size=8))]
        rows += [
            {"dataset": "aurora", "participant": name, "run": "1", "half": half, "window": 0, "embedding": vector}
            for half, vector in pieces
        ]
    path = aurora.embed(rows)
    scores, _ = score(aurora, **HALF)
    assert scores.set_index("metric")["value"]["accuracy"] == 1.0
    found = features.of_participants(
        features.read([path]),
        pd.DataFrame({"dataset": "aurora", "participant": ["00"]}),
        store.frame(path, "embeddings"),
    )
    assert (found == 50).all()


def test_one_run_is_cut_the_longest_or_the_first(aurora: Dataset) -> None:
    aurora.add_runs(run="2", minutes_kept=9.0)
    path = aurora.write()["qc"]
    assert set(runs.used(settings(**HALF), [path])["run"]) == {"2"}
    assert set(runs.used(settings(**HALF, runs="first"), [path])["run"]) == {"1"}


# Participants without embeddings


def test_who_has_no_embedding_is_refused_or_left_out_by_name(
    aurora: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    made = split(aurora)
    path = aurora.embed()
    rows = store.frame(path, "embeddings").to_dict("records")
    rows[7]["embedding"] = np.full(3, np.nan)
    aurora.embed([{**row, "half": None} for index, row in enumerate(rows) if index != 3])
    with pytest.raises(InputError, match=r"no embedding of 1 participant\(s\) \(03\)"):
        score(aurora)
    scores, predictions = score(aurora, absent="leave-out")
    said = capsys.readouterr().err
    assert "task x toy: scored without 2 of 48 participants, who have no embedding: 03, 07" in said
    assert not {"03", "07"} & set(predictions["participant"])
    n = scores.drop_duplicates("split")[["n_train", "n_val", "n_test"]].sum(axis=1)
    assert n.eq(46).all()
    tested = made[(made["part"] == "test") & ~made["participant"].isin(["03", "07"])]
    assert set(zip(tested["split"], tested["participant"], strict=True)) == set(
        zip(predictions["split"], predictions["participant"], strict=True)
    )


def test_embeddings_of_other_participants_are_refused_either_way(aurora: Dataset) -> None:
    split(aurora)
    rows = [{"dataset": "aurora", "participant": f"x{index}", "run": "1", "window": 0, "embedding": np.ones(2)}
            for index in range(5)]  # fmt: skip
    aurora.embed(rows)
    for absent in ("refuse", "leave-out"):
        with pytest.raises(InputError, match=r"no embedding of 48 participant\(s\) \(00, 01, 02, 03, 04 and 43 more\)"):
            score(aurora, absent=absent)


def test_a_fingerprint_needs_both_recordings(aurora: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    aurora.add_runs(run="2")
    values = {"kind": "fingerprint", "target": None, "across": "run"}
    split(aurora, **values)
    rows = store.frame(aurora.embed(), "embeddings").to_dict("records")
    aurora.embed([{**row, "half": None} for row in rows[:-1]])
    with pytest.raises(InputError, match=r"no embedding of 1 participant\(s\) \(47\)"):
        score(aurora, **values)
    scores, _ = score(aurora, **values, absent="leave-out")
    assert scores["n_test"].tolist() == [47, 47]
    assert "scored without 1 of 48 participants" in capsys.readouterr().err
