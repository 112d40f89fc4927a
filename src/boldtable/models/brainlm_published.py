"""The BrainLM authors' checkpoints, read strictly into our models: every key and shape is accounted for.

Three files are published: 13 M (a class of the authors' own), 111 M and 650 M (ViT-MAE of Hugging Face). What tensors
do not say (heads of the ViT, window) is read from the config.json beside them, or is that of the published files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from boldtable.errors import InputError
from boldtable.models.base import InputSpec, check_tensors
from boldtable.models.brainlm import BrainLM, BrainLMConfig
from boldtable.models.brainlm_layers import EPS, TAPS, interleaved_positions
from boldtable.models.brainlm_vit import CHANNELS, BrainLMImages, ImageConfig
from boldtable.models.checkpoints import Checkpoint

Shapes = dict[str, tuple[int, ...]]
Config = BrainLMConfig | ImageConfig
Model = BrainLM | BrainLMImages

_PARTS = ("query", "key", "value")
_LAYER, _THEIRS = r"(blocks\.\d+|decoder\.blocks\.\d+)\.", r"\1."
# Ours → theirs, for both classes; the first pattern that matches rewrites the name.
_NAMES = (
    (rf"{_LAYER}attn\.taps$", r"\1.attention.self.conv.weight"),
    (rf"{_LAYER}attn\.proj\.", r"\1.attention.output.dense."),
    (rf"{_LAYER}mlp\.0\.", r"\1.intermediate.dense."),
    (rf"{_LAYER}mlp\.2\.", r"\1.output.dense."),
    (r"cls_token$", "vit.embeddings.cls_token"),
    (r"signal\.(\w+)$", r"vit.embeddings.signal_embedding_projection.\1"),
    (r"position\.(\w+)$", r"vit.embeddings.xyz_embedding_projection.\1"),
    (r"positions$", "vit.embeddings.position_embeddings"),
    (r"patches\.", "vit.embeddings.patch_embeddings.projection."),
    (r"norm\.", "vit.layernorm."),
    (r"decoder\.embed\.", "decoder.decoder_embed."),
    (r"decoder\.position\.", "decoder.decoder_xyz_projection."),
    (r"decoder\.positions$", "decoder.decoder_pos_embed"),
    (r"decoder\.norm\.", "decoder.decoder_norm."),
    (r"decoder\.signal\.0\.", "decoder.decoder_pred1."),
    (r"decoder\.signal\.2\.", "decoder.decoder_pred2."),
    (r"decoder\.pixels\.", "decoder.decoder_pred."),
)
# How the two classes call the attention and the norms of a layer.
_CONVOLVED = {"attn": "attention.self", "norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm"}
_IMAGES = {"attn": "attention.attention", "norm1": "layernorm_before", "norm2": "layernorm_after"}
_LEADING = {"vit.embeddings.cls_token": 2, "decoder.mask_token": 2} | dict.fromkeys(
    ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"), 1
)
# Stored with the 13 M class and never used: a table of times, and the output layer of the class it inherits from.
_TIMES = ("vit.embeddings.pos_embedding.pe", "decoder.pos_embedding.pe")
_N_TIMES, _DEAD_PIXELS = 5000, 768
# Heads by width where no config.json says them: ViT-B, ViT-H, and the decoder of both.
_HEADS, _DECODER_HEADS = {768: 12, 1280: 16}, {512: 16}
_FRAMES = 200
_CONSTANTS = {
    "hidden_act": "gelu", "layer_norm_eps": EPS, "qkv_bias": True, "conv_kernel_size": TAPS, "use_tanh_decoder": False,
    "num_channels": CHANNELS,
}  # fmt: skip


def is_brainlm(names: Mapping[str, Any]) -> bool:
    """Whether the names are those of one of the authors' checkpoints."""
    return "vit.embeddings.cls_token" in names and "decoder.mask_token" in names


def published_names(ours: str, images: bool) -> tuple[str, ...]:
    """Return the authors' names of one of our tensors: one, or those of query, key and value that ours joins."""
    layer = _IMAGES if images else _CONVOLVED
    joined = re.fullmatch(rf"{_LAYER}attn\.qkv\.(\w+)", ours)
    if joined:
        return tuple(_stack(f"{joined[1]}.{layer['attn']}.{part}.{joined[2]}") for part in _PARTS)
    norm = re.fullmatch(rf"{_LAYER}(norm[12])\.(\w+)", ours)
    if norm:
        return (_stack(f"{norm[1]}.{layer[norm[2]]}.{norm[3]}"),)
    for pattern, theirs in _NAMES:
        name, hits = re.subn(rf"^{pattern}", theirs, ours)
        if hits:
            return (_stack(name),)
    return (ours,)


def _stack(name: str) -> str:
    name = re.sub(r"^blocks\.", "vit.encoder.layer.", name)
    return re.sub(r"^decoder\.blocks\.", "decoder.decoder_layers.", name)


def published_shapes(config: Config) -> tuple[Shapes, Shapes]:
    """Return name → shape of what the authors' checkpoint holds: what is used, and what it may hold besides."""
    images = isinstance(config, ImageConfig)
    used: Shapes = {}
    for ours, shape in model_shapes(config).items():
        for name in published_names(ours, images):
            parts = len(published_names(ours, images))
            used[name] = (*(1,) * _LEADING.get(name, 0), shape[0] // parts, *shape[1:])
            if name.endswith("self.conv.weight"):
                used[name] = (shape[0], 1, shape[1], 1)
    if images:
        return used, {}
    times: Shapes = dict.fromkeys(_TIMES, (_N_TIMES, config.width))
    return used, {
        "decoder.decoder_pred.weight": (_DEAD_PIXELS, config.width), "decoder.decoder_pred.bias": (_DEAD_PIXELS,),
        **times,
    }  # fmt: skip


def model_shapes(config: Config) -> Shapes:
    """Return our name → shape of every tensor that the checkpoint must give, without allocating any."""
    with torch.device("meta"):
        model = _model(config, _NO_INPUT)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name != "coordinates"}


_NO_INPUT = InputSpec("", (), (), None, _FRAMES, "", "")


def _model(config: Config, spec: InputSpec, places: Tensor | None = None) -> Model:
    return BrainLMImages(config, spec, places) if isinstance(config, ImageConfig) else BrainLM(config, spec, places)


def from_published(state: Mapping[str, Tensor], config: Config, where: str = "checkpoint") -> dict[str, Tensor]:
    """Return our state dict, without the coordinates, for the authors' `state`.

    Raises `InputError` naming the key where one is missing, unknown or misshapen, or where the stored table of times is
    not the constant it is computed from. What is stored but never used may be there or not.
    """
    used, unused = published_shapes(config)
    check_tensors(state, used | {name: shape for name, shape in unused.items() if name in state}, where)
    for name in _TIMES:
        if name in state and name in unused:
            expected = interleaved_positions(_N_TIMES, state[name].shape[1])
            if not torch.allclose(state[name].float(), expected, atol=1e-3):
                raise InputError(f"{where}: '{name}' is not the constant of the published model")
    images = isinstance(config, ImageConfig)
    return {
        ours: torch.cat([state[name] for name in published_names(ours, images)]).reshape(shape).float()
        for ours, shape in model_shapes(config).items()
    }


def read_brainlm(checkpoint: Checkpoint, spec: InputSpec, coordinates: Tensor) -> Model:
    """Return the model of one of the three published checkpoints for the parcels at `coordinates` (parcel, 3; mm).

    Its input is `spec`, with as many frames as the config.json beside the checkpoint says, where it says so.
    Raises `InputError` naming the file and the key where a tensor is missing, unknown or misshapen, or where the
    config.json beside it says what this code does not compute.
    """
    state, where = checkpoint.tensors(), str(checkpoint.path)
    config = infer_config(state, checkpoint.config or {}, len(coordinates), where)
    ours = from_published(state, config, where)
    if isinstance(config, BrainLMConfig):
        spec = replace(spec, n_frames=config.window_frames)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = _model(config, spec)
    model.load_state_dict({**ours, "coordinates": coordinates.float()}, assign=True)
    return model.eval()


def infer_config(state: Mapping[str, Tensor], said: Mapping[str, Any], n_parcels: int, where: str) -> Config:
    """Return the architecture that the tensors have; `said` is the config.json beside them, {} without one.

    Raises `InputError` where the two do not agree, or where neither says it.
    """
    seen = _Seen(state, where)
    images = "vit.embeddings.patch_embeddings.projection.weight" in state
    config = _images(seen, said, n_parcels) if images else _convolved(seen, said, n_parcels)
    expected = {name: value for name, value in _CONSTANTS.items() if not images or name != "conv_kernel_size"} | {
        "hidden_size": config.width, "num_hidden_layers": config.depth, "num_attention_heads": config.heads,
        "intermediate_size": config.hidden, "decoder_num_hidden_layers": config.decoder_depth,
        "decoder_num_attention_heads": config.decoder_heads, "decoder_intermediate_size": config.decoder_hidden,
    }  # fmt: skip
    for name, value in expected.items():
        if said.get(name, value) != value:
            raise InputError(f"{where}: config.json says {name} {said[name]}, this model has {value}")
    if said.get("num_landmarks") != said.get("segment_means_seq_len"):
        raise InputError(
            f"{where}: config.json says num_landmarks {said.get('num_landmarks')} but segment_means_seq_len "
            f"{said.get('segment_means_seq_len')}: such a model approximates its attention, this one does not"
        )
    return config


class _Seen:
    """What the shapes of a state dict say."""

    def __init__(self, state: Mapping[str, Tensor], where: str) -> None:
        self._state, self._where = state, where

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor that must be there."""
        if name not in self._state:
            raise InputError(f"{self._where}: tensor '{name}' is missing; these weights are of another architecture")
        return tuple(self._state[name].shape)

    def layers(self, prefix: str) -> int:
        """How many layers have a tensor below `prefix`."""
        found = (re.match(rf"{re.escape(prefix)}(\d+)\.", name) for name in self._state)
        return len({match[1] for match in found if match})

    def heads(self, name: str, said: Mapping[str, Any], width: int, known: Mapping[int, int]) -> int:
        """The heads that config.json says, or those of a published width."""
        heads = said.get(name, known.get(width))
        if not isinstance(heads, int) or heads < 1 or width % heads:
            raise InputError(f"{self._where}: nothing says '{name}' of a width of {width}: put config.json beside it")
        return heads


def _convolved(seen: _Seen, said: Mapping[str, Any], n_parcels: int) -> BrainLMConfig:
    width, patch = seen.shape("vit.embeddings.signal_embedding_projection.weight")
    first, decoder = "vit.encoder.layer.0.", "decoder.decoder_layers.0."
    return BrainLMConfig(
        n_parcels=n_parcels,
        window_frames=said.get("num_timepoints_per_voxel", _FRAMES),
        patch_frames=patch,
        width=width,
        depth=seen.layers("vit.encoder.layer."),
        heads=seen.shape(f"{first}attention.self.conv.weight")[0],
        hidden=seen.shape(f"{first}intermediate.dense.weight")[0],
        decoder_depth=seen.layers("decoder.decoder_layers."),
        decoder_heads=seen.shape(f"{decoder}attention.self.conv.weight")[0],
        decoder_hidden=seen.shape(f"{decoder}intermediate.dense.weight")[0],
    )


def _images(seen: _Seen, said: Mapping[str, Any], n_parcels: int) -> ImageConfig:
    width, _, patch, _ = seen.shape("vit.embeddings.patch_embeddings.projection.weight")
    decoder_width = seen.shape("decoder.decoder_embed.weight")[0]
    grid = round((seen.shape("vit.embeddings.position_embeddings")[1] - 1) ** 0.5)
    return ImageConfig(
        n_parcels=n_parcels,
        image_size=grid * patch,
        patch=patch,
        width=width,
        depth=seen.layers("vit.encoder.layer."),
        heads=seen.heads("num_attention_heads", said, width, _HEADS),
        hidden=seen.shape("vit.encoder.layer.0.intermediate.dense.weight")[0],
        decoder_width=decoder_width,
        decoder_depth=seen.layers("decoder.decoder_layers."),
        decoder_heads=seen.heads("decoder_num_attention_heads", said, decoder_width, _DECODER_HEADS),
        decoder_hidden=seen.shape("decoder.decoder_layers.0.intermediate.dense.weight")[0],
        norm_pixels=bool(said.get("norm_pix_loss", False)),
    )
