"""ABIDE's public series: what is written, that collect reads it, and how parcels get their networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from boldtable import abide
from boldtable.atlas.assign import assign_networks
from boldtable.atlas.merge import Merged, Overlaps
from boldtable.atlas.own import read_parcels
from boldtable.atlas.table import AtlasTable
from boldtable.errors import InputError
from boldtable.stages.collect import Collect, series

GRID = np.diag([2.0, 2.0, 2.0, 1.0])
GRID[:3, 3] = [-20, 0, 0]
PEOPLE = pd.DataFrame(
    {
        "SUB_ID": [50003, 51201], "SITE_ID": ["PITT", "UCLA_1"], "AGE_AT_SCAN": [24.45, 9.1], "SEX": [1, 2],
        "DX_GROUP": [1, 2], "FIQ": [-9999.0, 112.0], "EYE_STATUS_AT_SCAN": [2, 1], "func_mean_fd": [0.11, 0.2],
    }
)  # fmt: skip


def reference(names: tuple[str, ...] = ("Vis", "Default")) -> tuple[AtlasTable, np.ndarray]:
    """Two networks, one on each side of the midline; label 2 is the first, label 1 the second."""
    labels = np.zeros((20, 4, 4), dtype=np.int32)
    labels[:10], labels[10:] = 2, 1
    parcels = pd.DataFrame(
        {"index": [2, 1], "name": ["a", "b"], "hemisphere": ["L", "R"], "network": list(names), "n_voxels": [160, 160]}
    ).assign(x_mm=0.0, y_mm=0.0, z_mm=0.0)
    return AtlasTable("two", "MNI152NLin6Asym", parcels), labels


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """200 parcels of one or two voxels, on both sides."""
    labels = np.zeros((20, 4, 4), dtype=np.int16)
    labels.reshape(-1)[:200] = np.arange(1, 201)
    path = tmp_path / "cc200.nii.gz"
    nib.Nifti1Image(labels, GRID).to_filename(path)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """nilearn's fetcher and the reference atlas stand still; what nilearn was asked for is recorded."""
    wanted: dict[str, Any] = {}

    def fetch(**given: Any) -> dict[str, Any]:
        wanted.update(given)
        rng = np.random.default_rng(0)
        return {"rois_cc200": [rng.normal(size=(n, 200)) for n in (146, 120)], "phenotypic": PEOPLE.copy()}

    monkeypatch.setattr("nilearn.datasets.fetch_abide_pcp", fetch)
    table, labels = reference()
    nothing = Overlaps(0, 0, 0, "", 0, "", 0)
    merged = Merged(table, nib.Nifti1Image(labels, GRID), nothing, [])
    monkeypatch.setattr(abide, "schaefer400_tian3_buckner7", lambda folder: merged)
    return wanted


def test_collect_reads_what_is_written(image: Path, asked: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "abide"
    abide.run(out, tmp_path / "cache", image, everyone=False)
    assert asked["derivatives"] == ["rois_cc200"]
    assert asked["quality_checked"]
    assert not asked["global_signal_regression"]
    assert not asked["band_pass_filtering"]
    config = yaml.safe_load((Path(__file__).parents[2] / "config/benchmarks/abide.yaml").read_text())["collect"][
        "abide"
    ]
    assert config["pattern"] == abide.PATTERN
    settings = Collect.parse(config | {"derivatives": str(out)})
    runs = series.read_lengths(settings, series.index_series(settings))
    assert [(run.participant, run.n_frames) for run in runs] == [("0050003", 146), ("0051201", 120)]
    people = pd.read_csv(out / "participants.tsv", sep="\t", keep_default_na=False)
    assert people.iloc[0].to_dict() == {
        "participant_id": "sub-0050003", "site": "PITT", "age": 24.45, "sex": "M", "diagnosis": "autism", "fiq": "n/a",
        "eyes": "closed", "func_mean_fd": 0.11, "tr_s": 1.5,
    }  # fmt: skip
    assert people["diagnosis"].tolist() == ["autism", "control"]
    parcels = read_parcels(out / "cc200.tsv")
    assert parcels["index"].tolist() == list(range(1, 201))
    assert set(parcels["network"]) == {"Vis", "Default"}


def test_everyone_includes_whom_the_raters_did_not_pass(image: Path, asked: dict[str, Any], tmp_path: Path) -> None:
    abide.run(tmp_path / "abide", tmp_path / "cache", image, everyone=True)
    assert asked["quality_checked"] is False


def test_other_parcels_than_cc200_are_refused(
    asked: dict[str, Any], image: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    labels = nib.load(image).get_fdata().astype(np.int16)
    labels[labels == 7] = 0
    nib.Nifti1Image(labels, GRID).to_filename(tmp_path / "few.nii.gz")
    with pytest.raises(InputError, match=r"few.nii.gz has 199 parcels, but the series of CC200 have 200"):
        abide.run(tmp_path / "abide", tmp_path / "cache", tmp_path / "few.nii.gz", everyone=False)
    wrong = {"rois_cc200": [np.zeros((5, 190))] * 2, "phenotypic": PEOPLE}
    monkeypatch.setattr("nilearn.datasets.fetch_abide_pcp", lambda **given: wrong)
    with pytest.raises(InputError, match=r"participant 0050003: \(5, 190\) values"):
        abide.run(tmp_path / "abide", tmp_path / "cache", image, everyone=False)


def test_without_internet_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*asked: Any, **given: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("nilearn.datasets.fetch_abide_pcp", fail)
    table = tmp_path / "cc200.tsv"
    rows = "".join(f"{n}\tp{n}\tL\tVis\n" for n in range(1, 201))
    table.write_text("index\tname\themisphere\tnetwork\n" + rows)
    with pytest.raises(InputError, match="no route to host; run this where there is internet"):
        abide.run(tmp_path / "out", tmp_path, None, everyone=False, table=table)
    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(InputError, match="give the file with --image"):  # before anything is written
        abide.run(tmp_path / "out", tmp_path, None, everyone=False)
    assert not (tmp_path / "out").exists()


def test_who_is_missing_from_the_release_is_said(
    image: Path, asked: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cache" / abide.PHENOTYPES
    path.parent.mkdir(parents=True)
    path.write_text("SUB_ID,FILE_ID\n1,a\n2,b\n3,no_filename\n4,c\n")
    abide.run(tmp_path / "abide", tmp_path / "cache", image, everyone=False)
    assert "lists 4 participants: 1 have no file of series and 1 were not asked for" in capsys.readouterr().err


def test_a_parcel_takes_the_network_of_most_of_its_voxels() -> None:
    table, labels = reference()
    own = np.zeros((20, 4, 4), dtype=np.int32)
    own[0:2] = 5  # all in the left network
    own[8:13] = 9  # two fifths left, three fifths right
    found = assign_networks(own, GRID, table, labels, GRID).set_index("index")
    assert found.loc[5, ["network", "hemisphere", "overlap", "name"]].tolist() == ["Vis", "L", 1.0, "parcel-5"]
    assert found.loc[9, ["network", "hemisphere", "overlap"]].tolist() == ["Default", "B", 0.6]
    assert found.loc[5, "x_mm"] == pytest.approx(-19.0)


def test_parcels_meet_on_another_grid_and_outside_they_are_unknown() -> None:
    table, labels = reference()
    coarse, affine = np.zeros((12, 2, 2), dtype=np.int32), GRID.copy()
    affine[:3, :3] *= 2
    coarse[2], coarse[7], coarse[11] = 1, 2, 3
    found = assign_networks(coarse, affine, table, labels, GRID)
    assert found["network"].tolist() == ["Vis", "Default", "unknown"]
    assert found["overlap"].tolist() == [1, 1, 0]
    far = affine.copy()
    far[0, 3] = 500
    with pytest.raises(InputError, match="no voxel in common"):
        assign_networks(coarse, far, table, labels, GRID)
