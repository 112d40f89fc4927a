"""pretrain, every method: it trains, stores and loads, goes on to the same bits, and is the same on two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from test_pretrain import TINY, curves, interrupt, same, train, weights
from test_pretrain_data import N_PARCELS, atlas, run_row, small, write_dataset

from boldtable import store
from boldtable.errors import BoldtableError, InputError, SettingsError
from boldtable.generate import EXAMPLES, schema
from boldtable.models import load_model
from boldtable.objectives.base import Batch
from boldtable.stages import pretrain
from boldtable.stages.clean import Clean
from boldtable.stages.pretrain import METHODS, Pretrain
from boldtable.stages.pretrain.distributed import Processes
from boldtable.stages.pretrain.settings import Steps
from boldtable.stages.pretrain.training import Training
from boldtable.stages.report import methods
from boldtable.study import Study

# What a method needs beside the tiny settings of all.
MORE: dict[str, dict[str, Any]] = {name: {} for name in METHODS} | {"brain-jepa": {"components": 3}}
SHARED = {"batch_size": 5, "epochs": 6}
WATCHED = ["token_similarity", "cls_rank"]  # of the first process alone


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort with a short run and missing parcels, which two processes do not share evenly."""
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(5)
    rows = [run_row("a", p, 1, 14 if p == 2 else 40, rng) for p in range(9)]
    for row in rows[:3]:
        row["signal"][:, [1, 9, 10, 11]] = np.nan
    write_dataset(folder, "a", rows)
    atlas().save(folder / "toy.parquet", store.Provenance("atlas"))
    return folder


@pytest.mark.parametrize("model", METHODS)
def test_it_trains_and_the_folder_gives_back_an_encoder(world: Path, model: str) -> None:
    folder = train(world, model, model=model, **MORE[model])
    log = curves(folder)
    assert np.isfinite(log["loss"]).all()
    assert (log["grad_norm"].dropna() > 0).all()
    parts = log[[name for name in log if name.endswith("_loss")]].sum(axis=1)
    np.testing.assert_allclose(parts, log["loss"], atol=1e-5)
    assert not same(folder, train(world, "untrained", model=model, epochs=0, **MORE[model]))
    encoder = load_model(folder)
    assert (encoder.spec.atlas, encoder.spec.tr_s, encoder.spec.n_frames) == ("toy", 2.0, 20)
    x, present = torch.randn(2, N_PARCELS, 20), torch.ones(2, N_PARCELS).bool()
    present[1, 3] = False
    found = encoder.embed(x, present, torch.ones(2, 20).bool())
    assert found.shape == (2, encoder.n_features)
    assert found.isfinite().all()
    x[1, 3] = torch.nan
    assert torch.equal(encoder.embed(x, present, torch.ones(2, 20).bool()), found)
    card = (folder / "README.md").read_text()
    for said in (METHODS[model].origin.paper, METHODS[model].origin.licence, "@"):
        assert said in card


@pytest.mark.parametrize("model", METHODS)
def test_a_killed_training_goes_on_to_the_same_bits(world: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"model": model, **MORE[model]}
    alone = train(world, "alone", **settings)
    interrupt(world, monkeypatch, "killed", **settings)
    resumed = train(world, "killed", **settings)
    assert same(alone, resumed)
    assert curves(alone).equals(curves(resumed))


@pytest.mark.parametrize("model", METHODS)
def test_a_loss_that_is_not_finite_stops_with_step_and_runs(
    world: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Training.step

    def spoils(self: Training, number: int) -> None:
        if number == 4:
            with torch.no_grad():
                for _, parameter in self.objective.trained():
                    parameter.fill_(float("nan"))
        step(self, number)

    monkeypatch.setattr(Training, "step", spoils)
    with pytest.raises(BoldtableError, match=r"stopped at step 4 \(epoch 2\): loss nan.*a sub-0\d task-rest"):
        train(world, "spoilt", model=model, **MORE[model])


# One launch for both methods: the processes stay connected from one training to the next.
SCRIPT = """
import json, sys
from contextlib import nullcontext
from pathlib import Path
from torch import distributed
sys.path[:0] = json.loads(sys.argv[1])
from boldtable.stages.pretrain import job
from boldtable.stages.pretrain.distributed import place
from test_pretrain import train
distributed.init_process_group("gloo")
job.together = lambda device: nullcontext(place())
for model, settings in json.loads(sys.argv[3]).items():
    train(Path(sys.argv[2]), "two-" + model, model=model, **settings)
distributed.destroy_process_group()
"""


def test_two_processes_give_what_one_gives(world: Path, tmp_path: Path) -> None:
    given = dict.fromkeys(("semantoks-mae", "semantoks-simclr"), SHARED)  # the others have their own such test
    (tmp_path / "all.py").write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(tmp_path / "all.py"), json.dumps(sys.path), str(world), json.dumps(given)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for model, settings in given.items():
        alone, two = train(world, f"one-{model}", model=model, **settings), world / "models" / f"two-{model}"
        one, other = (curves(folder).drop(columns=WATCHED, errors="ignore") for folder in (alone, two))
        np.testing.assert_allclose(other, one, rtol=2e-4, atol=5e-6, err_msg=model)
        expected = weights(alone)
        for name, weight in weights(two).items():
            torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=2e-5, msg=f"{model}: {name}")


def test_a_batch_in_parts_gives_what_it_gives_at_once(tmp_path: Path) -> None:
    small(tmp_path, n=9)
    atlas().save(tmp_path / "toy.parquet", store.Provenance("atlas"))
    given = {"model": "semantoks-mae", "buffer": "float32", "batch_size": 5}
    whole, parts = train(tmp_path, "whole", **given), train(tmp_path, "parts", micro_batch=2, **given)
    np.testing.assert_allclose(curves(parts)["loss"], curves(whole)["loss"], rtol=1e-5)
    np.testing.assert_allclose(curves(parts)["grad_norm"], curves(whole)["grad_norm"], rtol=1e-4)
    assert not same(whole, parts)
    with pytest.raises(SettingsError, match="the losses of 'semantoks' compare the samples of a batch"):
        train(tmp_path, "refused", micro_batch=2)


@pytest.mark.parametrize(("samples", "size", "micro"), [(12, 1, 5), (5, 2, 1), (13, 3, 2), (4, 3, 8)])
def test_parts_cover_every_sample_once_and_are_as_many_in_each_process(samples: int, size: int, micro: int) -> None:
    found, weights = [], []
    for rank in range(size):
        here = Processes(rank, size)
        first, last = here.share(samples)
        batch = Batch(torch.arange(first, last).view(1, -1, 1, 1), None, None, None)
        job = SimpleNamespace(settings=SimpleNamespace(micro_batch=micro), steps=Steps(9, 9, samples), processes=here)
        parts = list(Training._parts(job, batch))  # type: ignore[arg-type]
        found += [place for part, _ in parts for place in part.views.flatten().tolist()]
        weights.append([weight for _, weight in parts])
        assert all(0 < part.views.shape[1] <= max(micro, -(-samples // size)) for part, _ in parts)
    assert found == list(range(samples))
    assert all(one == weights[0] for one in weights)
    assert sum(weights[0]) == pytest.approx(1)


def test_masked_autoencoding_and_contrast_learn(world: Path) -> None:
    # One token per parcel: the others of its network, which share its waves, say what a hidden one is.
    given = {"model": "semantoks-mae", "tokenizer": "parcel-linear", "masks": "random", "mask_range": [0.3, 0.5]}
    log = curves(train(world, "mae", epochs=100, lr=0.1, batch_size=8, **given))
    assert log["r2"].tail(20).mean() > log["r2"].head(20).mean() + 0.2
    log = curves(train(world, "simclr", model="semantoks-simclr", epochs=60, lr=0.1, batch_size=8))
    assert log["loss"].tail(10).mean() < log["loss"].head(10).mean() - 0.3


def test_single_vectors_are_spared_decay_where_asked(world: Path) -> None:
    """With no learning to speak of, a decayed weight shrinks and a spared one stays."""
    given = {"lr": 1e-12, "weight_decay": [1e12, 1e12], "momentum": 0.0, "warmup_epochs": 0, "mask_probability": 0}
    start = weights(train(world, "start", epochs=0))
    for decayed, spared in (("all", False), ("matrices", True)):
        end = weights(train(world, decayed, decayed=decayed, **given))
        for name in ("blocks.0.norm1.weight", "blocks.0.attn.proj.bias", "cls_token"):
            if start[name].abs().max() > 0:
                assert torch.allclose(start[name], end[name], atol=1e-6) == spared, name
        assert not torch.allclose(start["blocks.0.attn.proj.weight"], end["blocks.0.attn.proj.weight"], atol=1e-6)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"model": "semantoks-simclr", "temprature": 1}, "temprature: unknown key, did you mean 'temperature'?"),
        ({"model": "semantoks-mae", "temperature": 1}, "temperature: unknown key"),
        ({"model": "semantoks-mae", "epochs": -1}, "epochs: Input should be greater than or equal to 0 (given: -1)"),
        ({"model": "semantoks-nae"}, "model: unknown model 'semantoks-nae', did you mean 'semantoks-mae'?"),
    ],
)
def test_a_wrong_block_is_explained_for_its_method(block: dict[str, Any], says: str) -> None:
    values = {**EXAMPLES["pretrain"]["my_model"], **block}
    with pytest.raises(SettingsError) as error:
        Pretrain.parse(values, "given")
    assert str(error.value).startswith(f"given.{says}")
    with pytest.raises(SettingsError) as error:
        Study.parse({**EXAMPLES, "pretrain": {"my_model": values}}, "config")
    assert str(error.value).startswith(f"config.pretrain.my_model.{says}")


def test_one_method_alone_needs_no_name() -> None:
    """The schema that editors and the workflow read must not find two methods in one block."""
    needs = {model for model, settings in METHODS.items() if settings.model_fields["model"].is_required()}
    assert needs == set(METHODS) - {"semantoks"}
    checker = jsonschema.Draft202012Validator(json.loads(schema()))
    for block in ({}, *({"model": model} for model in METHODS)):
        given = {**EXAMPLES, "pretrain": {"m": {"recipe": "semantoks", "datasets": ["my_dataset"], **block}}}
        assert checker.is_valid(given), block
        given["pretrain"]["m"]["epoch"] = 3
        assert not checker.is_valid(given), block


@pytest.mark.parametrize("model", METHODS)
def test_the_report_says_what_was_trained_and_cites_it(model: str) -> None:
    config = {"pretrain": {"m": {"model": model}}, "embed": {"m": {"encoder": "m"}}}
    said = dict(methods.text(config, trained=True))["Models"]
    assert said.count(".") > 2
    assert len(methods.cited([("Models", said)])) == 1


@pytest.mark.parametrize("model", METHODS)
def test_settings_come_back_from_their_json(model: str) -> None:
    given = Pretrain.load(json.dumps({"recipe": "r", "datasets": ["a"], "model": model, **MORE[model]}))
    assert type(given) is METHODS[model]
    assert Pretrain.load(given.model_dump_json()) == given
    assert Study.parse({**EXAMPLES, "pretrain": {"m": given.model_dump(mode="json")}}).pretrain["m"] == given


def test_the_log_has_columns_for_all_and_of_the_method(world: Path) -> None:
    logs = {
        model: pd.read_parquet(train(world, model, model=model, **MORE[model]) / "training.parquet")
        for model in METHODS
    }
    generic = {"step", "epoch", "loss", "grad_norm", "lr", "weight_decay", "momentum", "samples_per_s", "memory_mb"}
    assert all(generic <= set(log) for log in logs.values())
    assert "network_weight" in logs["semantoks"]
    assert {"reconstruction_loss", "r2"} <= set(logs["semantoks-mae"])
    assert logs["semantoks-mae"]["momentum"].isna().all()
    assert {"contrast_loss", "retrieval"} <= set(logs["semantoks-simclr"])


def test_population_statistics_travel_with_the_weights(tmp_path: Path) -> None:
    mine, other = tmp_path / "toy-population.parquet", tmp_path / "other.parquet"
    for path, iqr in ((mine, 2.0), (other, 3.0)):
        rows = [{"column": place, "median": 0.0, "iqr": iqr, "n_frames": 9, "n_runs": 3} for place in range(N_PARCELS)]
        store.write(path, "population", rows, store.Provenance("population"))
    recipe = Clean(atlas="toy", normalise="population", population=["a"])
    tensors, qc = small(tmp_path, n=4, made=store.Provenance("clean", recipe, [mine], atlas="toy"))
    atlas().save(tmp_path / "toy.parquet", store.Provenance("atlas"))
    given = {"model": "m", "atlas": tmp_path / "toy.parquet", "tensors": [tensors], "qc": [qc], "out": tmp_path / "m"}
    settings = Pretrain.parse({**TINY, "epochs": 1, "snapshots": 1})
    for wrong, says in ((None, "name its statistics with --population"), (other, "made with other statistics than")):
        with pytest.raises(InputError, match=says):
            pretrain.run(settings, **given, population=wrong)
    pretrain.run(settings, **given, population=mine)
    for folder in (tmp_path / "m", tmp_path / "m" / "snapshots" / "000000"):
        assert (folder / "normalisation.parquet").read_bytes() == mine.read_bytes()
        assert load_model(folder).spec.normalisation == "population"
    assert mine.name in [given["name"] for given in store.provenance(tmp_path / "m/training.parquet")["inputs"]]
    small(tmp_path, n=4)
    with pytest.raises(InputError, match="leave out --population"):
        pretrain.run(settings, **given, population=mine)
