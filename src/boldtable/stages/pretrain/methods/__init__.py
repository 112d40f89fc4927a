"""The methods of pretraining, one file each: its settings with the published defaults, and how its objective is built.

A method is named by the key `model` of the config; without that key it is semantoks. Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union, get_args

from pydantic import Discriminator, Tag

from boldtable.errors import SettingsError, nearest
from boldtable.stages.pretrain.methods.brain_jepa import PretrainBrainJepa
from boldtable.stages.pretrain.methods.brainlm import PretrainBrainLM
from boldtable.stages.pretrain.methods.semantoks import PretrainSemantoks
from boldtable.stages.pretrain.methods.semantoks_mae import PretrainSemantoksMAE
from boldtable.stages.pretrain.methods.semantoks_simclr import PretrainSemantoksSimCLR
from boldtable.stages.pretrain.settings import Pretrain

DEFAULT = "semantoks"


def name(settings: type[Pretrain]) -> str:
    """Return the value of `model` that stands for a settings class: the one choice of its annotation."""
    return str(get_args(settings.model_fields["model"].annotation)[0])


# The methods of this package, one a line; the order is that of the documents.
METHODS: dict[str, type[Pretrain]] = {
    name(settings): settings
    for settings in (
        PretrainSemantoks,
        PretrainSemantoksMAE,
        PretrainSemantoksSimCLR,
        PretrainBrainJepa,
        PretrainBrainLM,
    )
}  # fmt: skip


def model(values: Any) -> Any:
    """Return which model a block trains, for pydantic to choose its settings class by."""
    return values.get("model", DEFAULT) if isinstance(values, dict) else getattr(values, "model", None)


def method(values: Any, where: str) -> type[Pretrain]:
    """Return the settings class of a block; raises `SettingsError` for a model that is not known."""
    chosen = model(values) if isinstance(values, dict) else DEFAULT
    if chosen not in METHODS:
        raise SettingsError(f"{where}.model: unknown model '{chosen}'{nearest(str(chosen), METHODS)}")
    return METHODS[chosen]


if TYPE_CHECKING:
    AnyPretrain = Pretrain
else:
    AnyPretrain = Annotated[
        Union[tuple(Annotated[settings, Tag(key)] for key, settings in METHODS.items())],  # noqa: UP007
        Discriminator(model),
    ]
