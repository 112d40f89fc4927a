"""A model folder gives back the encoder bit for bit; what is wrong with a folder or a checkpoint is said by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from published_case import DATA, Stored, make_spec, tiny_config
from safetensors.torch import load_file, save_file
from torch import Tensor

from boldtable.errors import InputError, OutputError
from boldtable.models import InputSpec, load_model, save_model
from boldtable.models.checkpoints import read_checkpoint
from boldtable.models.published import checkpoint_shapes, from_published, import_semantoks
from boldtable.models.semantoks import Semantoks, semantoks_config

NETWORKS = ("vis", "som", "vis", "dmn")
LISTED = Path(__file__).resolve().parents[2] / ".." / "shared/reference/checkpoints/semantoks_model_state_dict.tsv"


@pytest.fixture
def encoder() -> Semantoks:
    torch.manual_seed(3)
    return Semantoks(semantoks_config("tiny", NETWORKS, window_frames=40), make_spec(NETWORKS, 40))


@pytest.fixture
def folder(tmp_path: Path, encoder: Semantoks) -> Path:
    save_model(tmp_path / "model", encoder, "# A model\n")
    return tmp_path / "model"


def test_load_gives_back_every_bit(folder: Path, encoder: Semantoks) -> None:
    loaded = load_model(folder)
    x = torch.randn(2, 4, 40)
    everything = torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 40, dtype=torch.bool)
    assert torch.equal(loaded.embed(x, *everything), encoder.embed(x, *everything))
    assert loaded.spec == encoder.spec
    assert isinstance(loaded, Semantoks)
    assert loaded.config == encoder.config
    assert not loaded.training
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_equal_models_are_equal_files(tmp_path: Path, encoder: Semantoks) -> None:
    for number in range(8):
        save_model(tmp_path / str(number), encoder, "# A model\n")
    assert len({(tmp_path / str(number) / "model.safetensors").read_bytes() for number in range(8)}) == 1


def test_the_frozen_norms_are_stored(folder: Path, encoder: Semantoks) -> None:
    with torch.no_grad():
        for network in encoder.tokenizer.networks:
            network.long.scales[0].mul_(3.0)
    save_model(folder, encoder, "# Trained on\n")
    loaded = load_model(str(folder))
    x = torch.randn(2, 4, 40)
    assert torch.equal(loaded.embed(x, None, None), encoder.embed(x))


def test_loading_leaves_the_random_state_alone(folder: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_model(folder)
    assert torch.equal(torch.rand(3), expected)


def test_the_folder_holds_three_files_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    described = json.loads((folder / "config.json").read_text())
    assert described["kind"] == "semantoks"
    assert described["input"]["parcels"] == ["parcel-1", "parcel-2", "parcel-3", "parcel-4"]
    assert (folder / "README.md").read_text() == "# A model\n"


def test_a_failed_save_leaves_the_old_folder(folder: Path, encoder: Semantoks, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("boldtable.models.folder.save_file", full_disk)
    with pytest.raises(OutputError, match="no space left on the disk"):
        save_model(folder, encoder, "# Another\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_wrong_folders_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/config\.json: not found"):
        load_model(tmp_path / "nowhere")
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(described | {"kind": "semantok"}))
    with pytest.raises(InputError, match="did you mean 'semantoks'"):
        load_model(folder)
    described["architecture"]["wdith"] = described["architecture"].pop("width")
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"unknown key 'wdith', did you mean 'width'"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="not a readable model description"):
        load_model(folder)


def test_wrong_weights_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file({k: v for k, v in weights.items() if k != "cls_token"}, path)
    with pytest.raises(InputError, match=r"model\.safetensors: tensor 'cls_token' is missing"):
        load_model(folder)
    save_file(weights | {"extra": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="tensor 'extra' is not part of this model"):
        load_model(folder)
    save_file(weights | {"cls_token": torch.zeros(5)}, path)
    with pytest.raises(InputError, match=r"'cls_token' has shape \(5,\), expected \(96,\)"):
        load_model(folder)
    path.write_bytes(b"not weights")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_model(folder)


# The published checkpoint


def published_networks() -> tuple[str, ...]:
    return tuple(f"network-{index}" for index in Stored("semantoks_tiny.npz").arrays["input/network_ids"])


def test_all_942_published_keys_and_shapes_are_known() -> None:
    if not LISTED.exists():
        pytest.skip("the list of published keys is in ../shared, which is not here")
    rows = [line.split("\t") for line in LISTED.read_text().splitlines() if not line.startswith("#")]
    listed = {row[0]: tuple(int(n) for n in row[1].strip("()").split(",") if n.strip()) for row in rows}
    assert len(listed) == 942
    assert checkpoint_shapes(semantoks_config("base", published_networks())) == listed


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("norm.weight", r"tensor 'norm.weight' is missing"),
        ("network_tokenizers.schaefer400.8.branches.1.slconv.D", "is missing"),
    ],
)
def test_a_missing_published_key_is_named(key: str, words: str) -> None:
    stored = Stored("semantoks_tiny.npz")
    state = stored.below("state/")
    del state[key]
    with pytest.raises(InputError, match=words):
        from_published(state, tiny_config(stored))


def test_extra_misshapen_and_inconsistent_published_keys_are_named() -> None:
    stored = Stored("semantoks_tiny.npz")
    state, config = stored.below("state/"), tiny_config(stored)
    with pytest.raises(InputError, match=r"'head.weight' is not part of this model"):
        from_published(state | {"head.weight": torch.zeros(1)}, config)
    with pytest.raises(InputError, match=r"'norm.bias' has shape \(3,\), expected \(64,\)"):
        from_published(state | {"norm.bias": torch.zeros(3)}, config)
    positions = "inter_network_transformer.temporal_pos_embedding"
    with pytest.raises(InputError, match="temporal_pos_embedding' is not the constant"):
        from_published(state | {positions: state[positions] + 1}, config)
    dead = {"inter_network_transformer.norm.weight": torch.zeros(64)}
    assert from_published(state | dead, config).keys() == from_published(state, config).keys()


def synthetic_checkpoint(networks: tuple[str, ...]) -> dict[str, Tensor]:
    """A checkpoint of exactly the published format, cheap: one value repeated in every tensor without memory."""
    config = semantoks_config("base", networks)
    state = {name: torch.tensor(0.5).expand(shape) for name, shape in checkpoint_shapes(config).items()}
    for name, tensor in state.items():
        if name.endswith("multiplier"):
            state[name] = torch.tensor(2.0).expand(tensor.shape)
        if name.endswith("initialized"):
            state[name] = torch.tensor(".schaefer400." in name)
        if name.endswith("temporal_pos_embedding"):
            with np.load(DATA / "semantoks_tiny.npz") as file:
                assert file[f"state/{name.split('.', 1)[1]}"].shape == (5, 64)
            rates = 10000.0 ** (-torch.arange(384) / 384)
            angles = torch.arange(5)[:, None] * rates
            state[name] = torch.cat([angles.sin(), angles.cos()], dim=1)
    state["teacher_encoder.norm.weight"] = torch.arange(768.0)
    return state


def test_import_of_a_checkpoint_of_the_published_format(tmp_path: Path) -> None:
    networks = published_networks()
    spec = InputSpec("schaefer457", tuple(f"p{n}" for n in range(457)), networks, 2.0, 100, "zscore", "semantoks")
    state = synthetic_checkpoint(networks)
    path = tmp_path / "published.pth"
    torch.save({"epoch": 100, "model_state_dict": state, "loss": 0.0}, path)
    import_semantoks(read_checkpoint(path), tmp_path / "model", spec, "# Imported\n")
    loaded = load_model(tmp_path / "model")
    assert isinstance(loaded, Semantoks)
    assert torch.equal(loaded.norm.weight, torch.arange(768.0))
    assert loaded.spec == spec

    del state["student_mask_predictor.mlp.0.bias"]
    torch.save({"model_state_dict": state}, path)
    with pytest.raises(InputError, match=r"student_mask_predictor\.mlp\.0\.bias' is missing"):
        import_semantoks(read_checkpoint(path), tmp_path / "model", spec, "")


class Unsafe:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_unsafe_or_foreign_checkpoints_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = make_spec(published_networks())
    path = tmp_path / "checkpoint.pth"
    torch.save({"model_state_dict": Unsafe()}, path)
    with pytest.raises(InputError, match="not a checkpoint that can be read safely"):
        import_semantoks(read_checkpoint(path), tmp_path / "model", spec, "")
    assert capsys.readouterr().out == ""
    torch.save({"weights": {}}, path)
    with pytest.raises(InputError, match="no 'model_state_dict'"):
        import_semantoks(read_checkpoint(path), tmp_path / "model", spec, "")
    path.write_bytes(b"junk")
    with pytest.raises(InputError, match=r"checkpoint\.pth"):
        import_semantoks(read_checkpoint(path), tmp_path / "model", spec, "")
    with pytest.raises(InputError, match="not found"):
        import_semantoks(read_checkpoint(tmp_path / "absent.pth"), tmp_path / "model", spec, "")
    assert not (tmp_path / "model").exists()
