"""One command per stage (arguments → one call; errors → exit codes) and the user's helpers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from boldtable import __version__
from boldtable.errors import BoldtableError

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
DatasetOption = Annotated[str, typer.Option("--dataset", help="Name of the dataset.")]
RunsOption = Annotated[Path, typer.Option("--runs", help="Table of runs.")]
ParticipantsOption = Annotated[Path, typer.Option("--participants", help="Table of participants.")]
AtlasOption = Annotated[Path, typer.Option("--atlas", help="Atlas table.")]
QCOption = Annotated[Path, typer.Option("--qc", help="QC table of the dataset.")]


@app.command()
def preprocess(
    settings: SettingsOption,
    participant: Annotated[str, typer.Option("--participant", help="Participant, without 'sub-'.")],
    out: OutOption,
) -> None:
    """A raw BIDS participant → fMRIPrep derivatives."""
    from boldtable.stages import preprocess as stage

    stage.run(stage.Preprocess.load(settings), participant=participant, out=out)


@app.command()
def collect(
    settings: SettingsOption, dataset: DatasetOption, runs: RunsOption, participants: ParticipantsOption
) -> None:
    """Derivatives + participants.tsv → the tables of runs and participants."""
    from boldtable.stages import collect as stage

    stage.run(stage.Collect.load(settings), dataset=dataset, runs=runs, participants=participants)


@app.command()
def atlas(
    settings: SettingsOption, name: Annotated[str, typer.Option("--name", help="Name of the atlas.")], out: OutOption
) -> None:
    """An atlas from its sources → its table and label image."""
    from boldtable.stages import parcellate as stage

    stage.atlas(stage.Parcellate.load(settings), name=name, out=out)


@app.command()
def parcellate(
    settings: SettingsOption,
    dataset: DatasetOption,
    root: Annotated[
        Path, typer.Option("--root", help="Derivatives folder that the paths in the table of runs start from.")
    ],
    runs: RunsOption,
    shard: Annotated[str, typer.Option("--shard", help="Shard of the table of runs.")],
    atlas: AtlasOption,
    out: OutOption,
) -> None:
    """A shard of BOLD runs × one atlas → parcel signals, coverage and confounds."""
    from boldtable.stages import parcellate as stage

    stage.run(stage.Parcellate.load(settings), dataset=dataset, root=root, runs=runs, shard=shard, atlas=atlas, out=out)


@app.command()
def clean(
    settings: SettingsOption,
    parcels: Annotated[Path, typer.Option("--parcels", help="Parcel signals of the shard.")],
    out: OutOption,
) -> None:
    """A shard of parcel signals × one recipe → tensors."""
    from boldtable.stages import clean as stage

    stage.run(stage.Clean.load(settings), parcels=parcels, out=out)


@app.command()
def qc(
    settings: SettingsOption,
    runs: RunsOption,
    participants: ParticipantsOption,
    parcels: Annotated[Path, typer.Option("--parcels", help="Folder of the dataset's parcel signals.")],
    tensors: Annotated[Path, typer.Option("--tensors", help="Folder of the dataset's tensors.")],
    atlas: AtlasOption,
    out: OutOption,
) -> None:
    """Parcels + tensors of a dataset → one row per run: measures, keep or drop, and why."""
    from boldtable.stages import qc as stage

    stage.run(
        stage.QC.load(settings),
        runs=runs,
        participants=participants,
        parcels=parcels,
        tensors=tensors,
        atlas=atlas,
        out=out,
    )


@app.command()
def pretrain(
    settings: SettingsOption,
    model: Annotated[str, typer.Option("--model", help="Name of the model.")],
    atlas: AtlasOption,
    tensors: Annotated[list[Path], typer.Option("--tensors", help="Folder of a dataset's tensors; once per dataset.")],
    qc: Annotated[list[Path], typer.Option("--qc", help="QC table of a dataset; once per dataset, in the same order.")],
    out: OutOption,
) -> None:
    """Tensors of some datasets × one model → a model folder."""
    from boldtable.stages import pretrain as stage

    stage.run(stage.Pretrain.load(settings), model=model, atlas=atlas, tensors=tensors, qc=qc, out=out)


@app.command()
def embed(
    settings: SettingsOption,
    atlas: AtlasOption,
    tensors: Annotated[Path, typer.Option("--tensors", help="Folder of the dataset's tensors.")],
    qc: QCOption,
    participants: ParticipantsOption,
    out: OutOption,
    weights: Annotated[Path | None, typer.Option("--weights", help="Model folder, for encoders with weights.")] = None,
) -> None:
    """Tensors of a dataset × one model → embeddings, one row per run and window."""
    from boldtable.stages import embed as stage

    stage.run(
        stage.Embed.load(settings),
        atlas=atlas,
        tensors=tensors,
        qc=qc,
        participants=participants,
        weights=weights,
        out=out,
    )


@app.command()
def split(
    settings: SettingsOption,
    task: Annotated[str, typer.Option("--task", help="Name of the task.")],
    participants: ParticipantsOption,
    qc: QCOption,
    out: OutOption,
) -> None:
    """Who is in train, validation and test of a task: made once, the same for every model."""
    from boldtable.stages import probe as stage

    stage.split(stage.Probe.load(settings), task=task, participants=participants, qc=qc, out=out)


@app.command()
def probe(
    settings: SettingsOption,
    model: Annotated[str, typer.Option("--model", help="Name of the model (row of the table).")],
    task: Annotated[str, typer.Option("--task", help="Name of the task.")],
    embeddings: Annotated[Path, typer.Option("--embeddings", help="Embeddings of the task's dataset.")],
    splits: Annotated[Path, typer.Option("--splits", help="Splits of the task.")],
    out: OutOption,
    predictions: Annotated[Path, typer.Option("--predictions", help="Where the predictions go.")],
) -> None:
    """Embeddings × one task → scores, one row per split and metric."""
    from boldtable.stages import probe as stage

    stage.run(
        stage.Probe.load(settings),
        model=model,
        task=task,
        embeddings=embeddings,
        splits=splits,
        out=out,
        predictions=predictions,
    )


@app.command()
def ledger(
    qc: Annotated[list[Path], typer.Option("--qc", help="QC table of a dataset; once per dataset.")], out: OutOption
) -> None:
    """QC tables of all datasets → the ledger: every run that dropped out anywhere, and why."""
    from boldtable.stages import report as stage

    stage.ledger(qc=qc, out=out)


@app.command()
def report(
    settings: SettingsOption,
    table: Annotated[str, typer.Option("--table", help="Name of the table.")],
    results: Annotated[Path, typer.Option("--results", help="The results folder.")],
    out: OutOption,
    config: Annotated[
        str, typer.Option("--config", help="The whole config, printed on the page: YAML file or inline JSON.")
    ] = "{}",
) -> None:
    """Scores, QC and training logs → the table (CSV, Markdown, LaTeX) and one HTML page."""
    from boldtable.stages import report as stage

    stage.run(stage.Report.load(settings), table=table, results=results, config=config, out=out)


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Folder that receives the cohorts.")],
    participants: Annotated[int, typer.Option(help="Participants per cohort.")] = 48,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 21,
    workers: Annotated[int, typer.Option(help="Processes; 0 means one per core.")] = 0,
) -> None:
    """Write the two simulated cohorts: raw-BIDS skeleton, fMRIPrep-style derivatives, known truth, planted faults."""
    from boldtable.simulate import cohort

    cohort(folder, participants=participants, seed=seed, workers=workers or os.cpu_count() or 1)


@app.command()
def check(config: Annotated[str, typer.Argument(help="A config file.")]) -> None:
    """Check a config file: keys, ranges, and that its blocks agree with each other."""
    from boldtable.study import Study

    Study.load(config).check()
    typer.echo(f"{config}: fine")


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Folder to start a study in.")] = Path()) -> None:
    """Write a config.yaml to start from, with every block explained."""
    from boldtable.generate import starter
    from boldtable.store import write_text

    path = folder / "config.yaml"
    if path.exists():
        raise BoldtableError(f"{path} is there already; it is left as it is")
    write_text(path, starter())
    typer.echo(f"wrote {path}; fill in the paths, then: boldtable check {path}")


@app.command()
def doctor() -> None:
    """Say what this machine has: versions, cores, GPU, container engines, atlas cache."""
    from boldtable import doctor as helper

    helper.run()


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the demo's data and results.")] = Path("demo"),
    cores: Annotated[int, typer.Option(help="Cores to use; 0 means all.")] = 0,
    participants: Annotated[int, typer.Option(help="Simulated participants per cohort.")] = 48,
) -> None:
    """Simulate two cohorts, run the whole workflow on them and print the table."""
    from boldtable import demo as helper

    raise typer.Exit(helper.run(folder, cores=cores, participants=participants))


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
        print(f"boldtable: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
