"""reconstruct: R² over the hidden values of kept runs, of models whose reconstructions are known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import r2_score

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError
from boldtable.models import InputSpec, load_model, save_model
from boldtable.models.brainlm import BrainLM, BrainLMConfig
from boldtable.models.brainlm_vit import BrainLMImages, ImageConfig
from boldtable.models.semantoks import Semantoks, semantoks_config
from boldtable.objectives.masked_autoencoding import Masking, reconstruct
from boldtable.stages import embed
from boldtable.stages.clean import Clean
from boldtable.stages.embed import Reconstruct, reconstruction

N_PARCELS = 6
NAMES = tuple(f"p{i}" for i in range(N_PARCELS))
SPEC = InputSpec("toy", NAMES, ("net",) * N_PARCELS, 2.0, 20, "zscore", "r")
RATIOS = [0.25, 0.5, 0.75]


class World:
    """A results folder: dataset a with four runs in two shards, the second dropped, the last with holes."""

    def __init__(self, root: Path) -> None:
        self.root, rng = root, np.random.default_rng(0)
        parcels = pd.DataFrame({"index": range(1, N_PARCELS + 1), "name": NAMES, "hemisphere": "B", "network": "net"})
        parcels[["x_mm", "y_mm", "z_mm"]] = rng.integers(-50, 50, (N_PARCELS, 3)).astype(float)
        AtlasTable("toy", "MNI", parcels.assign(n_voxels=1)).save(self.atlas, store.Provenance("atlas"))
        self.signals = {name: rng.normal(0.5, 1, (30, N_PARCELS)).astype(np.float32) for name in ("01", "02", "03")}
        self.signals["04"] = rng.normal(0.5, 1, (13, N_PARCELS)).astype(np.float32)
        self.signals["04"][:, 2] = np.nan
        made = store.Provenance("clean", Clean(atlas="toy"), atlas="toy")
        qc = []
        for shard, names in {"a": ("01", "02"), "b": ("03", "04")}.items():
            with store.Writer(root / "a/tensors/r" / f"{shard}.parquet", "tensors", made, N_PARCELS) as writer:
                for name in names:
                    row = {"dataset": "a", "participant": name, "session": None, "task": "rest", "run": "1",
                           "acquisition": None}  # fmt: skip
                    signal = self.signals[name]
                    writer.append({**row, "tr_s": 2.0, "n_frames": len(signal), "signal": signal, "status": "ok"})
                    qc.append({**row, "shard": shard, "keep": name != "02", "n_frames": len(signal), "status": "ok"})
        store.write(root / "a/qc.parquet", "qc", qc, store.Provenance("qc"))

    @property
    def atlas(self) -> Path:
        return self.root / "atlases/toy.parquet"

    def model(self, name: str = "m", images: bool = False) -> Path:
        torch.manual_seed(2)
        places = torch.randn(N_PARCELS, 3)
        made: BrainLM | BrainLMImages = BrainLM(BrainLMConfig(N_PARCELS, 20, 5, 16, 1, 2, 32, 1, 2, 32), SPEC, places)
        if images:
            made = BrainLMImages(ImageConfig(N_PARCELS, 24, 4, 16, 1, 2, 32, 16, 1, 2, 32), SPEC, places)
        save_model(self.root / "models" / name, made, "# A model\n")
        return self.root / "models" / name

    def run(self, *folders: Path, out: str = "out.parquet", **settings: Any) -> pd.DataFrame:
        chosen = Reconstruct.parse({"test_mask_ratios": RATIOS, "device": "cpu", **settings})
        source = embed.Source(self.root / "a/tensors/r", self.root / "a/qc.parquet", "r")
        embed.reconstruct(chosen, weights=folders, atlas=self.atlas, sources=[source], out=self.root / out)
        return store.frame(self.root / out, "reconstruction") if out.endswith("parquet") else pd.DataFrame()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def by_hand(world: World, folder: Path, ratio: float) -> tuple[float, float]:
    """R² and MSE over all hidden values of the kept runs, first window each, one run at a time."""
    model, known, guessed = load_model(folder), [], []
    for name in ("01", "03", "04"):
        signal = np.zeros((20, N_PARCELS), np.float32)
        signal[: len(world.signals[name])] = world.signals[name][:20]
        x = torch.from_numpy(signal.T.copy())[None]
        present = torch.from_numpy(np.isfinite(world.signals[name]).all(axis=0))[None]
        frames = torch.arange(20)[None] < len(world.signals[name])
        seed = reconstruction._seed(
            f"21 {store.label({'dataset': 'a', 'participant': name, 'task': 'rest', 'run': '1'})} 0"
        )
        noise = torch.rand(model.n_tokens, generator=torch.Generator().manual_seed(seed))[None]
        with torch.no_grad():
            made = reconstruct(model, x, noise, Masking(ratio, "shuffled"), present, frames)
        known.append(x[made.counted].double().numpy())
        guessed.append(made.signal[made.counted].double().numpy())
    truth, guess = np.concatenate(known), np.concatenate(guessed)
    return r2_score(truth, guess), float(np.mean((truth - guess) ** 2))


@pytest.mark.parametrize("images", [False, True])
def test_the_table_has_a_row_per_share_over_all_kept_runs(world: World, images: bool) -> None:
    folder = world.model(images=images)
    found = world.run(folder, batch_size=2)
    assert found["test_mask_ratio"].tolist() == RATIOS
    assert found[["model", "dataset", "n_runs"]].drop_duplicates().values.tolist() == [["m", "a", 3]]
    for row in found.itertuples():
        expected = by_hand(world, folder, row.test_mask_ratio)
        assert (row.r2, row.mse) == pytest.approx(expected, rel=1e-5)
    assert store.provenance(world.root / "out.parquet")["stage"] == "reconstruct"


def test_neither_batch_size_nor_number_of_models_changes_it(world: World) -> None:
    one, other = world.model("one"), world.model("other", images=True)
    alone, both = world.run(one, batch_size=1), world.run(one, other, batch_size=8)
    assert both["model"].tolist() == ["one"] * 3 + ["other"] * 3
    np.testing.assert_allclose(both["r2"][:3], alone["r2"], rtol=1e-5)
    assert not np.allclose(world.run(one, seed=22)["r2"], alone["r2"], rtol=1e-5)


def test_the_mean_explains_nothing(world: World) -> None:
    """A decoder that says one number everywhere: R² is 0 where it is the mean of what is hidden, else below."""
    folder = world.model()
    model = load_model(folder)
    with torch.no_grad():
        model.decoder.signal[2].weight.zero_()
        model.decoder.signal[2].bias.fill_(0.5)
    save_model(folder, model, "# It says 0.5\n")
    assert world.run(folder)["r2"].between(-0.05, 0).all()


def test_a_table_as_text_and_from_the_command_line(world: World) -> None:
    folder, out = world.model(), world.root / "table.csv"
    given = ["--dataset", "a", "--results", world.root, "--out", out, "--settings", '{"test_mask_ratios": [0.5]}']
    command = [sys.executable, "-m", "boldtable", "reconstruct", folder, *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "m on a: 50% hidden, R² " in done.stderr
    table = pd.read_csv(out)
    assert table.columns.tolist() == ["model", "dataset", "test_mask_ratio", "r2", "mse", "n_runs"]
    assert table["r2"].tolist() == pytest.approx(world.run(folder)["r2"][1:2].tolist())


def test_refusals(world: World) -> None:
    torch.manual_seed(0)
    plain = Semantoks(semantoks_config("tiny", ("net",) * N_PARCELS, window_frames=20), SPEC)
    save_model(world.root / "models/s", plain, "# No decoder\n")
    with pytest.raises(InputError, match=r"models/s has no decoder: only BrainLM"):
        world.run(world.root / "models/s")
    with pytest.raises(InputError, match="1 is not between 0 and 1"):
        world.run(world.model(), test_mask_ratios=[1.0])
