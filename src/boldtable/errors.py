"""One family of errors a user can act on: each names the file, the value and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BoldtableError(Exception):
    """Something a user can mend. The command line prints it as one line and exits with code 2."""


class SettingsError(BoldtableError):
    """A setting is unknown, missing or out of its range."""


class InputError(BoldtableError):
    """An input file or folder is missing, empty, unreadable or not what it claims to be."""


class SpaceError(BoldtableError):
    """Two images or an atlas and an image live in different standard spaces."""


class RunError(BoldtableError):
    """One run cannot be processed: its reason goes to the ledger and the other runs go on."""


class OutputError(BoldtableError):
    """A file cannot be written: the disk is full, or another run has taken the study over."""


_SHOWN = 300  # characters of a value in a message


def shortened(value: object, limit: int = _SHOWN) -> str:
    """Return a value as text of one line, cut where it is long."""
    text = str(value)
    text = " ".join(text[: 10 * limit].split()) + ("" if len(text) <= 10 * limit else " ...")
    return text if len(text) <= limit else f"{text[:limit]} ..."


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint such as ``, did you mean 'tr_s'?``, or the known words where none is near."""
    choices, word = sorted(known), word[:_SHOWN]
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    if close:
        return f", did you mean '{close[0]}'?"
    return f"; known: {', '.join(choices)}" if choices else ""
