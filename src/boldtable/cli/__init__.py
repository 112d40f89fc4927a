"""The command line: one command per stage and the user's helpers; errors become exit codes here and nowhere else."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from boldtable import __version__
from boldtable.cli import stages, tools
from boldtable.cli.options import app
from boldtable.errors import BoldtableError, shortened
from boldtable.plain import plain

__all__ = ["app", "main", "stages", "tools"]

_LONGEST_LINE = 4000


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the command line: an error a user can mend is one line and exit code 2; anything else keeps its traceback."""
    try:
        app()
    except BoldtableError as error:
        _end(str(error))
    except OSError as error:
        from boldtable.writing import is_full

        if not is_full(error, Path.cwd()):
            raise
        _end(f"no space left on the disk{f' of {error.filename}' if error.filename else ''}; make room and start again")


def _end(line: str) -> NoReturn:
    """Print the one line, of a length that a terminal takes, and exit with code 2."""
    with suppress(OSError):  # the log may lie on the full disk
        print(plain(f"boldtable: error: {shortened(line, _LONGEST_LINE)}", keep="\n\t"), file=sys.stderr, flush=True)
    sys.exit(2)
