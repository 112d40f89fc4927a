"""Population statistics: median and interquartile range per parcel over the cleaned frames of declared runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from boldtable import store
from boldtable.errors import InputError, RunError
from boldtable.progress import log_fault, progress, say
from boldtable.stages.clean.recipe import Population, cleaned_run
from boldtable.stages.clean.settings import Clean

Floats = npt.NDArray[np.float64]
_QUARTILES = (0.25, 0.5, 0.75)


@dataclass
class _Pool:
    """Frames of many runs, the same number of each at most."""

    per_run: int
    frames: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def add(self, values: Floats) -> None:
        """Take evenly spaced frames of (frame, parcel) values."""
        places = np.linspace(0, len(values) - 1, min(self.per_run, len(values))).round().astype(int)
        self.frames.append(values[places].astype(np.float32))

    def statistics(self) -> list[dict[str, Any]]:
        """One row per parcel; a parcel that is missing in every run has neither median nor range."""
        pooled = np.concatenate(self.frames)
        self.frames.clear()
        return [_quartiles(column, pooled[:, column]) for column in range(pooled.shape[1])]


def fit_population(
    settings: Clean, parcels: Sequence[Path], runs: Sequence[Path], out: Path, splits: Path | None
) -> None:
    """Fit and write (`boldtable.stages.clean.fit` says the rest)."""
    if settings.normalise != "population":
        raise InputError(f"the recipe has normalise '{settings.normalise}': it needs no population statistics")
    if len(parcels) != len(runs) or not parcels:
        raise InputError("give one folder of parcels and one table of runs per dataset, in the same order")
    chosen = _training(settings, splits)
    files = [path for folder, table in zip(parcels, runs, strict=True) for path in _shards(folder, table)]
    n_runs = sum(1 for _ in _wanted(files, chosen, ["dataset", "participant", "status"]))
    if not n_runs:
        raise InputError(f"no run to fit population statistics on in {', '.join(map(str, parcels))}")
    pool, atlases = _Pool(max(1, settings.population_frames // n_runs)), {_atlas(path) for path in files}
    if len(atlases) > 1:
        raise InputError("the parcels of the datasets are of different atlases; run parcellate again")
    for row in progress(_wanted(files, chosen), "population", n_runs):
        try:
            cleaned = cleaned_run(settings, row)
        except MemoryError:
            raise
        except RunError as error:  # clean gives the reason its row
            say(f"{store.label(row)}: left out: {error}")
            continue
        except Exception as error:  # noqa: BLE001 - the boundary of a run
            say(f"{store.label(row)}: left out: {log_fault(error)}")
            continue
        pool.add(cleaned.signal[~cleaned.interpolated])
    _write(settings, pool, out, [*runs, *([splits] if splits else [])], atlases.pop())


def _write(settings: Clean, pool: _Pool, out: Path, inputs: list[Path], atlas_sha256: str | None) -> None:
    n_runs = len(pool.frames)
    if not n_runs:
        raise InputError("no run is left to fit population statistics on: every one failed, see the lines above")
    rows = [row | {"n_runs": n_runs} for row in pool.statistics()]
    about = store.Provenance("population", settings, inputs, atlas=settings.atlas, atlas_sha256=atlas_sha256)
    store.write(out, "population", rows, about)
    say(f"population: {len(rows)} parcels, {rows[0]['n_frames']} frames of {n_runs} runs")


def read_population(settings: Clean, path: Path | None, atlas_sha256: str | None) -> Population | None:
    """The statistics a recipe needs, or None for one that needs none; `InputError` where they are another recipe's."""
    if settings.normalise != "population":
        return None
    if path is None:
        raise InputError("normalise 'population' needs the population statistics: run 'boldtable population' first")
    rows = store.frame(path, "population").sort_values("column")
    about = store.provenance(path)
    if about["settings"] != settings.model_dump(mode="json") or about.get("atlas_sha256") != atlas_sha256:
        raise InputError(f"{path} was fitted for another recipe or atlas; run 'boldtable population' again")
    return Population(rows["median"].to_numpy(dtype=np.float64), rows["iqr"].to_numpy(dtype=np.float64))


def _training(settings: Clean, splits: Path | None) -> set[tuple[str, str]] | None:
    """The dataset and name of each participant to fit on; None for all."""
    if settings.population_split is None:
        return None
    if splits is None:
        raise InputError(f"population_split '{settings.population_split}' needs the table of splits of its task")
    number = int(settings.population_split.split("/")[1])
    table = store.frame(splits, "splits", ["split", "dataset", "participant", "part"])
    chosen = table[(table["split"] == number) & (table["part"] == "train")]
    if chosen.empty:
        raise InputError(f"{splits} has no split {number}; correct population_split")
    return set(zip(chosen["dataset"], chosen["participant"], strict=True))


def _shards(folder: Path, runs: Path) -> Iterator[Path]:
    """The files of a dataset's shards with found runs."""
    table = store.frame(runs, "runs", ["shard", "status"])
    for shard in sorted(set(table.loc[table["status"] == "found", "shard"])):
        yield folder / f"{shard}.parquet"


def _wanted(
    files: Sequence[Path], chosen: set[tuple[str, str]] | None, columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    for path in files:
        for row in store.rows(path, "parcels", columns):
            if row["status"] != "failed" and (chosen is None or (row["dataset"], row["participant"]) in chosen):
                yield row


def _atlas(path: Path) -> str | None:
    return store.provenance(path).get("atlas_sha256")


def _quartiles(column: int, values: npt.NDArray[np.float32]) -> dict[str, Any]:
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return {"column": column, "median": None, "iqr": None, "n_frames": 0}
    low, median, high = np.quantile(finite, _QUARTILES)
    return {"column": column, "median": float(median), "iqr": float(high - low), "n_frames": int(finite.size)}
