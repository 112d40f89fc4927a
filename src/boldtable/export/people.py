"""participants.tsv, sessions.tsv and scans.tsv: who is in the export, and the quality of each series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from boldtable.export.names import label

OLDEST = 89  # BIDS: higher ages are given as this one, for privacy
QC_COLUMNS = {
    "n_frames": ("Frames of the source run", None),
    "minutes_kept": ("Data left after censoring", "min"),
    "fd_mm_mean": ("Mean framewise displacement", "mm"),
    "fd_mm_max": ("Largest framewise displacement", "mm"),
    "n_spikes": ("Frames over the threshold of framewise displacement or DVARS", None),
    "dvars": ("Mean DVARS, standardised where the confounds have it", None),
    "tsnr": ("Median over parcels of the temporal signal-to-noise ratio", None),
    "global_signal_share": ("Share of the cleaned variance that the global signal explains", None),
    "n_empty_parcels": ("Parcels without signal", None),
}
# BIDS fixes the values of these two columns; with others they get another name.
_LEVELS = {
    "sex": {"m", "male", "f", "female", "o", "other"},
    "handedness": {"l", "left", "r", "right", "a", "ambidextrous"},
}


def participants(table: pd.DataFrame, exported: list[str]) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Split the participants table into one row per exported participant, and a sessions table for each who has one.

    Columns that are the same in all rows of every participant go to the first, the others to the sessions.
    """
    here = _named(table.loc[table["participant"].isin(exported)])
    phenotypes = [name for name in here.columns if name not in ("participant", "session")]
    with_sessions = here.loc[here["session"].notna()]
    steady = [name for name in phenotypes if _is_steady(with_sessions, name)]
    people = here.groupby("participant", sort=False)[steady].first().reindex(exported)
    people.insert(0, "participant_id", [f"sub-{label(name)}" for name in exported])
    changing = [name for name in phenotypes if name not in steady]
    sessions = {str(name): _sessions(rows, changing) for name, rows in with_sessions.groupby("participant")}
    return people, sessions


def _is_steady(rows: pd.DataFrame, column: str) -> bool:
    return bool((rows.groupby("participant")[column].nunique() <= 1).all())


def _sessions(rows: pd.DataFrame, changing: list[str]) -> pd.DataFrame:
    found = rows[["session", *changing]].drop_duplicates("session")
    found.insert(0, "session_id", [f"ses-{label(name)}" for name in found["session"]])
    return found.drop(columns="session")


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Columns under the names that BIDS has for them, ages capped, columns without any value left out."""
    found = table.drop(
        columns=[n for n in table.columns if n not in ("participant", "session") and table[n].isna().all()]
    )
    if "age_years" in found and "age" not in found:
        found = found.assign(age_years=found["age_years"].clip(upper=OLDEST)).rename(columns={"age_years": "age"})
    for name, levels in _LEVELS.items():
        if name in found and not set(found[name].dropna().astype(str).str.lower()) <= levels:
            found = found.rename(columns={name: f"{name}_as_given"})
    return found


def described(columns: Mapping[str, Any] | list[str]) -> dict[str, Any]:
    """What participants.json and sessions.json say of the columns."""
    known = {
        "age": {"Description": f"Age; {OLDEST} stands for higher ages as well", "Units": "year"},
        "site": {"Description": "Site of acquisition"},
        "family": {"Description": "Family"},
        "sex": {"Description": "Sex, as given in the source"},
    }
    return {
        name: known.get(name, {"Description": f"{name}, as given in the participants table of the source"})
        for name in columns
        if name not in ("participant_id", "session_id")
    }


def scans_json() -> dict[str, Any]:
    """What scans.json says of the columns with quality measures."""
    return {
        name: {"Description": text, **({"Units": units} if units else {})} for name, (text, units) in QC_COLUMNS.items()
    }


def scans(rows: list[dict[str, Any]]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the path and the table of every scans.tsv; `rows` are QC rows with the path of their series as `path`."""
    grouped: dict[tuple[str, str | None], list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault((row["participant"], row["session"]), []).append(row)
    for (participant, session), mine in grouped.items():
        parts = [f"sub-{label(participant)}", *([f"ses-{label(session)}"] if session else [])]
        root = "/".join(parts)
        table = pd.DataFrame([{name: row[name] for name in QC_COLUMNS} for row in mine])
        table.insert(0, "filename", [row["path"].removeprefix(f"{root}/") for row in mine])
        yield f"{root}/{'_'.join(parts)}_scans.tsv", table
