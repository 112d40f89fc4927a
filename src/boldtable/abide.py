"""ABIDE from public sources: the parcel series that C-PAC made of it, as a folder that `collect` reads.

The Preprocessed Connectomes Project shares them without an application (Craddock et al., Frontiers in Neuroinformatics
2013): 200 parcels (CC200), nuisance-regressed, without global signal regression, band-passed at 0.01-0.1 Hz.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pooch

from boldtable import store
from boldtable.atlas.assign import assign_networks
from boldtable.atlas.image import load_labels
from boldtable.atlas.merge import schaefer400_tian3_buckner7
from boldtable.errors import InputError
from boldtable.progress import progress, say

IMAGE = "https://s3.amazonaws.com/fcp-indi/data/Projects/ABIDE_Initiative/Resources/cc200_roi_atlas.nii.gz"
N_PARCELS = 200
PATTERN = "series/sub-{participant}_timeseries.npy"
MISSING = [-9999, "-9999"]
# Column of the release → column here, with the codes that are words here.
COLUMNS: dict[str, tuple[str, Mapping[Any, str]]] = {
    "SITE_ID": ("site", {}),
    "AGE_AT_SCAN": ("age", {}),
    "SEX": ("sex", {1: "M", 2: "F"}),
    "DX_GROUP": ("diagnosis", {1: "autism", 2: "control"}),
    "FIQ": ("fiq", {}),
    "EYE_STATUS_AT_SCAN": ("eyes", {1: "open", 2: "closed"}),
    "func_mean_fd": ("fd_mm_mean_published", {}),
}


def run(out: Path, cache: Path, image: Path | None, everyone: bool, atlases: Path | None = None) -> None:
    """Write the series (npy, frame × parcel), participants.tsv and the atlas table cc200.tsv below `out`.

    nilearn downloads to `cache` what is not there yet (some hundred megabytes). `image` is the CC200 label image,
    downloaded where it is None; `atlases` an offline folder with the files of schaefer400-tian3-buckner7, whose
    networks its parcels take. `everyone` also takes the participants whom the release's raters did not pass. Raises
    `InputError` where nothing can be downloaded, and for series or an image of other parcels than CC200.
    """
    found = _download(cache, everyone)
    people = [f"{int(number):07d}" for number in found["phenotypic"]["SUB_ID"]]
    series = [np.asarray(values) for values in found["rois_cc200"]]
    for name, values in progress(zip(people, series, strict=True), f"ABIDE to {out}", total=len(people)):
        _write_series(out / PATTERN.format(participant=name), name, values)
    store.write_text(out / "participants.tsv", _participants(people, found["phenotypic"]))
    _write_atlas(out / "cc200.tsv", image or _image(cache), atlases)
    say(f"{len(people)} participants in {out}; config/benchmarks/abide.yaml reads them")


def _download(cache: Path, everyone: bool) -> Mapping[str, Any]:
    from nilearn import datasets  # a second, and only here

    try:
        found: Mapping[str, Any] = datasets.fetch_abide_pcp(
            data_dir=str(cache), pipeline="cpac", band_pass_filtering=True, global_signal_regression=False,
            derivatives=["rois_cc200"], quality_checked=not everyone, verbose=1,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise InputError(
            f"ABIDE cannot be downloaded to {cache}: {' '.join(str(error).split())}; run this where there is internet "
            "and copy the folder, or start it again: what is there already is kept"
        ) from None
    return found


def _write_series(path: Path, name: str, values: np.ndarray[Any, Any]) -> None:
    if values.ndim != 2 or values.shape[1] != N_PARCELS:
        raise InputError(f"ABIDE participant {name}: {values.shape} values instead of frames x {N_PARCELS} parcels")
    buffer = io.BytesIO()
    np.save(buffer, values.astype(np.float32))
    with store.atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _participants(people: list[str], phenotypes: pd.DataFrame) -> str:
    """participants.tsv: the columns of `COLUMNS` in words, ``n/a`` where the release has its code for missing."""
    table = pd.DataFrame({"participant_id": [f"sub-{name}" for name in people]})
    for given, (name, words) in COLUMNS.items():
        values = phenotypes[given].reset_index(drop=True)
        table[name] = values.map(words) if words else values.where(~values.isin(MISSING))
    return table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")


def _image(cache: Path) -> Path:
    """The label image of CC200, downloaded once."""
    try:
        return Path(pooch.retrieve(IMAGE, known_hash=None, fname=Path(IMAGE).name, path=cache))
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{IMAGE} cannot be downloaded ({line}); give the file with --image") from None


def _write_atlas(out: Path, image: Path, atlases: Path | None) -> None:
    """cc200.tsv: the parcels in the order of the series, each in the network of its largest overlap."""
    labels, affine = load_labels(image)
    merged = schaefer400_tian3_buckner7(atlases)
    table = assign_networks(
        labels, affine, merged.table, np.asarray(merged.image.dataobj, dtype=np.int32), merged.image.affine
    )
    if len(table) != N_PARCELS:
        raise InputError(f"{image} has {len(table)} parcels, but the series of CC200 have {N_PARCELS}")
    store.write_text(out, table.to_csv(sep="\t", index=False, lineterminator="\n"))
