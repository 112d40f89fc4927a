"""Codes that BIDS defines: the many ways to write male and left, each brought to the one letter BIDS recommends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from boldtable.stages.collect.participants import Row

# Column → its values in lower case → BIDS's value (BIDS 1.10, participants file).
_CODES = {
    "sex": {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"},
    "handedness": {"l": "L", "left": "L", "r": "R", "right": "R", "a": "A", "ambidextrous": "A"},
}


def standardise(rows: list[Row]) -> Iterator[str]:
    """Bring the values of sex and handedness that BIDS knows to its letters, in place; yield a line per changed column.

    Any other value stays as it is: what 1 and 2 mean, only their authors know.
    """
    for column, known in _CODES.items():
        changed: Counter[tuple[str, str]] = Counter()
        for row in rows:
            value = row.get(column)
            if not isinstance(value, str):
                continue
            code = known.get(value.strip().lower(), value)
            if code != value:
                changed[(value, code)] += 1
                row[column] = code
        if changed:
            written = ", ".join(f"'{value}' as {code} ({n})" for (value, code), n in sorted(changed.items()))
            yield f"{column} brought to BIDS's values: {written}"
        values = Counter(str(row[column]) for row in rows if row.get(column) is not None)
        others = {value: n for value, n in values.items() if value not in known.values()}
        if others and len(others) < len(values):
            listed = ", ".join(f"'{value}' ({n})" for value, n in sorted(others.items())[:5])
            yield f"{column} holds other values beside BIDS's: {listed}; a task says with classes which are one"
