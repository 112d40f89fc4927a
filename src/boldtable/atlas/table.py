"""The atlas table: one row per parcel, in the order every tensor uses. Needs neither nibabel nor an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from boldtable import store
from boldtable.errors import InputError

COLUMNS = ("index", "name", "hemisphere", "network", "x_mm", "y_mm", "z_mm", "n_voxels")
UNKNOWN_NETWORK = "unknown"


@dataclass(frozen=True)
class AtlasTable:
    """Parcels of one atlas in order.

    `parcels` has one row per parcel with the columns `COLUMNS`: index is the label in the atlas image, hemisphere
    is L, R or B (both, or not known), network a name or ``unknown``, x_mm, y_mm and z_mm the centroid (RAS,
    millimetres).
    """

    name: str
    space: str
    parcels: pd.DataFrame

    @property
    def n_parcels(self) -> int:
        """How many parcels (columns of every tensor) the atlas has."""
        return len(self.parcels)

    @property
    def names(self) -> list[str]:
        """Parcel names in order."""
        return [str(name) for name in self.parcels["name"]]

    @property
    def networks(self) -> list[str]:
        """The network of each parcel, in parcel order."""
        return [str(network) for network in self.parcels["network"]]

    @property
    def sha256(self) -> str:
        """What the parcels are, in which order, as one hash; equal hashes mean that columns mean the same."""
        named = self.parcels[["index", "name", "hemisphere", "network"]]
        return store.sha256_json([self.space, named.astype({"index": int}).to_numpy(dtype=object).tolist()])

    def save(self, path: Path, provenance: store.Provenance) -> None:
        """Write ``atlas`` Parquet; name and space go to the file metadata."""
        provenance.extra.update(atlas=self.name, space=self.space)
        store.write(path, "atlas", self.parcels, provenance)


def load_table(path: Path) -> AtlasTable:
    """Read an atlas table written by `AtlasTable.save`; raises `InputError` if it is something else."""
    parcels = store.frame(path, "atlas")
    about = store.provenance(path)
    if "atlas" not in about:
        raise InputError(f"{path} names no atlas; make it again with 'boldtable atlas'")
    return AtlasTable(name=about["atlas"], space=about["space"], parcels=parcels)
