"""parcellate: a shard of BOLD runs × one atlas → parcel signals at native TR, coverage and confounds.

Volumes are streamed through one averaging operator per atlas and grid; a run never lies in memory. Importing this
module needs no image library, so that its settings can be read anywhere.
"""

from __future__ import annotations

from pathlib import Path

from boldtable.stages.parcellate.settings import Parcellate

__all__ = ["Parcellate", "atlas", "run"]


def atlas(settings: Parcellate, name: str, out: Path) -> None:
    """Write the atlas table `out` (``{name}.parquet``) and the label image beside it (``{name}.nii.gz``).

    The image comes first and the table last, so that a table always has its image. Source 'series' has no image.
    Raises `InputError` when a file of the atlas is missing, altered or wrong.
    """
    from boldtable.stages.parcellate.build import build_atlas

    build_atlas(settings, name, out)


def run(settings: Parcellate, dataset: str, root: Path, runs: Path, shard: str, atlas: Path, out: Path) -> None:
    """Write the parcels of every found run of a shard to `out`; a run that cannot be used is a row with its reason.

    `root` is the folder the paths of the runs table are relative to; it is never written to. `atlas` is the atlas
    table, its label image lies beside it. Signals are (frame, parcel) float32 in image units at native TR, unfiltered;
    a parcel below the minimum coverage is NaN. Raises `SpaceError` when runs and atlas live in different standard
    spaces and `InputError` when a table cannot be used.
    """
    from boldtable.stages.parcellate.shard import parcellate_shard

    parcellate_shard(settings, dataset, root, runs, shard, atlas, out)
