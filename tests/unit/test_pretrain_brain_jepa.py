"""pretrain brain-jepa: it learns, repeats to the bit, goes on after a kill, and two processes give what one gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_distributed import finished, one_thread, start, wait_for
from test_pretrain import command, curves, same, train, weights
from test_pretrain_data import N_PARCELS, atlas, load, run_row, write_dataset

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.gradients import GradientSettings, GroupConnectome, files, gradients
from boldtable.models import load_model
from boldtable.stages.pretrain import Pretrain
from boldtable.stages.pretrain.batches import Batches
from boldtable.stages.pretrain.distributed import Processes
from boldtable.stages.pretrain.job import build
from boldtable.stages.pretrain.methods.brain_jepa import runs
from boldtable.stages.pretrain.settings import Steps

JEPA = {
    "model": "brain-jepa", "recipe": "toy", "datasets": ["a"], "size": "tiny", "window_frames": 20, "patch_frames": 4,
    "epochs": 2, "batch_size": 4, "device": "cpu", "components": 3, "micro_batch": None,
}  # fmt: skip
SHARED = {**JEPA, "batch_size": 5, "epochs": 16, "mask_group": 2, "checkpoint_s": 0.1}
WATCHED = ["token_similarity", "feature_rank"]  # of the first process alone


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort with short runs and missing parcels."""
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(5)
    rows = [run_row("a", p, 1, 14 if p == 2 else 40, rng) for p in range(9)]
    for row in rows[:3]:
        row["signal"][:, [1, 9]] = np.nan
    write_dataset(folder, "a", rows)
    atlas().save(folder / "toy.parquet", store.Provenance("atlas"))
    return folder


@pytest.fixture(scope="module")
def two_epochs(world: Path) -> Path:
    return train(world, "two-epochs", **JEPA)


@pytest.fixture(scope="module")
def alone(world: Path) -> Path:
    return train(world, "alone", **SHARED)


def test_the_loss_falls(world: Path) -> None:
    loss = curves(train(world, "long", **{**JEPA, "epochs": 40, "lr": 0.2, "lr_range": [0.01, 0.001]}))["loss"]
    assert loss.tail(10).mean() < 0.8 * loss.head(5).mean()


def test_the_folder_and_the_log(world: Path, two_epochs: Path) -> None:
    log = curves(two_epochs)
    assert list(log) == [
        "step", "epoch", "loss", "latent_loss", "token_similarity", "feature_rank", "grad_norm", "lr", "weight_decay",
        "momentum",
    ]  # fmt: skip
    assert log["step"].tolist() == [0, 1, 2, 3]
    assert log[["loss", "token_similarity", "grad_norm"]].notna().all().all()
    assert log["feature_rank"].notna().tolist() == [True, False, False, False]
    assert ((log["token_similarity"] > -1) & (log["token_similarity"] <= 1)).all()
    assert log["weight_decay"].iloc[-1] == pytest.approx(0.4)
    assert log["lr"].iloc[-1] == pytest.approx(5e-7 * 4 / 256)
    encoder = load_model(two_epochs)
    assert encoder.kind == "brain-jepa"
    assert encoder.config.n_patches == 5
    card = (two_epochs / "README.md").read_text()
    for text in ("2409.19407", "states no licence", "Brain-JEPA encoder (tiny)", "latent_loss"):
        assert text in card


def test_gradients_are_those_of_the_runs_that_are_learnt_from(world: Path, two_epochs: Path) -> None:
    cohort = load(("a", (world / "a/tensors/toy", world / "a/qc.parquet")))
    group = GroupConnectome(N_PARCELS)
    for signal in runs(cohort):
        group.add(signal)
    assert group.n_runs == 9
    expected = gradients(group.correlations(), GradientSettings(components=3))
    np.testing.assert_allclose(load_model(two_epochs).gradients, expected, rtol=1e-5)
    assert np.isnan(next(runs(cohort))[:, 1]).all()


def test_a_gradient_file_is_joined_by_name(world: Path, tmp_path: Path) -> None:
    values, path = np.random.default_rng(0).normal(size=(N_PARCELS, 5)), tmp_path / "g.parquet"
    values[4] = np.nan
    table = atlas()
    turned = type(table)(table.name, table.space, table.parcels.iloc[::-1])
    files.write(path, values[::-1], turned, store.Provenance("gradients"))
    folder = train(world, "given", **{**JEPA, "gradients": str(path), "epochs": 0})
    expected = np.nan_to_num(values[:, :3])
    np.testing.assert_allclose(load_model(folder).gradients, expected, rtol=1e-6)
    assert store.provenance(folder / "training.parquet")["inputs"][-1]["name"] == "g.parquet"
    with pytest.raises(InputError, match=r"has 5 gradients, 'components: 6' asks for more"):
        train(world, "more", **{**JEPA, "gradients": str(path), "components": 6})
    with pytest.raises(InputError, match="12 parcels have at most 11 gradients, 30 are wanted"):
        train(world, "many", **{**JEPA, "components": 30})


def test_the_same_command_gives_the_same_bits_and_spared_memory_too(world: Path, two_epochs: Path) -> None:
    assert same(two_epochs, train(world, "again", **JEPA))
    assert same(two_epochs, train(world, "spared", **{**JEPA, "activation_checkpointing": True}))
    assert not same(two_epochs, train(world, "other", **{**JEPA, "seed": 3}))


@pytest.mark.parametrize("change", [{"masks": "code"}, {"initial": "code"}, {"momentum_end": "code"}, {"loss": "mse"}])
def test_every_choice_between_code_and_paper_counts(world: Path, two_epochs: Path, change: dict[str, str]) -> None:
    folder = train(world, next(iter(change)), **{**JEPA, **change})
    assert not same(two_epochs, folder)
    assert curves(folder)["loss"].notna().all()


def test_parts_of_a_batch_add_up_to_it(world: Path, two_epochs: Path) -> None:
    parts = train(world, "parts", **{**JEPA, "micro_batch": 2})
    np.testing.assert_allclose(curves(parts)["loss"], curves(two_epochs)["loss"], rtol=1e-5)
    first, second = weights(parts), weights(two_epochs)
    assert all(torch.allclose(second[name], weight, rtol=1e-4, atol=1e-6) for name, weight in first.items())


def test_an_interrupted_training_goes_on_to_the_same_bits(world: Path, alone: Path) -> None:
    """Stopped in the middle by the signal of a cluster, in a process of its own."""
    threads = one_thread(OMP_NUM_THREADS=str(torch.get_num_threads()))  # as many as `alone` had: the bits depend on it
    job = subprocess.Popen(
        [sys.executable, "-m", *command(world, "stopped", SHARED)], stderr=subprocess.PIPE, text=True, env=threads
    )
    wait_for((world / "models" / ".stopped.training" / "checkpoint.pt").exists, [job])
    job.terminate()
    assert job.communicate(timeout=60)[0] is None
    assert job.returncode == 75
    assert same(alone, train(world, "stopped", **SHARED))
    assert curves(alone).equals(curves(world / "models" / "stopped"))


def test_two_processes_give_what_one_gives(world: Path, alone: Path) -> None:
    codes, said = finished(start(world, "both", SHARED))
    assert codes == [0, 0], said
    both = world / "models" / "both"
    np.testing.assert_allclose(
        curves(both).drop(columns=WATCHED), curves(alone).drop(columns=WATCHED), rtol=2e-4, atol=2e-6
    )
    first, second = weights(alone), weights(both)
    assert all(torch.allclose(second[name], weight, rtol=1e-4, atol=1e-5) for name, weight in first.items())


@pytest.mark.parametrize("size", [2, 3])
def test_shares_make_up_the_whole_batch(world: Path, size: int) -> None:
    cohort = load(("a", (world / "a/tensors/toy", world / "a/qc.parquet")))
    settings = Pretrain.parse({**SHARED, "batch_size": 8})
    sampling = settings.sampling(build(settings, atlas(), cohort))
    whole = Batches(settings, cohort, sampling)
    shares = [Batches(settings, cohort, sampling, Processes(rank, size)) for rank in range(size)]
    for step in range(3):
        expected = whole.batch(step)
        for part in (0, 1):
            found = torch.cat([share.batch(step).masks[part] for share in shares])
            assert torch.equal(found, expected.masks[part])


def test_the_published_schedules() -> None:
    settings: Any = Pretrain.parse({"model": "brain-jepa", "recipe": "r", "datasets": ["a"]})
    steps = Steps(total=300 * 62, per_epoch=62, samples=512)
    values = [settings.schedule(step, steps) for step in range(steps.total)]
    assert values[40 * 62 - 1]["lr"] == max(value["lr"] for value in values) == pytest.approx(1e-3)
    assert values[0]["lr"] == pytest.approx(5e-5, rel=0.01)
    assert values[-1]["lr"] == pytest.approx(1e-6)
    assert [values[step]["momentum"] for step in (0, -1)] == pytest.approx([0.996, 1.0], abs=1e-6)
    assert [values[step]["weight_decay"] for step in (0, -1)] == pytest.approx([0.04, 0.4], abs=1e-6)
    faulty = settings.model_copy(update={"momentum_end": "code"})
    assert faulty.schedule(steps.total - 1, steps)["momentum"] == pytest.approx(0.9965, abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"masks": "codes"}, "masks"),
        ({"window_frames": 21}, "no multiple of patch_frames"),
        ({"lr": 1e-6}, "is the peak, but lr_range has"),
        ({"cls_weight": 1}, "unknown key"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Pretrain.parse({**JEPA, **wrong})
