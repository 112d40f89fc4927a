"""Settings files that would take a machine down, or mean two things at once, are one short line."""

import time

import pytest
from pydantic import Field

from boldtable.errors import InputError, SettingsError
from boldtable.reading import bounded
from boldtable.safe_yaml import parse_yaml
from boldtable.settings import Settings, read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join(['*' + before] * 9)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


class Block(Settings):
    """A block."""

    low_hz: float = Field(0.01, description="Lower edge (Hz).")
    names: list[str] = Field([], description="Names.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "more than 100000 values once its aliases are written out"),
        (MERGES, "more than 100000 values"),
        ("a: &a [*a]", "no end to it"),
        ("low_hz: 1\nlow_hz: 2\n", "key 'low_hz' comes twice"),
        ("{low_hz: 1, names: [], low_hz: 2}", "key 'low_hz' comes twice"),
        ("names:\n- {a: 1, a: 2}\n", "key 'a' comes twice"),
        ("[" * 100_000, "nested too deeply"),
        ("- " * 60 + "x", "nested too deeply"),
        ("x" * 1_000_001, "more than the 1000000"),
        ("low_hz: " + "9" * 5000, "a number is too long"),
        ("low_hz: 1" + ":59" * 100_000, "a number is too long"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: [", "expected"),
        ("? [a]\n: b\n", "unhashable"),
        ("low_hz: \x00", "unacceptable character"),
    ],
)
def test_hostile_documents_are_one_short_line_at_once(text, words):
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "config.yaml")
    line = str(caught.value)
    assert words in line
    assert line.startswith("config.yaml: ")
    assert "\n" not in line
    assert len(line) < 600
    assert time.monotonic() - began < 5


def test_what_a_person_writes_is_read_as_ever():
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\nd: 1.5\ne: 0x10\nf: 1:30\ng: null\n"
    assert parse_yaml(text, "config.yaml") == {
        "a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": [{"x": 1, "y": 2}] * 2, "d": 1.5, "e": 16, "f": 90,
        "g": None,
    }  # fmt: skip


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e999"])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(SettingsError, match="low_hz: Input should be a finite number"):
        Block.load(f"{{low_hz: {value if value != '1e999' else '1.0e+999'}}}")


def test_a_message_never_repeats_a_long_value():
    for values in ({"low_hz": "x" * 10**6}, {"names": 5, "low_hz": ["y" * 10**6] * 50}, {"z" * 10**6: 1}):
        with pytest.raises(SettingsError) as caught:
            Block.parse(values, "config")
        assert len(str(caught.value)) < 1500


def test_of_many_errors_the_first_are_told():
    with pytest.raises(SettingsError, match="; and 95 more"):
        Block.parse({"names": [1] * 100}, "config")


def test_a_settings_file_is_a_regular_file(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name in ("pipe.yaml", "zero.yaml"):
        with pytest.raises(InputError, match=rf"cannot read settings from .*{name} is a (named pipe|device)"):
            read_yaml(str(tmp_path / name))
    (tmp_path / "long.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(InputError, match="more than 1 MB"):
        read_yaml(str(tmp_path / "long.yaml"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff", "is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 60 + b"]" * 60, "nested too deeply"),
        (b'{"a": 1, "a": 2}', "key 'a' comes twice"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": 1e999}', "too large"),
        (b"9" * 5000, "not JSON that can be read"),
        (b"{", "not JSON that can be read"),
        (b" " * 2001, "more than 0.002 MB"),
    ],
)
def test_json_from_outside(tmp_path, content, words):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        bounded.read_json(path, 10**6 if len(content) != 2001 else 2000)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 800


def test_json_that_is_fine(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, null, {"b": "c"}]}')
    assert bounded.read_json(tmp_path / "a.json", 1000) == {"a": [1, 2.5, None, {"b": "c"}]}
    with pytest.raises(FileNotFoundError):
        bounded.read_json(tmp_path / "b.json", 1000)
