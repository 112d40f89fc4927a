"""The merged atlas ``schaefer400-tian3-buckner7``: 400 cortical, 50 subcortical and 7 cerebellar parcels.

Built on Schaefer's MNI152NLin6Asym 2 mm grid, or in MNI152NLin2009cAsym on the 2 mm grid of Tian's authors, who
publish Schaefer and Tian merged there; Buckner, published in the former space only, comes through TemplateFlow's
transform. Where parcellations overlap, Tian goes before Schaefer (as Tian's authors do) and Schaefer before Buckner.
Parcels are joined by their index, never by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable.atlas.catalogue import source
from boldtable.atlas.fetch import UnavailableError, described, fetch, sha256
from boldtable.atlas.image import Floats, Labels, centroids, label_image, load_labels, onto_grid
from boldtable.atlas.table import AtlasTable
from boldtable.atlas.templateflow import TEMPLATEFLOW, schaefer_from_templateflow
from boldtable.atlas.warp import FROM_SPACE, TO_SPACE, onto_2009c, transform_file
from boldtable.errors import InputError
from boldtable.progress import say

NAME = "schaefer400-tian3-buckner7"
SPACES = (FROM_SPACE, TO_SPACE)
N_SCHAEFER, N_TIAN, N_BUCKNER = 400, 50, 7
SUBCORTEX, CEREBELLUM = "Subcortex", "Cerebellum"


@dataclass(frozen=True)
class Overlaps:
    """How many voxels two parcellations both claimed, and the parcels most concerned.

    `disputed` is the cortical parcel with the largest share of its voxels claimed by another parcellation too, whoever
    kept them; `loser` is the parcel that lost the largest share under the priority. Shares are of its own voxels.
    """

    schaefer_tian: int
    schaefer_buckner: int
    tian_buckner: int
    disputed: str
    disputed_share: float
    loser: str
    lost_share: float

    def line(self) -> str:
        """One line for the log."""
        return (
            f"{NAME}: overlaps in voxels: Schaefer and Tian {self.schaefer_tian} (kept by Tian), Schaefer and Buckner "
            f"{self.schaefer_buckner} (kept by Schaefer), Tian and Buckner {self.tian_buckner}; most disputed "
            f"in the cortex {self.disputed} ({self.disputed_share:.1%} of its voxels); "
            f"{self.loser} loses most ({self.lost_share:.1%})"
        )


@dataclass(frozen=True)
class Merged:
    """The merged atlas: its table, its label image (1 … 457 in table order), the overlaps and the files it is from."""

    table: AtlasTable
    image: nib.Nifti1Image
    overlaps: Overlaps
    sources: list[dict[str, Any]]


@dataclass(frozen=True)
class _Part:
    """One parcellation on the common grid: labels 1 … n, and the parcels' names."""

    labels: Labels
    names: list[str]


@dataclass(frozen=True)
class _Parts:
    """The three parcellations on one grid, and the files they come from."""

    cortex: _Part
    tian: _Part
    buckner: _Part
    affine: Floats
    sources: list[dict[str, Any]]


def schaefer400_tian3_buckner7(
    folder: Path | None = None, schaefer: Literal["cbig", "templateflow"] = "cbig", space: str = FROM_SPACE
) -> Merged:
    """Merge the three parcellations; `folder` is an offline folder, `schaefer` the preferred source of the cortex.

    Returns 457 parcels in this order: Schaefer 1-400 (7-network order), Tian S3 1-50, Buckner 1-7, in the networks
    Vis, SomMot, DorsAttn, SalVentAttn, Limbic, Cont, Default, Subcortex, Cerebellum; centroids of the merged parcels
    in RAS mm. `space` is one of `SPACES`. Raises `InputError` when a file is missing, altered or has other labels
    than published, and `SpaceError` when the transform to MNI152NLin2009cAsym cannot be had.
    """
    parts = _in_2009c(folder, schaefer) if space == TO_SPACE else _in_6asym(folder, schaefer)
    merged = _merge(parts.cortex, parts.tian, parts.buckner)
    overlaps = _overlaps(parts.cortex, parts.tian, parts.buckner, merged)
    say(overlaps.line())
    return Merged(_table(parts, merged, space), label_image(merged, parts.affine), overlaps, parts.sources)


def _in_6asym(folder: Path | None, schaefer: str) -> _Parts:
    """Every parcellation as published, on Schaefer's grid."""
    image, names, sources = _schaefer(folder, schaefer)
    labels, affine = load_labels(image)
    cortex = _part(labels, names, N_SCHAEFER, image)
    tian_path = fetch("tian-s3-image", folder)
    tian = _on(tian_path, labels.shape, affine, _tian_names(folder), N_TIAN)
    buckner = _on(fetch("buckner7-image", folder), labels.shape, affine, _buckner_names(), N_BUCKNER)
    keys = ("tian-s3-image", "tian-s3-names", "buckner7-image")
    return _Parts(cortex, tian, buckner, affine, sources + _sources(keys, folder))


def _in_2009c(folder: Path | None, schaefer: str) -> _Parts:
    """Schaefer and Tian as Tian's authors merged them (1-50 Tian, 51-450 Schaefer), Buckner through the transform."""
    _, names, sources = _schaefer(folder, schaefer)
    path = fetch("schaefer400-tian3-image-2009c", folder)
    both, affine = load_labels(path)
    tian = _part(np.where(both <= N_TIAN, both, 0), _tian_names(folder), N_TIAN, path)
    cortex = _part(np.where(both > N_TIAN, both - N_TIAN, 0), names, N_SCHAEFER, path)
    buckner_path = fetch("buckner7-image", folder)
    transform = transform_file(folder)
    labels = onto_2009c(*load_labels(buckner_path), transform, both.shape, affine)
    buckner = _part(labels, _buckner_names(), N_BUCKNER, buckner_path)
    keys = ("schaefer400-tian3-image-2009c", "tian-s3-names", "buckner7-image")
    return _Parts(cortex, tian, buckner, affine, [*sources[1:], *_sources(keys, folder), _about_transform(transform)])


def _tian_names(folder: Path | None) -> list[str]:
    return fetch("tian-s3-names", folder).read_text(encoding="utf-8").split()


def _buckner_names() -> list[str]:
    return [f"Buckner_{index}" for index in range(1, N_BUCKNER + 1)]


def _sources(keys: tuple[str, ...], folder: Path | None) -> list[dict[str, Any]]:
    return [described(fetch(key, folder), source(key)) for key in keys]


def _schaefer(folder: Path | None, preferred: str) -> tuple[Path, list[str], list[dict[str, Any]]]:
    """Image, names and sources of the cortex; TemplateFlow when asked for or when nothing else can be had."""
    keys = ("schaefer400-7networks-image", "schaefer400-7networks-names")
    if preferred == "cbig":
        try:
            image, names = (fetch(key, folder) for key in keys)
            return (
                image,
                _indexed_names(names),
                [described(p, source(k)) for k, p in zip(keys, (image, names), strict=True)],
            )
        except UnavailableError as error:
            say(f"{error}; trying TemplateFlow")
    image, names = schaefer_from_templateflow()
    about = source(keys[0]).model_copy(update={"address": TEMPLATEFLOW})
    say("Schaefer-400 comes from TemplateFlow: the same parcels by index, some names older")
    return image, _indexed_names(names), [described(path, about) for path in (image, names)]


def _indexed_names(path: Path) -> list[str]:
    """Names by index from the authors' table (no header) or TemplateFlow's TSV (header: index, name, …)."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    named = {int(row[0]): row[1] for row in rows if len(row) > 1 and row[0].isdigit() and int(row[0]) > 0}
    if sorted(named) != list(range(1, N_SCHAEFER + 1)):
        raise InputError(f"{path} names {len(named)} parcels, expected the indices 1 to {N_SCHAEFER}")
    return [named[index] for index in sorted(named)]


def _on(path: Path, shape: tuple[int, ...], affine: Floats, names: list[str], expected: int) -> _Part:
    """A parcellation brought to the common grid."""
    labels, own = load_labels(path)
    return _part(onto_grid(labels, own, shape, affine), names, expected, path)


def _part(labels: Labels, names: list[str], expected: int, path: Path) -> _Part:
    found = np.unique(labels[labels > 0])
    if len(names) != expected or found.tolist() != list(range(1, expected + 1)):
        raise InputError(f"{path} has {len(found)} labels and {len(names)} names, expected {expected} of each")
    return _Part(labels, names)


def _merge(cortex: _Part, tian: _Part, buckner: _Part) -> Labels:
    """Labels 1 … 457; the later assignment has the higher priority."""
    merged = np.where(buckner.labels > 0, buckner.labels + N_SCHAEFER + N_TIAN, 0)
    merged = np.where(cortex.labels > 0, cortex.labels, merged)
    return np.where(tian.labels > 0, tian.labels + N_SCHAEFER, merged).astype(np.int32)


def _overlaps(cortex: _Part, tian: _Part, buckner: _Part, merged: Labels) -> Overlaps:
    """Count shared voxels; find the parcel disputed most and the one that lost most."""
    parts = (cortex, tian, buckner)
    names = [name for part in parts for name in part.names]
    claims = sum((part.labels > 0).astype(np.int8) for part in parts)
    before = np.concatenate([np.bincount(part.labels.ravel())[1:] for part in parts])
    contested = np.bincount(cortex.labels[claims > 1], minlength=N_SCHAEFER + 1)[1:]
    disputed = contested / before[:N_SCHAEFER]
    lost = 1 - np.bincount(merged.ravel(), minlength=len(before) + 1)[1:] / before
    return Overlaps(
        schaefer_tian=_both(cortex, tian),
        schaefer_buckner=_both(cortex, buckner),
        tian_buckner=_both(tian, buckner),
        disputed=names[int(disputed.argmax())],
        disputed_share=float(disputed.max()),
        loser=names[int(lost.argmax())],
        lost_share=float(lost.max()),
    )


def _both(one: _Part, other: _Part) -> int:
    return int(((one.labels > 0) & (other.labels > 0)).sum())


def _table(parts: _Parts, merged: Labels, space: str) -> AtlasTable:
    """One row per parcel in the order of the merged labels."""
    cortex, tian = parts.cortex.names, parts.tian.names
    names = [*cortex, *tian, *parts.buckner.names]
    index: npt.NDArray[np.int64] = np.arange(1, len(names) + 1)
    position, counts = centroids(merged, parts.affine, index)
    parcels = pd.DataFrame(
        {
            "index": index,
            "name": names,
            "hemisphere": [*map(_schaefer_side, cortex), *map(_tian_side, tian), *"B" * N_BUCKNER],
            "network": [name.split("_")[2] for name in cortex] + [SUBCORTEX] * N_TIAN + [CEREBELLUM] * N_BUCKNER,
            **{column: position[:, axis] for axis, column in enumerate(("x_mm", "y_mm", "z_mm"))},
            "n_voxels": counts,
        }
    )
    return AtlasTable(name=NAME, space=space, parcels=parcels)


def _schaefer_side(name: str) -> str:
    """``7Networks_LH_Vis_1`` → L."""
    return name.split("_")[1][0]


def _tian_side(name: str) -> str:
    """``HIP-head-m-rh`` → R."""
    return name.rsplit("-", 1)[1][0].upper()


def _about_transform(path: Path) -> dict[str, Any]:
    return {
        "file": path.name,
        "sha256": sha256(path),
        "address": "https://www.templateflow.org",
        "licence": "see TemplateFlow's licence of the template",
        "citation": "Ciric R, et al. (2022). TemplateFlow: FAIR-sharing of multi-scale, multi-species brain models. "
        "Nature Methods 19:1568-1571. doi:10.1038/s41592-022-01681-2",
    }
