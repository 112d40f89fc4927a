"""`boldtable figure`: one picture of a run or a dataset, from a results folder to a PNG or SVG file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from boldtable import figures, store
from boldtable.errors import InputError, nearest
from boldtable.results import Dataset
from boldtable.signal.confounds import FD

KINDS = {
    "carpet": "a run: motion above its parcels, before and after cleaning",
    "motion": "a run: framewise displacement and DVARS over time",
    "coverage": "a run, or the mean over the dataset's runs: coverage of every parcel on a glass brain",
    "qcfc": "a dataset: how edges depend on motion, before and after cleaning",
}
SUFFIXES = (".png", ".svg")


def run(kind: str, dataset: Dataset, wanted: Mapping[str, str | None], out: Path) -> None:
    """Draw `kind` (see `KINDS`) and write `out` atomically; its ending, .png or .svg, is the format.

    `wanted` names the run by any of `store.KEYS`. Raises `InputError` where the run is not clear or has no signal.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out}: the ending says the format; choose {' or '.join(SUFFIXES)}")
    if kind not in KINDS:
        raise InputError(f"no figure '{kind}'{nearest(kind, KINDS)}")
    if kind == "qcfc":
        _qcfc(dataset, out)
    elif kind == "coverage":
        _coverage(dataset, wanted, out)
    else:
        _of_run(kind, dataset, dataset.find(wanted), out)


def _save(figure: Figure, out: Path) -> None:
    vector = out.suffix.lower() == ".svg"
    text = figures.svg(figure, salt=out.stem).encode() if vector else figures.png(figure)
    with store.atomic(out) as temporary:
        temporary.write_bytes(text)


def _of_run(kind: str, dataset: Dataset, about: Mapping[str, Any], out: Path) -> None:
    if about["status"] in ("excluded", "filtered"):
        raise InputError(f"{store.label(about)} has no signal: excluded by collect ({about['reasons']})")
    raw = dataset.row("parcels", about)
    if raw["signal"] is None:
        raise InputError(f"{store.label(about)} has no signal: {raw['reason']}")
    (_carpet if kind == "carpet" else _motion)(dataset, about, raw, out)


def _carpet(dataset: Dataset, about: Mapping[str, Any], raw: Mapping[str, Any], out: Path) -> None:
    clean = dataset.row("tensors", about)
    networks, recipe = dataset.atlas.networks, dataset.made["recipe"]
    tr_s = raw["tr_s"]
    carpets = 1 if clean["signal"] is None else 2
    with figures.stack(9.2, 1.4 + 2.7 * carpets, [0.8] + [2.4] * carpets) as (figure, axes):
        figures.displacement(axes[0], (raw["confounds"] or {}).get(FD), tr_s, recipe.get("fd_mm"))
        axes[0].set_title(_title(about))
        figures.carpet(axes[1], raw["signal"], networks, tr_s)
        empty = int((~np.isfinite(raw["signal"]).any(axis=0)).sum())
        missing = f", {empty} of {len(networks)} parcels missing" if empty else ""
        axes[1].set_title(f"Before cleaning ({_tr(tr_s)}{missing})")
        if clean["signal"] is not None:
            start_s = (clean.get("n_dummy_frames") or 0) * (tr_s or 0)
            marked = clean["interpolated"].astype(bool)
            figures.carpet(axes[2], clean["signal"], networks, clean["tr_s"], start_s, marked)
            censored = f", {int(marked.sum())} of {len(marked)} frames censored" if marked.any() else ""
            axes[2].set_title(f"After cleaning with {dataset.recipe} ({_tr(clean['tr_s'])}{censored})")
        for ax in axes[:-1]:
            ax.set_xlabel("")
        _save(figure, out)


def _motion(dataset: Dataset, about: Mapping[str, Any], raw: Mapping[str, Any], out: Path) -> None:
    confounds, recipe = raw["confounds"] or {}, dataset.made["recipe"]
    name = next((name for name in ("std_dvars", "dvars") if name in confounds), None)
    with figures.stack(9.2, 2.2 if name is None else 3.4, [1.2] if name is None else [1.2, 1]) as (figure, axes):
        figures.displacement(axes[0], confounds.get(FD), raw["tr_s"], recipe.get("fd_mm"))
        axes[0].set_title(_title(about))
        if name is not None:
            x, label = figures.frames_axis(len(confounds[name]), raw["tr_s"])
            axes[1].plot(x, confounds[name], color=figures.COLOURS["four"], linewidth=1)
            axes[1].set_ylabel("DVARS (std.)" if name == "std_dvars" else "DVARS")
            axes[1].set_xlabel(label)
            axes[0].set_xlabel("")
        _save(figure, out)


def _title(about: Mapping[str, Any]) -> str:
    mean = about["fd_mm_mean"]
    motion = f": mean FD {mean:.2f} mm" if mean is not None and np.isfinite(mean) else ""
    kept = "kept" if about["keep"] else f"{about['status']}: {about['reasons']}"
    return f"{store.label(about)}{motion}, {kept if len(kept) < 90 else kept[:87] + '…'}"


def _tr(tr_s: float | None) -> str:
    return "TR unknown" if tr_s is None else f"TR {tr_s:g} s"


def _coverage(dataset: Dataset, wanted: Mapping[str, str | None], out: Path) -> None:
    centroids = dataset.atlas.parcels[["x_mm", "y_mm", "z_mm"]].astype(float).to_numpy()
    if not np.isfinite(centroids).any():
        raise InputError(f"atlas {dataset.atlas.name} has no coordinates: nothing can be placed on a brain")
    if any(value is not None for value in wanted.values()):
        about = dataset.find(wanted)
        values = dataset.row("parcels", about)["coverage"] if about["status"] not in ("excluded", "filtered") else None
        if values is None:
            raise InputError(f"{store.label(about)} has no coverage: {about['reasons']}")
        title = store.label(about)
    else:
        values, n_runs = _mean_coverage(dataset)
        title = f"{dataset.name}: mean over {n_runs} runs"
    low = int((values < 1).sum())
    title += f", {low} of {len(values)} parcels not wholly covered" if low else ", every parcel wholly covered"
    with figures.glass_brain(values, centroids, title, "coverage (share of voxels with signal)") as figure:
        _save(figure, out)


def _mean_coverage(dataset: Dataset) -> tuple[npt.NDArray[np.float64], int]:
    """Mean coverage of every parcel, (parcel,), over the runs that have one, and how many they are."""
    total, n_runs = np.zeros(dataset.atlas.n_parcels), 0
    for path in sorted(dataset.parcels.glob("*.parquet")):
        for row in store.rows(path, "parcels", ["coverage"]):
            if row["coverage"] is not None:
                total += np.nan_to_num(row["coverage"])
                n_runs += 1
    if not n_runs:
        raise InputError(f"no run of {dataset.name} has a known coverage")
    return total / n_runs, n_runs


def _qcfc(dataset: Dataset, out: Path) -> None:
    summary = store.frame(dataset.folder / "qc_summary.parquet", "qc_summary")
    with figures.canvas(9.2, 3.0, 2) as (figure, (histogram, distance)):
        figures.qcfc(histogram, summary)
        figures.qcfc_distance(distance, summary)
        _save(figure, out)
