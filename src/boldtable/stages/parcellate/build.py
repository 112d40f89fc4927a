"""Make the atlas of one block: its table and, beside it, its label image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib

from boldtable import store
from boldtable.atlas.a424 import a424
from boldtable.atlas.image import Floats, Labels, save_image
from boldtable.atlas.merge import schaefer400_tian3_buckner7
from boldtable.atlas.own import Move, own_atlas, series_atlas
from boldtable.atlas.table import AtlasTable
from boldtable.atlas.warp import AFFINE_2MM, FROM_SPACE, onto_2009c, transform_file
from boldtable.errors import SettingsError
from boldtable.progress import say
from boldtable.stages.parcellate.settings import Parcellate

IMAGE_SUFFIX = ".nii.gz"


def build_atlas(settings: Parcellate, name: str, out: Path) -> None:
    """Write the label image, then the table (`boldtable.stages.parcellate.atlas` says the rest)."""
    table, image, extra, inputs = _make(settings, name)
    if image is not None:
        save_image(image, image_path(out))
    table.save(out, store.Provenance("atlas", settings, inputs, **extra))
    say(f"atlas {name}: {table.n_parcels} parcels in {len(set(table.networks))} networks, space {table.space}")


def image_path(table: Path) -> Path:
    """Where the label image of an atlas table lies."""
    return table.with_suffix(IMAGE_SUFFIX)


def _make(settings: Parcellate, name: str) -> tuple[AtlasTable, nib.Nifti1Image | None, dict[str, Any], list[Path]]:
    """Table, image, what the table's metadata says of its sources, and the user's files it was made from."""
    if settings.source == "demo457":
        from boldtable.simulate.atlas import demo457  # needs nilearn, which the other sources do without

        table, image = demo457()
        return _named(table, name), image, {"licence": "made by geometry; not a published atlas"}, []
    if settings.source == "schaefer400-tian3-buckner7":
        merged = schaefer400_tian3_buckner7(settings.folder, settings.schaefer, settings.space or FROM_SPACE)
        return _named(merged.table, name), merged.image, {"sources": merged.sources}, []
    if settings.source == "a424":
        move, warps = _to_space(settings)
        table, image, sources = a424(settings.folder, move)
        space = settings.to_space or table.space
        return AtlasTable(name, space, table.parcels), image, {"sources": sources}, warps
    if settings.table is None:
        raise SettingsError(f"atlas {name}: source '{settings.source}' needs table")
    if settings.source == "series":
        return series_atlas(name, settings.table, settings.space), None, {}, [settings.table]
    if settings.image is None or settings.space is None:
        raise SettingsError(f"atlas {name}: source 'file' needs image and space")
    files, (move, warps) = (settings.image, settings.table), _to_space(settings)
    return *own_atlas(name, *files, settings.to_space or settings.space, move), {}, [*files, *warps]


def _to_space(settings: Parcellate) -> tuple[Move | None, list[Path]]:
    """How to bring an image to `to_space` and the file that takes; None where it stays."""
    if settings.to_space is None:
        return None, []
    transform = transform_file(settings.folder)

    def move(labels: Labels, affine: Floats) -> tuple[Labels, Floats]:
        return onto_2009c(labels, affine, transform), AFFINE_2MM

    return move, [transform]


def _named(table: AtlasTable, name: str) -> AtlasTable:
    """The atlas under the name of its config block, which is its name in paths and tensors."""
    return AtlasTable(name=name, space=table.space, parcels=table.parcels)
