"""import-weights on checkpoints of exactly BrainLM's published formats: named tensor by tensor, or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from test_commands import boldtable
from test_import_weights import value_of

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError, SettingsError
from boldtable.models import load_model
from boldtable.models.brainlm import BrainLM, BrainLMConfig, brainlm_config
from boldtable.models.brainlm_layers import interleaved_positions
from boldtable.models.brainlm_published import infer_config, model_shapes, published_names, published_shapes
from boldtable.models.brainlm_vit import BrainLMImages, ImageConfig
from boldtable.stages.embed import import_weights

LISTS = Path(__file__).resolve().parents[3] / "shared/reference/checkpoints"
VIT_B = ImageConfig(424, 432, 16, 768, 12, 12, 3072, 512, 8, 16, 2048)
VIT_H = ImageConfig(424, 434, 14, 1280, 32, 16, 5120, 512, 8, 16, 2048)
PUBLISHED: dict[str, BrainLMConfig | ImageConfig] = {
    "brainlm_old13M_inferred": brainlm_config("base", 424),
    "brainlm_vitmae_111M": VIT_B,
    "brainlm_vitmae_650M": VIT_H,
}
LITTLE = BrainLMConfig(424, 200, 20, 24, 2, 2, 48, 1, 2, 48)
LITTLE_IMAGES = ImageConfig(424, 432, 16, 24, 2, 3, 40, 16, 1, 2, 24)
HEADS = {"num_attention_heads": 3, "decoder_num_attention_heads": 2}


def listed(name: str) -> dict[str, tuple[int, ...]]:
    path = LISTS / f"{name}.tsv"
    if not path.is_file():
        pytest.skip("the lists of the published tensors are not beside the repository")
    lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    return {key: tuple(map(int, re.findall(r"\d+", shape))) for key, shape, _ in lines}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_tensor_is_accounted_for(name: str) -> None:
    used, unused = published_shapes(PUBLISHED[name])
    assert used | unused == listed(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_architecture_is_read_off_the_published_tensors(name: str) -> None:
    """On tensors without memory; the heads of the ViT by their widths."""
    state = {key: torch.empty(shape, device="meta") for key, shape in listed(name).items()}
    assert infer_config(state, {}, 424, "x") == PUBLISHED[name]


def test_the_sizes_are_those_of_the_published_models() -> None:
    counts = {"brainlm_old13M_inferred": 13_429_292, "brainlm_vitmae_111M": 112_590_080}
    counts["brainlm_vitmae_650M"] = 658_337_868
    for name, expected in counts.items():
        used, unused = published_shapes(PUBLISHED[name])
        stored = used | {key: shape for key, shape in unused.items() if not key.endswith(".pe")}
        assert sum(int(np.prod(shape)) for shape in stored.values()) == expected, name


def made_up(config: BrainLMConfig | ImageConfig) -> dict[str, torch.Tensor]:
    """Every published tensor of an architecture, each one number of its own, and the table of times as it is."""
    used, unused = published_shapes(config)
    state = {name: torch.full(shape, value_of(name)) for name, shape in (used | unused).items()}
    return {
        name: interleaved_positions(*tensor.shape) if name.endswith(".pe") else tensor for name, tensor in state.items()
    }


def write_atlas(path: Path, n_parcels: int = 424, lost: bool = False) -> Path:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"index": range(1, n_parcels + 1), "name": [f"p{i}" for i in range(n_parcels)]})
    rows = rows.assign(hemisphere="B", network="Cortex", n_voxels=1)
    rows[["x_mm", "y_mm", "z_mm"]] = np.nan if lost else rng.integers(-70, 70, (n_parcels, 3)).astype(float)
    columns = ["index", "name", "hemisphere", "network", "x_mm", "y_mm", "z_mm", "n_voxels"]
    AtlasTable("a424", "MNI152NLin6Asym", rows[columns]).save(path, store.Provenance("atlas"))
    return path


def put(folder: Path, state: Mapping[str, torch.Tensor], config: Any = None, name: str = "pytorch_model.bin") -> Path:
    """A folder as the hub has it."""
    folder.mkdir(exist_ok=True)
    if name.endswith(".bin"):
        torch.save(dict(state), folder / name)
    else:
        save_file(dict(state), folder / name)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def refusal(tmp_path: Path, checkpoint: Path, kind: type[Exception] = InputError, **more: Any) -> str:
    atlas = write_atlas(tmp_path / "atlas.parquet")
    with pytest.raises(kind) as caught:
        import_weights(checkpoint, atlas=atlas, out=tmp_path / "model", **more)
    assert not (tmp_path / "model").exists()
    return str(caught.value)


def test_the_13m_class_becomes_a_model_folder(tmp_path: Path) -> None:
    state = made_up(LITTLE)
    checkpoint = put(tmp_path / "old_13M", state, {"num_attention_heads": 2, "conv_kernel_size": 65})
    atlas = write_atlas(tmp_path / "atlas.parquet")
    done = boldtable("import-weights", checkpoint, "--atlas", atlas, "--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert "these weights are CC BY-NC-ND 4.0" in done.stderr
    assert "the weights were learnt on a424" in done.stderr
    model = load_model(tmp_path / "model")
    assert isinstance(model, BrainLM)
    assert (model.config, model.spec.normalisation, model.spec.recipe) == (LITTLE, "population", "brainlm")
    assert (model.spec.tr_s, model.spec.n_frames) == (0.735, 200)
    check_values(model, state)
    card = (tmp_path / "model/README.md").read_text()
    for said in ("license: cc-by-nc-nd-4.0", "CC BY-NC-ND 4.0", "x - median / IQR", "order of the atlas", "ICLR 2024"):
        assert said in card


def check_values(model: BrainLM | BrainLMImages, state: Mapping[str, torch.Tensor]) -> None:
    for ours, tensor in model.state_dict().items():
        if ours == "coordinates":
            assert tensor.abs().max() > 60  # those of the atlas, in mm
            continue
        names = published_names(ours, isinstance(model, BrainLMImages))
        for name, part in zip(names, tensor.chunk(len(names)), strict=True):
            assert (part == state[name].flatten()[0]).all(), ours


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_images_come_from_either_kind_of_file(tmp_path: Path, name: str) -> None:
    state = made_up(LITTLE_IMAGES)
    folder = put(tmp_path / "vitmae", state, HEADS, name)
    import_weights(folder / name, atlas=write_atlas(tmp_path / "atlas.parquet"), out=tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert isinstance(model, BrainLMImages)
    assert model.config == LITTLE_IMAGES
    check_values(model, state)
    assert "5.64309" in (tmp_path / "model/README.md").read_text()
    with torch.no_grad():
        assert model.embed(torch.randn(1, 424, 200)).shape == (1, 24)


WEIGHT = "vit.encoder.layer.1.attention.self.conv.weight"
VIT_WEIGHT = "decoder.decoder_layers.0.attention.attention.key.bias"


@pytest.mark.parametrize(
    ("config", "name", "tensor", "message"),
    [
        (LITTLE, WEIGHT, None, f"'{WEIGHT}' is missing"),
        (LITTLE, "decoder.decoder_layers.0.output.LayerNorm.bias", None, "output.LayerNorm.bias' is missing"),
        (LITTLE, "vit.embeddings.signal_embedding_projection.weight", None, "projection.weight' is missing"),
        (LITTLE, "vit.head.weight", torch.zeros(2), "'vit.head.weight' is not part of this model"),
        (LITTLE, WEIGHT, torch.zeros(2, 1, 33, 1), "has shape (2, 1, 33, 1), expected (2, 1, 65, 1)"),
        (LITTLE, "decoder.pos_embedding.pe", torch.zeros(5000, 24), "'decoder.pos_embedding.pe' is not the constant"),
        (LITTLE_IMAGES, VIT_WEIGHT, None, f"'{VIT_WEIGHT}' is missing"),
        (LITTLE_IMAGES, VIT_WEIGHT, torch.zeros(8), "has shape (8,), expected (16,)"),
        (LITTLE_IMAGES, "vit.pooler.bias", torch.zeros(8), "'vit.pooler.bias' is not part of this model"),
    ],
)
def test_a_tensor_that_does_not_belong_is_named(
    tmp_path: Path, config: BrainLMConfig | ImageConfig, name: str, tensor: torch.Tensor | None, message: str
) -> None:
    state = made_up(config)
    if tensor is None:
        del state[name]
    else:
        state[name] = tensor
    assert message in refusal(tmp_path, put(tmp_path / "x", state, HEADS if config is LITTLE_IMAGES else None))


def test_what_config_json_says_must_be_what_is_computed(tmp_path: Path) -> None:
    state = made_up(LITTLE)
    for said, message in (
        ({"num_attention_heads": 4}, "num_attention_heads 4, this model has 2"),
        ({"hidden_act": "relu"}, "hidden_act relu, this model has gelu"),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps 1e-06, this model has 1e-12"),
        ({"num_landmarks": 32, "segment_means_seq_len": 64}, "approximates its attention"),
    ):
        assert message in refusal(tmp_path, put(tmp_path / "x", state, said))
    (tmp_path / "x/config.json").write_text("{")
    assert "config.json: not readable JSON" in refusal(tmp_path, tmp_path / "x")


def test_heads_that_nothing_says_are_asked_for(tmp_path: Path) -> None:
    message = refusal(tmp_path, put(tmp_path / "x", made_up(LITTLE_IMAGES)))
    assert "nothing says 'num_attention_heads' of a width of 24: put config.json beside it" in message


def test_another_atlas_and_foreign_options_are_refused(tmp_path: Path) -> None:
    checkpoint = put(tmp_path / "x", made_up(LITTLE))
    assert "whose import takes no networks" in refusal(tmp_path, checkpoint, SettingsError, networks=("Vis",))
    write = {"out": tmp_path / "model"}
    with pytest.raises(InputError, match="has 400 parcels, the weights were learnt on the 424 of A424"):
        import_weights(checkpoint, atlas=write_atlas(tmp_path / "b.parquet", 400), **write)
    with pytest.raises(InputError, match="lacks positions"):
        import_weights(checkpoint, atlas=write_atlas(tmp_path / "c.parquet", lost=True), **write)
    (tmp_path / "empty").mkdir()
    assert "has neither model.safetensors nor pytorch_model.bin" in refusal(tmp_path, tmp_path / "empty")


def test_the_13m_class_is_one_and_the_same_with_or_without_what_it_never_uses(tmp_path: Path) -> None:
    state = made_up(LITTLE)
    live = {name: tensor for name, tensor in state.items() if name in published_shapes(LITTLE)[0]}
    assert len(state) - len(live) == 4
    put(tmp_path / "x", live)
    import_weights(tmp_path / "x", atlas=write_atlas(tmp_path / "atlas.parquet"), out=tmp_path / "model")
    assert set(load_model(tmp_path / "model").state_dict()) == {*model_shapes(LITTLE), "coordinates"}
