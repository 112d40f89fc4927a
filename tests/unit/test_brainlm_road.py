"""BrainLM's recipe from parcels to embeddings and reconstructions, with published weights and with its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError
from boldtable.generate import EXAMPLES
from boldtable.models.brainlm import BrainLMConfig
from boldtable.models.brainlm_layers import interleaved_positions
from boldtable.models.brainlm_published import published_shapes
from boldtable.stages import clean, embed, pretrain
from boldtable.study import Study

N_PARCELS, N_FRAMES = 424, 230
# No band-pass, no resampling, and a scale that is the population's.
RECIPE = {
    "atlas": "a424", "confounds": "none", "fd_mm": None, "low_hz": None, "high_hz": None, "tr_s": None,
    "normalise": "population", "population": ["ukb"],
}  # fmt: skip
LITTLE = BrainLMConfig(N_PARCELS, 200, 20, 16, 1, 2, 32, 1, 2, 32)


def published(folder: Path) -> Path:
    """Weights of the published names in little."""
    rng = torch.Generator().manual_seed(0)
    used, unused = published_shapes(LITTLE)
    state = {name: 0.3 * torch.randn(shape, generator=rng) for name, shape in (used | unused).items()}
    state |= {name: interleaved_positions(*tensor.shape) for name, tensor in state.items() if name.endswith(".pe")}
    folder.mkdir()
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"num_timepoints_per_voxel": 200}))
    return folder


class World:
    """Four runs of 0.735 s, whose parcels differ in their offset and their scale; one lacks a parcel."""

    def __init__(self, root: Path) -> None:
        self.root, rng = root, np.random.default_rng(0)
        rows = pd.DataFrame({"index": range(1, N_PARCELS + 1), "name": [f"A424_{i}" for i in range(N_PARCELS)]})
        rows[["x_mm", "y_mm", "z_mm"]] = rng.integers(-60, 60, (N_PARCELS, 3)).astype(float)
        table = AtlasTable("a424", "MNI152NLin6Asym", rows.assign(hemisphere="B", network="Cortex", n_voxels=9))
        self.atlas, self.qc = root / "atlases/a424.parquet", root / "ukb/qc.parquet"
        table.save(self.atlas, store.Provenance("atlas"))
        about = store.Provenance("parcellate", atlas="a424", atlas_sha256=table.sha256)
        self.scale, offset = rng.uniform(1, 40, N_PARCELS), rng.uniform(500, 900, N_PARCELS)
        keys: list[dict[str, Any]] = []
        with store.Writer(root / "ukb/parcels/a424/0.parquet", "parcels", about, N_PARCELS) as writer:
            for number in range(4):
                key = {"dataset": "ukb", "participant": str(number), "session": None, "task": "rest", "run": "1",
                       "acquisition": None, "tr_s": 0.735, "n_frames": N_FRAMES, "status": "ok"}  # fmt: skip
                signal = (offset + self.scale * rng.normal(size=(N_FRAMES, N_PARCELS))).astype(np.float32)
                signal[:, 5] = np.nan if number == 1 else signal[:, 5]
                writer.append({**key, "signal": signal, "coverage": np.ones(N_PARCELS), "confounds": {}})
                keys.append({**key, "shard": "0"})
        store.write(root / "runs.parquet", "runs", [{**key, "status": "found"} for key in keys], store.Provenance("x"))
        store.write(self.qc, "qc", [{**key, "keep": True} for key in keys], store.Provenance("x"))

    def clean(self, **more: Any) -> Path:
        settings, parcels = clean.Clean.parse(RECIPE | more), self.root / "ukb/parcels/a424"
        population = self.root / "population.parquet" if settings.population else None
        if population is not None:
            clean.fit(settings, [parcels], [self.root / "runs.parquet"], population)
        clean.run(settings, parcels / "0.parquet", self.root / "ukb/tensors/brainlm/0.parquet", population)
        return self.root / "ukb/tensors/brainlm"

    def embed(self, model: Path, **more: Any) -> pd.DataFrame:
        settings = embed.Embed(recipe="brainlm", weights=model, device="cpu", windows=2, **more)
        embed.run(settings, atlas=self.atlas, tensors=self.root / "ukb/tensors/brainlm", qc=self.qc,
                  participants=self.root / "none", weights=None, out=self.root / "out.parquet")  # fmt: skip
        return store.frame(self.root / "out.parquet", "embeddings")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    made.clean()
    embed.import_weights(published(made.root / "hub"), atlas=made.atlas, out=made.root / "models/brainlm-13m")
    return made


def test_the_scale_is_the_populations_and_not_that_of_the_released_tool(world: World) -> None:
    """(x - median) / IQR, and not x - median / IQR: every parcel comes on one scale, whatever it had before."""
    (row, *_) = store.rows(world.root / "ukb/tensors/brainlm/0.parquet", "tensors")
    low, median, high = np.quantile(row["signal"], [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(high - low, 1, atol=0.35)
    np.testing.assert_allclose(median, 0, atol=0.35)
    assert np.corrcoef(high - low, world.scale)[0, 1] < 0.3


def test_published_weights_embed_and_reconstruct_tensors_of_their_recipe(world: World) -> None:
    model = world.root / "models/brainlm-13m"
    found = world.embed(model)
    assert found["window"].tolist() == [0, 1] * 4
    assert np.stack(found["embedding"]).shape == (8, LITTLE.width)
    np.testing.assert_array_equal(found["embedding"][3], world.embed(model)["embedding"][3])
    assert np.stack(world.embed(model, pooling="cls_avg")["embedding"]).shape == (8, 2 * LITTLE.width)
    source = embed.Source(world.root / "ukb/tensors/brainlm", world.qc, "brainlm")
    settings = embed.Reconstruct(test_mask_ratios=[0.5], device="cpu")
    embed.reconstruct(settings, weights=[model], atlas=world.atlas, sources=[source], out=world.root / "r.parquet")
    assert store.frame(world.root / "r.parquet", "reconstruction")["n_runs"].tolist() == [4]


def test_statistics_that_travel_with_the_weights_scale_tensors_of_another_recipe(world: World, tmp_path: Path) -> None:
    """Tensors of the recipe, and unscaled ones that the model scales by itself, give the same embeddings."""
    other, model = World(tmp_path), tmp_path / "models/with-statistics"
    given = {"atlas": world.atlas, "population": world.root / "population.parquet"}
    embed.import_weights(world.root / "hub", out=model, **given)
    expected = np.stack(world.embed(model)["embedding"])
    other.clean(normalise="none", population=[])
    np.testing.assert_allclose(np.stack(other.embed(model)["embedding"]), expected, atol=2e-4)
    rows = store.frame(given["population"], "population").iloc[:400]
    store.write(tmp_path / "few.parquet", "population", rows, store.Provenance("population"))
    with pytest.raises(InputError, match=r"few\.parquet has statistics of other parcels"):
        embed.import_weights(world.root / "hub", atlas=world.atlas, out=model, population=tmp_path / "few.parquet")


def test_published_weights_refuse_tensors_of_another_scale(world: World, tmp_path: Path) -> None:
    other = World(tmp_path)
    other.clean(normalise="zscore", population=[])
    with pytest.raises(InputError, match=r"expects 'population' normalisation.*have 'zscore'"):
        other.embed(world.root / "models/brainlm-13m")


def test_the_recipe_trains_a_model_of_its_own(world: World) -> None:
    settings = pretrain.Pretrain.parse(
        {"model": "brainlm", "recipe": "brainlm", "datasets": ["ukb"], "size": "tiny", "window_frames": 40,
         "epochs": 1, "device": "cpu"}
    )  # fmt: skip
    out = world.root / "models/own"
    tensors = [world.root / "ukb/tensors/brainlm"]
    given = {"tensors": tensors, "qc": [world.qc], "population": world.root / "population.parquet"}
    pretrain.run(settings, model="own", atlas=world.atlas, out=out, **given)
    assert (out / "normalisation.parquet").read_bytes() == given["population"].read_bytes()
    assert np.isfinite(np.stack(world.embed(out)["embedding"])).all()


def test_a_study_can_name_atlas_recipe_and_model() -> None:
    blocks = {**EXAMPLES, "parcellate": {**EXAMPLES["parcellate"], "a424": {"source": "a424"}}}
    blocks["clean"] = {**EXAMPLES["clean"], "brainlm": {**RECIPE, "confounds": "24P", "population": ["my_dataset"]}}
    own = {"model": "brainlm", "recipe": "brainlm", "datasets": ["my_dataset"]}
    blocks["pretrain"] = {**EXAMPLES["pretrain"], "brainlm": own}
    blocks["embed"] = {**EXAMPLES["embed"], "brainlm": {"recipe": "brainlm", "encoder": "brainlm"}}
    study = Study.parse(blocks)
    study.check()
    assert study.pretrain["brainlm"].window_frames == 200
