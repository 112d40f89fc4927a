"""collect: derivatives + participants.tsv → the tables of runs and participants."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from boldtable import store
from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.stages.collect.files import bare, check_folder, check_outputs, examples, parallel
from boldtable.stages.collect.fmriprep import index
from boldtable.stages.collect.participants import Row, find_participants, participants_of, read_participants
from boldtable.stages.collect.record import Run, shards
from boldtable.stages.collect.select import select
from boldtable.stages.collect.series import index_series, read_lengths
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.timing import read_timing

__all__ = ["Collect", "run"]

_UNLABELLED = "not in participants.tsv: used for pretraining, left out of every task"


def run(settings: Collect, dataset: str, runs: Path, participants: Path) -> None:
    """Index a dataset once: write `runs` (one row per run, found or excluded) and `participants`.

    Reads names, headers, sidecars and participants.tsv only, never the images' data. A run that cannot be used is an
    excluded row with its reason; what makes the whole dataset unusable raises `InputError` or `SettingsError`, and
    nothing is written. Rows are ordered by their keys.
    """
    check_outputs(settings.derivatives, runs, participants)
    check_folder(settings.derivatives)
    source = find_participants(settings)
    table = read_participants(settings, source) if source else None
    found = sorted(_find(settings), key=lambda one: one.keys)
    if table is None:
        say(f"collect: no participants.tsv for {settings.derivatives}: participants are taken from the runs alone")
        table = participants_of(one.participant for one in found)
    elif source is not None:
        _mark_unlabelled(found, table, source)
    _write(settings, dataset, found, runs, table, participants, source)


def _find(settings: Collect) -> list[Run]:
    """The wanted runs with their timing, in no particular order."""
    if settings.layout == "series":
        return read_lengths(settings, select(settings, _leave_out(settings, index_series(settings))))
    chosen = select(settings, _leave_out(settings, index(settings.derivatives)))
    read = partial(read_timing, settings.derivatives, tr_s=settings.tr_s, min_minutes=settings.min_minutes)
    return parallel(read, chosen, f"collect: read headers of {settings.derivatives}")


def _mark_unlabelled(found: list[Run], table: list[Row], source: Path) -> None:
    """Note runs whose participant has no row; refuse a table that has none of them, for it is another dataset's."""
    known = {row["participant"] for row in table}
    unknown = [one for one in found if one.participant not in known]
    if len(unknown) == len(found):
        here, there = examples((one.participant for one in found), 3), examples(known, 3)
        raise InputError(
            f"{source} has none of the participants found ({here}; it has {there}); correct participant_id"
        )
    for one in unknown:
        if one.status == "found":
            one.reason = _UNLABELLED
    if unknown:
        say(f"collect: not in {source.name}: {examples(one.participant for one in unknown)}")


def _leave_out(settings: Collect, found: list[Run]) -> list[Run]:
    """The runs of the participants not left out; says which names stood nowhere, for a slip would let one in."""
    names = {bare(name, "sub-") for name in settings.leave_out}
    unknown = names - {one.participant for one in found}
    if unknown:
        say(f"collect: leave_out names participants without runs in {settings.derivatives}: {examples(unknown)}")
    left = [one for one in found if one.participant not in names]
    if not left:
        raise InputError(f"no run is left in {settings.derivatives}: 'leave_out' names every participant")
    return left


def _write(
    settings: Collect,
    dataset: str,
    found: list[Run],
    runs: Path,
    table: list[Row],
    participants: Path,
    source: Path | None,
) -> None:
    shard = shards((one.participant for one in found), settings.shard_size)
    rows = [one.row(dataset, shard[one.participant]) for one in found]
    provenance = store.Provenance("collect", settings, [source] if source else [], dataset=dataset)
    store.write(participants, "participants", table, provenance)
    store.write(runs, "runs", rows, provenance)
    excluded = sum(one.status == "excluded" for one in found)
    say(
        f"collect: {dataset}: {len(found) - excluded} runs of {len(shard)} participants in "
        f"{len(set(shard.values()))} shards, {excluded} runs excluded"
    )
