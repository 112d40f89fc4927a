"""The command line: one command per stage and the user's helpers; errors become exit codes here and nowhere else."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from boldtable import __version__
from boldtable.cli import stages, tools
from boldtable.cli.options import app
from boldtable.errors import BoldtableError
from boldtable.plain import plain

__all__ = ["app", "main", "stages", "tools"]


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
        print(plain(f"boldtable: error: {error}", keep="\n\t"), file=sys.stderr)
        sys.exit(2)
