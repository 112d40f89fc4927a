"""pretrain with model brainlm: it learns, goes on to the same bits, and N processes give what one gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_distributed import finished, start
from test_pretrain import curves, interrupt, same, train, weights
from test_pretrain_data import atlas, run_row, write_dataset

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError, SettingsError
from boldtable.models import load_model
from boldtable.models.brainlm import BrainLM
from boldtable.stages import pretrain
from boldtable.stages.pretrain.methods.brainlm import PretrainBrainLM

BLOCK = {
    "model": "brainlm", "recipe": "toy", "datasets": ["a"], "size": "tiny", "window_frames": 20, "patch_frames": 5,
    "epochs": 2, "batch_size": 4, "device": "cpu",
}  # fmt: skip


def placed(**positions: float) -> AtlasTable:
    table, rng = atlas(), np.random.default_rng(1)
    for axis in ("x_mm", "y_mm", "z_mm"):
        table.parcels[axis] = rng.integers(-60, 60, table.n_parcels).astype(float)
    return AtlasTable(table.name, table.space, table.parcels.assign(**positions))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine participants, one of them with a short run, some without some parcels."""
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(5)
    rows = [run_row("a", p, 1, 14 if p == 2 else 40, rng) for p in range(9)]
    for row in rows[:3]:
        row["signal"][:, [1, 9]] = np.nan
    write_dataset(folder, "a", rows)
    placed().save(folder / "toy.parquet", store.Provenance("atlas"))
    return folder


def test_two_epochs_make_a_folder_with_decoder_and_positions(world: Path) -> None:
    folder = train(world, **BLOCK)
    model = load_model(folder)
    assert isinstance(model, BrainLM)
    assert (model.spec.n_frames, model.spec.recipe, model.config.n_parcels) == (20, "toy", 12)
    expected = placed().parcels[["x_mm", "y_mm", "z_mm"]].to_numpy()
    np.testing.assert_allclose(model.coordinates.numpy(), expected)
    log = curves(folder)
    assert log["reconstruction_loss"].equals(log["loss"])
    assert log[["r2", "token_similarity"]].notna().all().all()
    assert log["cls_rank"].notna().sum() == 1
    start = weights(train(world, "start", **BLOCK | {"epochs": 0}))
    moved = {name for name, tensor in weights(folder).items() if not torch.equal(tensor, start[name])}
    assert moved == set(start) - {"coordinates"}
    card = (folder / "README.md").read_text()
    for said in (
        "BrainLM (tiny)",
        "ortegacaro2024brainlm",
        "CC BY-NC-ND 4.0",
        "10.1101/2023.09.12.557460",
        "order of the atlas",
    ):
        assert said in card


def test_it_learns(world: Path) -> None:
    log = curves(train(world, "long", **BLOCK | {"epochs": 60, "lr": 0.2, "mask_ratio": 0.4, "dropout": 0.0}))
    assert log["r2"].tail(10).mean() > log["r2"].head(10).mean() + 0.1


def test_the_published_schedule(world: Path) -> None:
    assert PretrainBrainLM.parse({"model": "brainlm", "recipe": "r", "datasets": ["a"]}).model_dump(
        include={"lr", "warmup_epochs", "epochs", "batch_size", "window_frames", "patch_frames", "mask_ratio", "size"}
    ) == {
        "lr": 1e-3, "warmup_epochs": 5, "epochs": 100, "batch_size": 512, "window_frames": 200, "patch_frames": 20,
        "mask_ratio": 0.75, "size": "base",
    }  # fmt: skip
    log = curves(train(world, "schedule", **BLOCK | {"epochs": 50, "batch_size": 9}))
    assert (log["lr"].idxmax(), log["lr"].iloc[0]) == (5, 0)
    assert log["lr"].max() == pytest.approx(1e-3 * 9 / 256)
    assert log["lr"].iloc[-1] < 1e-2 * log["lr"].max()
    assert log["weight_decay"].unique().tolist() == [0.05]


def test_a_killed_training_goes_on_to_the_same_bits(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout: its draws are those of the step and the sample."""
    alone = train(world, "alone", **BLOCK)
    interrupt(world, monkeypatch, "killed", 2, **BLOCK)
    assert (world / "models" / ".killed.training" / "checkpoint.pt").exists()
    resumed = train(world, "killed", **BLOCK)
    assert same(alone, resumed)
    assert curves(alone).equals(curves(resumed))
    assert not same(alone, train(world, "dry", **BLOCK | {"dropout": 0.0}))


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Without the bias of the keys: it has no gradient but rounding, which the optimiser scales up to a step."""
    for name, tensor in one.items():
        used = slice(None)
        if name.endswith("attn.qkv.bias"):
            used = torch.arange(len(tensor)).view(3, -1)[[0, 2]].flatten()
        torch.testing.assert_close(other[name][used], tensor[used], rtol=1e-4, atol=1e-5, msg=name)


def test_parts_and_recomputed_activations_change_nothing_but_rounding(world: Path) -> None:
    one = weights(train(world, "one", **BLOCK))
    for more in ({"micro_batch": 2}, {"activation_checkpointing": True}):
        assert_close(one, weights(train(world, "other", **BLOCK | more)))


def test_two_processes_give_what_one_gives(world: Path) -> None:
    shared = BLOCK | {"batch_size": 5, "epochs": 6}
    codes, said = finished(start(world, "shared", shared))
    assert codes == [0, 0], said
    alone = train(world, "single", **shared)
    one, two = (curves(folder).drop(columns=["token_similarity", "cls_rank", "r2"]) for folder in
                (alone, world / "models" / "shared"))  # fmt: skip
    np.testing.assert_allclose(two, one, rtol=2e-4, atol=2e-6)
    assert_close(weights(alone), weights(world / "models" / "shared"))


@pytest.mark.parametrize(
    "more", [{"token_order": "atlas"}, {"loss": "mae"}, {"mask_ratio": 0.2}, {"precision": "bfloat16"}]
)
def test_every_choice_gives_a_model_of_its_own(world: Path, more: dict[str, Any]) -> None:
    once = BLOCK | {"epochs": 1}
    assert not same(train(world, "usual", **once), train(world, "other", **once | more))


def test_an_atlas_without_positions_is_refused(world: Path, tmp_path: Path) -> None:
    cohort: Any = None
    settings = pretrain.Pretrain.parse(BLOCK)
    with pytest.raises(InputError, match=r"atlas 'toy' has no position for 12 parcel\(s\), such as p0"):
        settings.build(placed(z_mm=float("nan")), cohort)


@pytest.mark.parametrize(
    ("wrong", "says"), [({"mask_ratio": 1.0}, "mask_ratio"), ({"dropout": 1.0}, "dropout"), ({"size": "large"}, "size")]
)
def test_wrong_settings_are_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        pretrain.Pretrain.parse({**BLOCK, **wrong})
