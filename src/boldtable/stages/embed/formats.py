"""Which published model a checkpoint is of, and who imports it: one line here per model."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from boldtable.errors import InputError, SettingsError
from boldtable.models.checkpoints import Checkpoint, read_checkpoint
from boldtable.stages.embed import published_brainlm, published_jepa, published_semantoks
from boldtable.stages.embed.imports import Format, Request

FORMATS = (published_semantoks.FORMAT, published_jepa.FORMAT, published_brainlm.FORMAT)


def write(checkpoint: Path, request: Request) -> None:
    """Read the checkpoint, find out whose it is and let that module write the model folder.

    Raises `InputError` for a checkpoint of no known model, `SettingsError` for an option the model does not take.
    """
    if request.out.exists() and not request.out.is_dir():
        raise InputError(f"{request.out} is a file; --out names the model folder to write")
    read = read_checkpoint(checkpoint)
    found = detect(read)
    for option in fields(request):
        if option.default is None and getattr(request, option.name) is not None and option.name not in found.options:
            raise SettingsError(f"{read.path} is a {found.name} checkpoint, whose import takes no {option.name}")
    found.write(read, request)


def detect(checkpoint: Checkpoint) -> Format:
    """Return the format of a checkpoint; raises `InputError` naming those that are known."""
    for known in FORMATS:
        if known.recognises(checkpoint):
            return known
    names = [str(name) for name in checkpoint.content]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    raise InputError(
        f"{checkpoint.path}: holds {shown or 'nothing'}: not a checkpoint of {', '.join(f.name for f in FORMATS)}"
    )
