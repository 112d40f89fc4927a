"""One self-contained file per model; arrays only.

>>> from boldtable.models import load_model
>>> encoder = load_model("results/models/semantoks")  # doctest: +SKIP

What needs torch is imported when it is asked for: the baselines are numpy, and their jobs are short.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boldtable.models.base import Encoder, InputSpec, MaskingEncoder
    from boldtable.models.folder import load_model, save_model, untrained_model

__all__ = ["Encoder", "InputSpec", "MaskingEncoder", "load_model", "save_model", "untrained_model"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    place = "folder" if name.endswith("_model") else "base"
    return getattr(import_module(f"{__name__}.{place}"), name)
