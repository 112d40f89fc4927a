"""The command line itself, and the options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="BOLD in, table out: fMRI cohorts from BIDS to a benchmark table that can be trusted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

SettingsOption = Annotated[
    str, typer.Option("--settings", help="The stage's block of the config: a YAML file, or inline JSON.")
]
OutOption = Annotated[Path, typer.Option("--out", help="What the command writes.")]
KeepGoingOption = Annotated[
    bool,
    typer.Option("--keep-going", help="Where the task fails, write why in place of its numbers, for the other tasks."),
]
DatasetOption = Annotated[str, typer.Option("--dataset", help="Name of the dataset.")]
RunsOption = Annotated[Path, typer.Option("--runs", help="Table of runs.")]
ParticipantsOption = Annotated[Path, typer.Option("--participants", help="Table of participants.")]
AtlasOption = Annotated[Path, typer.Option("--atlas", help="Atlas table.")]
ResultsOption = Annotated[Path, typer.Option("--results", help="The results folder.")]
RecipeOption = Annotated[
    str | None, typer.Option("--recipe", help="Recipe of the tensors; needed where the dataset has several.")
]
QCOption = Annotated[Path, typer.Option("--qc", help="QC table of the dataset.")]
