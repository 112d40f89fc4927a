"""Text files of an export: TSV with ``n/a`` for what is missing, and JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file; the folder is made."""
    _write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_tsv(path: Path, table: pd.DataFrame) -> None:
    """Write a table, numbers to six digits."""
    _write(path, table.to_csv(sep="\t", index=False, na_rep="n/a", float_format="%.6g", lineterminator="\n"))


def write_series(path: Path, signal: npt.NDArray[np.floating], names: list[str]) -> None:
    """Write a signal (frame, parcel) under the names of its parcels, to six digits; a missing value is ``n/a``."""
    body = io.StringIO()
    np.savetxt(body, signal, fmt="%.6g", delimiter="\t")
    _write(path, "\t".join(names) + "\n" + body.getvalue().replace("nan", "n/a"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
