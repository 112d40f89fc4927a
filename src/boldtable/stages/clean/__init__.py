"""clean: a shard of parcel signals × one recipe → denoised, band-passed, resampled, normalised tensors.

Order of operations: 1. drop non-steady-state and dummy frames; 2. mark frames to censor (FD, DVARS); 3. interpolate
them; 4. detrend; 5. band-pass signals and confounds alike; 6. regress confounds (fitted on kept frames); 7. resample
to the target TR (anti-aliased); 8. record mean and std; 9. normalise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from boldtable import store
from boldtable.errors import InputError
from boldtable.progress import progress
from boldtable.stages.clean.population import fit_population, read_population
from boldtable.stages.clean.recipe import Population, clean_row
from boldtable.stages.clean.settings import Clean

__all__ = ["Clean", "Population", "clean_row", "fit", "run"]


def fit(settings: Clean, parcels: Sequence[Path], runs: Sequence[Path], out: Path, splits: Path | None = None) -> None:
    """Write the population statistics of a recipe to `out`: median and interquartile range per parcel.

    `parcels` are the folders of the declared datasets' shards and `runs` their tables of runs, in the same order;
    `splits` is the table of the task that `population_split` names. Every run goes through all steps of the recipe
    but the normalisation. Raises `InputError` when a file is missing or another one, or when no run is left.
    """
    fit_population(settings, parcels, runs, out, splits)


def run(settings: Clean, parcels: Path, out: Path, population: Path | None = None) -> None:
    """Clean every run of a shard and write `out`, the tensors, one row per run of `parcels` and in its order.

    A run that cannot be cleaned, or that failed before, is a row with status 'failed', its reason and no signal.
    `population` is the file of `fit`, for normalise 'population'. Raises `InputError` when `parcels` is no parcels
    file or was made with another atlas than the recipe's, or `population` is missing or was fitted otherwise.
    """
    statuses = store.read(parcels, "parcels", ["status"])
    source = store.provenance(parcels)
    if source.get("atlas", settings.atlas) != settings.atlas:
        raise InputError(f"{parcels} holds parcels of atlas '{source['atlas']}', the recipe is for '{settings.atlas}'")
    carried = {name: source[name] for name in ("space", "atlas_sha256") if name in source}
    recipe = settings.model_dump(mode="json")
    scale = read_population(settings, population, source.get("atlas_sha256"))
    inputs = [parcels, *([population] if population is not None else [])]
    about = store.Provenance("clean", settings, inputs, atlas=settings.atlas, recipe=recipe, **carried)
    n_parcels = store.parquet_schema(parcels).field("coverage").type.list_size
    with store.Writer(out, "tensors", about, n_parcels) as writer:
        for row in progress(store.rows(parcels, "parcels"), f"clean {parcels.stem}", len(statuses)):
            writer.append(clean_row(settings, row, scale))
