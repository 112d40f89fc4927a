"""What every encoder promises: the input it was made for, and one call from windows to features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor

from boldtable.errors import InputError, nearest, shortened


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

    def columns(self, names: Sequence[str]) -> list[int]:
        """Return where each of the model's parcels stands among the parcels `names` of the data.

        They are joined by name, so that the data may have them in another order, and further ones. Raises `InputError`
        naming the first one that the data lack, or have twice in another order than the model.
        """
        if tuple(names) == self.parcels:
            return list(range(len(names)))
        if len(set(names)) < len(names):
            twice = next(name for name in names if list(names).count(name) > 1)
            raise InputError(f"the data have parcel '{twice}' twice, so that none can be told by its name; rename them")
        places = {name: place for place, name in enumerate(names)}
        lacking = [name for name in self.parcels if name not in places]
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise InputError(
                f"the model's parcel '{lacking[0]}' (atlas '{self.atlas}', {len(self.parcels)} parcels){more} is none "
                f"of the {len(names)} parcels of the data; parcellate the data with the model's atlas"
            )
        return [places[name] for name in self.parcels]


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
            raise InputError(f"{what}: unknown key '{shortened(key, 80)}'{nearest(key, names)}")
    for name in names:
        if name not in values:
            raise InputError(f"{what}: key '{name}' is missing")
    plain = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    _check_kinds(cls, plain, what)
    return plain


_KINDS: dict[Any, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "bool": (bool,), "str": (str,), int: (int,), float: (int, float),
    bool: (bool,), str: (str,),
}  # fmt: skip


def _check_kinds(cls: type[Any], values: Mapping[str, Any], what: str) -> None:
    """Raise `InputError` naming the first value of another kind than its field; other kinds of fields take any."""
    for field in dataclasses.fields(cls):
        kinds, value = _KINDS.get(field.type), values[field.name]
        wrong_bool = isinstance(value, bool) and kinds is not None and bool not in kinds
        if kinds is not None and (wrong_bool or not isinstance(value, kinds)):
            raise InputError(f"{what}: '{field.name}' is {shortened(repr(value), 80)}, no {kinds[-1].__name__}")
        if "tuple" in str(field.type) and not isinstance(value, tuple):
            raise InputError(f"{what}: '{field.name}' is {shortened(repr(value), 80)}, no list")


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raise `InputError` naming the first missing, unknown or misshapen tensor of `found`, and how many there are."""
    check_shapes(where, {name: tuple(tensor.shape) for name, tensor in found.items()}, expected)


def check_shapes(where: object, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Compare shapes by name as `check_tensors` does."""
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    for names, what in ((missing, "missing"), (extra, "not part of this model")):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise InputError(f"{where}: tensor '{names[0]}' is {what}{more}; these weights are of another architecture")
    for name, shape in expected.items():
        if found[name] != shape:
            raise InputError(f"{where}: tensor '{name}' has shape {found[name]}, expected {shape}")
