"""What a table needs although its config does not say so is added, once, and never over what the config says."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from boldtable.errors import SettingsError
from boldtable.expansion import BASELINES, NETWORKS, SEED, UNTRAINED, expand
from boldtable.simulate.atlas import NETWORKS as SIMULATED
from boldtable.stages.pretrain import Pretrain
from boldtable.stages.report import Report
from boldtable.study import Study

CONFIG: dict[str, Any] = {
    "collect": {"aurora": {"derivatives": "derivatives"}},
    "parcellate": {"demo457": {"source": "demo457"}},
    "clean": {"semantoks": {"atlas": "demo457"}, "other": {"atlas": "demo457"}},
    "qc": {"recipe": "semantoks"},
    "pretrain": {"small": {"recipe": "other", "datasets": ["aurora"], "epochs": 3, "seed": 5, "snapshots": 2}},
    "embed": {"mine": {"recipe": "other", "encoder": "small", "pooling": "cls"}},
    "probe": {"sex": {"dataset": "aurora", "kind": "classification", "target": "sex"}},
    "report": {"main": {"models": ["mine"], "tasks": ["sex"]}},
}


@pytest.fixture
def config() -> dict[str, Any]:
    return copy.deepcopy(CONFIG)


def models(config: dict[str, Any], **table: Any) -> list[str]:
    config["report"]["main"] |= table
    found: list[str] = expand(config)["report"]["main"]["models"]
    return found


def test_a_table_has_its_baselines_and_untrained_models(config: dict[str, Any]) -> None:
    before = copy.deepcopy(config)
    found = expand(config)
    twins = [f"mine-untrained-{number}" for number in (1, 2, 3)]
    assert found["report"]["main"]["models"] == [*BASELINES, *twins, "mine"]
    for baseline in BASELINES:
        assert found["embed"][baseline] == {"recipe": "semantoks", "encoder": baseline}
    assert found["embed"][twins[1]] == {**config["embed"]["mine"], "encoder": "small-untrained-2"}
    trained = {key: value for key, value in config["pretrain"]["small"].items() if key != "snapshots"}
    for number, seed in ((1, 5), (2, 6), (3, 7)):
        assert found["pretrain"][f"small-untrained-{number}"] == {**trained, "epochs": 0, "seed": seed}
    assert config == before, "the config that was given is left as it is"
    Study.parse(config).check()


def test_expanding_twice_changes_nothing(config: dict[str, Any]) -> None:
    config["report"]["main"] |= {"attribution": ["mine"], "curves": []}
    once = expand(config)
    assert expand(once) == once


def test_what_the_config_names_itself_wins(config: dict[str, Any]) -> None:
    config["embed"]["connectome"] = {"recipe": "other", "encoder": "connectome"}
    config["pretrain"]["small-untrained"] = {**config["pretrain"]["small"], "epochs": 0, "seed": 99}
    found = expand(config | {"report": {"main": {**config["report"]["main"], "untrained": 1}}})
    assert found["embed"]["connectome"]["recipe"] == "other"
    assert found["pretrain"]["small-untrained"]["seed"] == 99
    assert found["report"]["main"]["models"][-2:] == ["mine-untrained", "mine"]


def test_a_row_of_another_name_with_the_encoder_is_the_baseline(config: dict[str, Any]) -> None:
    config["embed"]["fc"] = {"recipe": "other", "encoder": "connectome"}
    found = models(config, models=["mine", "fc"], untrained=0)
    assert "connectome" not in found
    assert found[-2:] == ["mine", "fc"]


def test_an_untrained_row_that_is_listed_is_enough(config: dict[str, Any]) -> None:
    config["embed"]["mine-untrained"] = {**config["embed"]["mine"], "snapshot": 0}
    assert models(config, models=["mine", "mine-untrained"], baselines=False) == ["mine", "mine-untrained"]


def test_untrained_models_and_snapshots_have_no_untrained_twin(config: dict[str, Any]) -> None:
    config["pretrain"]["raw"] = {**config["pretrain"]["small"], "epochs": 0}
    config["embed"] |= {
        "raw": {"recipe": "other", "encoder": "raw"},
        "half": {**config["embed"]["mine"], "snapshot": 1},
    }
    assert models(config, models=["raw", "half"], baselines=False) == ["raw", "half"]


def test_weights_made_elsewhere_have_random_ones_beside_them(config: dict[str, Any]) -> None:
    config["embed"]["published"] = {"recipe": "other", "weights": "weights/published"}
    found = models(config, models=["published"], baselines=False, untrained=2)
    assert found == ["published-untrained-1", "published-untrained-2", "published"]
    rows = expand(config)["embed"]
    assert rows["published-untrained-2"] == {**config["embed"]["published"], "untrained_seed": SEED + 1}
    Study.parse(config | {"report": {"main": {**config["report"]["main"], "reference": "published"}}}).check()


def test_baselines_are_chosen_or_switched_off(config: dict[str, Any]) -> None:
    assert models(config, baselines=False, untrained=0) == ["mine"]
    assert models(config, baselines=["connectome", "majority"]) == ["majority", "connectome", "mine"]
    config["report"]["main"]["baselines"] = ["majorty", "connectome"]
    with pytest.raises(SettingsError, match="'majorty' is none, did you mean 'majority'"):
        Study.parse(config)


def test_a_table_with_a_fingerprint_has_the_baselines_that_can_be_compared(config: dict[str, Any]) -> None:
    config["probe"]["again"] = {"dataset": "aurora", "kind": "fingerprint"}
    found = models(config, tasks=["sex", "again"], untrained=0)
    assert found == ["connectome", "connectome-partial", "mine"]
    assert models(config, baselines=["nuisance"]) == ["nuisance", "mine"]
    config["probe"]["again"]["across"] = "half"
    config["report"]["main"]["baselines"] = True
    assert expand(config)["embed"]["connectome"] == {"recipe": "semantoks", "encoder": "connectome", "halves": True}


def test_attribution_adds_one_curve_per_network_without_and_alone(config: dict[str, Any]) -> None:
    config["report"]["main"] |= {"attribution": ["mine"], "baselines": False, "untrained": 0}
    found = expand(config)
    assert found["report"]["main"]["models"] == ["mine"]
    curves = found["report"]["main"]["curves"]
    assert len(curves) == 2 * len(NETWORKS["demo457"]) == 18
    assert found["embed"]["mine-without-Vis"] == {**config["embed"]["mine"], "hide_networks": ["Vis"]}
    assert found["embed"]["mine-only-Limbic"] == {**config["embed"]["mine"], "only_networks": ["Limbic"]}
    config["report"]["main"] |= {"baselines": ["connectome"]}
    Study.parse(config).check()


def test_networks_are_named_where_they_are_not_known(config: dict[str, Any]) -> None:
    config["parcellate"]["demo457"] = {"source": "file"}
    config["report"]["main"] |= {"attribution": ["mine"]}
    with pytest.raises(SettingsError, match=r"report\.main\.networks: the networks of atlas 'demo457'"):
        expand(config)
    config["report"]["main"]["networks"] = ["Vis / peripheral"]
    curves = expand(config)["report"]["main"]["curves"]
    assert curves == ["mine-without-Vis---peripheral", "mine-only-Vis---peripheral"]


def test_an_unknown_model_of_an_attribution_is_named(config: dict[str, Any]) -> None:
    config["report"]["main"] |= {"attribution": ["mien"]}
    with pytest.raises(SettingsError, match="'mien' is not defined in the 'embed' block, did you mean 'mine'"):
        Study.parse(config).check()


@pytest.mark.parametrize("path", [("report",), ("report", "main"), ("report", "main", "models"), ("embed", "mine")])
@pytest.mark.parametrize("value", [None, 3, "text", ["a", 1]])
def test_a_config_of_another_shape_is_for_the_settings_classes(
    config: dict[str, Any], path: tuple[str, ...], value: Any
) -> None:
    node = config
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    expand(config)
    if (path, value) != (("report",), None):
        with pytest.raises(SettingsError):
            Study.parse(config).check()


def test_what_is_known_beforehand_is_what_the_classes_say() -> None:
    assert Pretrain.model_fields["seed"].default == SEED
    assert Report.model_fields["untrained"].default == UNTRAINED
    assert Report.model_fields["baselines"].default is True
    assert NETWORKS["demo457"] == SIMULATED
