"""Checkpoints of others, read safely: a PyTorch archive or a safetensors file, or a folder with one."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from boldtable.errors import InputError
from boldtable.reading.bounded import read_json

_LONGEST_CONFIG = 1_000_000  # bytes
# The names under which the Hugging Face hub keeps weights, the safer one first.
_IN_FOLDER = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights holds, as it lies there: tensors and plain values by name.

    `config` is the config.json beside the file, None where there is none.
    """

    path: Path
    content: Mapping[str, Any]
    config: Mapping[str, Any] | None = None

    def tensors(self, key: str | None = None) -> dict[str, Tensor]:
        """Return the tensors under `key`, or at the top; raises `InputError` where that holds something else."""
        found = self.content if key is None else self.content.get(key)
        if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
            raise InputError(f"{self.path}: no '{key or 'state dict'}' of tensors; is it the checkpoint it should be?")
        return dict(found)

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of weights, or the one in a folder; nothing but tensors and plain values is unpickled.

    Raises `InputError` naming the file where there is none, or where it cannot be read safely.
    """
    if path.is_dir():
        there = [path / name for name in _IN_FOLDER if (path / name).is_file()]
        if not there:
            raise InputError(f"{path} has neither {' nor '.join(_IN_FOLDER)}; name the file of weights")
        path = there[0]
    content = _safetensors(path) if path.suffix == ".safetensors" else _archive(path)
    return Checkpoint(path, content, _config(path.with_name("config.json")))


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: not found") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}; is the download complete?") from None
    return found


def _archive(path: Path) -> Mapping[str, Any]:
    if path.exists() and not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a PyTorch checkpoint (a zip archive); is the download complete?")
    try:
        # Mapped, not read: of an archive with an optimiser only the weights are touched.
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise InputError(f"{path}: not found") from None
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not a checkpoint that can be read safely: {reason}") from None
    if not isinstance(stored, dict):
        raise InputError(f"{path}: holds a {type(stored).__name__}, not named tensors; is it a checkpoint?")
    return stored


def _config(path: Path) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = read_json(path, _LONGEST_CONFIG)
    except (OSError, InputError) as error:
        raise InputError(f"{path}: not readable JSON: {str(error).removeprefix(f'{path}: ')}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: not a mapping of settings; download it again")
    return found
