"""The model folder: model.safetensors, config.json (architecture and input) and README.md (model card)."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from boldtable.errors import BoldtableError, InputError, nearest, shortened
from boldtable.models.base import Encoder, InputSpec
from boldtable.models.base import check_shapes as _check_shapes
from boldtable.models.brain_jepa import BrainJepa
from boldtable.models.brainlm import BrainLM
from boldtable.models.brainlm_vit import BrainLMImages
from boldtable.models.description import CONFIG, Description, read
from boldtable.models.header import header, settle
from boldtable.models.semantoks import Semantoks
from boldtable.writing import atomic, write_text

WEIGHTS, CARD = "model.safetensors", "README.md"
_DESCRIBED = "description_sha256"  # in the metadata of the weights
# What a description that is no model's makes a constructor raise.
_WRONG = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


class _Config(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


class StoredEncoder(Protocol):
    """An encoder that a folder can hold: a torch module that knows its kind, architecture and input."""

    kind: ClassVar[str]
    spec: InputSpec

    @property
    def config(self) -> _Config:
        """The architecture."""

    def state_dict(self) -> dict[str, Tensor]:
        """Weights and buffers by name."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights."""


class _Kind(Protocol):
    """A class of encoders: its name in config.json, and how one is built before its weights are read."""

    kind: str

    def from_config(self, architecture: Mapping[str, Any], spec: InputSpec) -> nn.Module: ...


KINDS: dict[str, _Kind] = {}


def register(model: _Kind) -> None:
    """Let folders hold a further kind of encoder.

    `model` is a class with a `kind` and a classmethod ``from_config(architecture, spec)``, the inverse of
    ``encoder.config.to_dict()``. Whatever the encoder needs besides (coordinates, gradients) is a persistent buffer of
    the shape that the architecture says, so that it is stored and checked like a weight.
    """
    KINDS[model.kind] = model


# The models of this package, one a line.
register(Semantoks)
register(BrainLM)
register(BrainLMImages)
register(BrainJepa)


def save_model(
    folder: Path,
    encoder: StoredEncoder,
    card: str,
    *,
    name: str | None = None,
    beside: Mapping[str, Path] = MappingProxyType({}),
) -> None:
    """Write `encoder` and its model card (Markdown) into `folder`: weights, card, then config.json.

    `name` is what the model is called where it is trained; `beside` are files to copy into the folder under a name.
    config.json holds the digest of the weights and of these. Each file appears whole under its final name or not at
    all, config.json last: a folder with a config is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: tensor.detach().cpu().contiguous() for key, tensor in encoder.state_dict().items()}
    about = Description(name, encoder.kind, encoder.config.to_dict(), encoder.spec, {})
    with atomic(folder / WEIGHTS) as part:
        save_file(weights, part, metadata={"format": "pt", _DESCRIBED: about.sha256()})
        settle(part)
    for other, source in beside.items():
        with atomic(folder / other) as part:
            shutil.copyfile(source, part)
    write_text(folder / CARD, card)
    files = {one: _sha256(folder / one) for one in (WEIGHTS, *beside)}
    write_text(folder / CONFIG, replace(about, files=files).text())


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> Encoder:
    """Return the encoder of a model folder, in evaluation mode on `device`, bit for bit as it was saved.

    Raises `InputError` naming the file where the folder is incomplete, of an unknown kind, where a weight is missing,
    unknown or of the wrong shape, and where a file is not the one that was saved. Nothing is unpickled, and nothing of
    any size is made before the description fits the weights.
    """
    folder = Path(folder)
    about = describe(folder)
    stored = _read_weights(folder, about)
    encoder = _fresh(folder, about, seed=0)  # weights that the file then replaces
    encoder.load_state_dict(stored)
    return encoder.to(device).eval()  # type: ignore[return-value]


def untrained_model(folder: str | Path, seed: int, device: str | torch.device = "cpu") -> Encoder:
    """Return what `load_model` does, but with the random weights of `seed`: all that the architecture alone gives.

    What no seed alters is no weight (coordinates, gradients) and is taken from the folder.
    """
    folder = Path(folder)
    about = describe(folder)
    stored = _read_weights(folder, about)
    encoder, other = (_fresh(folder, about, one) for one in (seed, seed + 1))
    others = dict(other.named_buffers())
    same = [name for name, value in encoder.named_buffers() if name in stored and torch.equal(value, others[name])]
    encoder.load_state_dict({**encoder.state_dict(), **{name: stored[name] for name in same}})
    return encoder.to(device).eval()  # type: ignore[return-value]


def describe(folder: Path) -> Description:
    """Return what a model folder says of its model, of a kind that is known; raises `InputError`."""
    about = read(folder)
    if about.kind not in KINDS:
        raise InputError(f"{folder / CONFIG}: unknown kind of model '{about.kind[:80]}'{nearest(about.kind, KINDS)}")
    return about


def companion(folder: Path, name: str) -> Path | None:
    """Return a further file of a model folder, after comparing it with its digest; None where there is none.

    Raises `InputError` where the description and the folder disagree.
    """
    path = folder / name
    if not (folder / CONFIG).exists():  # no model at all, which reading its weights says
        return path if path.exists() else None
    expected = read(folder).files.get(name)
    if expected is None and not path.exists():
        return None
    if expected is None:
        raise InputError(f"{path} does not belong to this model: {folder / CONFIG} does not name it; remove it")
    _check_digest(path, expected)
    return path


def _fresh(folder: Path, about: Description, seed: int) -> nn.Module:
    """An encoder with the random weights of a seed; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _built(folder, about)


def _built(folder: Path, about: Description) -> nn.Module:
    try:
        encoder = KINDS[about.kind].from_config(about.architecture, about.input)
    except (BoldtableError, *_WRONG) as error:
        line = f"describes no model that can be built: {shortened(error)}"
        raise InputError(f"{folder / CONFIG}: {line if not isinstance(error, BoldtableError) else error}") from None
    n = len(about.input.parcels)
    described = about.architecture.get("n_parcels", len(about.architecture.get("networks", about.input.parcels)))
    if described != n:
        raise InputError(f"{folder / CONFIG}: the architecture has {described} parcels, the input names {n}")
    return encoder


def _read_weights(folder: Path, about: Description) -> dict[str, Tensor]:
    """The weights, after comparing names and shapes with the architecture, and both files with their digests."""
    path = folder / WEIGHTS
    shapes, metadata = header(path)
    _check_shapes(path, shapes, _expected(folder, about, shapes))
    _check_digest(path, about.files[WEIGHTS])
    if metadata.get(_DESCRIBED) != about.sha256() or about.seal != about.digest():
        raise InputError(f"{folder / CONFIG} is not the one that was saved with {WEIGHTS}: restore it, or train again")
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {shortened(error)}") from None
    return weights


def _expected(folder: Path, about: Description, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any]:
    """The shapes that the architecture has, found without making any tensor, and no more parts than are stored."""
    groups = about.architecture.get("networks")
    parts = [value for key, value in about.architecture.items() if "depth" in key and isinstance(value, int)]
    parts += [len(set(groups))] if isinstance(groups, list) else []
    if max(parts, default=0) > max(len(shapes), 1):
        raise InputError(f"{folder / CONFIG}: describes more layers or networks than {WEIGHTS} has tensors")
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in _built(folder, about).state_dict().items()}


def _check_digest(path: Path, expected: str) -> None:
    try:
        found = _sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; the model folder is incomplete") from None
    if found != expected:
        raise InputError(
            f"{path} is not the file that was saved (its sha256 differs from {CONFIG}): restore it, or make the folder "
            "again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
