"""One shard: stream every run, record what failed and why, write one row per run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from boldtable import store
from boldtable.atlas.image import load_labels
from boldtable.atlas.table import AtlasTable, load_table
from boldtable.errors import InputError, RunError, SpaceError, nearest
from boldtable.progress import log_fault, progress, say
from boldtable.reading.nifti import read_volume
from boldtable.stages.parcellate.averaging import Averager, Averages
from boldtable.stages.parcellate.bold import Bold, PassingError, header, open_bold
from boldtable.stages.parcellate.build import image_path
from boldtable.stages.parcellate.confounds import read_confounds
from boldtable.stages.parcellate.earlier import Earlier
from boldtable.stages.parcellate.series import is_series, read_series
from boldtable.stages.parcellate.settings import Parcellate

Row = dict[str, Any]


class Reader(Protocol):
    """Reads the parcel signals of one run."""

    def __call__(self, row: Row) -> Averages:
        """Return signal and coverage of a row of the runs table, or raise `RunError`."""
        ...


def parcellate_shard(
    settings: Parcellate, dataset: str, root: Path, runs: Path, shard: str, atlas: Path, out: Path
) -> None:
    """Stream a shard, row by row (`boldtable.stages.parcellate.run` says the rest)."""
    table = load_table(atlas)
    chosen = _found(runs, dataset, shard)
    reader = _reader(settings, table, atlas, chosen, root)
    provenance = store.Provenance(
        "parcellate",
        settings,
        [atlas, *(path for path in [image_path(atlas)] if path.is_file())],
        atlas=table.name,
        space=table.space,
        atlas_sha256=table.sha256,
        runs_sha256=store.sha256_json(chosen),
    )
    try:
        with (
            Earlier(out, provenance, table.n_parcels) as earlier,
            store.Writer(out, "parcels", provenance, size=table.n_parcels) as writer,
        ):
            counts: Counter[str] = Counter()
            for row in progress(chosen, f"parcellate {dataset} {shard}"):
                former = earlier.row(row["fingerprint"])
                counts["unchanged"] += former is not None
                counts[_append(writer, former or _parcels(settings, table, reader, root, row))] += 1
    except OSError as error:  # a run's own faults are rows by now
        raise InputError(f"cannot write {out}: {error.strerror or error}; make room and start again") from None
    said = [f"{n} {status}" for status, n in counts.items() if n and status != "unchanged"]
    again = f" ({counts['unchanged']} of them unchanged, from the former file)" if counts["unchanged"] else ""
    say(f"parcellate {dataset} {shard}: {', '.join(said) or 'no runs'}{again}")


def _append(writer: store.Writer, record: Row) -> str:
    """Write a row, say what is wrong with it, and return its status."""
    writer.append(record)
    if record["reason"]:
        say(f"{store.label(record)}: {record['status']}: {record['reason']}")
    return str(record["status"])


def _found(runs: Path, dataset: str, shard: str) -> list[Row]:
    """The found runs of a shard, in the order of the runs table."""
    rows: list[Row] = store.read(runs, "runs").to_pylist()
    of_shard = [row for row in rows if row["dataset"] == dataset and row["shard"] == shard]
    if not of_shard:
        known = {str(row["shard"]) for row in rows if row["dataset"] == dataset}
        raise InputError(f"{runs} has no shard '{shard}' of dataset '{dataset}'{nearest(shard, sorted(known)[:9])}")
    return [row for row in of_shard if row["status"] == "found"]


def _reader(settings: Parcellate, table: AtlasTable, atlas: Path, rows: list[Row], root: Path) -> Reader:
    """How this shard's runs are read: streamed images, or ready series, which any atlas can have."""

    def series(row: Row) -> Averages:
        return read_series(root / row["bold"], table.names, settings.orientation)

    images = [row for row in rows if settings.source != "series" and not is_series(row["bold"])]
    if not images:
        return series
    _same_space(table, images)
    labels, affine = load_labels(image_path(atlas))
    averager = Averager(labels, affine, table.parcels["index"].to_numpy(dtype=np.int64))

    def read(row: Row) -> Averages:
        if is_series(row["bold"]):
            return series(row)
        bold = open_bold(root / row["bold"])
        return averager.average(bold, _mask(root / row["mask"], bold) if row["mask"] else None)

    return read


def _same_space(table: AtlasTable, rows: list[Row]) -> None:
    """Refuse the whole shard when a run is in another space: voxels would be averaged under the wrong names."""
    other = [row for row in rows if row["space"] != table.space]
    if other:
        space = other[0]["space"] or "no standard space"
        way = f"choose an atlas published in {space}"
        if (table.space, space) == ("MNI152NLin6Asym", "MNI152NLin2009cAsym"):
            way = f"bring the atlas to {space} ('space' of the built-in atlas, 'to_space' of your own, in parcellate)"
        raise SpaceError(
            f"atlas '{table.name}' is in {table.space}, but {len(other)} of {len(rows)} runs are in {space} (first: "
            f"{store.label(other[0])}); have fMRIPrep write {table.space}:res-2 (--output-spaces) and take it with "
            f"'space' in collect, or {way}"
        )


def _mask(path: Path, bold: Bold) -> npt.NDArray[np.bool_]:
    """The brain mask (x, y, z), which must lie on the grid of the run."""
    found = header(path)
    shape = found.shape[:3] if found.shape[3:] in ((), (1,)) else found.shape
    if shape != bold.shape or not np.allclose(found.affine, bold.affine, atol=1e-3):
        raise RunError(
            f"brain mask {path.name} is on another grid than the run: shape {shape} and {bold.shape}, first voxel at "
            f"{_origin(found.affine)} and {_origin(bold.affine)} mm; both must agree"
        )
    try:
        values = read_volume(found)
    except InputError as error:
        raise RunError(f"brain mask {str(error).replace(str(path), path.name)}") from None
    mask: npt.NDArray[np.bool_] = values * np.float64(found.slope) + found.inter > 0
    if not mask.any():
        raise RunError(f"brain mask {path.name} is empty")
    return mask


def _origin(affine: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.4g}" for value in affine[:3, 3])


def _parcels(settings: Parcellate, table: AtlasTable, reader: Reader, root: Path, row: Row) -> Row:
    """One row of the parcels table; whatever this run's files raise becomes its reason. A full disk is not a run's.

    A run that failed for a reason outside its files gets no fingerprint: the next start reads it again.
    """
    record = {key: row[key] for key in (*store.KEYS, "tr_s", "n_frames", "fingerprint")}
    try:
        found = reader(row)
        confounds = read_confounds(root / row["confounds"], len(found.signal)) if row["confounds"] else {}
        signal, reason = _covered(settings, table, found)
    except MemoryError:
        raise
    except RunError as error:
        if isinstance(error, PassingError):
            record["fingerprint"] = None
        return {**record, "status": "failed", "reason": " ".join(str(error).split())}
    except OSError as error:
        return {**record, "fingerprint": None, "status": "failed", "reason": " ".join(str(error).split())}
    except Exception as error:  # noqa: BLE001 - the boundary of a run
        return {**record, "status": "failed", "reason": f"{row['bold']} cannot be read: {log_fault(error)}"}
    return {
        **record,
        "n_frames": len(signal),
        "signal": signal,
        "coverage": found.coverage,
        "confounds": list(confounds.items()),
        "status": "partial" if reason else "ok",
        "reason": reason,
    }


def _covered(settings: Parcellate, table: AtlasTable, found: Averages) -> tuple[npt.NDArray[np.float32], str | None]:
    """Blank parcels below the minimum coverage and say which networks they are of."""
    low = (found.coverage < settings.min_coverage) | np.isnan(found.signal).any(axis=0)
    limit = "missing or constant" if settings.source == "series" else f"below coverage {settings.min_coverage:g}"
    if low.all():
        raise RunError(
            f"every parcel is {limit} (highest {found.coverage.max():.2f}); check brain mask and field of view"
        )
    if not low.any():
        return found.signal, None
    networks = Counter(network for network, missing in zip(table.networks, low, strict=True) if missing)
    parts = ", ".join(f"{network} {count}" for network, count in networks.items())
    reason = f"{int(low.sum())} of {table.n_parcels} parcels {limit} ({parts}): left empty"
    return np.where(low, np.float32(np.nan), found.signal), reason
