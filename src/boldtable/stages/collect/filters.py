"""Entity filters as fMRIPrep's ``--bids-filter-file`` and PyBIDS understand them.

``{"bold": {"task": "rest", "session": ["1", "2"], "run": null, "acquisition": "*"}}``: several values are alternatives,
null asks for the entity to be absent (Query.NONE), ``*`` for any value (Query.ANY), and ``regex_search: true`` makes
every value a regular expression that is searched for. As in PyBIDS an integer compares as a number, so that 1 finds
``run-01``; runs compare as numbers however they are written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boldtable.errors import InputError, SettingsError, nearest
from boldtable.reading.bounded import read_json
from boldtable.reading.tables import shorten

# PyBIDS's names of the entities, and how they are written in file names.
ENTITIES = {
    "subject": "sub", "session": "ses", "sample": "sample", "task": "task", "tracksys": "tracksys",
    "acquisition": "acq", "ceagent": "ce", "reconstruction": "rec", "direction": "dir", "run": "run", "proc": "proc",
    "modality": "mod", "echo": "echo", "flip": "flip", "inv": "inv", "mt": "mt", "part": "part",
    "recording": "recording", "space": "space", "cohort": "cohort", "chunk": "chunk", "atlas": "atlas", "roi": "roi",
    "label": "label", "desc": "desc", "hemi": "hemi", "segmentation": "seg", "res": "res", "resolution": "res",
    "den": "den", "density": "den", "model": "model", "subset": "subset", "statistic": "stat", "suffix": "suffix",
    "extension": "extension", "datatype": "datatype",
}  # fmt: skip
_REGEX = "regex_search"
_QUERIES = ("bold", "sbref", "fmap", "t1w", "t2w", "flair", "roi", "xfm")  # of fMRIPrep; only bold concerns runs
_ANY = ("*", "Query.ANY", "Query.REQUIRED")
_NONE = (None, "Query.NONE")

Filters = Mapping[str, Any]


def read_filters(source: Path | Mapping[str, Any] | None) -> Filters:
    """The filters of the BOLD by PyBIDS entity name, from a JSON file or a mapping, checked; empty for None."""
    if source is None:
        return {}
    if not isinstance(source, Path):
        return check_filters(source)
    try:
        found = read_json(source)
    except FileNotFoundError:
        raise InputError(f"filter file not found: {source}; correct 'filters'") from None
    except OSError as error:
        raise InputError(f"cannot read the filter file {source}: {error.strerror}") from None
    try:
        return check_filters(found)
    except SettingsError as error:
        raise InputError(f"{source}: {error}") from None


def check_filters(filters: Any) -> Filters:
    """Return what `filters` says of the BOLD; raises `SettingsError` for anything PyBIDS would not understand."""
    if not isinstance(filters, Mapping):
        raise SettingsError('filters: expected a mapping such as {"bold": {"task": "rest"}}')
    for name in filters:
        if name in ENTITIES:
            raise SettingsError(f"filters: '{name}' must stand below 'bold', as in {{\"bold\": {{\"{name}\": ...}}}}")
        if name not in _QUERIES:
            raise SettingsError(f"filters: unknown query '{name}'{nearest(name, _QUERIES)}")
    bold = filters.get("bold", {})
    if not isinstance(bold, Mapping):
        raise SettingsError("filters: 'bold' must be a mapping of entities to values")
    for name, wanted in bold.items():
        if name == _REGEX:
            if not isinstance(wanted, bool):
                raise SettingsError(f"filters: {_REGEX} must be true or false, found {wanted!r}")
        elif name not in ENTITIES:
            raise SettingsError(f"filters: unknown entity '{name}'{nearest(name, ENTITIES)}")
        else:
            _check_values(name, wanted, bool(bold.get(_REGEX, False)))
    return dict(bold)


def _check_values(name: str, wanted: Any, regex: bool) -> None:
    for value in _listed(wanted):
        if isinstance(value, bool) or not (value is None or isinstance(value, str | int)):
            raise SettingsError(f"filters: {name}: {shorten(repr(value))} is no label, whole number, null or '*'")
        if regex and isinstance(value, str) and value not in _ANY:
            try:
                re.compile(value)
            except re.error as error:
                raise SettingsError(f"filters: {name}: '{shorten(value)}' is no regular expression: {error}") from None


def entity_filters(filters: Filters) -> dict[str, tuple[Sequence[Any], bool]]:
    """Entity name → the alternatives and whether they are regular expressions; an empty list filters nothing."""
    regex = bool(filters.get(_REGEX, False))
    return {name: (values, regex) for name, wanted in filters.items() if name != _REGEX and (values := _listed(wanted))}


def matches(name: str, values: Sequence[Any], regex: bool, entities: Mapping[str, str]) -> bool:
    """Whether a file with these entities has one of the values."""
    given = entities.get(ENTITIES[name])
    if given is None:
        return any(value in _NONE for value in values)
    return any(_same(name, value, regex, given) for value in values)


def _same(name: str, value: Any, regex: bool, given: str) -> bool:
    if value in _NONE:
        return False
    if value in _ANY:
        return True
    if regex:
        return re.search(str(value), given) is not None
    if isinstance(value, int) or name == "run":
        return given.isdigit() and str(value).isdigit() and int(given) == int(value)
    if name == "extension":
        return given == "." + str(value).removeprefix(".")
    return given == str(value).removeprefix(f"{ENTITIES[name]}-")


def _listed(wanted: Any) -> Sequence[Any]:
    return wanted if isinstance(wanted, list | tuple) else [wanted]
