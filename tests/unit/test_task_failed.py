"""A task that cannot be made: said early, and the table of the others is made without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from task_files import Dataset, settings

from boldtable import store
from boldtable.errors import InputError, OutputError
from boldtable.stages import probe
from boldtable.stages.probe import outcome
from boldtable.stages.report import Report, failed


@pytest.fixture
def aurora(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


def target(aurora: Dataset, **values: object) -> Path:
    out = aurora.folder / "found.json"
    probe.check_target(settings(**values), task="t", participants=[aurora.write()["participants"]], out=out)
    return out


def test_a_target_is_counted_before_there_is_any_run(aurora: Dataset) -> None:
    assert '"control": 24' in target(aurora).read_text()
    assert '"participants": 48' in target(aurora, kind="fingerprint", target=None).read_text()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"target": "diagnosys"}, r"no column 'diagnosys' to predict, did you mean 'diagnosis'\?"),
        ({"target": "sex"}, "no participant .* has a value in column 'sex'"),
        ({"where": {"diagnosis": "patient"}}, "is 'patient' for all 24 participants"),
        ({"kind": "regression"}, "'control' in column 'diagnosis' .* is no number"),
        ({"classes": {"a": ["patient"], "b": ["ill"]}}, "nobody has a value of class 'b'"),
    ],
)
def test_what_is_wrong_with_a_target_is_said_at_once(aurora: Dataset, values: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=f"task 't': .*{words}"):
        target(aurora, **values)


def test_a_column_that_collect_has_renamed_is_named(aurora: Dataset) -> None:
    from boldtable.stages.collect import Collect

    made = Collect.parse({"derivatives": "x", "sex": "gender"})
    path = aurora.write()["participants"]
    store.write(path, "participants", aurora.people, store.Provenance("collect", made))
    for given, name in (("age", "age_years"), ("gender", "sex")):
        task = settings(target=given, kind="regression" if given == "age" else "classification")
        with pytest.raises(
            InputError, match=f"no column '{given}' to predict: collect calls it '{name}'; write target"
        ):
            probe.check_target(task, task="t", participants=[path], out=aurora.folder / "x.json")


def failing(aurora: Dataset) -> tuple[Path, dict[str, Path]]:
    """The splits of a task that fails, and the outputs of its probe."""
    paths = aurora.write()
    out = aurora.folder / "results/splits/bad.parquet"
    wrong = settings(target="diagnosys")
    probe.split(wrong, task="bad", participants=[paths["participants"]], qc=[paths["qc"]], out=out, keep_going=True)
    folder = aurora.folder / "results/scores/m"
    files = {"out": folder / "bad.parquet", "predictions": folder / "bad.predictions.parquet"}
    embeddings = [aurora.embed()]
    probe.run(
        wrong, model="m", task="bad", embeddings=embeddings, qc=[paths["qc"]], splits=out, keep_going=True, **files
    )
    return out, files


def test_the_reason_stands_in_place_of_the_numbers(aurora: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    splits, files = failing(aurora)
    said = capsys.readouterr().err
    assert said.count("boldtable: error: task 'bad': ") == 2
    assert store.read(splits, "splits").num_rows == 0
    for artefact, path in (("scores", files["out"]), ("predictions", files["predictions"])):
        assert store.read(path, artefact).num_rows == 0
        assert "no column 'diagnosys'" in store.provenance(path)[outcome.FAILED]
    with pytest.raises(InputError, match="no column 'diagnosys'"):
        probe.run(
            settings(), model="m", task="bad", embeddings=[], qc=[], splits=splits, out=files["out"],
            predictions=files["predictions"],
        )  # fmt: skip


def test_the_table_goes_without_it_and_says_so(aurora: Dataset) -> None:
    failing(aurora)
    results = aurora.folder / "results"
    table = Report.parse({"models": ["m"], "tasks": ["good", "bad"], "reference": "m"})
    left, said = failed.without(table, results, "main")
    assert left.tasks == ["good"]
    assert said == failed.lines(results, "main", table)
    assert said[0].startswith("table 'main' lacks task 'bad', which failed: task 'bad': ")
    with pytest.raises(InputError, match="no task of table 'main' is left: table 'main' lacks task 'bad'"):
        failed.without(Report.parse({"models": ["m"], "tasks": ["bad"], "reference": "m"}), results, "main")


def test_a_full_disk_is_no_fault_of_the_task(aurora: Dataset) -> None:
    def full() -> None:
        raise OutputError("no space left")

    with pytest.raises(OutputError):
        outcome.noting(full, settings(), {"splits": aurora.folder / "s.parquet"}, "split", task="t")
    assert not (aurora.folder / "s.parquet").exists()
