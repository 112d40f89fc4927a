"""What becomes of one run: kept, noted, dropped, and the reasons in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from boldtable import store
from boldtable.errors import RunError
from boldtable.signal import steady
from boldtable.stages.qc.measures import Row, of_parcels, of_tensors
from boldtable.stages.qc.people import Person
from boldtable.stages.qc.settings import QC

KEPT = ("ok", "partial", "unlabelled", "noted")
UNLABELLED = "not in the participants table: used for pretraining, left out of every task"


def excluded(run: Row) -> Row:
    """The qc row of a run that collect excluded, or that the settings leave out."""
    return {**_base(run), **_verdict("collect", run["status"], [run["reason"]])}


def decide(settings: QC, run: Row, before: Row, after: Row, person: Person | None, n_parcels: int) -> Row:
    """The qc row of a run with its rows of parcels and tensors: keys, measures, and what became of it.

    `person` is what the participants table says of the participant, None for a stranger: where the run's own motion is
    unknown, the published mean framewise displacement counts.
    """
    measures = {**of_parcels(settings, before, after["n_dummy_frames"] or 0), **of_tensors(after)}
    if measures.get("fd_mm_mean") is None and person is not None:
        measures["fd_mm_mean"] = person.fd_mm_mean
    row = _base(run) | {name: value for name, value in measures.items() if value is not None}
    for stage, outcome in (("parcellate", before), ("clean", after)):
        if outcome["status"] == "failed":
            return {**row, **_verdict(stage, "failed", [outcome["reason"]])}
    notes = [*_notes(run, before, after, person is not None)]
    said = [reason for _, _, reason in notes]
    failed = [*_thresholds(settings, row, n_parcels)]
    if failed:
        return {**row, **_verdict("qc", "dropped", [*failed, *said])}
    if notes:
        return {**row, **_verdict(*notes[0][:2], said)}
    return {**row, **_verdict(None, "ok", said)}


def blind_spots(settings: QC, rows: Sequence[Row]) -> Iterator[str]:
    """A line for every threshold that does nothing for some of the kept runs, because their measure is unknown."""
    kept = [row for row in rows if row["keep"]]
    for name, (what, limits) in _MEASURES.items():
        blind = sum(row.get(name) is None for row in kept)
        given = [limit for limit in limits if getattr(settings, limit) is not None]
        if blind and given:
            nothing = f"{', '.join(given)} {'does' if len(given) == 1 else 'do'} nothing there"
            yield f"{what} is unknown for {blind} of {len(kept)} kept runs, so that {nothing}"


_MEASURES = {
    "fd_mm_mean": ("motion", ("max_fd_mm_mean",)),
    "fd_share_over": ("framewise displacement by frame", ("max_fd_mm_max", "max_share_over")),
    "dvars": ("DVARS", ("max_dvars",)),
    "tsnr": ("the temporal signal-to-noise ratio", ("min_tsnr",)),
    "minutes_kept": ("the repetition time", ("min_minutes_kept",)),
}


def _base(run: Row) -> Row:
    return {name: run[name] for name in (*store.KEYS, "shard", "tr_s", "n_frames")}


def _verdict(stage: str | None, status: str, reasons: Sequence[str | None]) -> Row:
    text = "; ".join(reason for reason in reasons if reason) or None
    keep = status in KEPT
    return {"keep": keep, "stage": stage, "status": status, "reasons": text}


def _notes(run: Row, before: Row, after: Row, labelled: bool) -> Iterator[tuple[str, str, str | None]]:
    """What is worth saying of a run that stays, the weightiest first: stage, status, reason."""
    if run["reason"] or not labelled:
        yield "collect", "unlabelled", run["reason"] or f"participant {run['participant']} {UNLABELLED}"
    if before["status"] == "partial":
        yield "parcellate", "partial", before["reason"]
    if run["mask"] is None and str(run["bold"]).lower().endswith((".nii", ".nii.gz")):
        yield "collect", "noted", "no brain mask: parcels were averaged over all of their voxels"
    yield from (("clean", "noted", line) for line in _unsteady(before, after))


def _unsteady(before: Row, after: Row) -> Iterator[str]:
    """What the start of a run looks like where frames that may not be in steady state were left in it."""
    signal, n_dropped = before["signal"], after["n_dummy_frames"] or 0
    try:
        n_flagged = steady.leading(steady.flagged(before["confounds"] or {}, len(signal)))
    except RunError as error:
        yield str(error)
        return
    if n_flagged > n_dropped:
        yield f"{n_flagged} frame(s) flagged as non-steady-state, {n_dropped} dropped; set dummy_frames: auto in clean"
    n_bright = steady.bright_start(signal[n_dropped:])
    if n_bright and n_dropped + n_bright > n_flagged:
        left = f" that are left after dropping {n_dropped}" if n_dropped else ""
        yield (
            f"the first {n_bright} frame(s){left} stand out in intensity and are not flagged as non-steady-state; if "
            f"they are not steady, set dummy_frames: {n_dropped + n_bright} in clean"
        )


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
