"""Entity filters: the semantics of PyBIDS, checked against PyBIDS where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.stages import collect
from trees import Tree, func, nifti

SPACE = "space-MNI152NLin6Asym_res-2"
# What PyBIDS 0.22 finds in the tree below: sub-01 with ses-1, ses-2 × task-rest, nback × no run, run-01, run-02,
# and one rest run of ses-1 with acq-hi.
CASES: list[tuple[dict[str, Any], int]] = [
    ({}, 13),
    ({"task": "rest"}, 7),
    ({"task": ["rest", "nback"]}, 13),
    ({"task": "res"}, 0),
    ({"session": "1", "task": "rest"}, 4),
    ({"session": ["1", "2"], "run": None}, 5),
    ({"run": "*"}, 8),
    ({"run": 1}, 4),
    ({"run": "01"}, 4),
    ({"run": "1"}, 4),
    ({"run": [1, None]}, 9),
    ({"run": [None, "*"]}, 13),
    ({"session": 2}, 6),
    ({"acquisition": None}, 12),
    ({"acquisition": "*"}, 1),
    ({"acquisition": ["hi", None]}, 13),
    ({"task": "^n.*k$", "regex_search": True}, 6),
    ({"task": "a", "regex_search": True}, 6),
    ({"task": ["^re", "back"], "run": None, "regex_search": True}, 5),
    ({"suffix": "bold", "datatype": "func", "extension": ["nii.gz"]}, 13),
    ({"subject": "02"}, 0),
    ({"part": ["mag", None]}, 13),
    ({"task": []}, 13),
]


@pytest.fixture(scope="module")
def derivatives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bids") / "derivatives"
    tree = Tree(sessions=["1", "2"], tasks=["rest", "nback"], runs=[None, "01", "02"], frames=200, mask=False)
    tree.write(folder, ["01"])
    name = f"sub-01_ses-1_task-rest_acq-hi_{SPACE}_desc-preproc_bold.nii.gz"
    (func(folder, "01", "1") / name).write_bytes(nifti(200, 2.0))
    return folder


def collected(derivatives: Path, out: Path, filters: Any) -> list[str]:
    settings = collect.Collect.parse({"derivatives": derivatives, "filters": filters})
    collect.run(settings, "d", out / "runs.parquet", out / "participants.parquet")
    rows = store.read(out / "runs.parquet", "runs").to_pylist()
    assert len(rows) >= 13  # what the filters leave out is a row that says so
    assert all("left out by filters: " in row["reason"] for row in rows if row["status"] == "filtered")
    return sorted(row["bold"] for row in rows if row["status"] != "filtered")


@pytest.mark.parametrize(("bold", "count"), CASES, ids=[json.dumps(bold) for bold, _ in CASES])
def test_filters_select_as_pybids_does(derivatives: Path, tmp_path: Path, bold: dict[str, Any], count: int) -> None:
    if count:
        assert len(collected(derivatives, tmp_path, {"bold": bold})) == count
    else:
        with pytest.raises(InputError, match="filters: no run is left with"):
            collected(derivatives, tmp_path, {"bold": bold})


def test_pybids_itself_finds_the_same(derivatives: Path, tmp_path: Path) -> None:
    layouts = pytest.importorskip("bids.layout", reason="PyBIDS is not installed")
    layout = layouts.BIDSLayout(derivatives, validate=False, is_derivative=True)
    query = {None: layouts.Query.NONE, "*": layouts.Query.ANY}
    for bold, count in CASES:
        wanted = {
            name: [query.get(one, one) for one in value] if isinstance(value, list) else query.get(value, value)
            for name, value in bold.items()
        }
        fixed = {"desc": "preproc", "suffix": "bold", "extension": ".nii.gz"}
        found = layout.get(return_type="file", invalid_filters="allow", **(fixed | wanted))
        assert len(found) == count, bold
        if count:
            relative = sorted(str(Path(path).relative_to(derivatives)) for path in found)
            assert relative == collected(derivatives, tmp_path, {"bold": bold})


def test_a_filter_file_of_fmriprep_can_be_used_as_it_is(derivatives: Path, tmp_path: Path) -> None:
    path = tmp_path / "filters.json"
    path.write_text(json.dumps({"t1w": {"session": "1"}, "bold": {"task": "rest", "session": "2", "run": None}}))
    (bold,) = collected(derivatives, tmp_path, path)
    assert bold == f"sub-01/ses-2/func/sub-01_ses-2_task-rest_{SPACE}_desc-preproc_bold.nii.gz"
    made = store.provenance(tmp_path / "runs.parquet")
    assert [one["name"] for one in made["inputs"]] == ["filters.json"]


def test_a_filter_that_leaves_nothing_says_what_is_there(derivatives: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"filters: no run is left with session 3 \(there: 1, 2\); correct 'filters'"):
        collected(derivatives, tmp_path, {"bold": {"session": "3"}})
    with pytest.raises(InputError, match=r"with direction AP \(no file has this entity\)"):
        collected(derivatives, tmp_path, {"bold": {"direction": "AP"}})


def test_only_a_filter_on_the_participant_concerns_those_without_runs(derivatives: Path, tmp_path: Path) -> None:
    folder = Tree(frames=200).write(tmp_path / "derivatives", ["01"])
    (folder / "sub-02/anat").mkdir(parents=True)
    settings = collect.Collect(derivatives=folder, filters={"bold": {"task": "rest"}})
    for filters, people in (({"task": "rest"}, ["01", "02"]), ({"subject": "01"}, ["01"])):
        settings = collect.Collect(derivatives=folder, filters={"bold": filters})
        collect.run(settings, "d", tmp_path / "out/runs.parquet", tmp_path / "out/participants.parquet")
        rows = store.read(tmp_path / "out/runs.parquet", "runs").to_pylist()
        assert [row["participant"] for row in rows if row["status"] != "filtered"] == people


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"bld": {}}, "unknown query 'bld', did you mean 'bold'?"),
        ({"task": "rest"}, "'task' must stand below 'bold'"),
        ({"bold": {"tsk": "rest"}}, "unknown entity 'tsk', did you mean 'task'?"),
        ({"bold": {"task": {"a": 1}}}, "task: {'a': 1} is no label"),
        ({"bold": {"run": True}}, "run: True is no label"),
        ({"bold": {"task": "(", "regex_search": True}}, "is no regular expression"),
        ({"bold": {"regex_search": "yes"}}, "regex_search must be true or false"),
        ({"bold": ["rest"]}, "'bold' must be a mapping"),
    ],
)
def test_wrong_filters_are_refused_with_the_settings(tmp_path: Path, filters: Any, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        collect.Collect.parse({"derivatives": "x", "filters": filters}, "config.collect.d")
    assert told in str(caught.value)
    assert str(caught.value).startswith("config.collect.d")
    with pytest.raises(ValidationError):
        collect.Collect(derivatives=tmp_path, filters=filters)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "filter file not found"), ("{", "filters.json is not JSON"), ('{"bold": {"tsk": 1}}', "unknown entity")],
)
def test_a_wrong_filter_file_is_refused_by_name(
    derivatives: Path, tmp_path: Path, content: str | None, told: str
) -> None:
    path = tmp_path / "filters.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        collected(derivatives, tmp_path, path)
    assert told in str(caught.value)
    assert "filters.json" in str(caught.value)
