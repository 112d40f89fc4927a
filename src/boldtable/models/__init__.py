"""One self-contained file per model; arrays only.

>>> from boldtable.models import load_model
>>> encoder = load_model("results/models/semantoks")  # doctest: +SKIP
"""

from boldtable.models.base import Encoder, InputSpec, MaskingEncoder
from boldtable.models.folder import load_model, save_model, untrained_model

__all__ = ["Encoder", "InputSpec", "MaskingEncoder", "load_model", "save_model", "untrained_model"]
