"""embed: the right runs, windows, masks and refusals, with encoders whose output is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from boldtable import models, store
from boldtable import study as study_module
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError, SettingsError
from boldtable.models import InputSpec, connectome
from boldtable.models.brain_jepa import BrainJepa, brain_jepa_config
from boldtable.stages import embed
from boldtable.stages.clean import Clean
from boldtable.stages.embed.encoders import window_starts

N_PARCELS = 6
N_FRAMES = 50


def run_row(participant: str, **more: Any) -> dict[str, Any]:
    return {"dataset": "aurora", "participant": participant, "session": None, "task": "rest", "run": "1", **more}


class Study:
    """A dataset of four runs in two shards, as clean and qc would leave it."""

    def __init__(self, folder: Path, networks: Sequence[str] = ("net",) * N_PARCELS) -> None:
        self.folder, self.networks = folder, list(networks)
        sites = {"01": "Oslo", "02": "Rome", "03": "Bonn", "04": None}
        self.people = [{"participant": name, "site": site} for name, site in sites.items()]
        self.rng = np.random.default_rng(0)
        self.tensors: dict[str, list[dict[str, Any]]] = {"a": [], "b": []}
        self.qc: list[dict[str, Any]] = []
        self.clean = Clean(atlas="toy")
        self.inputs: list[Path] = []  # what the tensors were made from
        for index, name in enumerate(["01", "02", "03", "04"]):
            self.add(name, "ab"[index // 2], keep=name != "02", fd_mm_mean=0.1 * index)

    def add(self, name: str, shard: str, keep: bool = True, n_frames: int = N_FRAMES, **measures: Any) -> None:
        signal = self.rng.normal(size=(n_frames, N_PARCELS)).astype(np.float32)
        self.tensors[shard].append(
            run_row(
                name, tr_s=2.0, n_frames=n_frames, signal=signal, interpolated=np.zeros(n_frames, bool), status="ok"
            )
        )
        self.qc.append(run_row(name, shard=shard, keep=keep, n_frames=n_frames, status="ok", **measures))

    def of(self, name: str) -> dict[str, Any]:
        return next(row for rows in self.tensors.values() for row in rows if row["participant"] == name)

    def write(self) -> dict[str, Any]:
        parcels = pd.DataFrame({"index": range(1, N_PARCELS + 1), "name": [f"p{i}" for i in range(N_PARCELS)]})
        AtlasTable("toy", "MNI", parcels.assign(network=self.networks)).save(
            self.folder / "atlas.parquet", store.Provenance("x")
        )
        for shard, rows in self.tensors.items():
            path, provenance = (
                self.folder / "tensors" / f"{shard}.parquet",
                store.Provenance("clean", self.clean, self.inputs),
            )
            with store.Writer(path, "tensors", provenance, N_PARCELS) as writer:
                for row in rows:
                    writer.append(row)
        store.write(self.folder / "participants.parquet", "participants", self.people, store.Provenance("x"))
        store.write(self.folder / "qc.parquet", "qc", self.qc, store.Provenance("x"))
        tables = {name: self.folder / f"{name}.parquet" for name in ("atlas", "qc", "participants")}
        return {**tables, "tensors": self.folder / "tensors", "weights": None, "out": self.folder / "out.parquet"}

    def embed(self, encoder: str = "connectome", **settings: Any) -> pd.DataFrame:
        paths = self.write()
        if encoder == "model":
            paths["weights"] = self.folder
            (self.folder / "model.safetensors").write_bytes(b"")
        embed.run(embed.Embed(recipe="semantoks", encoder=encoder, **settings), **paths)
        return store.frame(paths["out"], "embeddings")


class Means:
    """An encoder that gives mean over present frames of each present parcel, then the first and last frame seen."""

    n_features = N_PARCELS + 2

    def __init__(self, **changes: Any) -> None:
        parcels = tuple(f"p{i}" for i in range(N_PARCELS))
        fields = {"atlas": "toy", "parcels": parcels, "networks": ("net",) * N_PARCELS, "tr_s": 2.0, "n_frames": 20}
        self.spec = InputSpec(**{**fields, "normalisation": "zscore", "recipe": "semantoks", **changes})
        self.batches: list[int] = []

    def embed(self, x: torch.Tensor, parcel_mask: torch.Tensor, frame_mask: torch.Tensor) -> torch.Tensor:
        assert x.dtype == torch.float32
        assert x.shape == (len(x), len(self.spec.parcels), self.spec.n_frames)
        assert torch.isfinite(x).all()
        self.batches.append(len(x))
        mean = (x * frame_mask[:, None]).sum(-1) / frame_mask.sum(-1)[:, None]
        mean = torch.where(parcel_mask, mean, torch.full_like(mean, -9.0))
        return torch.cat([mean, x[:, :1, 0], frame_mask.sum(-1)[:, None].float()], dim=1)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    def use(encoder: Any) -> Any:
        monkeypatch.setattr(models, "load_model", lambda folder, device: encoder)
        return encoder

    return use


def test_connectome_of_kept_runs_only(study: Study) -> None:
    study.of("03")["interpolated"][:10] = True
    study.of("04")["signal"][:, 2] = np.nan
    found = study.embed()
    assert found["participant"].tolist() == ["01", "03", "04"]
    assert found["window"].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(found["embedding"][0], connectome.edges(study.of("01")["signal"]))
    np.testing.assert_array_equal(found["embedding"][1], connectome.edges(study.of("03")["signal"][10:]))
    assert np.isnan(found["embedding"][2]).sum() == N_PARCELS - 1
    about = store.provenance(study.folder / "out.parquet")
    assert "parcels i < j of atlas 'toy'" in about["features"]
    assert about["stage"] == "embed"


def test_nuisance_has_motion_length_and_the_sites_of_the_dataset(study: Study) -> None:
    found = study.embed("nuisance")
    names = store.provenance(study.folder / "out.parquet")["features"]
    assert names[-3:] == ["site=Bonn", "site=Oslo", "site=Rome"]
    values = pd.DataFrame(np.stack(found["embedding"]), columns=names, index=found["participant"])
    assert values.loc["01", "site=Oslo"] == 1
    assert values.loc["04", ["site=Bonn", "site=Oslo", "site=Rome"]].tolist() == [0, 0, 0]
    assert values["n_frames"].tolist() == [N_FRAMES] * 3
    assert values.loc["03", "fd_mm_mean"] == pytest.approx(0.2)
    assert values["minutes"].isna().all()


def test_windows_are_evenly_spaced_and_batched(study: Study, load: Callable[[Any], Any]) -> None:
    encoder = load(Means())
    found = study.embed("model", windows=4, batch_size=3, device="cpu")
    assert len(found) == 3 * 4
    first = found[found["participant"] == "03"]
    assert first["window"].tolist() == [0, 1, 2, 3]
    assert first["start_s"].tolist() == [0, 20, 40, 60]
    signal = study.of("03")["signal"]
    expected = [signal[start : start + 20].mean(axis=0) for start in (0, 10, 20, 30)]
    np.testing.assert_allclose(np.stack(first["embedding"])[:, :N_PARCELS], expected, atol=1e-5)
    assert encoder.batches == [3, 1, 3, 3, 2]


def test_missing_parcels_and_short_runs_are_masked(study: Study, load: Callable[[Any], Any]) -> None:
    load(Means())
    study.of("03")["signal"][:, 2] = np.nan
    study.add("05", "b", n_frames=12)
    found = study.embed("model", windows=4).set_index("participant")
    assert (np.stack(found.loc["03", "embedding"])[:, 2] == -9).all()
    short = found.loc["05"]
    assert short["window"] == 0
    assert short["embedding"][-1] == 12
    np.testing.assert_allclose(short["embedding"][:N_PARCELS], study.of("05")["signal"].mean(axis=0), atol=1e-5)


def test_window_starts() -> None:
    assert window_starts(100, 100, 8) == [0]
    assert window_starts(30, 100, 8) == [0]
    assert window_starts(103, 100, 8) == [0, 1, 2, 3]
    assert window_starts(180, 100, 3) == [0, 40, 80]
    assert window_starts(180, 100, 1) == [0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"atlas": "a424"}, "trained on atlas 'a424', the tensors have 'toy'"),
        (
            {"parcels": tuple(f"p{i}" for i in (0, 1, 2, 3, 4, 9))},
            "the model's parcel 'p9' .* is none of the 6 parcels",
        ),
        ({"tr_s": 0.72}, r"trained at TR 0\.72 s, aurora sub-01 .* has TR 2 s"),
        ({"tr_s": None}, "trained at TR unknown"),
        ({"normalisation": "robust"}, "expects 'robust' normalisation .* have 'zscore'"),
    ],
)
def test_a_model_of_another_input_is_refused(
    study: Study, load: Callable[[Any], Any], changes: dict[str, Any], message: str
) -> None:
    load(Means(**changes))
    with pytest.raises(InputError, match=message):
        study.embed("model")
    assert not (study.folder / "out.parquet").exists()


def test_a_tr_within_one_percent_is_the_same(study: Study, load: Callable[[Any], Any]) -> None:
    load(Means(tr_s=2.015))
    assert len(study.embed("model", windows=1)) == 3


def test_embeddings_that_are_not_finite_name_their_runs(study: Study, load: Callable[[Any], Any]) -> None:
    encoder = load(Means())
    encoder.embed = lambda x, parcel_mask, frame_mask: torch.full((len(x), N_PARCELS + 2), torch.nan)
    with pytest.raises(InputError, match=r"not finite for 1 run\(s\), such as aurora sub-01"):
        study.embed("model")


def test_weights_go_with_encoders_that_have_them(study: Study) -> None:
    paths = study.write()
    with pytest.raises(SettingsError, match="'semantoks' needs its model folder"):
        embed.run(embed.Embed(recipe="r", encoder="semantoks"), **paths)
    with pytest.raises(SettingsError, match="'connectome' takes no --weights"):
        embed.run(embed.Embed(recipe="r", encoder="connectome"), **{**paths, "weights": study.folder})


def test_kept_runs_that_are_gone_or_failed_are_named(study: Study) -> None:
    study.of("04").update(status="failed", reason="too short", signal=None)
    with pytest.raises(InputError, match=r"kept aurora sub-04 .*status 'failed' \(too short\)"):
        study.embed()
    study.tensors["b"].pop()
    with pytest.raises(InputError, match="lacks aurora sub-04"):
        study.embed()
    study.qc = [{**row, "keep": False} for row in study.qc]
    with pytest.raises(InputError, match="no run is kept"):
        study.embed()


def test_tensors_of_another_atlas_are_refused(study: Study) -> None:
    study.clean = Clean(atlas="schaefer")
    with pytest.raises(InputError, match="made with atlas 'schaefer', not 'toy'"):
        study.embed()


def test_no_gpu_is_said(study: Study, load: Callable[[Any], Any], capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    load(Means())
    study.embed("model")
    assert "no GPU here: embedding on the CPU" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="there is no GPU here"):
        study.embed("model", device="cuda")


def test_a_trained_model_folder_is_read_and_run(study: Study) -> None:
    from boldtable.models.semantoks import Semantoks, semantoks_config

    spec = Means().spec
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = Semantoks(semantoks_config("tiny", spec.networks, window_frames=20, patch_frames=5), spec).eval()
    models.save_model(study.folder / "tiny", encoder, "# card")
    paths = {**study.write(), "weights": study.folder / "tiny"}
    embed.run(embed.Embed(recipe="semantoks", encoder="tiny", windows=1, device="cpu"), **paths)
    found = store.frame(paths["out"], "embeddings")
    x = torch.from_numpy(study.of("01")["signal"][:20].T.copy())[None]
    with torch.inference_mode():
        expected = encoder.embed(x, torch.ones(1, N_PARCELS, dtype=torch.bool), torch.ones(1, 20, dtype=torch.bool))
    np.testing.assert_allclose(found["embedding"][0], expected[0].numpy(), atol=1e-5)


def save_tiny(folder: Path, seed: int = 0, **changes: Any) -> Any:
    from boldtable.models.semantoks import Semantoks, semantoks_config

    spec = Means(**changes).spec
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = Semantoks(semantoks_config("tiny", spec.networks, window_frames=20, patch_frames=5), spec).eval()
    models.save_model(folder, encoder, "# card")
    return encoder


def test_a_brain_jepa_folder_embeds_windows_and_missing_parcels(study: Study) -> None:
    parcels = tuple(f"p{i}" for i in range(N_PARCELS))[::-1]
    spec = InputSpec("toy", parcels, ("net",) * N_PARCELS, 2.0, 20, "zscore", "semantoks")
    torch.manual_seed(0)
    encoder = BrainJepa(brain_jepa_config("tiny", N_PARCELS, 20, 5, 3), spec, torch.randn(N_PARCELS, 3))
    models.save_model(study.folder / "tiny", encoder, "card")
    study.of("03")["signal"][:, 4] = np.nan
    found = vectors(study)
    assert found.shape == (3, 96)
    assert np.isfinite(found).all()
    x = torch.from_numpy(study.of("01")["signal"][:20, ::-1].T.copy())[None]
    with torch.no_grad():
        np.testing.assert_allclose(found[0], encoder.eval().embed(x)[0], atol=1e-5)


def test_parcels_are_joined_by_name(
    study: Study, load: Callable[[Any], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A model with five of the six parcels, in another order, reads its own."""
    study.of("03")["signal"][:, 4] = np.nan
    whole = Means()
    load(whole)
    expected = np.stack(study.embed("model")["embedding"])
    mine = [4, 0, 5, 2, 1]
    fewer = Means(parcels=tuple(f"p{i}" for i in mine), networks=("net",) * 5)
    fewer.n_features = 7
    load(fewer)
    found = np.stack(study.embed("model")["embedding"])
    np.testing.assert_array_equal(found[:, :5], expected[:, mine])
    assert "reads 5 of the 6 parcels of 'toy'" in capsys.readouterr().err


def vectors(study: Study, **settings: Any) -> np.ndarray:
    """The embeddings by the model folder ``tiny`` that the settings name themselves."""
    wanted = embed.Embed(recipe="semantoks", weights=study.folder / "tiny", windows=1, device="cpu", **settings)
    paths = study.write()
    embed.run(wanted, **paths)
    return np.stack(store.frame(paths["out"], "embeddings")["embedding"])


def test_weights_of_the_settings_need_no_argument(study: Study) -> None:
    save_tiny(study.folder / "tiny")
    assert vectors(study).shape == (3, 192)
    with pytest.raises(SettingsError, match="leave out --weights"):
        embed.run(
            embed.Embed(recipe="r", weights=study.folder / "tiny"),
            **{**study.write(), "weights": study.folder / "tiny"},
        )


def test_pooling_takes_a_part_of_the_same_features(study: Study) -> None:
    save_tiny(study.folder / "tiny")
    both = vectors(study)
    np.testing.assert_allclose(vectors(study, pooling="avg"), both[:, :96], atol=1e-6)
    np.testing.assert_allclose(vectors(study, pooling="cls"), both[:, 96:], atol=1e-6)
    np.testing.assert_array_equal(vectors(study, pooling="cls_avg"), both)


def test_pooling_of_a_model_without_tokens_is_refused(study: Study, load: Callable[[Any], Any]) -> None:
    load(Means())
    with pytest.raises(SettingsError, match="leave pooling null"):
        study.embed("model", pooling="cls")


def test_snapshots_are_counted_from_the_untrained_model_on(study: Study) -> None:
    save_tiny(study.folder / "tiny")
    final = vectors(study)
    for number, step in enumerate((0, 7, 100)):
        save_tiny(study.folder / f"tiny/snapshots/{step:06d}", seed=number + 1)
    second = vectors(study, snapshot=1)
    assert not np.allclose(second, final, atol=1e-2)
    save_tiny(study.folder / "tiny", seed=2)
    np.testing.assert_array_equal(vectors(study), second)
    assert "model 'tiny/snapshots/000007'" in embed_about(study, snapshot=1)
    with pytest.raises(InputError, match=r"has 3 snapshots, none with number 3 \(counted from 0\)"):
        vectors(study, snapshot=3)


def embed_about(study: Study, **settings: Any) -> str:
    vectors(study, **settings)
    return str(store.provenance(study.folder / "out.parquet")["features"])


def test_windows_of_another_length(study: Study, load: Callable[[Any], Any]) -> None:
    encoder = load(Means())
    encoder.spec = Means(n_frames=30).spec  # what the made-up encoder asserts; the stage asks for 30 by its settings
    found = study.embed("model", windows=2, window_frames=30)
    expected = study.of("01")["signal"][20:50].mean(axis=0)
    np.testing.assert_allclose(found["embedding"][1][:N_PARCELS], expected, atol=1e-5)


def test_native_tr_is_taken_where_asked_for(study: Study, load: Callable[[Any], Any]) -> None:
    load(Means(tr_s=0.72))
    assert len(study.embed("model", windows=1, tr="native")) == 3


def test_too_many_missing_parcels_are_refused(study: Study, load: Callable[[Any], Any]) -> None:
    load(Means())
    study.of("03")["signal"][:, :2] = np.nan
    assert len(study.embed("model", windows=1, max_missing=0.34)) == 3
    with pytest.raises(InputError, match=r"sub-03 .*lacks 2 of 6 parcels, .* at most 30% missing"):
        study.embed("model", max_missing=0.3)


def test_bfloat16_is_close_and_stored_as_float32(study: Study) -> None:
    save_tiny(study.folder / "tiny")
    exact, low = vectors(study), vectors(study, precision="bfloat16")
    assert low.dtype == np.float32
    assert not np.array_equal(exact, low)
    cosine = (exact * low).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(low, axis=1)
    assert cosine.min() > 0.999


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give either encoder or weights"),
        ({"encoder": "semantoks", "weights": "folder"}, "give either encoder or weights"),
        ({"encoder": "connectome", "snapshot": 1}, "'connectome' has no weights, so it takes no snapshot"),
        ({"encoder": "nuisance", "pooling": "cls"}, "takes no pooling"),
    ],
)
def test_settings_that_disagree_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        embed.Embed.parse({"recipe": "semantoks", **settings})


STUDY = {
    "collect": {"aurora": {"derivatives": "data"}},
    "parcellate": {"demo457": {"source": "demo457"}},
    "clean": {"semantoks": {"atlas": "demo457"}},
    "qc": {"recipe": "semantoks"},
    "pretrain": {"model": {"recipe": "semantoks", "datasets": ["aurora"], "snapshots": 2}},
}


def test_a_study_knows_its_snapshots_and_weights(tmp_path: Path) -> None:
    def with_row(**row: Any) -> study_module.Study:
        return study_module.Study.parse({**STUDY, "embed": {"row": {"recipe": "semantoks", **row}}})

    with_row(encoder="model", snapshot=1).check()
    with pytest.raises(SettingsError, match=r"embed\.row\.snapshot: 2, but pretrain\.model\.snapshots is 2"):
        with_row(encoder="model", snapshot=2).check()
    with pytest.raises(SettingsError, match=r"embed\.row\.encoder: 'modle' is not defined .* did you mean 'model'"):
        with_row(encoder="modle").check()
    given = with_row(weights=tmp_path / "published")
    given.check()
    with pytest.raises(InputError, match=r"collect\.aurora\.derivatives: no such folder"):
        given.check_folders()
    (tmp_path / "derivatives/sub-01").mkdir(parents=True)
    collect = {"aurora": {"derivatives": str(tmp_path / "derivatives")}}
    there = study_module.Study.parse({**given.model_dump(mode="json"), "collect": collect})
    with pytest.raises(InputError, match=r"embed\.row\.weights: no such folder: .*published"):
        there.check_folders()


def test_halves_stand_beside_whole_runs(study: Study, load: Callable[[Any], Any]) -> None:
    study.add("05", "a", n_frames=31)
    found = study.embed(halves=True)
    odd, whole = study.of("05")["signal"], found[found["half"].isna()]
    assert whole["participant"].tolist() == ["01", "05", "03", "04"]
    first, second = (found[(found["participant"] == "05") & (found["half"] == half)].iloc[0] for half in (1, 2))
    np.testing.assert_array_equal(first["embedding"], connectome.edges(odd[:15]))
    np.testing.assert_array_equal(second["embedding"], connectome.edges(odd[16:]))
    assert second["start_s"] == 32.0
    load(Means())
    windows = study.embed("model", halves=True, windows=3).query("participant == '01'")
    assert windows.groupby(windows["half"].fillna(0))["start_s"].apply(list).to_dict() == {
        0: [0, 30, 60], 1: [0, 4, 10], 2: [50, 54, 60]
    }  # fmt: skip
    with pytest.raises(SettingsError, match="'nuisance' knows whole runs only"):
        embed.Embed.parse({"recipe": "semantoks", "encoder": "nuisance", "halves": True})


def statistics(path: Path, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Write population statistics of the six parcels; the last has none."""
    rng = np.random.default_rng(seed)
    median, iqr = rng.normal(size=N_PARCELS), rng.uniform(1, 2, N_PARCELS)
    rows = [{"column": place, "median": median[place], "iqr": iqr[place]} for place in range(N_PARCELS)]
    rows[-1]["iqr"] = None
    store.write(path, "population", rows, store.Provenance("population"))
    return median, iqr


@pytest.mark.parametrize("normalise", ["zscore", "none"])
def test_a_model_scales_by_the_statistics_in_its_folder(
    study: Study, load: Callable[[Any], Any], capsys: pytest.CaptureFixture[str], normalise: str
) -> None:
    order = [3, 2, 0, 1, 4, 5]
    load(Means(normalisation="population", parcels=tuple(f"p{place}" for place in order)))
    median, iqr = statistics(study.folder / "normalisation.parquet")
    study.clean = Clean(atlas="toy", normalise=normalise)
    std = study.rng.uniform(5, 9, N_PARCELS).astype(np.float32)
    for rows in study.tensors.values():
        for row in rows:
            row["std"] = std
    found = study.embed("model", windows=1)
    assert "scales the tensors by its own statistics" in capsys.readouterr().err
    series = study.of("01")["signal"] * (std if normalise == "zscore" else 1)
    expected = (series[:20, order].mean(axis=0) - median) / iqr
    np.testing.assert_allclose(found["embedding"][0][: N_PARCELS - 1], expected[:-1], rtol=1e-4, atol=1e-5)
    assert found["embedding"][0][N_PARCELS - 1] == -9  # no statistics: missing


def test_tensors_made_with_the_model_s_own_statistics_stay_as_they_are(
    study: Study, load: Callable[[Any], Any]
) -> None:
    load(Means(normalisation="population"))
    study.clean = Clean(atlas="toy", normalise="population", population=["aurora"])
    plain = np.stack(study.embed("model", windows=1)["embedding"])
    statistics(study.folder / "normalisation.parquet")
    with pytest.raises(InputError, match="were made with other population statistics: set normalise 'none'"):
        study.embed("model", windows=1)
    study.inputs = [study.folder / "normalisation.parquet"]
    np.testing.assert_array_equal(np.stack(study.embed("model", windows=1)["embedding"]), plain)


def test_what_statistics_cannot_convert_is_refused(study: Study, load: Callable[[Any], Any]) -> None:
    load(Means(normalisation="population"))
    statistics(study.folder / "normalisation.parquet")
    study.clean = Clean(atlas="toy", normalise="robust")
    with pytest.raises(InputError, match=r"scales by the statistics in .*, the tensors were made with normalise 'rob"):
        study.embed("model")
    study.clean = Clean(atlas="toy")
    with pytest.raises(InputError, match="sub-01 task-rest run-1 has no standard deviations: run clean again"):
        study.embed("model")
    (study.folder / "normalisation.parquet").unlink()
    with pytest.raises(InputError, match=r"expects 'population' normalisation .* have 'zscore'"):
        study.embed("model")


def test_a_run_that_failed_in_this_recipe_is_left_out_where_asked(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    study.of("03").update(status="failed", reason="too short", signal=None)
    with pytest.raises(InputError, match=r"kept aurora sub-03 .*'failed' \(too short\): run qc again or"):
        study.embed()
    study.of("04").update(status="failed", reason="too short", signal=None)
    found = study.embed(absent="leave-out", halves=True)
    assert found["participant"].tolist() == ["01", "01", "01"]
    assert "aurora sub-04 task-rest run-1 is left out: it has status 'failed' (too short)" in capsys.readouterr().err
