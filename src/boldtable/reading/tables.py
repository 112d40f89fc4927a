"""Text tables, read strictly: what a table seems to say and what it says must be the same.

A tab too many at the end of each line would move every column by one, a quotation mark would swallow the rows up to the
next one, and a decimal comma would turn a column of numbers into text. So every row must have as many fields as the
header, every column a name of its own, and every cell of a table of numbers must be a number or ``n/a``.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from boldtable.errors import InputError
from boldtable.reading.bounded import TEXT_BYTES, read_text

MISSING = ("n/a", "")  # what BIDS writes for a missing value, and what fMRIPrep before 1.1 did
MOST_ROWS, MOST_CELLS = 1_000_000, 5_000_000
_LINE_END = re.compile(r"\r\n|\n|\r")  # str.splitlines would also split at characters that belong to a cell
_PLAIN = re.compile(r"[0-9eE.+\-\t]*")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons"}
_SHOWN = 60  # characters of a cell or name that a message shows
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class TextTable:
    """A table as text: the names of its columns, its rows of as many cells, and the line each row stands on."""

    path: Path
    names: list[str]
    rows: list[list[str]]
    lines: list[int]

    def column(self, place: int) -> list[str]:
        """The cells of a column, from the first row to the last."""
        return [row[place] for row in self.rows]


def read_table(path: Path, separator: str, limit: int = TEXT_BYTES) -> TextTable:
    """Read a table with a header line; cells stay as they are written.

    With commas (or semicolons) as `separator` cells may be quoted, as RFC 4180 has it. Between tabs a quotation mark is
    a character like any other, as BIDS has it; a cell that stands in quotation marks as a whole loses them. Blank lines
    are passed over; so is a first column without a name that only numbers the rows, and a last one that is empty.

    Raises `InputError` that names the line where a row has another number of fields than the header or a cell would
    hold a line break, and where columns share a name, have none, or are not separated by `separator`.
    """
    text = read_text(path, limit)
    _refuse_vast(path, text, separator)
    found = [(number, line) for number, line in enumerate(_LINE_END.split(text), 1) if line.strip()]
    if not found:
        raise InputError(f"{path} is empty; it needs a line of column names")
    fields = [(number, _fields(path, number, line, separator)) for number, line in found]
    names, rows = fields[0][1], fields[1:]
    _refuse_other_separator(path, names, separator)
    for number, cells in rows:
        if len(cells) != len(names):
            raise InputError(f"{path}: {_ragged(number, cells, names, separator)}")
        if cells == names and len(names) > 1:
            raise InputError(f"{path}: line {number} repeats the names of the columns; remove it")
    while rows and not any(cell.strip() for cell in rows[-1][1]):  # spreadsheets write empty rows at the end
        rows.pop()
    return _named(TextTable(path, [name.strip() for name in names], [c for _, c in rows], [n for n, _ in rows]))


def _refuse_vast(path: Path, text: str, separator: str) -> None:
    """Refuse, before it is taken apart, a table whose cells would take more memory than anything here needs."""
    n_rows = text.count("\n") + text.count("\r")
    if n_rows > MOST_ROWS or n_rows + text.count(separator) > MOST_CELLS:
        raise InputError(
            f"{path} has more than {MOST_ROWS:,} rows or {MOST_CELLS:,} cells, more than is read of a text table; "
            "shorten it, or save a table of people as Parquet"
        )


def _fields(path: Path, number: int, line: str, separator: str) -> list[str]:
    """The cells of one line."""
    if separator == "\t":
        return [_unquoted(cell) for cell in line.split("\t")]
    try:
        cells = next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error:
        raise InputError(
            f"{path}: the quotation marks of line {number} do not match; a cell must not hold a line break, and a "
            'quotation mark inside a quoted cell is written twice ("")'
        ) from None
    return cells


def _unquoted(cell: str) -> str:
    """A cell without the quotation marks around it, which R writes; one that only begins with such a mark stays."""
    inner = cell.strip()[1:-1]
    quoted = len(cell.strip()) >= 2 and cell.strip()[0] == cell.strip()[-1] == '"'
    return inner.replace('""', '"') if quoted and '"' not in inner.replace('""', "") else cell


def _ragged(number: int, cells: Sequence[str], names: Sequence[str], separator: str) -> str:
    way = f"every line needs as many {_SEPARATORS[separator]} as the first"
    if cells and cells[-1].strip().startswith('"'):
        way += "; a cell must not hold a line break"
    return f"line {number} has {_counted(len(cells), 'field')}, the header {len(names)}; {way}"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def _refuse_other_separator(path: Path, names: Sequence[str], separator: str) -> None:
    if len(names) == 1:
        for other, what in _SEPARATORS.items():
            if other != separator and other in names[0]:
                raise InputError(
                    f"{path} seems to be separated by {what}; save it with {_SEPARATORS[separator]} between the columns"
                )


def _named(table: TextTable) -> TextTable:
    """The table without the nameless columns that may go; refuses other nameless ones, and twins."""
    keep = list(range(len(table.names)))
    if len(keep) > 1 and not table.names[0] and _counts(table.column(0)):
        keep = keep[1:]
    while len(keep) > 1 and not table.names[keep[-1]] and not any(cell.strip() for cell in table.column(keep[-1])):
        keep.pop()
    names = [table.names[place] for place in keep]
    if "" in names:
        raise InputError(f"{table.path}: column {keep[names.index('')] + 1} has no name; name it or remove it")
    twins = [name for name, n in Counter(names).items() if n > 1]
    if twins:
        shown = ", ".join(f"'{shorten(name)}'" for name in twins[:5])
        raise InputError(f"{table.path} has the column {shown} more than once; rename or remove one of them")
    if keep == list(range(len(table.names))):
        return table
    return TextTable(table.path, names, [[row[place] for place in keep] for row in table.rows], table.lines)


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells number their rows from 0 or from 1."""
    return any(cells == [str(number + first) for number in range(len(cells))] for first in (0, 1))


def read_numbers(path: Path, separator: str = "\t", n_rows: int | None = None) -> dict[str, npt.NDArray[np.float64]]:
    """Read a table of numbers: every column (row,) by name, ``n/a`` and empty cells as NaN.

    Raises `InputError` that names column, line and cell where a cell is neither a number (with a decimal point, and
    within single precision) nor exactly ``n/a``, where there are other than `n_rows` rows, and where `read_table` does.
    """
    table = read_table(path, separator)
    if n_rows is not None and len(table.rows) != n_rows:
        raise InputError(f"{path} has {len(table.rows)} rows, the run has {n_rows} volumes")
    return {name: _numbers(table, place) for place, name in enumerate(table.names)}


def _numbers(table: TextTable, place: int) -> npt.NDArray[np.float64]:
    cells = [MISSING[1] if cell == MISSING[0] else cell for cell in table.column(place)]
    if _PLAIN.fullmatch("\t".join(cells)):  # float() takes more than numbers, such as 1_000 and infinity
        with suppress(ValueError):
            values = np.array([float(cell) if cell else np.nan for cell in cells])
            if not (np.abs(values) > _LARGEST).any():
                return values
    number, cell = next(_no_numbers(table.lines, cells))
    raise InputError(
        f"{table.path}: column {shorten(table.names[place])}, line {number} holds '{shorten(cell)}', which is neither "
        f"a number nor {MISSING[0]}; correct it"
    )


def _no_numbers(lines: Sequence[int], cells: Sequence[str]) -> Iterator[tuple[int, str]]:
    for number, cell in zip(lines, cells, strict=True):
        if cell and not (NUMBER.fullmatch(cell) and abs(float(cell)) <= _LARGEST):
            yield number, cell


def shorten(text: str, most: int = _SHOWN) -> str:
    """A text on one line and of a length (`most` characters) that a message can show."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
