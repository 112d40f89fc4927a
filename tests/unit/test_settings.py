"""Settings refuse what they do not know, in one line that names the way out."""

import pytest
from pydantic import Field

from boldtable.errors import InputError, SettingsError
from boldtable.settings import Settings


class Inner(Settings):
    """Inner."""

    low_hz: float = Field(0.01, gt=0, description="Lower edge (Hz).")


class Outer(Settings):
    """Outer."""

    clean: dict[str, Inner] = Field(description="Recipes.")
    one: Inner | None = Field(None, description="One recipe.")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clean": {"a": {"low_hs": 1}}}, "config.clean.a.low_hs: unknown key, did you mean 'low_hz'?"),
        ({"clean": {}, "cleen": {}}, "config.cleen: unknown key, did you mean 'clean'?"),
        ({"clean": {}, "one": {"wx": 1}}, "config.one.wx: unknown key; known: low_hz"),
        ({}, "config.clean: required, but not given"),
        ({"clean": {"a": {"low_hz": -1}}}, "config.clean.a.low_hz: Input should be greater than 0 (given: -1)"),
        (["clean"], "config: expected a mapping of settings, found list"),
    ],
)
def test_errors_name_place_value_and_fix(values, message):
    with pytest.raises(SettingsError) as error:
        Outer.parse(values, "config")
    assert str(error.value) == message


def test_settings_come_from_files_and_inline(tmp_path):
    path = tmp_path / "block.yaml"
    path.write_text("low_hz: 0.02\n")
    assert Inner.load(str(path)) == Inner.load('{"low_hz": 0.02}') == Inner(low_hz=0.02)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(InputError, match="not found"):
        Inner.load(str(tmp_path / "none.yaml"))
    (tmp_path / "latin.yaml").write_bytes(b"low_hz: \xff")
    with pytest.raises(InputError, match="cannot read settings"):
        Inner.load(str(tmp_path / "latin.yaml"))


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Inner().low_hz = 1.0
