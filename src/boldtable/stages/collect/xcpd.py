"""XCP-D derivatives: the parcel series of one atlas, with the motion and the repetition time beside them.

The names follow XCP-D in both generations: ``atlas-{name}_timeseries.tsv`` up to 0.6, since then
``seg-{name}_stat-mean_timeseries.tsv`` or ``atlas-{name}_stat-mean_timeseries.tsv``. The header of a series has the
names of its parcels.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

from boldtable.errors import InputError, RunError
from boldtable.progress import say
from boldtable.stages.collect.files import examples, parallel
from boldtable.stages.collect.record import Run, guarded
from boldtable.stages.collect.series import UNREADABLE, count_frames
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.timing import check_length, stated_tr
from boldtable.stages.collect.tree import (
    VARIANT,
    File,
    Layout,
    acquisition,
    by_specificity,
    entities_of,
    index_tree,
    space,
)

_ATLAS = ("seg", "atlas")
_FULL = 0.8
_JOINED = ("run", "dir")  # what XCP-D concatenates over


def index_xcpd(derivatives: Path) -> list[Run]:
    """Find the parcel series of every atlas and run, sorted; the files are not read yet.

    Raises `InputError` where there is no ``sub-*`` folder or no parcel series at all.
    """
    runs = index_tree(derivatives, Layout(_matters, _runs, "parcel series of XCP-D"))
    if not any(run.bold for run in runs):
        raise InputError(
            f"no *_timeseries.tsv of an atlas in any sub-*/func below {derivatives}; name a folder of XCP-D derivatives"
        )
    return runs


def leave_out_joined(runs: list[Run]) -> list[Run]:
    """Leave out the runs that are there a second time, concatenated as ``--combine-runs`` writes them.

    A file without run- (or dir-) is the runs of the same name in one where it has as many frames as they have together,
    or a little less (censoring is decided anew over all runs); then it stays as a row that says so. Where the frames do
    not tell, both stay, and a line says it.
    """
    groups: dict[frozenset[tuple[str, str]], list[Run]] = defaultdict(list)
    for run in runs:
        if run.bold and run.n_frames:
            groups[_names(run, *_JOINED, *VARIANT)].append(run)
    for group in groups.values():
        for whole in sorted(group, key=lambda run: -len(_names(run, *VARIANT))):
            parts = [run for run in group if _names(whole, *VARIANT) < _names(run, *VARIANT)]
            _judge(whole, [part for part in parts if part.status != "filtered"])
    return runs


def _judge(whole: Run, parts: list[Run]) -> None:
    if not parts:
        return
    there = examples((str(part.bold) for part in parts), 2)
    lengths = [part.n_frames or 0 for part in parts]
    if max(lengths) * (len(parts) > 1) < (whole.n_frames or 0) <= sum(lengths) and _FULL * sum(lengths) <= (
        whole.n_frames or 0
    ):
        whole.leave_out(f"it holds {there} in one: the single runs are taken")
    else:
        say(f"collect: {whole.bold} stands beside {there} and is not these in one: all are taken")


def _names(run: Run, *but: str) -> frozenset[tuple[str, str]]:
    return frozenset((key, value) for key, value in run.entities.items() if key not in but)


def read_xcpd(settings: Collect, runs: list[Run]) -> list[Run]:
    """Fill in frames and repetition time of each run, and keep its motion file where it has the same frames."""
    read = parallel(guarded(partial(_read, settings)), runs, f"collect: read {settings.derivatives}")
    censored = [str(run.bold) for run in read if run.gaps]
    if censored:
        say(
            f"collect: XCP-D has removed frames from {len(censored)} runs ({examples(censored, 1)}): their frames are "
            "not evenly spaced, and filters and resampling do not know; have it interpolate them instead"
        )
    return read


def _read(settings: Collect, run: Run) -> Run:
    if run.status != "found" or run.bold is None:
        return run
    try:
        run.n_frames = count_frames(settings.derivatives / run.bold, frames_are_rows=True)
        run.tr_s = settings.tr_s if settings.tr_s is not None else stated_tr(settings.derivatives, run)
    except (RunError, *UNREADABLE) as error:
        return run.exclude(f"cannot read the series: {' '.join(str(error).split())}")
    n_motion = _motion_frames(settings.derivatives, run)
    run.gaps = n_motion > run.n_frames
    if n_motion != run.n_frames:
        run.confounds = None
    return check_length(run, settings.min_minutes)


def _motion_frames(derivatives: Path, run: Run) -> int:
    """Frames of the motion file, which counts those that were censored too; 0 without one that can be read."""
    try:
        return count_frames(derivatives / run.confounds, frames_are_rows=True) if run.confounds else 0
    except (RunError, *UNREADABLE):
        return 0


def _matters(suffix: str, extension: str, entities: dict[str, str]) -> bool:
    if suffix == "timeseries":
        named = any(key in entities for key in _ATLAS)
        return named and extension == ".tsv" and entities.get("stat", "mean") == "mean"
    return (suffix == "motion" and extension == ".tsv") or (suffix == "bold" and extension == ".json")


def _runs(files: list[File], above: list[File]) -> list[Run]:
    """The series of a func folder with the motion of their run, and the sidecars of its denoised BOLD."""
    motion = {file.names(*VARIANT): file for file in files if file.suffix == "motion" and "desc" in file.entities}
    motion |= {file.names(*VARIANT): file for file in files if file.suffix == "motion" and "desc" not in file.entities}
    jsons = by_specificity([file for file in files if file.extension == ".json"]) + above
    return [_run(file, motion.get(file.names(*VARIANT)), jsons) for file in files if file.suffix == "timeseries"]


def _run(series: File, motion: File | None, jsons: list[File]) -> Run:
    entities = series.entities
    # The series' own sidecar says "SamplingFrequency": "TR"; the number stands in that of the BOLD it was made from.
    sidecars = tuple(file.path for file in jsons if file.names(*VARIANT) <= series.names(*VARIANT))
    return Run(
        participant=entities.get("sub", ""),
        session=entities.get("ses"),
        task=entities.get("task"),
        run=entities.get("run"),
        acquisition=acquisition(entities),
        space=space(entities),
        resolution=entities.get("res"),
        atlas=next(entities[key] for key in _ATLAS if key in entities),
        bold=series.path,
        confounds=motion.path if motion else None,
        stamps={file.path: file.stamp for file in (series, motion) if file},
        sidecars=sidecars,
        entities=entities_of(series),
    ).check_links()
