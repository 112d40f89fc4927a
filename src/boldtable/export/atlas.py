"""The atlas of an export: its labels, what it is made of, and its image only where that may be passed on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.export.files import write_json, write_tsv
from boldtable.export.names import label

OURS = "demo457"  # the one atlas made here; every other volume stays with its publisher or owner

_COLUMNS = {
    "hemisphere": {"Description": "L, R, or B for both or unknown"},
    "network": {"Description": "Network of the parcel"},
    "x_mm": {"Description": "Centroid, to the right", "Units": "mm"},
    "y_mm": {"Description": "Centroid, to the front", "Units": "mm"},
    "z_mm": {"Description": "Centroid, upwards", "Units": "mm"},
    "n_voxels": {"Description": "Voxels of the parcel in the label image"},
}


def write_atlas(table: AtlasTable, path: Path, names: list[str], out: Path) -> None:
    """Write the atlas description and its label table below `out`; `path` is the table below results/atlases."""
    made = store.provenance(path)
    name = label(table.name, "+")
    write_json(out / f"atlas-{name}_description.json", _description(table, made))
    space = label(table.space) if table.space else "unknown"
    stem = out / f"tpl-{space}" / "anat" / f"tpl-{space}_atlas-{name}_dseg"
    write_tsv(stem.with_suffix(".tsv"), table.parcels.assign(name=names))
    about = {
        "Description": f"Parcels of {table.name}: index is the label, rows are in the order of the series' columns."
    }
    image = path.with_suffix(".nii.gz")
    shipped = (made.get("settings") or {}).get("source") == OURS and image.is_file()
    if shipped:
        shutil.copyfile(image, stem.with_suffix(".nii.gz"))
    else:
        about["Description"] += " The image is not part of this dataset; the atlas description names its source."
    reference = f"https://templateflow.org/browse/ ({table.space})"
    write_json(stem.with_suffix(".json"), {**about, "SpatialReference": reference, **_COLUMNS})


def _description(table: AtlasTable, made: dict[str, Any]) -> dict[str, Any]:
    """The atlas description: licences and references of every file it was made from."""
    sources = made.get("sources") or []
    licences = dict.fromkeys([str(entry["licence"]) for entry in sources] or [str(made.get("licence") or "unknown")])
    references = [text for entry in sources for text in (entry["citation"], entry["address"])]
    return {
        "AtlasName": table.name,
        "License": "; ".join(licences),
        "Description": f"{table.n_parcels} parcels in {len(set(table.networks))} networks, space {table.space}.",
        "ReferencesAndLinks": list(dict.fromkeys(references)),
        "SHA256": table.sha256,
    }
