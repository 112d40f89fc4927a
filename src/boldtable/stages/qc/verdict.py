"""What becomes of one run: kept, noted, dropped, and the reasons in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from boldtable import store
from boldtable.stages.qc.measures import Row, of_parcels, of_tensors
from boldtable.stages.qc.settings import QC

UNLABELLED = "not in the participants table: used for pretraining, left out of every task"


def excluded(run: Row) -> Row:
    """The qc row of a run that collect excluded."""
    return {**_base(run), **_verdict("collect", "excluded", [run["reason"]])}


def decide(settings: QC, run: Row, before: Row, after: Row, labelled: bool, n_parcels: int) -> Row:
    """The qc row of a run with its rows of parcels and tensors: keys, measures, and what became of it."""
    measures = {**of_parcels(settings, before), **of_tensors(after)}
    row = _base(run) | {name: value for name, value in measures.items() if value is not None}
    for stage, outcome in (("parcellate", before), ("clean", after)):
        if outcome["status"] == "failed":
            return {**row, **_verdict(stage, "failed", [outcome["reason"]])}
    notes = [*_notes(run, before, labelled)]
    said = [reason for _, _, reason in notes]
    failed = [*_thresholds(settings, row, n_parcels)]
    if failed:
        return {**row, **_verdict("qc", "dropped", [*failed, *said])}
    if notes:
        return {**row, **_verdict(*notes[0][:2], said)}
    return {**row, **_verdict(None, "ok", said)}


def _base(run: Row) -> Row:
    return {name: run[name] for name in (*store.KEYS, "shard", "tr_s", "n_frames")}


def _verdict(stage: str | None, status: str, reasons: Sequence[str | None]) -> Row:
    text = "; ".join(reason for reason in reasons if reason) or None
    keep = status in ("ok", "partial", "unlabelled")
    return {"keep": keep, "stage": stage, "status": status, "reasons": text}


def _notes(run: Row, before: Row, labelled: bool) -> Iterator[tuple[str, str, str | None]]:
    """What is worth saying of a run that stays, the weightiest first: stage, status, reason."""
    if run["reason"] or not labelled:
        yield "collect", "unlabelled", run["reason"] or f"participant {run['participant']} {UNLABELLED}"
    if before["status"] == "partial":
        yield "parcellate", "partial", before["reason"]


def _thresholds(settings: QC, row: Row, n_parcels: int) -> Iterator[str]:
    """A line for every threshold a run fails; a measure that cannot be known fails none."""
    yield from _motion(settings, row)
    minutes, empty, noise = row.get("minutes_kept"), row["n_empty_parcels"], row.get("tsnr")
    if minutes is not None and minutes < settings.min_minutes_kept:
        yield f"only {minutes:.1f} min left after censoring (minimum {settings.min_minutes_kept:.1f})"
    if empty / n_parcels > settings.max_empty_parcels:
        yield f"{empty} of {n_parcels} parcels empty, more than {_percent(settings.max_empty_parcels)}"
    if noise is not None and settings.min_tsnr is not None and noise < settings.min_tsnr:
        yield f"temporal signal-to-noise ratio {noise:.1f} under {settings.min_tsnr:g}"
    shared, limit = row.get("global_signal_share"), settings.max_global_signal_share
    if shared is not None and limit is not None and shared > limit:
        yield f"global signal explains {_percent(round(shared, 3))} of the variance, more than {_percent(limit)}"


def _motion(settings: QC, row: Row) -> Iterator[str]:
    over = (
        ("fd_mm_mean", settings.max_fd_mm_mean, "mean framewise displacement {:.2f} mm over {:g}"),
        ("fd_mm_max", settings.max_fd_mm_max, "largest framewise displacement {:.2f} mm over {:g}"),
        ("dvars", settings.max_dvars, "mean DVARS {:.2f} over {:g}"),
    )
    for name, limit, line in over:
        if limit is not None and row.get(name) is not None and row[name] > limit:
            yield line.format(row[name], limit)
    share = row.get("fd_share_over")
    if share is not None and share > settings.max_share_over:
        over_mm = f"{_percent(round(share, 3))} of frames over {settings.fd_mm:g} mm framewise displacement"
        yield f"{over_mm}, more than {_percent(settings.max_share_over)}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
