"""From the tensors of a recipe to the input of a model: what may be converted is, what may not is refused.

Converted: the order of the parcels, by name, and the scale of z-scored or unscaled tensors where population statistics
travel with the model. Refused: another atlas, another normalisation. Length, repetition time and missing parcels are
those of a run: `Network` looks at them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError
from boldtable.progress import say
from boldtable.stages.embed.tables import Floats, Row

if TYPE_CHECKING:
    from boldtable.models import InputSpec

NORMALISATION = "normalisation.parquet"  # in the model folder, where its input is scaled by population statistics
_POPULATION = "population"


def reader(
    model: str, folder: Path, spec: InputSpec, table: AtlasTable, made: Sequence[Row]
) -> Callable[[Row], Floats]:
    """Return what takes a run's tensor to the model's input (frame, parcel), missing parcels NaN.

    `model` is its name, `made` what the tensors files say of their making. Raises `InputError` naming both sides where
    the tensors are of another atlas, or of a normalisation that cannot be converted.
    """
    if spec.atlas != table.name:
        raise InputError(
            f"model '{model}' was trained on atlas '{spec.atlas}', the tensors have '{table.name}': embed with a "
            "recipe of the model's atlas"
        )
    from boldtable.models.folder import companion

    columns, path = spec.columns(table.names), companion(folder, NORMALISATION)
    if table.n_parcels > len(columns):
        say(f"model '{model}' reads {len(columns)} of the {table.n_parcels} parcels of '{table.name}'")
    kinds = sorted({str(about["settings"].get("normalise")) for about in made})
    if spec.normalisation == _POPULATION and path is not None and not _made_with(path, made):
        _refuse_rescaled(model, kinds, path)
        say(f"model '{model}' scales the tensors by its own statistics, {path}")
        return Scaling(path, columns, kinds[0])
    for kind in kinds:
        if kind != spec.normalisation:
            raise InputError(
                f"model '{model}' expects '{spec.normalisation}' normalisation (recipe '{spec.recipe}'), the tensors "
                f"have '{kind}': set normalise alike"
            )
    return lambda row: row["signal"][:, columns]


def _made_with(path: Path, made: Sequence[Row]) -> bool:
    """Whether all tensors were made with the statistics in this file, whatever its name was there."""
    mine = store.fingerprint(path).get("sha256")
    return all(mine in {given.get("sha256") for given in about["inputs"]} for about in made)


def _refuse_rescaled(model: str, kinds: Sequence[str], path: Path) -> None:
    """Refuse tensors that cannot be brought back to an unscaled series."""
    wrong = [kind for kind in kinds if kind not in ("zscore", "none")]
    if wrong or len(kinds) > 1:
        other = "other population statistics" if wrong == [_POPULATION] else f"normalise '{', '.join(kinds)}'"
        raise InputError(
            f"model '{model}' scales by the statistics in {path}, the tensors were made with {other}: set normalise "
            "'none' or 'zscore' in their recipe"
        )


class Scaling:
    """Median and interquartile range per parcel, in the order of the model's parcels.

    Tensors keep the standard deviation of every series before normalisation, `std`: a z-score times `std` is the series
    again (its mean is 0, as detrending leaves it). Then the median is taken off and the range divided by.
    """

    def __init__(self, path: Path, columns: Sequence[int], normalise: str) -> None:
        rows = store.frame(path, "population").sort_values("column")
        if len(rows) != len(columns):
            raise InputError(
                f"{path} has statistics of {len(rows)} parcels, its model {len(columns)}: it is another model's file"
            )
        self._columns, self._scored = columns, normalise == "zscore"
        self._median, iqr = (rows[name].to_numpy(dtype=np.float64) for name in ("median", "iqr"))
        self._iqr = np.where(iqr > 0, iqr, np.nan)

    def __call__(self, row: Row) -> Floats:
        """Return the signal (frame, parcel) of a run on the model's scale, NaN for missing parcels."""
        series = row["signal"][:, self._columns].astype(np.float64)
        if self._scored:
            if row["std"] is None:
                raise InputError(f"{store.label(row)} has no standard deviations: run clean again")
            series *= np.asarray(row["std"], dtype=np.float64)[self._columns]
        found: Floats = ((series - self._median) / self._iqr).astype(np.float32)
        return found
