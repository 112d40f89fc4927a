"""The JSON beside a parcel series: sampling, sources, and every step from the images to the numbers, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Recipe = Mapping[str, Any]

_UNITS = {
    "zscore": "standard deviations of the run",
    "robust": "interquartile ranges of the run",
    "population": "interquartile ranges of the population",
    "none": "units of the source images",
}
SOURCE = "source"  # the name of the source dataset in BIDS URIs and in DatasetLinks


def sidecar(run: Mapping[str, Any], row: Mapping[str, Any], made: Mapping[str, Any], min_coverage: float | None,
            parcels: list[str]) -> dict[str, Any]:  # fmt: skip
    """The metadata of one series: `run` is its row in ``runs``, `row` in ``tensors``, `made` the file's provenance."""
    recipe, tr_s = made["recipe"], row["tr_s"]
    empty = ~np.isfinite(row["signal"]).any(axis=0)
    n_dummy_frames = row.get("n_dummy_frames") or 0
    start_s = n_dummy_frames * run["tr_s"] if run["tr_s"] else None
    about = {
        "Description": "Mean signal of the voxels of every parcel after cleaning: a row per frame, a column per parcel "
        f"of the atlas {made['atlas']}; n/a where a parcel is not covered.",
        "RepetitionTime": tr_s,
        "SamplingFrequency": 1 / tr_s if tr_s else None,
        "StartTime": start_s,
        "Units": _UNITS.get(str(recipe.get("normalise")), "arbitrary"),
        "Sources": [f"bids:{SOURCE}:{run[name]}" for name in ("bold", "mask", "confounds") if run[name]],
        "OrderOfOperations": list(operations(recipe, run["tr_s"], min_coverage, n_dummy_frames)),
        "SoftwareFilters": _filters(recipe),
        "NuisanceParameters": recipe.get("confounds"),
        "CensoringCriteria": {
            name: recipe.get(key)
            for name, key in (("FramewiseDisplacementMm", "fd_mm"), ("StandardisedDVARS", "dvars"))
            if recipe.get(key) is not None
        },
        "CensoredFrames": [int(frame) for frame in np.flatnonzero(row["interpolated"])],
        "EmptyParcels": [name for name, missing in zip(parcels, empty, strict=True) if missing],
        "Atlas": made["atlas"],
        "AtlasSHA256": made.get("atlas_sha256"),
        "Recipe": dict(recipe),
    }
    return {name: value for name, value in about.items() if value is not None}


def operations(
    recipe: Recipe, native_tr_s: float | None, min_coverage: float | None, n_dummy_frames: int | None
) -> Iterator[str]:
    """Yield each step that a recipe takes, in the order in which it is taken: with one run, or with any (None)."""
    covered = f"; parcels with less than {min_coverage:g} of their voxels covered are missing" if min_coverage else ""
    yield f"average of the voxels of each parcel inside the brain mask{covered}"
    automatic = recipe.get("dummy_frames") == "auto"
    dropped = n_dummy_frames if automatic or n_dummy_frames is not None else recipe.get("dummy_frames")
    if dropped:
        yield f"first {dropped} frames dropped{' (flagged as non-steady-state)' if automatic else ''}"
    elif automatic and n_dummy_frames is None:
        yield "frames flagged as non-steady-state dropped"
    yield from _censoring(recipe)
    if recipe.get("detrend", True):
        yield "linear trend removed"
    low, high = recipe.get("low_hz"), recipe.get("high_hz")
    if low is not None or high is not None:
        edges = f"{'0' if low is None else f'{low:g}'} to {'the highest' if high is None else f'{high:g}'} Hz"
        yield f"band-pass of signals and confounds alike, {edges}"
    if recipe.get("confounds") not in (None, "none", []):
        yield f"confounds regressed, fitted on kept frames: {_confounds(recipe)}"
    if recipe.get("tr_s") is not None and recipe["tr_s"] != native_tr_s:
        source = f"from {native_tr_s:g} s " if native_tr_s else ""
        yield f"resampled, anti-aliased, {source}to a repetition time of {recipe['tr_s']:g} s"
    if recipe.get("normalise") not in (None, "none"):
        yield f"normalised per parcel: {_normalised(recipe)}"


def _confounds(recipe: Recipe) -> str:
    named = recipe["confounds"]
    if not isinstance(named, str):
        return ", ".join(named)
    if named == "aCompCor" and recipe.get("components") is not None:
        return f"{named}, at most {recipe['components']} components"
    return named


def _normalised(recipe: Recipe) -> str:
    scale = "minus the median, divided by the interquartile range"
    known = {
        "zscore": "z-score over the kept frames of the run",
        "robust": f"{scale}, of the kept frames of the run",
        "population": f"{scale}, of the runs of {', '.join(recipe.get('population') or [])}",
    }
    return known.get(recipe["normalise"], str(recipe["normalise"]))


def _censoring(recipe: Recipe) -> Iterator[str]:
    limits = [
        f"{name} over {recipe[key]:g}{unit}"
        for name, key, unit in (("framewise displacement", "fd_mm", " mm"), ("standardised DVARS", "dvars", ""))
        if recipe.get(key) is not None
    ]
    if limits:
        segment = recipe.get("min_segment_frames") or 1
        short = f", and stretches of fewer than {segment} frames between them" if segment > 1 else ""
        yield f"frames with {' or '.join(limits)} censored{short}"
        yield "censored frames filled by interpolation (they stay in the file: CensoredFrames counts its rows from 0)"


def _filters(recipe: Recipe) -> dict[str, Any] | str:
    edges = {"low_hz": recipe.get("low_hz"), "high_hz": recipe.get("high_hz")}
    known = {name: edge for name, edge in edges.items() if edge is not None}
    return {"BandPass": known} if known else "n/a"
