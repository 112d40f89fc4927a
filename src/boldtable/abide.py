"""ABIDE from public sources: the parcel series that C-PAC made of it, as a folder that `collect` reads.

The Preprocessed Connectomes Project shares them without an application (Craddock et al., Frontiers in Neuroinformatics
2013): 200 parcels (CC200), nuisance-regressed, without global signal regression and without a band-pass, so that the
band is the recipe's.
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
from boldtable.atlas.own import read_parcels
from boldtable.errors import InputError
from boldtable.progress import progress, say

IMAGE = "https://s3.amazonaws.com/fcp-indi/data/Projects/ABIDE_Initiative/Resources/cc200_roi_atlas.nii.gz"
PHENOTYPES = "ABIDE_pcp/Phenotypic_V1_0b_preprocessed1.csv"  # as nilearn keeps it in the cache
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
    "func_mean_fd": ("func_mean_fd", {}),
}
# Repetition times (s) by site, as ABIDE's scan parameters of each site have them: the series do not say.
TR_S = {
    "CALTECH": 2.0, "CMU": 2.0, "KKI": 2.5, "LEUVEN_1": 1.667, "LEUVEN_2": 1.667, "MAX_MUN": 3.0, "NYU": 2.0,
    "OHSU": 2.5, "OLIN": 1.5, "PITT": 1.5, "SBL": 2.2, "SDSU": 2.0, "STANFORD": 2.0, "TRINITY": 2.0, "UCLA_1": 3.0,
    "UCLA_2": 3.0, "UM_1": 2.0, "UM_2": 2.0, "USM": 2.0, "YALE": 2.0,
}  # fmt: skip


def run(out: Path, cache: Path, image: Path | None, everyone: bool, atlases: Path | None = None,
        table: Path | None = None) -> None:  # fmt: skip
    """Write the series (npy, frame × parcel), participants.tsv and the atlas table cc200.tsv below `out`.

    nilearn downloads to `cache` what is not there yet (some hundred megabytes). `image` is the CC200 label image,
    downloaded where it is None; `atlases` an offline folder with the files of schaefer400-tian3-buckner7, whose
    networks its parcels take. A ready parcel `table` is taken instead of both. `everyone` also takes the participants
    whom the release's raters did not pass. Raises `InputError`, before anything is written, where the parcels or the
    series cannot be had, and for series or an image of other parcels than CC200.
    """
    parcels = read_parcels(table) if table is not None else _parcels(image or _image(cache), atlases)
    if len(parcels) != N_PARCELS:
        raise InputError(f"{table or image} has {len(parcels)} parcels, but the series of CC200 have {N_PARCELS}")
    found = _download(cache, everyone)
    people = [f"{int(number):07d}" for number in found["phenotypic"]["SUB_ID"]]
    series = [np.asarray(values) for values in found["rois_cc200"]]
    for name, values in zip(people, series, strict=True):
        _check_series(name, values)
    for name, values in progress(zip(people, series, strict=True), f"ABIDE to {out}", total=len(people)):
        _write_series(out / PATTERN.format(participant=name), values)
    store.write_text(out / "participants.tsv", _participants(people, found["phenotypic"]))
    text = parcels.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    store.write_text(out / "cc200.tsv", text)
    _say_who_is_missing(cache, len(people))
    say(f"{len(people)} participants in {out}; config/benchmarks/abide.yaml reads them")


def _say_who_is_missing(cache: Path, n_taken: int) -> None:
    """Say how many of the release's participants have no series, and how many its raters did not pass."""
    path = cache / PHENOTYPES
    if not path.is_file():
        return
    files = pd.read_csv(path, usecols=["FILE_ID"])["FILE_ID"]
    n_without = int((files == "no_filename").sum())
    n_not_passed = len(files) - n_without - n_taken
    say(
        f"the release lists {len(files)} participants: {n_without} have no file of series and "
        f"{n_not_passed} were not asked for (the release's raters did not pass them)"
    )


def _download(cache: Path, everyone: bool) -> Mapping[str, Any]:
    from nilearn import datasets  # a second, and only here

    try:
        found: Mapping[str, Any] = datasets.fetch_abide_pcp(
            data_dir=str(cache), pipeline="cpac", band_pass_filtering=False, global_signal_regression=False,
            derivatives=["rois_cc200"], quality_checked=not everyone, verbose=1,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise InputError(
            f"ABIDE cannot be downloaded to {cache}: {' '.join(str(error).split())}; run this where there is internet "
            "and copy the folder, or start it again: what is there already is kept"
        ) from None
    return found


def _check_series(name: str, values: np.ndarray[Any, Any]) -> None:
    if values.ndim != 2 or values.shape[1] != N_PARCELS:
        raise InputError(f"ABIDE participant {name}: {values.shape} values instead of frames x {N_PARCELS} parcels")


def _write_series(path: Path, values: np.ndarray[Any, Any]) -> None:
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
    table["tr_s"] = table["site"].map(TR_S)
    return table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")


def _image(cache: Path) -> Path:
    """The label image of CC200, downloaded once."""
    try:
        return Path(pooch.retrieve(IMAGE, known_hash=None, fname=Path(IMAGE).name, path=cache))
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{IMAGE} cannot be downloaded ({line}); give the file with --image") from None


def _parcels(image: Path, atlases: Path | None) -> pd.DataFrame:
    """The parcels in the order of the series, each in the network of its largest overlap."""
    labels, affine = load_labels(image)
    merged = schaefer400_tian3_buckner7(atlases)
    networks = np.asarray(merged.image.dataobj, dtype=np.int32)
    return assign_networks(labels, affine, merged.table, networks, merged.image.affine)
