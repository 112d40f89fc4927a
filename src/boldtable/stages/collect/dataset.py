"""One dataset, indexed once: its runs, its participants, and what is known of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.progress import say
from boldtable.stages.collect.files import bare, check_folder, check_outputs, examples, parallel
from boldtable.stages.collect.fmriprep import index
from boldtable.stages.collect.hdf5 import add_labels, index_hdf5
from boldtable.stages.collect.participants import Row, find_participants, participants_of, read_participants
from boldtable.stages.collect.phenotypes import add_phenotypes
from boldtable.stages.collect.record import Run, shards
from boldtable.stages.collect.select import filtered, select
from boldtable.stages.collect.series import index_series, read_lengths
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.timing import read_timing
from boldtable.stages.collect.xcpd import index_xcpd, read_xcpd, refuse_concatenated

_UNLABELLED = "not in participants.tsv: used for pretraining, left out of every task"


def collect_dataset(settings: Collect, dataset: str, runs: Path, participants: Path) -> None:
    """Index a dataset and write both tables (`boldtable.stages.collect.run` says the rest)."""
    try:
        check_outputs(settings.derivatives, runs, participants)
        check_folder(settings.derivatives)
        source = find_participants(settings)
        early = read_participants(settings, source) if source else None  # a bad table is told before hours of listing
        found = sorted(_find(settings), key=lambda one: one.keys)
        table = _people(settings, source, early, found)
    except (InputError, SettingsError) as error:
        raise type(error)(f"collect.{dataset}: {error}") from None  # a study has several datasets
    _write(settings, dataset, found, runs, table, participants, source)


def _people(settings: Collect, source: Path | None, early: list[Row] | None, found: list[Run]) -> list[Row]:
    """The rows of the participants with everything that is known of them; notes runs without a row."""
    names = {one.participant for one in found}
    if source is None:
        say(f"collect: no participants.tsv for {settings.derivatives}: participants are taken from the runs alone")
        table = participants_of(names)
    else:
        table = read_participants(settings, source, names) if settings.ids != "exact" else early or []
        _mark_unlabelled(found, table, source)
    if settings.layout == "hdf5":
        add_labels(settings, table, found, described=source is not None)
    return add_phenotypes(settings, table)


def _find(settings: Collect) -> list[Run]:
    """The wanted runs with their timing, in no particular order."""
    if settings.layout == "series":
        return read_lengths(settings, select(settings, _leave_out(settings, index_series(settings))))
    if settings.layout == "hdf5":
        return select(settings, _leave_out(settings, index_hdf5(settings)))
    if settings.layout == "xcpd":
        every = filtered(settings, _leave_out(settings, index_xcpd(settings.derivatives)))
        refuse_concatenated(every)
        return read_xcpd(settings, select(settings, every))
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
    inputs = [source, settings.filters, *(one.table for one in settings.phenotypes)]
    files = [path for path in inputs if isinstance(path, Path)]
    provenance = store.Provenance("collect", settings, files, dataset=dataset)
    store.write(participants, "participants", table, provenance)
    store.write(runs, "runs", rows, provenance)
    excluded = sum(one.status == "excluded" for one in found)
    say(
        f"collect: {dataset}: {len(found) - excluded} runs of {len(shard)} participants in "
        f"{len(set(shard.values()))} shards, {excluded} runs excluded"
    )
