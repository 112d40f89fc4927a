"""Which parcels share a token: the networks of the atlas, or any grouping that a TSV gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError
from boldtable.models.semantoks import TokenizerKind
from boldtable.reading.tables import read_table

_GROUP, _INDEX, _NAME = "group", "index", "name"
_EMPTY = ("", "n/a")


def grouping(tokenizer: str, table: AtlasTable) -> tuple[TokenizerKind, list[str]]:
    """Return the kind of tokenizer and the group of every parcel, in the atlas's order.

    A `tokenizer` that ends in .tsv is a file with the columns group, and index or name; it is joined to the atlas by
    index where it has one, else by name. Raises `InputError` where it does not name every parcel of the atlas once.
    """
    if not tokenizer.endswith(".tsv"):
        return cast(TokenizerKind, tokenizer), table.networks
    path = Path(tokenizer)
    rows = _read(path)
    by = _INDEX if _INDEX in rows[0] else _NAME
    indices = [str(index) for index in table.parcels["index"].astype(int)]
    keys = indices if by == _INDEX else table.names
    _refuse_other(path, by, [row[by] for row in rows], keys)
    found = {row[by]: row for row in rows}
    for key, index, name in zip(keys, indices, table.names, strict=True):
        if found[key].get(_NAME, name) != name:
            raise InputError(f"{path}: parcel {index} is '{found[key][_NAME]}', in the atlas '{table.name}' '{name}'")
    return "network", [found[key][_GROUP] for key in keys]


def _read(path: Path) -> list[dict[str, str]]:
    try:
        table = read_table(path, "\t")
    except FileNotFoundError:
        raise InputError(f"tokenizer: grouping not found: {path}") from None
    except OSError as error:
        raise InputError(f"cannot read the grouping {path}: {error.strerror}") from None
    rows = [dict(zip(table.names, map(str.strip, cells), strict=True)) for cells in table.rows]
    there = table.names if rows else []
    if _GROUP not in there or not {_INDEX, _NAME} & set(there):
        columns = ", ".join(there) or "no rows"
        raise InputError(f"{path} has {columns}; a grouping has the columns {_GROUP}, and {_INDEX} or {_NAME}")
    for line, row in zip(table.lines, rows, strict=True):
        if row[_GROUP] in _EMPTY:
            raise InputError(f"{path}, line {line}: no {_GROUP}; every parcel needs one")
    return rows


def _refuse_other(path: Path, by: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Refuse parcels too few, too many or twice: another atlas's grouping, joined, would be silently wrong."""
    wrong = {
        "lacks": [name for name in known if name not in set(given)],
        "has, unlike the atlas,": [name for name in given if name not in set(known)],
        "has twice": [name for name in dict.fromkeys(given) if given.count(name) > 1],
    }
    for what, names in wrong.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{path} {what} the parcel with {by} '{names[0]}'{more}: give every parcel once")
