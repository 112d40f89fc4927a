"""Runs and people brought together: who has no row, which row has nobody, and what would mend it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.stages.collect.files import examples
from boldtable.stages.collect.ids import remedy
from boldtable.stages.collect.participants import Row
from boldtable.stages.collect.record import Run
from boldtable.stages.collect.settings import Collect
from boldtable.stages.collect.timing import check_length

UNLABELLED = "not in participants.tsv: used for pretraining, left out of every task"
_LONGEST_TR_S = 60.0


def match_people(settings: Collect, found: list[Run], table: list[Row], source: Path) -> None:
    """Note runs whose participant has no row, and say how many participants and rows found each other.

    Raises `InputError` where no participant has a row, for the table is another dataset's, and where some have none
    but would with a looser rule for identifiers than the default one.
    """
    known = {row["participant"] for row in table}
    names = {one.participant for one in found}
    without, spare = names - known, known - names
    way = remedy(names, without, spare, settings.ids)
    if without == names:
        raise InputError(
            f"{source} has none of the participants found ({examples(names, 3)}; it has {examples(known, 3)}); "
            f"{way or 'correct participant_id'}"
        )
    if way and "ids" not in settings.model_fields_set:
        raise InputError(
            f"{source} has no row of {len(without)} of the {len(names)} participants found ({examples(without, 3)}), "
            f"but {way}"
        )
    for one in found:
        if one.participant in without and one.status == "found":
            one.reason = UNLABELLED
    say(f"collect: {source.name}: {len(names) - len(without)} of {len(names)} participants found have a row")
    if without:
        say(f"collect: not in {source.name}: {examples(without)}")
    if spare:
        say(f"collect: {source.name}: {len(spare)} participant(s) without a run: {examples(spare)}")


def take_tr(settings: Collect, found: Iterable[Run], table: list[Row]) -> None:
    """Fill in the repetition time of every run from the column that the settings name; it overrules the files.

    A run whose participant has no value keeps what its files say, or is excluded where they say nothing.
    """
    column = settings.tr_column
    if column is None:
        return
    if column not in table[0]:
        raise InputError(f"tr_column: no table of participants has a column '{column}'; correct it")
    by_session = {(row["participant"], row["session"]): row[column] for row in table}
    for run in found:
        given = by_session.get((run.participant, run.session), by_session.get((run.participant, None)))
        if run.status != "found":
            continue
        if given is not None:
            if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= _LONGEST_TR_S:
                raise InputError(
                    f"tr_column: {column} of {run.participant} is '{given}', not a repetition time in seconds"
                )
            run.tr_s = float(given)
            check_length(run, settings.min_minutes)
        elif run.tr_s is None:
            run.exclude(f"no repetition time: none in column {column} of the participants, none in its files")
