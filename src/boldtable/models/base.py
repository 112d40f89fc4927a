"""What every encoder promises: the input it was made for, and one call from windows to features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor

from boldtable.errors import InputError, nearest

# Repetition times closer than this are the same: headers round to the microsecond or the millisecond.
_SAME_TR_S = 1e-3


@dataclass(frozen=True)
class InputSpec:
    """The input an encoder was trained on: which parcels in which order, how sampled, how normalised.

    `parcels` and `networks` run in parallel: the name of each parcel and the name of its network. `tr_s` is None
    where the repetition time is unknown, `n_frames` is the length of one window, `recipe` names the cleaning.
    """

    atlas: str
    parcels: tuple[str, ...]
    networks: tuple[str, ...]
    tr_s: float | None
    n_frames: int
    normalisation: str
    recipe: str

    def __post_init__(self) -> None:
        if len(self.parcels) != len(self.networks):
            raise InputError(
                f"atlas '{self.atlas}': {len(self.parcels)} parcels but {len(self.networks)} network names; "
                "give one network name per parcel"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and texts, ready for JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read back `to_dict`; a missing or unknown key raises `InputError` naming it."""
        return cls(**checked_fields(cls, values, "input specification"))

    def check(self, other_atlas_parcels: Sequence[str], tr_s: float | None) -> None:
        """Raise `InputError` naming both sides where the data's parcels, their order or the TR differ.

        A repetition time unknown on either side is not compared: that is stated where the tensors were made.
        """
        self._check_parcels(tuple(other_atlas_parcels))
        if self.tr_s is not None and tr_s is not None and abs(self.tr_s - tr_s) > _SAME_TR_S:
            raise InputError(
                f"the model was trained at TR {self.tr_s:g} s (recipe '{self.recipe}'), the data have TR {tr_s:g} s; "
                f"clean the data with target_tr_s: {self.tr_s:g}"
            )

    def _check_parcels(self, parcels: tuple[str, ...]) -> None:
        if len(parcels) != len(self.parcels):
            raise InputError(
                f"the model expects {len(self.parcels)} parcels of atlas '{self.atlas}', the data have {len(parcels)}; "
                "parcellate the data with the model's atlas"
            )
        for index, (ours, theirs) in enumerate(zip(self.parcels, parcels, strict=True)):
            if ours != theirs:
                raise InputError(
                    f"parcel {index + 1} of {len(parcels)} is '{ours}' for the model (atlas '{self.atlas}') but "
                    f"'{theirs}' in the data; bring the data into the model's parcel order"
                )


@runtime_checkable
class Encoder(Protocol):
    """Windows of parcel signals in, one feature vector per window out."""

    spec: InputSpec

    @property
    def n_features(self) -> int:
        """Length of the feature vector."""

    def embed(self, x: Tensor, parcel_mask: Tensor, frame_mask: Tensor) -> Tensor:
        """Return features (window, feature).

        `x` is (window, parcel, frame); `parcel_mask` (window, parcel) and `frame_mask` (window, frame) are True where
        the value is present. Values that are not present, NaN included, never reach the features.
        """


@runtime_checkable
class MaskingEncoder(Encoder, Protocol):
    """An encoder that learnt with hidden tokens, so that parcels can be hidden from it without being absent."""

    def embed_shown(self, x: Tensor, parcel_mask: Tensor, frame_mask: Tensor, shown: Tensor) -> Tensor:
        """Return features as `embed` does, with every parcel hidden but those where `shown` (parcel,) is True."""


def checked_fields(cls: type[Any], values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return `values` with lists as tuples, after checking that its keys are exactly the fields of dataclass `cls`."""
    names = [field.name for field in dataclasses.fields(cls)]
    for key in values:
        if key not in names:
            raise InputError(f"{what}: unknown key '{key}'{nearest(key, names)}")
    for name in names:
        if name not in values:
            raise InputError(f"{what}: key '{name}' is missing")
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raise `InputError` naming the first missing, unknown or misshapen tensor of `found`, and how many there are."""
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    for names, what in ((missing, "missing"), (extra, "not part of this model")):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise InputError(f"{where}: tensor '{names[0]}' is {what}{more}; these weights are of another architecture")
    for name, shape in expected.items():
        if tuple(found[name].shape) != shape:
            raise InputError(f"{where}: tensor '{name}' has shape {tuple(found[name].shape)}, expected {shape}")
