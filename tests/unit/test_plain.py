"""Texts from outside, made safe for a terminal, a CSV and Markdown."""

from __future__ import annotations

import pytest

from boldtable import plain
from boldtable.progress import say


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("a\x07b\x9bc", "a b c"),
        ("a\u202eb", "ab"),
        ("Zoë, 5 µV ≥ 3", "Zoë, 5 µV ≥ 3"),
    ],
)
def test_terminal_commands_are_taken_out(text: str, expected: str) -> None:
    assert plain.plain(text) == expected


def test_what_is_said_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("site \x1b[2J\x1b[31mX: 3\n  next")
    assert capsys.readouterr().err == "site X: 3\n  next\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+cmd", "@x", "  =1", "\t=1"])
def test_no_text_of_a_csv_is_a_formula(text: str) -> None:
    assert plain.cell(text).startswith("'")


def test_ordinary_texts_of_a_csv_stay() -> None:
    assert [plain.cell(text) for text in ("site-1", "", "a=b", "1.5")] == ["site-1", "", "a=b", "1.5"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[x](y)", r"\[x\](y)"),
        ("![x](y)", r"!\[x\](y)"),
        ("<img src=x>", "&lt;img src=x>"),
        ("a | b", r"a \| b"),
        ("# head", r"\# head"),
        ("a\n\n# b", "a # b"),
        ("see https://e.x", "see https:\\//e.x"),
        ("0.1.0", "0.1.0"),
        ("1. x", "1\\. x"),
        ("balanced_accuracy", "balanced_accuracy"),
        ("_x_ *y* `z`", r"\_x\_ \*y\* \`z\`"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text: str, expected: str) -> None:
    assert plain.markdown(text) == expected
