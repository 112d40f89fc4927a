"""import-weights of Brain-JEPA: a checkpoint of exactly the published format, and everything that is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_commands import boldtable

from boldtable import store
from boldtable.atlas.match import brain_jepa_order
from boldtable.atlas.table import load_table
from boldtable.errors import InputError, SettingsError
from boldtable.gradients import files
from boldtable.models import load_model
from boldtable.models.brain_jepa import SIZES, brain_jepa_config
from boldtable.models.layers import sincos_positions
from boldtable.models.published_jepa import _ENCODER, _theirs, published_shapes
from boldtable.stages.embed import import_weights
from permuted_atlas import blocks, permuted, write_atlas, write_volume

STORED = Path(__file__).resolve().parents[3] / "shared/reference/checkpoints"
Checkpoint = dict[str, Any]
Change = Callable[[Checkpoint], object]


def value_of(name: str) -> float:
    """A value of its own for every tensor, so that none can be taken for another."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:6], 16) / 2**24 + 0.5


def made_up(size: str = "base") -> Checkpoint:
    """A checkpoint with optimiser and all; each tensor is one number repeated, except for the recipe's constants."""
    parts: Checkpoint = {}
    for part, shapes in published_shapes(brain_jepa_config(size, 450), *SIZES[size][3:]).items():
        state = {name: torch.tensor(value_of(f"{part}.{name}")).expand(shape) for name, shape in shapes.items()}
        for name, tensor in state.items():
            if name.endswith("emb_h"):
                state[name] = sincos_positions(10, tensor.shape[1]).repeat(450, 1)
        parts[part] = {f"module.{name}": tensor for name, tensor in state.items()}
    rest = {"opt": {"state": {}, "param_groups": [{"lr": 1e-6}]}, "scaler": {"scale": 65536.0}, "epoch": 300}
    return {**parts, **rest, "loss": 0.05, "batch_size": 16, "world_size": 4, "lr": 1e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas with its image, Schaefer's volume in another order, and the authors' gradients."""
    folder = tmp_path_factory.mktemp("jepa")
    write_atlas(folder)
    labels = blocks(457)
    write_volume(folder / "17.nii.gz", permuted(np.where(labels <= 400, labels, 0))[0])
    files.write_csv(folder / "gradients.csv", np.random.default_rng(0).normal(size=(450, 30)))
    return folder


def refusal(folder: Path, checkpoint: Checkpoint, error: type[Exception] = InputError, **more: Any) -> str:
    """Why a checkpoint is refused; nothing may be written."""
    torch.save(checkpoint, folder / "wrong.pth.tar")
    order = brain_jepa_order(folder / "merged.parquet", folder / "17.nii.gz")
    given = {"order": order, "gradients": folder / "gradients.csv", **more}
    with pytest.raises(error) as caught:
        import_weights(folder / "wrong.pth.tar", atlas=folder / "merged.parquet", out=folder / "refused", **given)
    assert not (folder / "refused").exists()
    return str(caught.value)


@pytest.mark.skipif(not STORED.is_dir(), reason="the lists of the published tensors are not beside the repository")
def test_the_made_up_checkpoint_has_exactly_the_published_tensors() -> None:
    checkpoint = made_up()
    for part, name in (("encoder", "encoder"), ("predictor", "predictor"), ("target_encoder", "encoder")):
        lines = (STORED / f"brainjepa_vitb_{name}.tsv").read_text().splitlines()
        listed = [line.split("\t") for line in lines if not line.startswith("#")]
        found = {
            key.removeprefix("module."): (str(tuple(tensor.shape)), str(tensor.dtype).removeprefix("torch."))
            for key, tensor in checkpoint[part].items()
        }
        assert found == {key: (shape, kind) for key, shape, kind in listed}


def test_a_checkpoint_becomes_a_model_folder(folder: Path, tmp_path: Path) -> None:
    checkpoint = made_up()
    torch.save(checkpoint, tmp_path / "jepa-ep300.pth.tar")
    given = {
        "--atlas": folder / "merged.parquet", "--order-volume": folder / "17.nii.gz",
        "--gradients": folder / "gradients.csv", "--out": tmp_path / "model",
    }  # fmt: skip
    done = boldtable(
        "import-weights", tmp_path / "jepa-ep300.pth.tar", *(part for pair in given.items() for part in pair)
    )
    assert done.returncode == 0, done.stderr
    assert "licence: the authors' repository (Eric-LRL/Brain-JEPA) states none" in done.stderr
    model: Any = load_model(tmp_path / "model")
    spec = model.spec
    assert (spec.atlas, spec.n_frames, spec.normalisation, spec.recipe) == ("merged", 160, "population", "brain-jepa")
    assert spec.parcels == brain_jepa_order(folder / "merged.parquet", folder / "17.nii.gz")
    assert spec.networks == ("Subcortex",) * 50 + ("Vis",) * 400
    for ours, tensor in model.state_dict().items():
        if ours != "gradients":
            theirs = f"module.{_theirs(ours, _ENCODER)}"
            assert (tensor == checkpoint["target_encoder"][theirs].flatten()[0]).all(), ours
    expected = files.read(folder / "gradients.csv", spec.parcels)
    np.testing.assert_allclose(model.gradients, expected, rtol=1e-6)
    card = (tmp_path / "model/README.md").read_text()
    assert "states none" in card
    assert hashlib.sha256((tmp_path / "jepa-ep300.pth.tar").read_bytes()).hexdigest() in card
    names = load_table(folder / "merged.parquet").names
    assert [names[place] for place in spec.columns(names)] == list(spec.parcels)


def test_gradients_made_here_are_joined_by_name_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = load_table(folder / "merged.parquet")
    values = np.random.default_rng(1).normal(size=(457, 32))
    files.write(folder / "own.parquet", values, table, store.Provenance("gradients"))
    order = brain_jepa_order(folder / "merged.parquet", folder / "17.nii.gz")
    torch.save(made_up("small"), folder / "small.pth.tar")
    given = {"atlas": folder / "merged.parquet", "order": order, "gradients": folder / "own.parquet"}
    import_weights(folder / "small.pth.tar", out=folder / "small", **given)
    expected = values[[table.names.index(name) for name in order], :30]
    model: Any = load_model(folder / "small")
    np.testing.assert_allclose(model.gradients, expected, rtol=1e-6)
    assert model.n_features == 384
    assert "is not the authors' file" in capsys.readouterr().err


def drop(part: str, *names: str) -> Change:
    return lambda checkpoint: [checkpoint[part].__delitem__(f"module.{name}") for name in names]


def put(part: str, name: str, tensor: torch.Tensor) -> Change:
    return lambda checkpoint: checkpoint[part].update({f"module.{name}": tensor})


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (drop("target_encoder", "norm.bias", "blocks.3.mlp.fc1.bias"), ["missing: blocks.3.mlp.fc1.bias, norm.bias"]),
        (drop("predictor", "mask_token"), ["predictor: missing: mask_token"]),
        (put("encoder", "head.weight", torch.zeros(1)), ["encoder: not part of this model: head.weight"]),
        (
            put("predictor", "predictor_proj.weight", torch.zeros(7, 7)),
            ["of another shape: predictor_proj.weight (7, 7) instead of (384, 192)"],
        ),
        (
            put("target_encoder", "pos_embed_proj.emb_h", torch.zeros(4500, 192)),
            ["is not the constant of"],
        ),
        (put("target_encoder", "norm.weight", torch.zeros(500)), ["500 wide", "small 384, base 768"]),
        (lambda checkpoint: checkpoint["encoder"].update(extra=3), ["holds something else than tensors"]),
    ],
)
def test_every_tensor_that_does_not_belong_is_named(folder: Path, change: Change, messages: list[str]) -> None:
    checkpoint = made_up("small")
    change(checkpoint)
    said = refusal(folder, checkpoint)
    assert all(message in said for message in messages), said


def test_what_must_be_given_beside_the_checkpoint(folder: Path) -> None:
    checkpoint = made_up("small")
    for lacking in ("order", "gradients"):
        assert "give --order-volume" in refusal(folder, checkpoint, **{lacking: None})
    files.write_csv(folder / "few.csv", np.zeros((450, 3)))
    assert "has 3 gradients, the checkpoint was trained with 30" in refusal(
        folder, checkpoint, gradients=folder / "few.csv"
    )
    said = refusal(folder, checkpoint, error=SettingsError, networks=("Vis",))
    assert "is a Brain-JEPA checkpoint, whose import takes no networks" in said
