"""pretrain: it learns, it repeats to the bit, it goes on after a kill, and it stops where numbers break."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_pretrain_data import NETWORKS, atlas, run_row, small, write_dataset

from boldtable import store
from boldtable.errors import BoldtableError, SettingsError
from boldtable.models import load_model
from boldtable.settings import Settings
from boldtable.stages import pretrain
from boldtable.stages.pretrain.training import Training

TINY = {
    "recipe": "toy", "datasets": ["a"], "size": "tiny", "window_frames": 20, "patch_frames": 5, "epochs": 3,
    "batch_size": 4, "device": "cpu",
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Path:
    tensors, qc = small(tmp_path, n=9)
    assert tensors.is_dir()
    assert qc.is_file()
    atlas().save(tmp_path / "toy.parquet", store.Provenance("atlas"))
    return tmp_path


def train(world: Path, name: str = "m", **more: Any) -> Path:
    settings = pretrain.Pretrain.parse({**TINY, **more})
    sources = {"tensors": [world / "a" / "tensors" / "toy"], "qc": [world / "a" / "qc.parquet"]}
    pretrain.run(settings, model=name, atlas=world / "toy.parquet", out=world / "models" / name, **sources)
    return world / "models" / name


def command(world: Path, name: str, settings: dict[str, Any]) -> list[str]:
    """The command line of a training, to be put behind python -m."""
    paths = {
        "--atlas": world / "toy.parquet", "--tensors": world / "a" / "tensors" / "toy",
        "--qc": world / "a" / "qc.parquet", "--out": world / "models" / name,
    }  # fmt: skip
    given = {"--settings": json.dumps(settings), "--model": name, **paths}
    return ["boldtable", "pretrain", *(str(part) for pair in given.items() for part in pair)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return found


def same(one: Path, other: Path) -> bool:
    """Whether two models are the same file, what it says of itself included."""
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def same_weights(one: Path, other: Path) -> bool:
    """Whether two models of different settings have the same weights to the bit."""
    tensors = [load_file(folder / "model.safetensors") for folder in (one, other)]
    alike = tensors[0].keys() == tensors[1].keys()
    return alike and all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def curves(folder: Path) -> Any:
    import pandas as pd

    timed = ["samples_per_s", "data_share", "memory_mb"]
    return pd.read_parquet(folder / "training.parquet").drop(columns=timed)


def test_the_loss_falls(world: Path) -> None:
    loss = curves(train(world, epochs=40, lr=0.1, mask_probability=0, temporal_weight=0))["loss"]
    assert loss.tail(10).mean() < loss.head(10).mean() - 0.05


def test_the_folder_is_whole_and_says_what_it_is(world: Path) -> None:
    folder = train(world)
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.safetensors", "config.json", "training.parquet", "data.json", "README.md"}
    assert not (world / "models" / ".m.training").exists()
    spec = load_model(folder).spec
    assert (spec.atlas, spec.recipe, spec.tr_s, spec.n_frames) == ("toy", "toy", 2.0, 20)
    assert spec.networks == tuple(NETWORKS)
    seen = json.loads((folder / "data.json").read_text())
    assert seen["participants"] == {"a": [f"{p:02d}" for p in range(9)]}
    card = (folder / "README.md").read_text()
    for text in ("2512.11582", "as the data permit", seen["fingerprint"], "| seed | 21 |", "Trained from scratch"):
        assert text in card
    about = store.provenance(folder / "training.parquet")
    assert about["settings"]["epochs"] == 3
    assert about["model"] == "m"


def test_the_log_has_a_row_a_step_and_the_published_schedules(world: Path) -> None:
    log = curves(train(world, epochs=40, warmup_epochs=4, temporal_share=0.25))
    assert log["step"].tolist() == list(range(80))
    assert log["epoch"].max() == 39
    assert log["lr"].max() == pytest.approx(7e-4 * 4 / 256)
    assert log["lr"].idxmax() == 8
    assert log["momentum"].iloc[0] == pytest.approx(0.99)
    assert log["weight_decay"].iloc[[0, -1]].tolist() == pytest.approx([0.05, 0.3], abs=1e-3)
    assert log["network_weight"].iloc[0] == 0.5
    assert (log["network_weight"] > 0).sum() == 20
    assert log["network_loss"].notna().sum() == 20
    assert 20 < log["token_loss"].notna().sum() < 60
    parts = log[["cls_loss", "token_loss", "network_loss"]].sum(axis=1)
    np.testing.assert_allclose(parts, log["loss"], atol=1e-5)


def test_no_epochs_give_the_weights_that_training_starts_from(world: Path) -> None:
    untrained = train(world, "untrained", epochs=0)
    still = train(world, "still", lr=1e-30)
    trained = train(world, "trained")
    start, end = weights(untrained), weights(still)
    # The teacher's average of two equal weights rounds.
    assert all(torch.allclose(start[name], end[name], rtol=0, atol=1e-6) for name in start)
    assert not same(untrained, trained)
    frozen = weights(train(world, "frozen", momentum=1, lr=1))
    assert all(torch.allclose(start[name], frozen[name], rtol=0, atol=1e-6) for name in start)
    assert len(curves(untrained)) == 0
    assert "untrained" in (untrained / "README.md").read_text()


def test_the_same_seed_gives_the_same_bits_and_another_does_not(world: Path) -> None:
    one, again, other = train(world, "one"), train(world, "again"), train(world, "other", seed=22)
    assert same(one, again)
    assert curves(one).equals(curves(again))
    assert not same(one, other)


def test_training_leaves_global_random_and_torch_state_alone(world: Path) -> None:
    before = torch.get_rng_state()
    train(world, epochs=1)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("killed_at", [1, 3, 5])
def test_a_killed_training_goes_on_to_the_same_bits(
    world: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    alone, step = train(world, "alone"), Training.step
    interrupt(world, monkeypatch, "killed", killed_at)
    assert not (world / "models" / "killed").exists()
    assert (world / "models" / ".killed.training" / "checkpoint.pt").exists()
    done: list[int] = []
    monkeypatch.setattr(Training, "step", lambda self, number: (done.append(number), step(self, number))[0])
    resumed = train(world, "killed")
    assert done == list(range(killed_at, 6))
    assert same(alone, resumed)
    assert curves(alone).equals(curves(resumed))


def test_a_checkpoint_of_other_settings_or_data_is_not_used(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = train(world, "fresh", lr=2e-3)
    interrupt(world, monkeypatch)
    assert same(fresh, train(world, "m", lr=2e-3))
    assert "other settings, data or version" in capsys.readouterr().err


def test_a_broken_checkpoint_is_not_used(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = train(world, "fresh")
    interrupt(world, monkeypatch)
    file = world / "models" / ".m.training" / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:1000])
    assert same(fresh, train(world, "m"))
    assert "cannot be read" in capsys.readouterr().err


def interrupt(world: Path, monkeypatch: pytest.MonkeyPatch, name: str = "m", at: int = 3, **more: Any) -> None:
    """Leave a checkpoint of an unfinished training behind."""
    step = Training.step

    def dies(self: Training, number: int) -> None:
        if number == at:
            raise RuntimeError("killed")
        step(self, number)

    monkeypatch.setattr(Training, "step", dies)
    with pytest.raises(RuntimeError, match="killed"):
        train(world, name, checkpoint_s=0, **more)
    monkeypatch.setattr(Training, "step", step)


def test_a_loss_that_is_not_finite_stops_with_step_and_runs(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Training.step

    def spoils(self: Training, number: int) -> None:
        if number == 4:
            with torch.no_grad():
                self.objective.head.mlp[0].weight.fill_(float("nan"))
        step(self, number)

    monkeypatch.setattr(Training, "step", spoils)
    with pytest.raises(BoldtableError, match=r"stopped at step 4 \(epoch 2\): loss nan.*a sub-0\d task-rest run-\d, a"):
        train(world)
    assert "runs of step 4: a sub-" in capsys.readouterr().err
    assert not (world / "models" / "m").exists()


def test_missing_parcels_and_short_runs_are_learnt_from(world: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [run_row("a", p, 1, 14 if p == 2 else 40, rng) for p in range(8)]
    for row in rows[:3]:
        row["signal"][:, [1, 9, 10, 11]] = np.nan
    write_dataset(world, "a", rows)
    folder = train(world)
    assert np.isfinite(curves(folder)["loss"]).all()
    assert all(torch.isfinite(value).all() for value in weights(folder).values())
    untrained = train(world, "untrained", epochs=0)
    assert not same(folder, untrained)


def test_a_step_without_any_loss_changes_nothing_but_goes_on(world: Path) -> None:
    log = curves(train(world, cls_weight=0, temporal_weight=0, mask_probability=0.5, epochs=10))
    idle = log["token_loss"].isna()
    assert 0 < idle.sum() < len(log)
    assert log.loc[idle, "grad_norm"].isna().all()
    assert log.loc[~idle, "grad_norm"].notna().all()


def test_collapse_is_said_once(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [run_row("a", p, 1, 40, np.random.default_rng(p)) for p in range(8)]
    for row in rows:
        row["signal"][:] = 0
    write_dataset(world, "a", rows)
    train(world, tokenizer="parcel-linear", noise=0, patch_frames=20, mask_probability=0)
    assert capsys.readouterr().err.count("the model is collapsing") == 1


def test_bfloat16_and_other_buffers_train_too(world: Path) -> None:
    exact = curves(train(world, "exact", buffer="float32"))["loss"]
    for more in ({"precision": "bfloat16"}, {"buffer": "bfloat16"}):
        loss = curves(train(world, "rough", **more))["loss"]
        assert not loss.equals(exact)
        np.testing.assert_allclose(loss, exact, rtol=0.05, atol=0.05)


def test_a_finished_model_is_replaced_whole(world: Path) -> None:
    folder = train(world)
    (folder / "stale").touch()
    assert same(train(world, "other", seed=4), train(world, "m", seed=4))
    assert not (folder / "stale").exists()


def test_auto_falls_back_to_the_cpu_and_says_so(
    world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    train(world, device="auto", epochs=0)
    assert "no GPU here: training on the CPU" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="set 'device: auto'"):
        train(world, device="cuda", epochs=0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"window_frames": 50}, "no multiple of patch_frames"),
        ({"mask_range": [0.9, 0.2]}, "from low to high"),
        ({"datasets": ["a", "a"]}, "names one twice"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"size": "huge"}, "size"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        pretrain.Pretrain.parse({**TINY, "patch_frames": 20, **wrong})


def test_every_setting_is_described_and_the_demo_block_is_valid() -> None:
    assert all(field.description for field in pretrain.Pretrain.model_fields.values())
    assert issubclass(pretrain.Pretrain, Settings)
    demo = {"recipe": "s", "datasets": ["aurora", "borealis"], "size": "tiny", "window_frames": 60, "epochs": 40}
    assert pretrain.Pretrain.parse({**demo, "batch_size": 32, "seed": 21}).patch_frames == 20


def test_nothing_heavy_is_imported() -> None:
    """A GPU node has torch and little else."""
    code = (
        "import sys, boldtable.stages.pretrain; 'torch' in sys.modules and sys.exit('torch, for the settings alone'); "
        "import boldtable.stages.pretrain.job; "
        "sys.exit(', '.join(n for n in ('nibabel', 'nilearn', 'snakemake', 'matplotlib') if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
