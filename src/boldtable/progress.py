"""Progress of long work: a rich bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import track

from boldtable.plain import plain

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 5.0
_LONGEST_MESSAGE = 300
_listening: list[list[str]] = []


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` while showing how many of `total` are done on standard error."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from track(items, description=what, total=total, transient=True)
        return
    last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        if time.monotonic() - last > _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{what}: {done}/{total if total is not None else '?'}")
    say(f"{what}: {done} done")


def log_fault(error: BaseException) -> str:
    """Write the traceback of an error that nobody foresaw to standard error; return its class and message on one line.

    For the boundary of a run: whatever one run's files do costs that run, and the log says where it happened.
    """
    for line in "".join(traceback.format_exception(error)).rstrip().split("\n"):
        say(line)
    message = " ".join(str(error).split())[:_LONGEST_MESSAGE]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


@contextmanager
def noted() -> Iterator[list[str]]:
    """Collect the lines that are said inside the block, for a file that keeps what its log says."""
    lines: list[str] = []
    _listening.append(lines)
    try:
        yield lines
    finally:
        _listening.remove(lines)


def say(line: str) -> None:
    """Write one plain line to standard error, flushed, so that logs are readable while a job runs."""
    for lines in _listening:
        lines.append(line)
    print(plain(line, keep="\n\t"), file=sys.stderr, flush=True)
