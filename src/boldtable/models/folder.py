"""The model folder: model.safetensors, config.json (architecture and input) and README.md (model card)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from boldtable.errors import InputError, nearest
from boldtable.models.base import Encoder, InputSpec, check_tensors
from boldtable.models.brain_jepa import BrainJepa
from boldtable.models.brainlm import BrainLM
from boldtable.models.brainlm_vit import BrainLMImages
from boldtable.models.semantoks import Semantoks

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


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


def save_model(folder: Path, encoder: StoredEncoder, card: str) -> None:
    """Write `encoder` and its model card (Markdown) into `folder`: weights, card, then config.json.

    Each file appears whole under its final name or not at all, config.json last: a folder with a config is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    described = {"kind": encoder.kind, "architecture": encoder.config.to_dict(), "input": encoder.spec.to_dict()}
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    _put(folder / WEIGHTS, lambda path: save_file(weights, path, metadata={"format": "pt"}))
    _put(folder / CARD, lambda path: path.write_text(card, encoding="utf-8"))
    _put(folder / CONFIG, lambda path: path.write_text(text, encoding="utf-8"))


def _put(path: Path, write: Callable[[Path], object]) -> None:
    """Write to a temporary name beside `path`, flush it to disk, then rename it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> Encoder:
    """Return the encoder of a model folder, in evaluation mode on `device`, bit for bit as it was saved.

    Raises `InputError` naming the file where the folder is incomplete, of an unknown kind, or where a weight is
    missing, unknown or of the wrong shape. Nothing is unpickled.
    """
    folder = Path(folder)
    kind, architecture, spec = _read_config(folder / CONFIG)
    encoder = _fresh(kind, architecture, spec, seed=0)  # weights that the file then replaces
    encoder.load_state_dict(_read_weights(folder / WEIGHTS, encoder.state_dict()))
    return encoder.to(device).eval()  # type: ignore[return-value]


def untrained_model(folder: str | Path, seed: int, device: str | torch.device = "cpu") -> Encoder:
    """Return what `load_model` does, but with the random weights of `seed`: all that the architecture alone gives.

    What no seed alters is no weight (coordinates, gradients) and is taken from the folder.
    """
    folder = Path(folder)
    kind, architecture, spec = _read_config(folder / CONFIG)
    encoder, other = (_fresh(kind, architecture, spec, one) for one in (seed, seed + 1))
    stored, others = _read_weights(folder / WEIGHTS, encoder.state_dict()), dict(other.named_buffers())
    same = [name for name, value in encoder.named_buffers() if name in stored and torch.equal(value, others[name])]
    encoder.load_state_dict({**encoder.state_dict(), **{name: stored[name] for name in same}})
    return encoder.to(device).eval()  # type: ignore[return-value]


def _fresh(kind: str, architecture: Mapping[str, Any], spec: InputSpec, seed: int) -> nn.Module:
    """An encoder with the random weights of a seed; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KINDS[kind].from_config(architecture, spec)


def _read_config(path: Path) -> tuple[str, Mapping[str, Any], InputSpec]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind, architecture, spec = (values[key] for key in ("kind", "architecture", "input"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; a model folder holds {WEIGHTS}, {CONFIG} and {CARD}") from None
    except KeyError as error:
        raise InputError(f"{path}: key {error} is missing; was this folder written by boldtable?") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a readable model description: {error}") from None
    if kind not in KINDS:
        raise InputError(f"{path}: unknown kind of model '{kind}'{nearest(str(kind), KINDS)}")
    return kind, architecture, InputSpec.from_dict(spec)


def _read_weights(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; the model folder is incomplete") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}") from None
    check_tensors(weights, {name: tuple(tensor.shape) for name, tensor in expected.items()}, str(path))
    return weights
