"""Texts made safe for where they are shown: a terminal, a CSV that a spreadsheet opens, Markdown."""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain(text: str, keep: str = "") -> str:
    """Return a text without terminal commands, control characters and characters that turn its direction.

    Control characters become blanks, but for those in `keep`.
    """
    found = _ESCAPES.sub("", text)
    return "".join(_letter(letter) if letter not in keep else letter for letter in found)


def _letter(letter: str) -> str:
    if letter in _TURNING:
        return ""
    return " " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter


def cell(text: str) -> str:
    """Return a text that a spreadsheet does not take for a formula: one that could be is led by an apostrophe."""
    found = plain(text)
    return f"'{found}" if found.lstrip()[:1] in ("=", "+", "-", "@", "\N{MINUS SIGN}") and found.strip() else found


def markdown(text: str) -> str:
    """Return a text that Markdown shows as it is: no link, no image, no HTML, no heading, no end of a cell."""
    found = " ".join(plain(text).split())
    found = re.sub(r"([\\`*\[\]|])", r"\\\1", found).replace("&", "&amp;").replace("<", "&lt;")
    found = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", found)
    found = re.sub(r"^([#>+=-])", r"\\\1", found)
    found = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", found)
    return found.replace("://", ":\\//").replace("www.", "www\\.").replace("@", "\\@")
