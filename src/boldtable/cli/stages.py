"""One command per stage, and what a stage needs beside it: arguments → one call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from boldtable.cli.options import (
    AtlasOption,
    DatasetOption,
    KeepGoingOption,
    OutOption,
    ParticipantsOption,
    RunsOption,
    SettingsOption,
    app,
)


@app.command()
def preprocess(
    settings: SettingsOption,
    dataset: DatasetOption,
    participant: Annotated[str, typer.Option("--participant", help="Participant such as 01, or a session: 01_ses-1.")],
    out: OutOption,
    ready: Annotated[Path | None, typer.Option("--ready", help="What 'boldtable fsaverage' wrote.")] = None,
    threads: Annotated[int, typer.Option("--threads", help="Counts before the settings; 0: those.")] = 0,
    memory_mb: Annotated[int, typer.Option("--memory-mb", help="Counts before the settings; 0: those.")] = 0,
) -> None:
    """A raw BIDS participant → fMRIPrep derivatives."""
    from boldtable.stages import preprocess as stage

    given = stage.Preprocess.load(settings)
    stage.run(given, dataset, participant, out, ready=ready, threads=threads, memory_mb=memory_mb)


@app.command()
def fsaverage(settings: SettingsOption, out: OutOption) -> None:
    """Before preprocess, once per dataset: check everything, and copy fsaverage out of the image."""
    from boldtable.stages import preprocess as stage

    stage.fsaverage(stage.Preprocess.load(settings), out=out)


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
    population: Annotated[
        Path | None, typer.Option("--population", help="Population statistics, for normalise 'population'.")
    ] = None,
) -> None:
    """A shard of parcel signals × one recipe → tensors."""
    from boldtable.stages import clean as stage

    stage.run(stage.Clean.load(settings), parcels=parcels, out=out, population=population)


@app.command()
def population(
    settings: SettingsOption,
    parcels: Annotated[
        list[Path], typer.Option("--parcels", help="Folder of a dataset's parcel signals; once per dataset.")
    ],
    runs: Annotated[
        list[Path], typer.Option("--runs", help="Table of runs of a dataset; once per dataset, in the same order.")
    ],
    out: OutOption,
    splits: Annotated[
        Path | None, typer.Option("--splits", help="Splits of the task that population_split names.")
    ] = None,
) -> None:
    """Parcel signals of declared datasets × one recipe → the median and range that normalise 'population' uses."""
    from boldtable.stages import clean as stage

    stage.fit(stage.Clean.load(settings), parcels=parcels, runs=runs, out=out, splits=splits)


@app.command()
def qc(
    settings: SettingsOption,
    runs: RunsOption,
    participants: ParticipantsOption,
    parcels: Annotated[Path, typer.Option("--parcels", help="Folder of the dataset's parcel signals.")],
    tensors: Annotated[Path, typer.Option("--tensors", help="Folder of the dataset's tensors.")],
    atlas: AtlasOption,
    out: OutOption,
    summary: Annotated[
        Path | None,
        typer.Option("--summary", help="Where the summary goes; qc_summary.parquet beside --out if not given."),
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option("--kept", help="Where the list of kept runs goes; kept.parquet beside --out if not given."),
    ] = None,
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
        summary=summary,
        kept=kept,
    )


@app.command()
def pretrain(
    settings: SettingsOption,
    model: Annotated[str, typer.Option("--model", help="Name of the model.")],
    atlas: AtlasOption,
    tensors: Annotated[list[Path], typer.Option("--tensors", help="Folder of a dataset's tensors; once per dataset.")],
    qc: Annotated[
        list[Path],
        typer.Option(
            "--qc", help="List of kept runs of a dataset, or its QC table; once per dataset, in the same order."
        ),
    ],
    out: OutOption,
    population: Annotated[
        Path | None,
        typer.Option("--population", help="The recipe's population statistics, to travel with the weights."),
    ] = None,
) -> None:
    """Tensors of some datasets × one model → a model folder."""
    from boldtable.stages import pretrain as stage

    given = stage.Pretrain.load(settings)
    stage.run(given, model=model, atlas=atlas, tensors=tensors, qc=qc, out=out, population=population)


@app.command()
def embed(
    settings: SettingsOption,
    atlas: AtlasOption,
    tensors: Annotated[Path, typer.Option("--tensors", help="Folder of the dataset's tensors.")],
    qc: Annotated[Path, typer.Option("--qc", help="List of the dataset's kept runs, or its QC table.")],
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
def target(
    settings: SettingsOption,
    task: Annotated[str, typer.Option("--task", help="Name of the task.")],
    participants: Annotated[
        list[Path], typer.Option("--participants", help="Table of participants; once per dataset of the task.")
    ],
    out: OutOption,
) -> None:
    """Whether a task's target is there, differs and can be split, as soon as the participants are known."""
    from boldtable.stages import probe as stage

    stage.check_target(stage.Probe.load(settings), task=task, participants=participants, out=out)


@app.command()
def split(
    settings: SettingsOption,
    task: Annotated[str, typer.Option("--task", help="Name of the task.")],
    participants: Annotated[
        list[Path], typer.Option("--participants", help="Table of participants; once per dataset of the task.")
    ],
    qc: Annotated[list[Path], typer.Option("--qc", help="QC table; once per dataset of the task, in the same order.")],
    out: OutOption,
    keep_going: KeepGoingOption = False,
) -> None:
    """Who is in train, validation and test of a task: made once, the same for every model."""
    from boldtable.stages import probe as stage

    given = stage.Probe.load(settings)
    stage.split(given, task=task, participants=participants, qc=qc, out=out, keep_going=keep_going)


@app.command()
def probe(
    settings: SettingsOption,
    model: Annotated[str, typer.Option("--model", help="Name of the model (row of the table).")],
    task: Annotated[str, typer.Option("--task", help="Name of the task.")],
    embeddings: Annotated[list[Path], typer.Option("--embeddings", help="Embeddings; once per dataset of the task.")],
    qc: Annotated[list[Path], typer.Option("--qc", help="QC table; once per dataset of the task, in the same order.")],
    splits: Annotated[Path, typer.Option("--splits", help="Splits of the task.")],
    out: OutOption,
    predictions: Annotated[Path, typer.Option("--predictions", help="Where the predictions go.")],
    participants: Annotated[
        list[Path] | None,
        typer.Option("--participants", help="Table of participants, for confounds; once per dataset of the task."),
    ] = None,
    keep_going: KeepGoingOption = False,
) -> None:
    """Embeddings × one task → scores, one row per split and metric."""
    from boldtable.stages import probe as stage

    stage.run(
        stage.Probe.load(settings),
        model=model,
        task=task,
        embeddings=embeddings,
        qc=qc,
        splits=splits,
        out=out,
        predictions=predictions,
        participants=participants or [],
        keep_going=keep_going,
    )


@app.command()
def ledger(
    qc: Annotated[list[Path], typer.Option("--qc", help="QC table of a dataset; once per dataset.")],
    out: OutOption,
    preprocess: Annotated[
        list[Path] | None, typer.Option("--preprocess", help="Folder of a dataset's fMRIPrep records, or one record.")
    ] = None,
) -> None:
    """QC tables of all datasets → the ledger: every run that dropped out anywhere, and why."""
    from boldtable.stages import report as stage

    stage.ledger(qc=qc, out=out, preprocess=preprocess or [])


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
