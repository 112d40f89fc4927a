"""pretrain: every ablation of the published table is a setting, and what it leaves out is left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_pretrain import TINY, curves, same, same_weights, train, weights
from test_pretrain_data import N_PARCELS, NETWORKS, atlas, small

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.models import load_model
from boldtable.stages.pretrain import Pretrain
from boldtable.stages.pretrain.grouping import grouping

HALVES = ["left"] * 7 + ["right"] * 5


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    small(folder, n=9)
    atlas().save(folder / "toy.parquet", store.Provenance("atlas"))
    return folder


def tsv(folder: Path, rows: Sequence[Sequence[Any]], header: Sequence[str] = ("index", "group")) -> str:
    path = folder / "grouping.tsv"
    path.write_text("\n".join("\t".join(map(str, row)) for row in [header, *rows]) + "\n")
    return str(path)


def architecture(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())["architecture"]
    return found


def features(folder: Path, frames: int = 20) -> torch.Tensor:
    model = load_model(folder)
    x = torch.randn(2, N_PARCELS, frames, generator=torch.Generator().manual_seed(1))
    found: torch.Tensor = model.embed(x, torch.ones(2, N_PARCELS).bool(), torch.ones(2, frames).bool())
    assert found.shape == (2, model.n_features)
    return found


@pytest.mark.parametrize(
    ("changed", "tokens"),
    [
        ({"tokenizer": "single"}, 1 * 4),
        ({"tokenizer": "parcel-linear"}, 12 * 4),
        ({"patch_frames": 10}, 3 * 2),
        ({"patch_frames": 20}, 3 * 1),
        ({"masks": "random", "mask_probability": 1}, 3 * 4),
        ({"cls_weight": 0}, 3 * 4),
        ({"window_frames": 40}, 3 * 8),
    ],
)
def test_every_ablation_trains_and_loads(world: Path, changed: dict[str, Any], tokens: int) -> None:
    model = train(world, "m", epochs=2, **changed)
    log = curves(model)
    assert np.isfinite(log["loss"]).all()
    assert (log["grad_norm"].dropna() > 0).all()
    assert all(torch.isfinite(weight).all() for weight in weights(model).values())
    encoder, frames = load_model(model), changed.get("window_frames", 20)
    assert features(model, frames).isfinite().all()
    assert encoder(torch.zeros(1, N_PARCELS, frames)).shape[1] == 1 + tokens  # type: ignore[operator]
    if changed.get("cls_weight") == 0:
        assert log["cls_loss"].isna().all()


@pytest.mark.parametrize(("share", "steps"), [(0, 0), (0.05, 2), (0.5, 20), (1, 40)])
def test_the_temporal_regulariser_lasts_as_long_as_asked(world: Path, share: float, steps: int) -> None:
    log = curves(train(world, "m", epochs=20, temporal_share=share))
    assert (log["network_weight"] > 0).sum() == steps
    assert log["network_loss"].notna().sum() == steps


def test_pooling_is_stored_and_changes_features_alone(world: Path) -> None:
    models = {kind: train(world, kind, pooling=kind) for kind in ("cls_avg", "cls", "avg")}
    assert [architecture(models[kind])["pooling"] for kind in models] == list(models)
    assert same_weights(models["cls_avg"], models["cls"])
    both, cls, average = (features(models[kind]) for kind in ("cls_avg", "cls", "avg"))
    assert torch.equal(both, torch.cat([average, cls], dim=1))


def test_native_repetition_times_train_and_are_written_down(tmp_path: Path) -> None:
    """A recipe with 'tr_s: null' leaves the runs at their own TR; that must be one, and the model says which."""
    small(tmp_path, n=4, tr_s=0.735)
    atlas().save(tmp_path / "toy.parquet", store.Provenance("atlas"))
    assert load_model(train(tmp_path)).spec.tr_s == 0.735


def test_a_grouping_makes_a_token_of_each_group(world: Path, tmp_path: Path) -> None:
    rows = [(index, group) for index, group in enumerate(HALVES, start=1)]
    path = tsv(tmp_path, rows[::-1])
    model = train(world, "halves", tokenizer=path)
    assert architecture(model)["networks"] == HALVES
    assert architecture(model)["tokenizer"] == "network"
    encoder = load_model(model)
    assert encoder.spec.networks == tuple(NETWORKS)
    assert encoder(torch.zeros(1, N_PARCELS, 20)).shape[1] == 1 + 2 * 4  # type: ignore[operator]
    names = [input["name"] for input in store.provenance(model / "training.parquet")["inputs"]]
    assert "grouping.tsv" in names
    # What is in the file counts, not its name.
    other = train(world, "other", tokenizer=tsv(tmp_path, [(index, "one") for index, _ in rows]))
    assert same_weights(other, train(world, "single", tokenizer="single"))


def test_the_networks_as_a_grouping_are_the_networks(world: Path, tmp_path: Path) -> None:
    rows = [(f"p{place}", f" {network} ") for place, network in enumerate(NETWORKS)]
    path = tsv(tmp_path, rows, ("name", "group"))
    assert grouping(path, atlas()) == ("network", NETWORKS)
    assert same(train(world, "file", tokenizer=path), train(world, "network"))
    both = [(place + 1, f"p{place}", "B", network) for place, network in enumerate(NETWORKS)]
    assert grouping(tsv(tmp_path, both, ("index", "name", "hemisphere", "group")), atlas()) == ("network", NETWORKS)


GOOD = [(index, "x") for index in range(1, 13)]


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        (GOOD[:-2], ("index", "group"), r"lacks the parcel with index '11' and 1 more: give every parcel once"),
        ([*GOOD, (13, "x")], ("index", "group"), r"has, unlike the atlas, the parcel with index '13'"),
        ([*GOOD, (3, "y")], ("index", "group"), r"has twice the parcel with index '3'"),
        ([*GOOD[:-1], (12, "n/a")], ("index", "group"), r"line 13: no group"),
        (GOOD, ("index", "network"), r"has index, network; a grouping has the columns group, and index or name"),
        ([], ("index", "group"), r"has no rows"),
        ([(1, "q", "x")] + [(i, f"p{i - 1}", "x") for i in range(2, 13)], ("index", "name", "group"),
         r"parcel 1 is 'q', in the atlas 'toy' 'p0'"),
    ],
)  # fmt: skip
def test_a_grouping_that_does_not_fit_is_refused(
    tmp_path: Path, rows: list[tuple[Any, ...]], header: tuple[str, ...], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        grouping(tsv(tmp_path, rows, header), atlas())


def test_an_absent_grouping_and_an_unknown_tokenizer_are_named() -> None:
    with pytest.raises(InputError, match=r"grouping not found: nowhere\.tsv"):
        grouping("nowhere.tsv", atlas())
    with pytest.raises(SettingsError, match=r"'networks' is neither known nor the path of a \.tsv.*mean 'network'"):
        Pretrain.parse({**TINY, "tokenizer": "networks"})


def test_speed_is_that_of_a_step_and_null_where_it_is_not(world: Path) -> None:
    import pandas as pd

    log = pd.read_parquet(train(world, "m", epochs=20, temporal_share=0.5) / "training.parquet")
    speed = log["samples_per_s"]
    assert np.isnan(speed[0])
    assert speed[30:].notna().mean() > 0.8
    assert (speed.dropna() > 0).all()
    kinds = log["token_loss"].notna().astype(int) + 2 * log["network_loss"].notna() + 4 * log["cls_rank"].notna()
    assert speed[kinds.drop_duplicates().index].isna().all()
    assert speed.drop(kinds.drop_duplicates().index).notna().all()
