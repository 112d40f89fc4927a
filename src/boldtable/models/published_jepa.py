"""The Brain-JEPA authors' checkpoints, read strictly into our model: every key and shape is accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from boldtable.errors import InputError
from boldtable.models.base import InputSpec
from boldtable.models.brain_jepa import SIZES, BrainJepa, BrainJepaConfig, Predictor, brain_jepa_config
from boldtable.models.layers import sincos_positions

Shapes = dict[str, tuple[int, ...]]
Names = Sequence[tuple[str, str]]

PARTS = ("encoder", "predictor", "target_encoder")
# What the released models were trained on: 450 parcels, of which the first 50 are subcortical, and 160 frames.
N_PARCELS, N_SUBCORTEX, N_FRAMES, PATCH_FRAMES, N_COMPONENTS = 450, 50, 160, 16, 30
_PREFIX = "module."
# Ours → theirs, tried in this order; the first pattern that matches rewrites the name.
_ENCODER: Names = (
    (r"patch\.", "patch_embed.proj."),
    (r"positions\.place\.", "pos_embed_proj.predictor_pos_embed_proj."),
    (r"blocks\.(\d+)\.mlp\.0\.", r"blocks.\1.mlp.fc1."),
    (r"blocks\.(\d+)\.mlp\.2\.", r"blocks.\1.mlp.fc2."),
)
_PREDICTOR: Names = (
    (r"embed\.", "predictor_embed."),
    (r"positions\.place\.", "predictor_2dpe_proj.predictor_pos_embed_proj."),
    (r"blocks\.(\d+)\.mlp\.0\.", r"predictor_blocks.\1.mlp.fc1."),
    (r"blocks\.(\d+)\.mlp\.2\.", r"predictor_blocks.\1.mlp.fc2."),
    (r"blocks\.", "predictor_blocks."),
    (r"norm\.", "predictor_norm."),
    (r"project\.", "predictor_proj."),
)
_TIMES = {"encoder": "pos_embed_proj.emb_h", "predictor": "predictor_2dpe_proj.emb_h"}
_BUFFERS = ("gradients",)  # of our encoder, and not in their checkpoint


def _theirs(ours: str, names: Names) -> str:
    for pattern, theirs in names:
        name, hits = re.subn(rf"^{pattern}", theirs, ours)
        if hits:
            return name
    return ours


def _shapes(build: Callable[[], nn.Module]) -> Shapes:
    """Return our name → shape of every weight, without allocating any."""
    with torch.device("meta"):
        found = build().state_dict()
    return {name: tuple(tensor.shape) for name, tensor in found.items() if name not in _BUFFERS}


def _encoder_shapes(config: BrainJepaConfig) -> Shapes:
    names = tuple(str(index) for index in range(config.n_parcels))
    return _shapes(lambda: BrainJepa(config, InputSpec("", names, names, None, config.window_frames, "", "")))


def _stored(ours: Shapes, names: Names) -> Shapes:
    """Return the authors' names and shapes of our weights: a convolution for the patches, a batched mask token."""
    found = {}
    for name, shape in ours.items():
        stored = (shape[0], 1, 1, shape[1]) if name == "patch.weight" else shape
        found[_theirs(name, names)] = (1, *stored) if name == "mask_token" else stored
    return found


def published_shapes(config: BrainJepaConfig, width: int, depth: int) -> dict[str, Shapes]:
    """Return the names and shapes of the authors' encoder, predictor and target encoder, times stored for every token.

    `width` and `depth` are the predictor's.
    """
    tokens = config.n_parcels * config.n_patches
    encoder = _stored(_encoder_shapes(config), _ENCODER) | {_TIMES["encoder"]: (tokens, config.width // 2)}
    predictor = _stored(_shapes(lambda: Predictor(config, width, depth)), _PREDICTOR)
    predictor |= {_TIMES["predictor"]: (tokens, width // 2)}
    return {"encoder": encoder, "predictor": predictor, "target_encoder": encoder}


def encoder_weights(state: Mapping[str, Tensor], config: BrainJepaConfig, where: str) -> dict[str, Tensor]:
    """Return our encoder's weights (all but the gradients) for the authors' `state`, without the prefix ``module.``.

    Raises `InputError` naming every key that is missing, unknown or misshapen, and where the stored times are not the
    constants of the published recipe.
    """
    expected = published_shapes(config, 4 * config.heads, 1)["encoder"]
    check_all(state, expected, where)
    _check_times(state[_TIMES["encoder"]], config.n_patches, f"{where}: '{_TIMES['encoder']}'")
    return {name: state[_theirs(name, _ENCODER)].reshape(s).float() for name, s in _encoder_shapes(config).items()}


def predictor_weights(
    state: Mapping[str, Tensor], config: BrainJepaConfig, width: int, depth: int, where: str
) -> dict[str, Tensor]:
    """Return our predictor's weights for the authors' `state`; raises `InputError` as `encoder_weights` does."""
    check_all(state, published_shapes(config, width, depth)["predictor"], where)
    _check_times(state[_TIMES["predictor"]], config.n_patches, f"{where}: '{_TIMES['predictor']}'")
    ours = _shapes(lambda: Predictor(config, width, depth))
    return {name: state[_theirs(name, _PREDICTOR)].reshape(shape).float() for name, shape in ours.items()}


def _check_times(stored: Tensor, n_patches: int, where: str) -> None:
    times = sincos_positions(n_patches, stored.shape[1])
    if not torch.allclose(stored.float().view(-1, n_patches, stored.shape[1]), times, atol=1e-4):
        raise InputError(f"{where} is not the constant of the published recipe (sine and cosine of the patch)")


def check_all(found: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raise `InputError` naming every tensor of `found` that is missing, unknown or misshapen."""
    wrong = {
        "missing": [name for name in expected if name not in found],
        "not part of this model": [name for name in found if name not in expected],
        "of another shape": [
            f"{name} {tuple(found[name].shape)} instead of {shape}"
            for name, shape in expected.items()
            if name in found and tuple(found[name].shape) != shape
        ],
    }
    said = [f"{what}: {', '.join(names)}" for what, names in wrong.items() if names]
    if said:
        raise InputError(f"{where}: {'; '.join(said)}: these weights are of another architecture")


def recognised(content: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint has the three parts of Brain-JEPA's."""
    return all(isinstance(content.get(part), Mapping) for part in PARTS)


def from_checkpoint(content: Mapping[str, Any], spec: InputSpec, gradients: Tensor, where: str) -> BrainJepa:
    """Return the target encoder of the authors' checkpoint, with the `gradients` (parcel, component) of its training.

    `spec` gives the parcels in the checkpoint's order. Encoder, predictor and target encoder are checked alike; raises
    `InputError` naming every key of any of them that is missing, unknown or misshapen.
    """
    parts = {part: _bare(content[part], f"{where}: '{part}'") for part in PARTS}
    size = _size(parts["target_encoder"], where)
    config = brain_jepa_config(size, N_PARCELS, N_FRAMES, PATCH_FRAMES, N_COMPONENTS)
    if tuple(gradients.shape) != (N_PARCELS, N_COMPONENTS):
        raise InputError(f"gradients of shape {tuple(gradients.shape)}, expected {(N_PARCELS, N_COMPONENTS)}")
    encoder_weights(parts["encoder"], config, f"{where}: encoder")
    predictor_weights(parts["predictor"], config, *SIZES[size][3:], f"{where}: predictor")
    weights = encoder_weights(parts["target_encoder"], config, f"{where}: target_encoder")
    encoder = BrainJepa(config, spec, gradients)
    encoder.load_state_dict({**weights, "gradients": encoder.gradients})
    return encoder


def _bare(state: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """Return a part's tensors without the prefix that data-parallel training gives all of them."""
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{where} holds something else than tensors; is it a Brain-JEPA checkpoint?")
    prefixed = state and all(name.startswith(_PREFIX) for name in state)
    return {name.removeprefix(_PREFIX) if prefixed else name: value for name, value in state.items()}


def _size(state: Mapping[str, Tensor], where: str) -> str:
    """Return the size whose width the checkpoint has."""
    width = len(state["norm.weight"]) if "norm.weight" in state else None
    sizes = {numbers[0]: size for size, numbers in SIZES.items()}
    if width not in sizes:
        known = ", ".join(f"{size} {numbers[0]}" for size, numbers in SIZES.items())
        raise InputError(f"{where}: target_encoder is {width or 'of no known'} wide, the sizes are {known}")
    return sizes[width]
