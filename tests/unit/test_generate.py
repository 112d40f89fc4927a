"""The documents made from the settings classes are current, and every shipped config is valid."""

from pathlib import Path

import pytest

from boldtable.generate import blocks, documents
from boldtable.study import Study

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    [ROOT / "config/config.yaml", *(ROOT / "config/demo").glob("*.yaml"), *(ROOT / "config/benchmarks").glob("*.yaml")]
)


@pytest.mark.parametrize("path", documents())
def test_generated_documents_are_current(path):
    assert (ROOT / path).read_text() == documents()[path], "run `make docs`"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shipped_configs_are_valid(path):
    Study.load(str(path)).check()


def test_every_setting_is_described():
    undescribed = [
        f"{stage}.{key}"
        for stage, classes in blocks().items()
        for cls in classes
        for key, field in cls.model_fields.items()
        if not field.description
    ]
    assert undescribed == []
