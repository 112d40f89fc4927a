"""The Brain-Semantoks authors' checkpoints, read strictly into our model: every key and shape is accounted for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from boldtable.errors import InputError
from boldtable.models.base import InputSpec, check_tensors
from boldtable.models.checkpoints import Checkpoint
from boldtable.models.folder import save_model
from boldtable.models.layers import sincos_positions
from boldtable.models.semantoks import Semantoks, SemantoksConfig, semantoks_config
from boldtable.models.tokenizers import stretched

Shapes = dict[str, tuple[int, ...]]

# The authors build their nine tokenizers once per atlas name and use only the first set, for all parcels.
_LIVE_ATLAS, _DEAD_ATLASES = "schaefer400", ("tian3", "buckner7")
_GAIN = 2.0
_TRANSFORMER = "inter_network_transformer."
# Ours → theirs, tried in this order; the first pattern that matches rewrites the name.
_TOKENIZER, _THEIRS = r"tokenizer\.networks\.(\d+)\.", rf"network_tokenizers.{_LIVE_ATLAS}.\1."
_NAMES = (
    (_TOKENIZER + r"dense\.", _THEIRS + "branches.0."),
    (_TOKENIZER + r"long\.scales\.", _THEIRS + "branches.1.slconv.kernel_list."),
    (_TOKENIZER + r"long\.skip", _THEIRS + "branches.1.slconv.D"),
    (_TOKENIZER + r"long\.norm", _THEIRS + "branches.1.slconv.kernel_norm"),
    (_TOKENIZER + r"project\.", _THEIRS + "branches.1.projection."),
    (_TOKENIZER + r"norm\.", _THEIRS + "norm."),
    (r"mask_token", rf"{_TRANSFORMER}mask_embedding"),
    (r"cls_token", rf"{_TRANSFORMER}cls_token"),
    (r"network_embedding", rf"{_TRANSFORMER}network_learnable_pos_embedding.weight"),
    (r"blocks\.(\d+)\.mlp\.2\.", rf"{_TRANSFORMER}transformer_blocks.\1.mlp.3."),
    (r"blocks\.", rf"{_TRANSFORMER}transformer_blocks."),
)
_LEADING = {f"{_TRANSFORMER}mask_embedding": (1,), f"{_TRANSFORMER}cls_token": (1, 1)}


def published_name(ours: str) -> str:
    """Return the authors' name of one of our encoder's tensors."""
    for pattern, theirs in _NAMES:
        name, hits = re.subn(rf"^{pattern}", theirs, ours)
        if hits:
            return name
    return ours


def published_shapes(config: SemantoksConfig) -> tuple[Shapes, Shapes]:
    """Return name → shape of the authors' encoder: what it uses, and the dead keys it stores but never uses."""
    live = _weight_shapes(config)
    for index, parcels in enumerate(config.groups):
        slconv = f"network_tokenizers.{_LIVE_ATLAS}.{index}.branches.1.slconv."
        live[f"{slconv}multiplier"] = (1, len(parcels), 1)
        live[f"{slconv}kernel_norm_initialized"] = ()
    live[f"{_TRANSFORMER}temporal_pos_embedding"] = (config.n_patches, config.width)
    tokenizer = f"network_tokenizers.{_LIVE_ATLAS}."
    dead: Shapes = {f"{_TRANSFORMER}norm.{name}": (config.width,) for name in ("weight", "bias")}
    for atlas in _DEAD_ATLASES:
        dead |= {k.replace(f".{_LIVE_ATLAS}.", f".{atlas}."): v for k, v in live.items() if k.startswith(tokenizer)}
    return live, dead


def _weight_shapes(config: SemantoksConfig) -> Shapes:
    """Return the authors' name → shape of every tensor that our model holds too."""
    shapes: Shapes = {}
    for ours, shape in model_shapes(config).items():
        theirs = published_name(ours)
        shapes[theirs] = (*_LEADING.get(theirs, ()), *shape)
    return shapes


def model_shapes(config: SemantoksConfig) -> Shapes:
    """Return our name → shape of every tensor of the model, without allocating any."""
    spec = InputSpec("", config.networks, config.networks, None, config.window_frames, "", "")
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Semantoks(config, spec).state_dict().items()}


def from_published(
    state: Mapping[str, Tensor], config: SemantoksConfig, prefix: str = "", where: str = "checkpoint"
) -> dict[str, Tensor]:
    """Return our state dict for the authors' encoder keys that start with `prefix` (such as ``teacher_encoder.``).

    Raises `InputError` naming the key where one is missing, unknown or misshapen, or where a stored constant (decay
    of the long kernels, temporal positions) is not that of the published recipe. Dead keys may be there or not.
    """
    theirs = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    live, dead = published_shapes(config)
    check_tensors(theirs, live | {name: shape for name, shape in dead.items() if name in theirs}, f"{where} {prefix}*")
    _check_constants(theirs, config, f"{where} {prefix}*")
    ours = {name: theirs[published_name(name)].reshape(shape).float() for name, shape in model_shapes(config).items()}
    for index in range(len(config.groups)):
        # A model stored before its first forward has not frozen its kernel norms; that forward would do this.
        if not theirs[f"network_tokenizers.{_LIVE_ATLAS}.{index}.branches.1.slconv.kernel_norm_initialized"]:
            long = f"tokenizer.networks.{index}.long."
            kernels = stretched([ours[f"{long}scales.{scale}"] for scale in range(3)])
            ours[f"{long}norm"] = kernels.norm(dim=-1, keepdim=True)
    return ours


def _check_constants(theirs: Mapping[str, Tensor], config: SemantoksConfig, where: str) -> None:
    constants = {name: torch.tensor(_GAIN) for name in theirs if name.endswith("slconv.multiplier")}
    constants[f"{_TRANSFORMER}temporal_pos_embedding"] = sincos_positions(config.n_patches, config.width)
    for name, expected in constants.items():
        if not torch.allclose(theirs[name].float(), expected, atol=1e-4):
            raise InputError(f"{where}: '{name}' is not the constant of the published recipe")


def checkpoint_shapes(config: SemantoksConfig, hidden: int = 1024, projection: int = 128) -> Shapes:
    """Return all 942 names and shapes of a published checkpoint: two encoders and four projection heads."""
    live, dead = published_shapes(config)
    head = {"0.weight": (hidden, config.width), "0.bias": (hidden,)}
    head |= {"2.weight": (projection, hidden), "2.bias": (projection,)}
    shapes: Shapes = {}
    for network in ("student", "teacher"):
        shapes |= {f"{network}_encoder.{name}": shape for name, shape in (live | dead).items()}
        for role in ("predictor", "mask_predictor"):
            shapes |= {f"{network}_{role}.mlp.{name}": shape for name, shape in head.items()}
    return shapes


def import_semantoks(checkpoint: Checkpoint, out: Path, spec: InputSpec, card: str) -> Semantoks:
    """Write the teacher of the authors' checkpoint (`model_state_dict`, 942 keys) as our model folder `out`.

    `spec` gives the parcels and networks of the published atlas, in its order. Raises `InputError` naming the file and
    the key where anything is missing, unknown or misshapen.
    """
    config = semantoks_config("base", spec.networks, window_frames=spec.n_frames)
    state, where = checkpoint.tensors("model_state_dict"), str(checkpoint.path)
    check_tensors(state, checkpoint_shapes(config), where)
    encoder = Semantoks(config, spec)
    encoder.load_state_dict(from_published(state, config, "teacher_encoder.", where))
    save_model(out, encoder, card)
    return encoder
