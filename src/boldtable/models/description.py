"""config.json of a model folder: what it may say, read without trusting it.

A folder may come from anywhere, and whoever edits the description by hand makes another model of the same weights. So
everything is checked before anything is built: the file, its keys, their kinds and bounds. The digests that it holds
are compared by `boldtable.models.folder`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boldtable.errors import InputError, shortened
from boldtable.models.base import InputSpec
from boldtable.reading.bounded import read_json

CONFIG = "config.json"
_LONGEST = 20_000_000  # bytes
_KEYS = ("name", "kind", "architecture", "input", "files", "sha256")
_SHA256 = re.compile("[0-9a-f]{64}")
# Bounds of whole numbers by the words in their names, the first that fits; far beyond every model there is.
_BOUNDS = (
    ("depth", 0, 200), ("heads", 1, 1024), ("n_parcels", 1, 100_000), ("frames", 1, 100_000), ("hidden", 1, 262_144),
    ("", 1, 65_536),
)  # fmt: skip
_MOST_PARCELS, _LONGEST_NAME, _LARGEST = 100_000, 1000, 1e9


@dataclasses.dataclass(frozen=True)
class Description:
    """What a model folder says of its model.

    `files` holds the sha256 of every file that belongs to it, by name, and `seal` the digest of the description itself,
    as config.json has it.
    """

    name: str | None
    kind: str
    architecture: Mapping[str, Any]
    input: InputSpec
    files: Mapping[str, str]
    seal: str | None = None

    def text(self) -> str:
        """The content of config.json."""
        return json.dumps({**self._all(), "sha256": self.digest()}, indent=2, ensure_ascii=False) + "\n"

    def digest(self) -> str:
        """The digest of all that config.json says."""
        return hashlib.sha256(json.dumps(self._all(), sort_keys=True).encode()).hexdigest()

    def sha256(self) -> str:
        """The digest of the model that the weights keep, by which an edited description is told; without its name."""
        return hashlib.sha256(json.dumps(self._model(), sort_keys=True).encode()).hexdigest()

    def _model(self) -> dict[str, Any]:
        return {"kind": self.kind, "architecture": dict(self.architecture), "input": self.input.to_dict()}

    def _all(self) -> dict[str, Any]:
        return {"name": self.name, **self._model(), "files": dict(self.files)}


def read(folder: Path) -> Description:
    """Return what config.json of a folder says; raises `InputError` with one line that names the file."""
    path = folder / CONFIG
    try:
        values = read_json(path, _LONGEST)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; a model folder holds model.safetensors, {CONFIG} and README.md") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except InputError as error:
        raise InputError(f"not a readable model description: {error}") from None
    try:
        return _checked(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _checked(values: Any) -> Description:
    if not isinstance(values, dict):
        raise InputError("holds no mapping; was this folder written by boldtable?")
    for key in ("kind", "architecture", "input"):
        if key not in values:
            raise InputError(f"key '{key}' is missing; was this folder written by boldtable?")
    for key in values:
        if key not in _KEYS:
            raise InputError(f"unknown key '{shortened(key, 80)}'; known: {', '.join(_KEYS)}")
    name, kind, architecture, spec = (values.get(key) for key in _KEYS[:4])
    if not isinstance(kind, str) or not (name is None or isinstance(name, str)):
        raise InputError("'kind' and 'name' are texts")
    if not isinstance(architecture, dict) or not isinstance(spec, dict):
        raise InputError("'architecture' and 'input' are mappings")
    for key, value in architecture.items():
        _bounded(key, value)
    _check_input(spec)
    return Description(
        name, kind, architecture, InputSpec.from_dict(spec), _files(values.get("files")), values.get("sha256")
    )


def _files(found: Any) -> Mapping[str, str]:
    if found is None:
        raise InputError("holds no digests of its files: it is of an older version; make the folder again")
    good = isinstance(found, dict) and all(isinstance(one, str) and _SHA256.fullmatch(one) for one in found.values())
    if not good or "model.safetensors" not in found:
        raise InputError("'files' names model.safetensors and others with their sha256")
    return dict(found)


def _bounded(key: str, value: Any) -> None:
    """Refuse a value of an architecture that no model has."""
    shown = shortened(repr(value), 80)
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int):
        low, high = next((low, high) for word, low, high in _BOUNDS if word in key)
        if not low <= value <= high:
            raise InputError(f"architecture.{key} is {shown}, which must be from {low} to {high}")
    elif isinstance(value, float):
        if not math.isfinite(value) or abs(value) > _LARGEST:
            raise InputError(f"architecture.{key} is {shown}, which is out of range")
    elif isinstance(value, str):
        _text(f"architecture.{key}", value)
    elif isinstance(value, list):
        _texts(f"architecture.{key}", value)
    else:
        raise InputError(f"architecture.{key} is {shown}, which is no number, text or list of texts")


def _check_input(spec: Mapping[str, Any]) -> None:
    """Refuse an input that no model has; missing and unknown keys are told by `InputSpec`."""
    for key in ("parcels", "networks"):
        if key in spec:
            _texts(f"input.{key}", spec[key])
    for key in ("atlas", "normalisation", "recipe"):
        if key in spec:
            _text(f"input.{key}", spec[key])
    n, tr_s = spec.get("n_frames", 1), spec.get("tr_s")
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= _MOST_PARCELS:
        raise InputError(f"input.n_frames is {shortened(repr(n), 80)}, which must be from 1 to {_MOST_PARCELS}")
    if tr_s is not None and (isinstance(tr_s, bool) or not isinstance(tr_s, int | float) or not 0 < tr_s < 1000):
        raise InputError(f"input.tr_s is {shortened(repr(tr_s), 80)}, which must be a time in seconds, or null")


def _texts(key: str, found: Any) -> None:
    if not isinstance(found, list) or not 1 <= len(found) <= _MOST_PARCELS:
        raise InputError(f"{key} must list from 1 to {_MOST_PARCELS} names")
    for one in found:
        _text(key, one)


def _text(key: str, found: Any) -> None:
    if not isinstance(found, str) or len(found) > _LONGEST_NAME:
        raise InputError(f"{key} is {shortened(repr(found), 80)}, which is no text of at most {_LONGEST_NAME} letters")
