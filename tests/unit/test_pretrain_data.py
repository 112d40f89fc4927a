"""pretrain: the buffer holds exactly the kept runs; crops are cut from where they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError
from boldtable.settings import Settings
from boldtable.stages.pretrain import data

NETWORKS = ["vis"] * 5 + ["som"] * 4 + ["def"] * 3
N_PARCELS = len(NETWORKS)


def atlas(name: str = "toy") -> AtlasTable:
    n = N_PARCELS
    parcels = pd.DataFrame(
        {
            "index": range(1, n + 1), "name": [f"p{i}" for i in range(n)], "hemisphere": "B", "network": NETWORKS,
            "x_mm": 0.0, "y_mm": 0.0, "z_mm": 0.0, "n_voxels": 9,
        }
    )  # fmt: skip
    return AtlasTable(name=name, space="MNI152NLin6Asym", parcels=parcels)


def rhythm(n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Slow waves shared within networks, plus noise: z-scored (frame, parcel)."""
    times = np.arange(n_frames)[:, None]
    phase, pace = rng.uniform(0, 6, 3), rng.uniform(0.1, 0.4, 3)
    waves = np.sin(times * pace + phase)
    signal = waves[:, np.unique(NETWORKS, return_inverse=True)[1]] + 0.5 * rng.standard_normal((n_frames, N_PARCELS))
    return ((signal - signal.mean(0)) / signal.std(0)).astype(np.float32)


def run_row(
    dataset: str, participant: int, run: int, n_frames: int, rng: np.random.Generator, **more: Any
) -> dict[str, Any]:
    return {
        "dataset": dataset, "participant": f"{participant:02d}", "session": None, "task": "rest", "run": str(run),
        "acquisition": None, "tr_s": 2.0, "n_frames": n_frames, "signal": rhythm(n_frames, rng), "mean": None,
        "std": None, "coverage": np.ones(N_PARCELS, np.float32), "interpolated": None, "status": "ok", "reason": None,
        "shard": f"{participant % 2:04d}", "keep": True, **more,
    }  # fmt: skip


def write_dataset(
    folder: Path, dataset: str, rows: list[dict[str, Any]], made: store.Provenance | None = None
) -> tuple[Path, Path]:
    """Write tensors and qc as clean and qc would; returns (tensors folder, qc file)."""
    tensors, qc = folder / dataset / "tensors" / "toy", folder / dataset / "qc.parquet"
    for shard in sorted({row["shard"] for row in rows}):
        made = made or store.Provenance("clean", atlas="toy")
        with store.Writer(tensors / f"{shard}.parquet", "tensors", made, len(rows[0]["coverage"])) as writer:
            for row in rows:
                if row["shard"] == shard:
                    writer.append(row)
    columns = [*store.KEYS, "shard", "keep"]
    store.write(qc, "qc", [{name: row[name] for name in columns} for row in rows], store.Provenance("qc"))
    return tensors, qc


def small(
    folder: Path, n: int = 6, dataset: str = "a", made: store.Provenance | None = None, **more: Any
) -> tuple[Path, Path]:
    rng = np.random.default_rng(len(dataset) + n)
    rows = [run_row(dataset, p, r, 40 + 5 * p, rng, **more) for p in range(n) for r in range(1 + p % 2)]
    return write_dataset(folder, dataset, rows, made)


def load(*pairs: tuple[str, tuple[Path, Path]], name: str = "toy") -> data.Cohort:
    names = [pair[0] for pair in pairs]
    tensors, qc = [pair[1][0] for pair in pairs], [pair[1][1] for pair in pairs]
    return data.load(names, tensors, qc, atlas(name), torch.float16, torch.device("cpu"))


def signal_of(cohort: data.Cohort, run: int) -> np.ndarray:
    begin = int(cohort.starts[run])
    return cohort.frames[begin : begin + int(cohort.lengths[run])].float().numpy()


def test_every_kept_run_lies_whole_at_its_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [run_row("a", p, r, 30 + p, rng) for p in (3, 1, 2) for r in (2, 1)]
    cohort = load(("a", write_dataset(tmp_path, "a", rows)))
    assert cohort.labels == [f"a sub-{p:02d} task-rest run-{r}" for p in (1, 2, 3) for r in (1, 2)]
    for row in rows:
        run = cohort.labels.index(store.label(row))
        np.testing.assert_allclose(signal_of(cohort, run), row["signal"], atol=2e-3)
    assert cohort.n_participants == 3
    assert cohort.counts.tolist() == [2, 2, 2]
    assert cohort.tr_s == 2.0


def test_dropped_and_failed_runs_are_left_out_and_unlabelled_ones_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [
        run_row("a", 1, 1, 30, rng),
        run_row("a", 2, 1, 30, rng, keep=False),
        run_row("a", 3, 1, 30, rng, keep=False, signal=None, status="failed", reason="truncated"),
        run_row("a", 4, 1, 30, rng),
    ]
    cohort = load(("a", write_dataset(tmp_path, "a", rows)))
    assert cohort.participants == {"a": ["01", "04"]}
    assert len(cohort.frames) == 60


def test_a_kept_run_that_failed_is_a_contradiction(tmp_path: Path) -> None:
    row = run_row("a", 1, 1, 30, np.random.default_rng(1), signal=None, status="failed", reason="truncated gzip")
    with pytest.raises(InputError, match=r"sub-01.*'failed' \(truncated gzip\): run qc again"):
        load(("a", write_dataset(tmp_path, "a", [row])))


def test_missing_parcels_are_zero_and_not_present(tmp_path: Path) -> None:
    row = run_row("a", 1, 1, 30, np.random.default_rng(1))
    row["signal"][:, [2, 7]] = np.nan
    cohort = load(("a", write_dataset(tmp_path, "a", [row])))
    assert (~cohort.present[0]).nonzero().flatten().tolist() == [2, 7]
    assert torch.isfinite(cohort.frames).all()
    assert (cohort.frames[:, [2, 7]] == 0).all()


def test_same_label_in_two_datasets_is_two_participants(tmp_path: Path) -> None:
    cohort = load(("a", small(tmp_path)), ("bb", small(tmp_path, dataset="bb")))
    assert cohort.n_participants == 12
    assert cohort.labels[0].startswith("a ")
    assert cohort.labels[-1].startswith("bb ")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tr_s": 0.8}, r"TR of 2\.0 s.*0\.8 s"),
        ({"tr_s": None}, r"TR of 2\.0 s.*None"),
    ],
)
def test_another_tr_is_refused(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        load(("a", small(tmp_path)), ("bb", small(tmp_path, dataset="bb", **wrong)))


def test_unknown_tr_everywhere_is_fine(tmp_path: Path) -> None:
    assert load(("a", small(tmp_path, tr_s=None))).tr_s is None


def test_another_atlas_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"0000\.parquet was made with atlas 'toy'.*'other'"):
        load(("a", small(tmp_path)), name="other")


def test_other_parcel_count_under_the_same_name_is_refused(tmp_path: Path) -> None:
    row = run_row("a", 1, 1, 30, np.random.default_rng(1))
    row.update(signal=row["signal"][:, :7], coverage=row["coverage"][:7])
    with pytest.raises(InputError, match=r"shape \(30, 7\), expected \(30, 12\)"):
        load(("a", write_dataset(tmp_path, "a", [row])))


def test_no_kept_run_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run is kept in .*qc\.parquet.*reasons"):
        load(("a", small(tmp_path, keep=False)))


def test_swapped_datasets_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="about dataset 'a', not 'bb'"):
        load(("bb", small(tmp_path)))


def test_values_beyond_the_buffer_type_are_refused(tmp_path: Path) -> None:
    row = run_row("a", 1, 1, 30, np.random.default_rng(1))
    row["signal"][3, 3] = 1e5
    with pytest.raises(InputError, match=r"beyond torch\.float16"):
        load(("a", write_dataset(tmp_path, "a", [row])))


def test_fingerprint_is_of_content_and_not_of_files(tmp_path: Path) -> None:
    first, again = load(("a", small(tmp_path / "x"))), load(("a", small(tmp_path / "y")))
    fewer = load(("a", small(tmp_path / "z", n=5)))
    assert first.fingerprint == again.fingerprint != fewer.fingerprint


def test_other_cleaning_is_refused(tmp_path: Path) -> None:
    class Recipe(Settings):
        low_hz: float

    first = small(tmp_path, made=store.Provenance("clean", Recipe(low_hz=0.01), atlas="toy"))
    second = small(tmp_path, dataset="bb", made=store.Provenance("clean", Recipe(low_hz=0.02), atlas="toy"))
    with pytest.raises(InputError, match=r"low_hz: 0\.02.* with 0\.01: train on tensors of one recipe"):
        load(("a", first), ("bb", second))
