"""What a user runs by hand beside the stages: try, start, check, look, hand on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from boldtable.cli.options import AtlasOption, DatasetOption, OutOption, RecipeOption, ResultsOption, app
from boldtable.errors import BoldtableError


@app.command()
def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="A published checkpoint, or the folder it lies in.")],
    atlas: AtlasOption,
    out: OutOption,
    network_order: Annotated[
        str | None,
        typer.Option(
            help="Brain-Semantoks: the atlas's names of the nine networks, in the checkpoint's order, with commas; "
            "those of the built-in atlas if not given."
        ),
    ] = None,
    order_volume: Annotated[
        Path | None,
        typer.Option(
            help="Brain-JEPA: label image of Schaefer's 400 parcels in 17-network order (or of all 450, Tian's first): "
            "which parcel is which is told by the voxels shared with the atlas's image."
        ),
    ] = None,
    gradients: Annotated[
        Path | None, typer.Option(help="Brain-JEPA: the authors' gradients (CSV), or a file of boldtable gradients.")
    ] = None,
    population: Annotated[
        Path | None,
        typer.Option(
            help="BrainLM: statistics of boldtable population that go with the weights and scale their input."
        ),
    ] = None,
) -> None:
    """A published checkpoint → a model folder, every tensor of it accounted for."""
    from boldtable.stages import embed as stage

    networks = None if network_order is None else [name.strip() for name in network_order.split(",")]
    order = None
    if order_volume is not None:
        from boldtable.atlas.match import brain_jepa_order

        order = brain_jepa_order(atlas, order_volume)
    given = {"networks": networks, "order": order}
    stage.import_weights(checkpoint, atlas=atlas, out=out, gradients=gradients, population=population, **given)


@app.command()
def reconstruct(
    weights: Annotated[list[Path], typer.Argument(help="Model folders with a decoder (BrainLM).")],
    dataset: Annotated[list[str], typer.Option("--dataset", help="Dataset whose kept runs count; may come again.")],
    out: Annotated[Path, typer.Option("--out", help="The table: .csv or .parquet.")],
    results: ResultsOption = Path("results"),
    recipe: RecipeOption = None,
    settings: Annotated[
        str,
        typer.Option("--settings", help="What is hidden: a YAML file, or inline, as {test_mask_ratios: [0.5]}."),
    ] = "{}",
) -> None:
    """Model folders x datasets → R² of what they reconstruct, at several shares hidden."""
    from boldtable.results import dataset as opened
    from boldtable.stages import embed as stage

    chosen = [opened(results, name, recipe) for name in dataset]
    sources = [stage.Source(one.tensors, one.folder / "qc.parquet", one.recipe) for one in chosen]
    atlas = results / "atlases" / f"{chosen[0].made['atlas']}.parquet"
    stage.reconstruct(stage.Reconstruct.load(settings), weights=weights, atlas=atlas, sources=sources, out=out)


@app.command("gradients")
def make_gradients(
    dataset: Annotated[list[str], typer.Option("--dataset", help="Dataset whose kept runs count; may come again.")],
    out: Annotated[Path, typer.Option("--out", help="The gradients with parcel names and provenance (.parquet).")],
    results: ResultsOption = Path("results"),
    recipe: RecipeOption = None,
    settings: Annotated[
        str,
        typer.Option("--settings", help="How they are made: a YAML file, or inline JSON such as {components: 10}."),
    ] = "{}",
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Gradients of the same parcels to rotate these onto.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="The same numbers as Brain-JEPA's code reads them: no header."),
    ] = None,
) -> None:
    """The group connectome of datasets → gradients of its parcels, such as Brain-JEPA places its tokens by."""
    from boldtable.gradients import GradientSettings, make
    from boldtable.results import dataset as opened

    chosen = [opened(results, name, recipe) for name in dataset]
    make.run(chosen, GradientSettings.load(settings), out, csv, reference)


@app.command()
def export(
    dataset: DatasetOption,
    out: Annotated[Path, typer.Option("--out", help="Folder of the BIDS dataset: new or empty.")],
    results: ResultsOption = Path("results"),
    recipe: RecipeOption = None,
) -> None:
    """The kept parcel series of a dataset → a BIDS-Derivatives dataset (TSV, JSON, atlas labels, participants)."""
    from boldtable import export as helper
    from boldtable.results import dataset as opened

    helper.run(opened(results, dataset, recipe), out)


@app.command()
def figure(
    kind: Annotated[
        str, typer.Argument(help="carpet or motion (of a run), coverage (of a run or a dataset), qcfc (of a dataset).")
    ],
    dataset: DatasetOption,
    out: Annotated[Path, typer.Option("--out", help="The picture, .png or .svg.")],
    results: ResultsOption = Path("results"),
    recipe: RecipeOption = None,
    participant: Annotated[str | None, typer.Option("--participant", help="Which run: participant.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="Which run: session.")] = None,
    task: Annotated[str | None, typer.Option("--task", help="Which run: task.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Which run: its run label.")] = None,
    acquisition: Annotated[str | None, typer.Option("--acquisition", help="Which run: acquisition.")] = None,
) -> None:
    """A picture for quality control: carpet plot, motion, coverage on a glass brain, or QC-FC."""
    from boldtable import draw
    from boldtable.results import dataset as opened

    wanted = {"participant": participant, "session": session, "task": task, "run": run, "acquisition": acquisition}
    draw.run(kind, opened(results, dataset, recipe), wanted, out)


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
def fetch_abide(
    out: Annotated[Path, typer.Argument(help="Folder that receives the series, participants.tsv and cc200.tsv.")],
    cache: Annotated[Path, typer.Option(help="Folder for what is downloaded.")] = Path("abide-download"),
    image: Annotated[
        Path | None, typer.Option(help="The CC200 label image (cc200_roi_atlas.nii.gz); downloaded without it.")
    ] = None,
    everyone: Annotated[bool, typer.Option(help="Also take whom the release's raters did not pass.")] = False,
    atlases: Annotated[
        Path | None, typer.Option(help="Offline folder with the files of schaefer400-tian3-buckner7.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="A ready table of the CC200 parcels, instead of image and atlases.")
    ] = None,
) -> None:
    """ABIDE's public parcel series (C-PAC, CC200) → a dataset for config/benchmarks/abide.yaml; needs internet."""
    from boldtable import abide as helper

    helper.run(out, cache, image, everyone, atlases, table)


@app.command()
def check(
    config: Annotated[str, typer.Argument(help="A config file.")],
    whole: Annotated[
        bool, typer.Option("--whole", help="Print it with the baselines and other rows that its tables ask for.")
    ] = False,
    data: Annotated[
        bool,
        typer.Option(
            "--data", help="Collect the datasets aside and try every task on them (relative paths start from here)."
        ),
    ] = False,
) -> None:
    """Check a config file: keys, ranges, that its blocks agree with each other; with --data that its tasks exist."""
    import json

    import yaml

    from boldtable.expansion import expand
    from boldtable.settings import read_yaml
    from boldtable.study import Study

    study = Study.load(config)
    study.check()
    if data:
        from boldtable import check_data

        check_data.run(study)
    # Through JSON: what YAML aliases share is written out.
    text = yaml.safe_dump(json.loads(json.dumps(expand(read_yaml(config)))), sort_keys=False) if whole else ""
    typer.echo(text or f"{config}: fine")


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
    participants: Annotated[int, typer.Option(min=20, help="Simulated participants per cohort.")] = 48,
    models: Annotated[
        bool, typer.Option("--models", help="The extended table: every model that can be trained, side by side.")
    ] = False,
) -> None:
    """Simulate two cohorts, run the whole workflow on them and print the table."""
    from boldtable import demo as helper

    table = "models" if models else "demo"
    raise typer.Exit(helper.run(folder, cores=cores, participants=participants, table=table))
