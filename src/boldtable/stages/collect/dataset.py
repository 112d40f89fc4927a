"""One dataset, indexed once: its runs, its participants, and what is known of them."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.progress import noted, say
from boldtable.stages.collect.codes import standardise
from boldtable.stages.collect.companions import missing
from boldtable.stages.collect.files import bare, check_folder, check_outputs, examples, parallel
from boldtable.stages.collect.fmriprep import index
from boldtable.stages.collect.hdf5 import add_labels, index_hdf5
from boldtable.stages.collect.joins import match_people, take_tr
from boldtable.stages.collect.participants import Row, find_participants, participants_of, read_participants
from boldtable.stages.collect.phenotypes import add_phenotypes
from boldtable.stages.collect.record import Run, guarded, shards
from boldtable.stages.collect.select import select
from boldtable.stages.collect.series import index_series, read_lengths
from boldtable.stages.collect.sessions import add_sessions
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.stamps import digest
from boldtable.stages.collect.timing import read_timing
from boldtable.stages.collect.xcpd import index_xcpd, leave_out_joined, read_xcpd


def collect_dataset(settings: Collect, dataset: str, runs: Path, participants: Path) -> None:
    """Index a dataset and write both tables (`boldtable.stages.collect.run` says the rest)."""
    try:
        check_outputs(settings.derivatives, runs, participants)
        check_folder(settings.derivatives)
        source = find_participants(settings)
        early = read_participants(settings, source) if source else None  # a bad table is told before hours of listing
        found = sorted(_find(settings), key=lambda one: one.keys)
        with noted() as notes:
            table = _people(settings, source, early, found)
            take_tr(settings, found, table)
            for line in (*standardise(table), *missing(settings.derivatives, found)):
                say(f"collect: {line}")
    except (InputError, SettingsError) as error:
        raise type(error)(f"collect.{dataset}: {error}") from None  # a study has several datasets
    found = parallel(partial(_digested, settings.derivatives), found, f"collect: fingerprint {settings.derivatives}")
    _write(settings, dataset, found, runs, table, participants, source, notes)


def _digested(derivatives: Path, run: Run) -> Run:
    """The run with the digests of its files; those of a recording are those of its HDF5 file."""
    if run.status == "found":
        run.digests = {path: digest(derivatives / path.partition("#")[0]) for path in run.files}
    return run


def _people(settings: Collect, source: Path | None, early: list[Row] | None, found: list[Run]) -> list[Row]:
    """The rows of the participants with everything that is known of them; notes runs without a row."""
    names = {one.participant for one in found}
    if source is None:
        say(f"collect: no participants.tsv for {settings.derivatives}: participants are taken from the runs alone")
        table = participants_of(names)
    else:
        table = read_participants(settings, source, names) if settings.ids != "exact" else early or []
        match_people(settings, found, table, source)
    if settings.layout == "hdf5":
        add_labels(settings, table, found, described=source is not None)
    return add_phenotypes(settings, add_sessions(settings, table, source, found))


def _find(settings: Collect) -> list[Run]:
    """The wanted runs with their timing, in no particular order."""
    if settings.layout == "series":
        return read_lengths(settings, select(settings, _leave_out(settings, index_series(settings))))
    if settings.layout == "hdf5":
        return select(settings, _leave_out(settings, index_hdf5(settings)))
    if settings.layout == "xcpd":
        chosen = select(settings, _leave_out(settings, index_xcpd(settings.derivatives)))
        return leave_out_joined(read_xcpd(settings, chosen))
    chosen = select(settings, _leave_out(settings, index(settings.derivatives)))
    read = partial(read_timing, settings.derivatives, tr_s=settings.tr_s, min_minutes=settings.min_minutes)
    return parallel(guarded(read), chosen, f"collect: read headers of {settings.derivatives}")


def _leave_out(settings: Collect, found: list[Run]) -> list[Run]:
    """The runs of the participants not left out; says which names stood nowhere, for a slip would let one in."""
    names = {bare(name, "sub-") for name in settings.leave_out}
    unknown = names - {one.participant for one in found}
    if unknown:
        say(f"collect: leave_out names participants without runs in {settings.derivatives}: {examples(unknown)}")
    left = [one for one in found if one.participant not in names]
    if len(left) < len(found):
        say(f"collect: leave_out: {len(found) - len(left)} run(s) of {examples(names - unknown)}")
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
    notes: list[str],
) -> None:
    shard = shards((one.participant for one in found), settings.people_per_shard)
    rows = [one.row(dataset, shard[one.participant]) for one in found]
    inputs = [source, settings.filters, *(one.table for one in settings.phenotypes)]
    files = [path for path in inputs if isinstance(path, Path)]
    kept = [line.removeprefix("collect: ") for line in notes if not line.endswith(" done")]  # progress is no note
    provenance = store.Provenance("collect", settings, files, dataset=dataset, notes=kept)
    store.write(participants, "participants", table, provenance)
    store.write(runs, "runs", rows, provenance)
    counts = Counter(one.status for one in found)
    left_out = f", {counts['filtered']} left out by the settings" if counts["filtered"] else ""
    say(
        f"collect: {dataset}: {counts['found']} runs of {len(shard)} participants in "
        f"{len(set(shard.values()))} shards, {counts['excluded']} runs excluded{left_out}"
    )
