"""The rows that every table has: their features, and that hidden networks cannot be seen by any of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_embed import N_PARCELS, Means, Study, save_tiny

from boldtable import models, store
from boldtable.errors import InputError, SettingsError
from boldtable.models import connectome, demographics, nuisance
from boldtable.models.brain_jepa import BrainJepa, BrainJepaConfig
from boldtable.models.semantoks import Semantoks, semantoks_config
from boldtable.models.tokenizers import LongConvolution, stretched
from boldtable.stages import embed

NETWORKS = ["Vis", "Vis", "Limbic", "Limbic", "Limbic", "Cont"]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path, NETWORKS)


def table(study: Study, encoder: str) -> pd.DataFrame:
    found = study.embed(encoder)
    names = store.provenance(study.folder / "out.parquet")["features"]
    return pd.DataFrame(np.stack(found["embedding"]), columns=names, index=found["participant"])


def test_majority_is_the_same_for_everybody_and_finite(study: Study) -> None:
    found = table(study, "majority")
    assert found.nunique().eq(1).all()
    assert found.iloc[0].to_dict() == {"zero": 0, "one": 1}


def test_demographics_name_their_columns_and_know_the_session(study: Study) -> None:
    study.people = [
        {"participant": "01", "session": None, "age_years": 31.5, "sex": "F"},
        {"participant": "03", "session": "a", "age_years": 50.0, "sex": None},
        {"participant": "03", "session": "b", "age_years": 52.0, "sex": "M"},
    ]
    study.qc[2]["session"] = "b"
    found = table(study, "demographics")
    assert found.columns.tolist() == [*demographics.CONSTANT, "age_years", "sex=F", "sex=M"]
    assert found.loc["01", ["age_years", "sex=F", "sex=M"]].tolist() == [31.5, 1, 0]
    assert found.loc["03", ["age_years", "sex=F", "sex=M"]].tolist() == [52, 0, 1]
    assert np.isnan(found.loc["04", "age_years"])
    assert found.loc["04", ["zero", "one", "sex=F", "sex=M"]].tolist() == [0, 1, 0, 0]


def test_nuisance_has_quality_beside_motion_and_length(study: Study) -> None:
    for row in study.qc:
        row.update(tsnr=55.0, dvars=1.1, minutes_kept=4.0)
    found = table(study, "nuisance")
    assert found.columns.tolist()[: len(nuisance.MEASURES)] == list(nuisance.MEASURES)
    assert found.loc["01", ["tsnr", "minutes_kept"]].tolist() == [55, 4]


def test_partial_and_tangent_rows_are_those_of_the_kept_frames(study: Study) -> None:
    study.of("01")["interpolated"][:10] = True
    study.of("04")["signal"][:, 2] = np.nan
    expected = study.of("01")["signal"][10:]
    partial = study.embed("connectome-partial")
    np.testing.assert_array_equal(partial["embedding"][0], connectome.partial_edges(expected))
    assert "transform" not in store.provenance(study.folder / "out.parquet")
    tangent = study.embed("connectome-tangent")
    matrices = connectome.vector_to_matrix(np.stack(tangent["embedding"]))
    np.testing.assert_allclose(matrices[0], connectome.covariance(expected), atol=1e-6)
    assert np.isnan(matrices[2][2]).all()
    assert np.isfinite(np.delete(np.delete(matrices[2], 2, 0), 2, 1)).all()
    assert store.provenance(study.folder / "out.parquet")["transform"] == "tangent"


@pytest.mark.parametrize("encoder", ["connectome", "connectome-partial", "connectome-tangent"])
def test_a_hidden_network_touches_no_edge(study: Study, encoder: str) -> None:
    whole = study.embed(encoder, hide_networks=["Limbic"])
    only = study.embed(encoder, only_networks=["Cont", "Vis"])
    for row in study.tensors["a"] + study.tensors["b"]:
        row["signal"][:, 2:5] = 1e3 * study.rng.normal(size=(len(row["signal"]), 3))
    spoilt = study.embed(encoder, hide_networks=["Limbic"])
    size = 3 + 3 * (encoder == "connectome-tangent")
    for found in (whole, only):
        assert np.stack(found["embedding"]).shape == (3, size)
        np.testing.assert_array_equal(np.stack(found["embedding"]), np.stack(spoilt["embedding"]))


def vectors(study: Study, **settings: Any) -> np.ndarray:
    wanted = embed.Embed(recipe="semantoks", weights=study.folder / "tiny", windows=2, device="cpu", **settings)
    paths = study.write()
    embed.run(wanted, **paths)
    return np.stack(store.frame(paths["out"], "embeddings")["embedding"])


def test_a_model_with_mask_tokens_does_not_see_what_is_hidden(study: Study) -> None:
    encoder = save_tiny(study.folder / "tiny", networks=tuple(NETWORKS))
    whole, hidden = vectors(study), vectors(study, hide_networks=["Limbic"])
    np.testing.assert_array_equal(hidden, vectors(study, only_networks=["Vis", "Cont"]))
    for row in study.tensors["a"] + study.tensors["b"]:
        row["signal"][:, 2:5] = study.rng.normal(size=(len(row["signal"]), 3))
    assert not np.allclose(vectors(study), whole, atol=1e-3)
    np.testing.assert_array_equal(vectors(study, hide_networks=["Limbic"]), hidden)
    # Hidden is not missing: the others attend to the mask token. And it is what the student sees in training.
    x = torch.from_numpy(study.of("01")["signal"][:20].T.copy())[None]
    masks = torch.ones(1, N_PARCELS, dtype=torch.bool), torch.ones(1, 20, dtype=torch.bool)
    shown = torch.tensor([network != "Limbic" for network in NETWORKS])
    with torch.inference_mode():
        token_mask = torch.zeros(1, 3, 4, dtype=torch.bool)
        token_mask[:, 1] = True
        tokens = encoder(x, token_mask)
        visible = tokens[:, 1:].unflatten(1, (3, 4))[:, [0, 2]].flatten(1, 2)
        missing = encoder.embed(x, masks[0] & shown, masks[1])
    expected = torch.cat([visible.mean(dim=1), tokens[:, 0]], dim=1)
    np.testing.assert_allclose(hidden[0], expected[0].numpy(), atol=1e-5)
    assert not np.allclose(hidden[0], missing[0].numpy(), atol=1e-3)


def test_hidden_parcels_of_a_token_that_shows_others_are_absent() -> None:
    spec = Means(networks=tuple(NETWORKS)).spec
    encoder = Semantoks(semantoks_config("tiny", NETWORKS, 20, 5, tokenizer="single"), spec).eval()
    x, shown = torch.randn(2, N_PARCELS, 20), torch.tensor([network != "Limbic" for network in NETWORKS])
    masks = torch.ones(2, N_PARCELS, dtype=torch.bool), torch.ones(2, 20, dtype=torch.bool)
    with torch.inference_mode():
        found, expected = encoder.embed_shown(x, *masks, shown), encoder.embed(x, masks[0] & shown, masks[1])
    torch.testing.assert_close(found, expected)


def test_a_model_without_mask_tokens_is_told_that_parcels_are_missing(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "load_model", lambda folder, device: Means(networks=tuple(NETWORKS)))
    found = study.embed("model", windows=1, hide_networks=["Vis"], max_missing=0)
    vectors = np.stack(found["embedding"])
    assert (vectors[:, :2] == -9).all()
    assert (vectors[:, 2:N_PARCELS] != -9).all()


def test_random_weights_of_a_seed_in_place_of_those_of_a_folder(study: Study) -> None:
    trained = save_tiny(study.folder / "tiny", seed=3, networks=tuple(NETWORKS))
    whole, first = vectors(study), vectors(study, untrained_seed=21)
    assert not np.allclose(whole, first, atol=1e-2)
    np.testing.assert_array_equal(vectors(study, untrained_seed=21), first)
    assert not np.allclose(vectors(study, untrained_seed=22), first, atol=1e-2)
    np.testing.assert_array_equal(vectors(study, untrained_seed=3), whole)  # as it was made from this seed
    fresh = models.untrained_model(study.folder / "tiny", 21)
    assert fresh.spec == trained.spec
    norms = [layer.norm for layer in fresh.modules() if isinstance(layer, LongConvolution)]
    kernels = [layer.scales for layer in fresh.modules() if isinstance(layer, LongConvolution)]
    for norm, scales in zip(norms, kernels, strict=True):  # what belongs to the weights goes with them
        torch.testing.assert_close(norm, stretched(list(scales)).norm(dim=-1, keepdim=True))


def test_what_no_seed_alters_is_taken_from_the_folder(tmp_path: Path) -> None:
    spec = Means(networks=tuple(NETWORKS)).spec
    config = BrainJepaConfig(N_PARCELS, window_frames=20, patch_frames=5, n_components=3, width=8, depth=1, heads=2)
    gradients = torch.randn(N_PARCELS, 3)
    models.save_model(tmp_path, BrainJepa(config, spec, gradients), "# card")
    torch.testing.assert_close(models.untrained_model(tmp_path, 5).gradients, gradients)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"hide_networks": ["Limbo"]}, SettingsError, "no network 'Limbo', did you mean 'Limbic'"),
        ({"hide_networks": ["Vis", "Limbic", "Cont"]}, SettingsError, "leaves no parcel of atlas 'toy'"),
        ({"only_networks": ["Cont"]}, InputError, r"has 1 parcel\(s\) in the networks that are not hidden"),
        ({"hide_networks": ["Vis"], "only_networks": ["Cont"]}, ValueError, "either hide_networks or only_networks"),
    ],
)
def test_networks_that_cannot_be_hidden(
    study: Study, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        study.embed("connectome", **settings)


def test_baselines_do_not_wait_for_torch() -> None:
    code = "import sys; from boldtable.stages.embed import baselines; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tables_have_no_network_to_hide(study: Study) -> None:
    with pytest.raises(ValueError, match="encoder 'nuisance' sees no network"):
        study.embed("nuisance", hide_networks=["Vis"])
