"""The worked example of CONTRIBUTING.md is run as it stands: a further model trains, is stored, loaded and embeds."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from test_pretrain import TINY
from test_pretrain_data import atlas, run_row, write_dataset

from boldtable import store
from boldtable.models import load_model
from boldtable.models.folder import KINDS
from boldtable.stages import embed, pretrain
from boldtable.stages.clean import Clean
from boldtable.stages.pretrain import METHODS, Pretrain

TEXT = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of the document's own code; what it registers is forgotten after the test."""
    for table in (KINDS, METHODS):
        monkeypatch.setitem(table, "gru", None)  # type: ignore[arg-type, index]
    module = types.ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", module)  # where dataclasses and pydantic look names up
    exec(compile("\n".join(blocks("python")), "CONTRIBUTING.md", "exec"), module.__dict__)
    return module


def test_the_example_trains_is_stored_and_embeds(example: Any, tmp_path: Path) -> None:
    rng, recipe = np.random.default_rng(1), Clean(atlas="toy")
    rows = [run_row("a", p, 1, 14 if p == 2 else 40, rng) for p in range(6)]
    rows[1]["signal"][:, 3] = np.nan
    tensors, qc = write_dataset(tmp_path, "a", rows, store.Provenance("clean", recipe, atlas="toy"))
    atlas().save(tmp_path / "toy.parquet", store.Provenance("atlas"))
    settings = Pretrain.parse({**TINY, "model": "gru", "epochs": 2, "batch_size": 6})
    assert isinstance(settings, example.PretrainGRU)
    given = {"atlas": tmp_path / "toy.parquet", "qc": [qc], "tensors": [tensors]}
    pretrain.run(settings, model="my_gru", out=tmp_path / "my_gru", **given)
    log = pd.read_parquet(tmp_path / "my_gru/training.parquet")
    assert log["loss"].tolist() == log["prediction_loss"].tolist()
    assert len(log) == 2
    encoder = load_model(tmp_path / "my_gru")
    assert isinstance(encoder, example.GRU)
    assert encoder.n_features == 32
    assert "Cho et al. 2014" in (tmp_path / "my_gru/README.md").read_text()
    people = [{"participant": row["participant"]} for row in rows]
    store.write(tmp_path / "participants.parquet", "participants", people, store.Provenance("x"))
    files = {name: tmp_path / f"{name}.parquet" for name in ("participants", "out")}
    reads = {"atlas": given["atlas"], "tensors": tensors, "qc": qc, "weights": tmp_path / "my_gru", **files}
    embed.run(embed.Embed(recipe="toy", encoder="my_gru", windows=2, device="cpu"), **reads)
    found = np.stack(store.frame(tmp_path / "out.parquet", "embeddings")["embedding"])
    assert found.shape == (11, 32)
    assert np.isfinite(found).all()


def test_the_example_s_config_is_its_block(example: Any) -> None:
    (block,) = blocks("yaml")
    settings = Pretrain.parse(yaml.safe_load(block)["pretrain"]["my_gru"])
    assert type(settings) is example.PretrainGRU


def test_the_example_is_whole(example: Any) -> None:
    """The documents describe it like a method of the package's own."""
    assert all(field.description for field in example.PretrainGRU.model_fields.values())
    assert example.PretrainGRU.model_fields["model"].is_required()
