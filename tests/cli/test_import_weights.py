"""import-weights: a checkpoint of exactly the published format, tensor by tensor, and everything that is refused."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from test_commands import boldtable, refused

from boldtable import store
from boldtable.atlas.table import COLUMNS, AtlasTable
from boldtable.errors import InputError
from boldtable.models import load_model
from boldtable.models.layers import sincos_positions
from boldtable.models.published import checkpoint_shapes, published_name
from boldtable.models.semantoks import semantoks_config
from boldtable.stages.embed import import_weights
from boldtable.stages.embed.published_semantoks import PUBLISHED_NETWORKS

SIZES = (61, 77, 46, 47, 26, 52, 91, 50, 7)
NETWORKS = tuple(name for name, size in zip(PUBLISHED_NETWORKS, SIZES, strict=True) for _ in range(size))
STORED = Path(__file__).resolve().parents[3] / "shared/reference/checkpoints/semantoks_model_state_dict.tsv"
Change = Callable[[dict[str, torch.Tensor]], None]


def value_of(name: str) -> float:
    """A value of its own for every tensor, so that none can be taken for another."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:6], 16) / 2**24 + 0.5


def made_up(config: object) -> dict[str, torch.Tensor]:
    """All 942 tensors; each is one number repeated, so that the file is small, except for the recipe's constants."""
    state = {name: torch.tensor(value_of(name)).expand(shape) for name, shape in checkpoint_shapes(config).items()}
    for name, tensor in state.items():
        if name.endswith("multiplier"):
            state[name] = torch.tensor(2.0).expand(tensor.shape)
        elif name.endswith("kernel_norm_initialized"):
            state[name] = torch.tensor(True)
        elif name.endswith("temporal_pos_embedding"):
            state[name] = sincos_positions(*tensor.shape)
    return state


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return made_up(semantoks_config("base", NETWORKS))


def write_atlas(path: Path, networks: tuple[str, ...] = NETWORKS) -> Path:
    rows = {"index": range(1, len(networks) + 1), "name": [f"p{i}" for i in range(len(networks))], "network": networks}
    parcels = pd.DataFrame(rows).reindex(columns=list(COLUMNS)).assign(hemisphere="B", n_voxels=1)
    AtlasTable("merged457", "MNI152NLin6Asym", parcels).save(path, store.Provenance("atlas"))
    return path


def command(folder: Path, state: object) -> list[object]:
    """Write checkpoint and atlas; the command that imports them."""
    torch.save({"epoch": 100, "model_state_dict": state}, folder / "published.pth")
    atlas = write_atlas(folder / "atlas.parquet")
    return ["import-weights", folder / "published.pth", "--atlas", atlas, "--out", folder / "model"]


def refusal(folder: Path, **more: Any) -> str:
    """Why the checkpoint and atlas of the folder are refused; nothing may be written."""
    with pytest.raises(InputError) as caught:
        import_weights(folder / "published.pth", atlas=folder / "atlas.parquet", out=folder / "model", **more)
    assert not (folder / "model").exists()
    return str(caught.value)


@pytest.mark.skipif(not STORED.is_file(), reason="the list of the published tensors is not beside the repository")
def test_the_made_up_checkpoint_has_exactly_the_published_tensors(state: dict[str, torch.Tensor]) -> None:
    listed = [line.split("\t") for line in STORED.read_text().splitlines() if not line.startswith("#")]
    found = {
        name: (str(tuple(tensor.shape)), str(tensor.dtype).removeprefix("torch.")) for name, tensor in state.items()
    }
    assert found == {name: (shape, kind) for name, shape, kind in listed}
    assert len(found) == 942


def test_a_checkpoint_becomes_a_model_folder(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    done = boldtable(*command(tmp_path, state))
    assert done.returncode == 0, done.stderr
    assert "licence: the authors' repository (SamGijsen/Brain-Semantoks) states none" in done.stderr
    model = load_model(tmp_path / "model")
    spec = model.spec
    assert (spec.atlas, spec.tr_s, spec.n_frames, spec.normalisation) == ("merged457", 2.0, 100, "zscore")
    assert spec.recipe == "semantoks"
    assert spec.parcels[0] == "p0"
    assert spec.networks == NETWORKS
    for ours, tensor in model.state_dict().items():
        theirs = f"teacher_encoder.{published_name(ours)}"
        assert (tensor == state[theirs].flatten()[0]).all(), ours
    card = (tmp_path / "model/README.md").read_text()
    assert "states none" in card
    assert hashlib.sha256((tmp_path / "published.pth").read_bytes()).hexdigest() in card


def drop(name: str) -> Change:
    return lambda state: state.__delitem__(name)


def put(name: str, tensor: torch.Tensor) -> Change:
    return lambda state: state.update({name: tensor})


LIVE = "student_encoder.network_tokenizers.schaefer400.3.branches.0.weight"
DEAD = "teacher_encoder.network_tokenizers.buckner7.8.norm.weight"
POSITIONS = "teacher_encoder.inter_network_transformer.temporal_pos_embedding"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop(LIVE), f"tensor '{LIVE}' is missing"),
        (drop(DEAD), f"tensor '{DEAD}' is missing"),
        (put("teacher_encoder.head.weight", torch.zeros(1)), "tensor 'teacher_encoder.head.weight' is not part of"),
        (put(LIVE, torch.zeros(384, 47, 5)), f"tensor '{LIVE}' has shape (384, 47, 5), expected (384, 47, 3)"),
        (put(POSITIONS, torch.zeros(5, 768)), "'inter_network_transformer.temporal_pos_embedding' is not the constant"),
    ],
)
def test_a_tensor_that_does_not_belong_is_named(
    tmp_path: Path, state: dict[str, torch.Tensor], change: Change, message: str
) -> None:
    changed = dict(state)
    change(changed)
    command(tmp_path, changed)
    assert message in refusal(tmp_path)


def test_an_atlas_of_other_networks_is_refused(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    command(tmp_path, state)
    atlas = tmp_path / "atlas.parquet"
    write_atlas(atlas, NETWORKS[::-1])
    assert "has the networks Cerebellum, Subcortex" in refusal(tmp_path)
    assert "expects Vis, SomMot" in refusal(tmp_path)
    write_atlas(atlas, ("Vis", *NETWORKS[:-1]))
    assert "Vis 62 instead of 61, Cerebellum 6 instead of 7" in refusal(tmp_path)
    assert "has 2 networks, the checkpoint 9" in refusal(tmp_path, networks=("Vis", "SomMot"))


def test_networks_of_other_names_are_taken_in_the_order_given(tmp_path: Path) -> None:
    """Refused for the checkpoint, which is none: the networks came first and were fine."""
    command(tmp_path, {})
    renamed = tuple(name.lower() for name in NETWORKS)
    write_atlas(tmp_path / "atlas.parquet", renamed)
    assert "has the networks vis, sommot" in refusal(tmp_path)
    order = ", ".join(dict.fromkeys(renamed))
    given = ["--atlas", tmp_path / "atlas.parquet", "--out", tmp_path / "model", "--network-order", order]
    assert "is missing (and 941 more)" in refused("import-weights", tmp_path / "published.pth", *given)


def test_a_checkpoint_of_no_known_model_is_refused(tmp_path: Path) -> None:
    command(tmp_path, {})
    (tmp_path / "published.pth").write_text("not a checkpoint")
    assert "not a PyTorch checkpoint" in refusal(tmp_path)
    torch.save({"layer.weight": torch.zeros(2), "layer.bias": torch.zeros(2)}, tmp_path / "published.pth")
    assert "holds layer.weight, layer.bias: not a checkpoint of Brain-Semantoks" in refusal(tmp_path)
    torch.save([torch.zeros(2)], tmp_path / "published.pth")
    assert "holds a list, not named tensors" in refusal(tmp_path)


def test_a_checkpoint_with_code_in_it_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    command(tmp_path, Trap())
    assert "not a checkpoint that can be read safely" in refusal(tmp_path)
    assert not (tmp_path / "ran").exists()
