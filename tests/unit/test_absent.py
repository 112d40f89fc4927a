"""Optional datasets that are not there: what goes with them, what stays, and that it is said."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from boldtable.absent import present
from boldtable.errors import InputError
from boldtable.study import Study

CONFIG: dict[str, Any] = {
    "collect": {
        "here": {"derivatives": "here"},
        "gone": {"derivatives": "gone", "optional": True},
        "bare": {"derivatives": "bare", "optional": True},
    },
    "parcellate": {"demo457": {"source": "demo457"}},
    "clean": {
        "semantoks": {"atlas": "demo457"},
        "both": {"atlas": "demo457", "normalise": "population", "population": ["here", "gone"]},
        "lost": {"atlas": "demo457", "normalise": "population", "population": ["gone"]},
    },
    "qc": {"recipe": "semantoks"},
    "pretrain": {
        "mixed": {"recipe": "semantoks", "datasets": ["here", "gone"]},
        "untaught": {"recipe": "semantoks", "datasets": ["gone", "bare"]},
    },
    "embed": {
        "mixed": {"recipe": "semantoks", "encoder": "mixed"},
        "untaught": {"recipe": "semantoks", "encoder": "untaught"},
        "odd": {"recipe": "lost", "encoder": "mixed"},
    },
    "probe": {
        "here-sex": {"dataset": "here", "kind": "classification", "target": "sex"},
        "gone-sex": {"dataset": "gone", "kind": "classification", "target": "sex"},
        "transfer": {
            "dataset": "here", "test_dataset": "gone", "scheme": "transfer", "kind": "classification", "target": "sex",
        },
        "bare-sex": {"dataset": "bare", "kind": "classification", "target": "sex"},
    },
    "report": {
        "main": {
            "models": ["untaught", "mixed", "odd"], "tasks": ["gone-sex", "here-sex", "transfer"],
            "controls": ["gone-sex", "here-sex"],
            "reference": "untaught", "pairs": [["untaught", "untaught-untrained"], ["mixed", "mixed-untrained"]],
        },
        "bare": {"models": ["mixed"], "tasks": ["bare-sex"]},
    },
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """One dataset is there, of one there is no folder, and of one the folder is empty."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here/sub-01").mkdir(parents=True)
    (tmp_path / "bare").mkdir()
    return copy.deepcopy(CONFIG)


def test_what_needs_a_dataset_goes_with_it(config: dict[str, Any]) -> None:
    found = present(config)
    assert config == CONFIG
    assert set(found["collect"]) == {"here"}
    assert set(found["probe"]) == {"here-sex"}
    assert set(found["clean"]) == {"semantoks", "both"}
    assert found["clean"]["both"]["population"] == ["here"]
    assert found["pretrain"] == {"mixed": {"recipe": "semantoks", "datasets": ["here"]}}
    assert set(found["embed"]) == {"mixed"}
    assert set(found["report"]) == {"main"}
    table = found["report"]["main"]
    assert table["controls"] == ["here-sex"]
    assert (table["models"], table["tasks"], table["pairs"]) == (
        ["mixed"],
        ["here-sex"],
        [["mixed", "mixed-untrained"]],
    )
    assert "reference" not in table


def test_what_is_left_is_a_sound_study(config: dict[str, Any]) -> None:
    study = Study.parse(present(config))
    study.check()
    study.check_folders()
    assert [line.split(" ")[0] for line in study.report["main"].skipped] == ["gone", "bare"]


def test_every_dataset_that_is_not_there_is_said_once(config: dict[str, Any]) -> None:
    lines: list[str] = []
    found = present(config, lines.append)
    assert lines == found["report"]["main"]["skipped"] == [
        "gone is not there (no data in gone): without the tasks gone-sex, transfer; untaught cannot be trained; "
        "mixed learns from the other datasets alone",
        "bare is not there (no data in bare): without the tasks bare-sex; untaught cannot be trained",
    ]  # fmt: skip
    assert present(found)["report"]["main"]["skipped"] == lines  # in every job again, and not once more


def test_a_dataset_that_is_not_optional_or_is_there_stays(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "gone/sub-01").mkdir(parents=True)
    (tmp_path / "bare/sub-01").mkdir()
    assert present(config) == config
    config["collect"] = {"gone": {"derivatives": "nowhere"}}
    assert present(config) == config


def test_a_raw_dataset_is_looked_for_where_fmriprep_reads_it(config: dict[str, Any]) -> None:
    config["preprocess"] = {"gone": {"bids": "here", "derivatives": "gone", "license_file": "l"}}
    assert set(present(config)["collect"]) == {"here", "gone"}
    config["preprocess"]["gone"]["bids"] = "elsewhere"
    assert set(present(config)["collect"]) == {"here"}
    assert present(config)["preprocess"] == {}


def test_nothing_left_is_an_error(config: dict[str, Any]) -> None:
    config["report"] = {"main": {"models": ["mixed"], "tasks": ["gone-sex"]}}
    with pytest.raises(InputError, match=r"no table has a task left: gone is not there \(no data in gone\)"):
        present(config)
    del config["collect"]["here"]
    with pytest.raises(InputError, match=r"none of the datasets is there \(gone, bare\): fill in where yours lie"):
        present(config)


@pytest.mark.parametrize("odd", [{}, {"collect": 3}, {"collect": {"a": 3}}, {"collect": {}, "report": []}])
def test_a_config_of_another_shape_is_left_to_the_settings(odd: dict[str, Any]) -> None:
    assert present(odd) == odd
