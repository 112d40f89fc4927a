"""Numbers that no study has are refused when the settings are read, not after an hour or never."""

import time

import pytest
from pydantic.fields import FieldInfo

from boldtable.errors import SettingsError
from boldtable.generate import blocks
from boldtable.settings import Settings
from boldtable.stages.clean import Clean
from boldtable.stages.probe import Probe
from boldtable.study import Study

TASK = {"dataset": "a", "kind": "classification", "target": "sex"}


@pytest.mark.parametrize("key", ["splits", "folds", "epochs", "batch_size", "select", "seed"])
def test_counts_of_a_task_have_an_end(key):
    with pytest.raises(SettingsError, match=f"{key}: Input should be less than or equal to"):
        Probe.parse({**TASK, key: 10**9 * 5})


def bounded(field: FieldInfo) -> bool:
    return any(hasattr(one, "le") or hasattr(one, "lt") for one in field.metadata)


def test_every_whole_number_of_every_block_has_an_upper_bound():
    free = [
        f"{cls.__name__}.{name}"
        for classes in blocks().values()
        for cls in classes
        for name, field in cls.model_fields.items()
        if field.annotation in (int, int | None) and not bounded(field)
    ]
    assert free == []


def test_no_number_of_any_block_may_be_infinite():
    for classes in blocks().values():
        assert all(issubclass(cls, Settings) and cls.model_config["allow_inf_nan"] is False for cls in classes)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"high_hz": 0.3}, "reaches 0.3 Hz, but a TR of 2 s holds nothing above 0.25 Hz"),
        ({"tr_s": 10.0}, "reaches 0.1 Hz, but a TR of 10 s holds nothing above 0.05 Hz"),
        ({"high_hz": None, "low_hz": 0.3}, "reaches 0.3 Hz"),
        ({"high_hz": float("inf")}, "finite number"),
        ({"tr_s": float("nan")}, "finite number"),
    ],
)
def test_a_band_that_the_target_tr_cannot_hold_is_refused(values, words):
    with pytest.raises(SettingsError, match=words):
        Clean.parse({"atlas": "a", **values})


def test_a_band_is_left_to_the_runs_where_the_tr_is_theirs():
    Clean.parse({"atlas": "a", "high_hz": 0.3, "tr_s": None})
    Clean.parse({"atlas": "a", "high_hz": 0.25})


def test_a_table_of_a_thousand_million_untrained_models_is_refused_at_once():
    config = {
        "collect": {"a": {"derivatives": "x"}}, "parcellate": {"demo457": {"source": "demo457"}},
        "clean": {"s": {"atlas": "demo457"}}, "qc": {"recipe": "s"},
        "pretrain": {"m": {"recipe": "s", "datasets": ["a"]}}, "embed": {"m": {"recipe": "s", "encoder": "m"}},
        "probe": {"t": TASK}, "report": {"main": {"models": ["m"], "tasks": ["t"], "untrained": 10**9}},
    }  # fmt: skip
    began = time.monotonic()
    with pytest.raises(SettingsError, match="untrained: Input should be less than or equal to 100"):
        Study.parse(config)
    assert time.monotonic() - began < 5
