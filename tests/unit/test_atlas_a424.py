"""The A424 atlas: the published files where they are at hand, and little stand-ins everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parcellate_files import SHARED_ATLASES, write_nifti

from boldtable import store
from boldtable.atlas import a424
from boldtable.atlas.catalogue import source
from boldtable.atlas.image import centroids, load_labels
from boldtable.atlas.table import load_table
from boldtable.errors import InputError, SettingsError
from boldtable.stages import parcellate

POSITION = ["x_mm", "y_mm", "z_mm"]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """424 labels of a voxel each, right ones first, under the catalogue's keys."""
    labels = (np.arange(424) + 1).reshape(53, 8, 1)
    places = [(i + 1, (-1) ** (i // 180) * (i % 5), i, -i) for i in range(424)]
    (tmp_path / "places.dat").write_text("\r\n".join("\t".join(map(str, row)) for row in places) + "\r\n")
    files = {
        a424.IMAGE: write_nifti(tmp_path / "a.nii", labels, np.diag([2.0, 2, 2, 1])),
        a424.POSITIONS: tmp_path / "places.dat",
    }
    monkeypatch.setattr(a424, "fetch", lambda key, _: files[key])
    return files


def test_the_stage_makes_it_with_the_published_positions(stand_in: dict[str, Path], tmp_path: Path) -> None:
    parcellate.atlas(parcellate.Parcellate(source="a424"), "mine", tmp_path / "mine.parquet")
    table, about = load_table(tmp_path / "mine.parquet"), store.provenance(tmp_path / "mine.parquet")
    assert (table.name, table.space, table.n_parcels) == ("mine", "MNI152NLin6Asym", 424)
    assert table.parcels["network"].value_counts(sort=False).to_dict() == dict(a424.GROUPS)
    assert (table.names[0], table.names[423]) == ("A424_Cortex_1", "A424_Cerebellum_424")
    assert table.parcels.loc[7, POSITION].tolist() == [2, 7, -7]
    assert table.parcels["hemisphere"].tolist()[178:182] == ["R", "R", "B", "L"]
    assert {entry["licence"] for entry in about["sources"]} == {"Apache-2.0"}
    labels, _ = load_labels(tmp_path / "mine.nii.gz")
    assert np.unique(labels).tolist() == list(range(1, 425))


def test_altered_files_are_refused(stand_in: dict[str, Path]) -> None:
    stand_in[a424.POSITIONS].write_text("1 2 3 4\n")
    with pytest.raises(InputError, match=r"places\.dat has not the rows 1 to 424"):
        a424.a424()
    stand_in[a424.POSITIONS].write_text("1 2 3 four\n")
    with pytest.raises(InputError, match=r"places\.dat is no table of numbers"):
        a424.a424()


def test_an_image_without_a_label_is_refused(stand_in: dict[str, Path]) -> None:
    """The authors' file without +2mm in its name lacks label 120."""
    labels, affine = load_labels(stand_in[a424.IMAGE])
    write_nifti(stand_in[a424.IMAGE], np.where(labels == 120, 0, labels), affine)
    with pytest.raises(InputError, match=r"a\.nii has not the labels 1 to 424"):
        a424.a424()


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(SettingsError, match="source 'a424' is in MNI152NLin6Asym"):
        parcellate.Parcellate.parse({"source": "a424", "space": "MNI152NLin2009cAsym"})
    assert parcellate.Parcellate(source="a424", to_space="MNI152NLin2009cAsym").space is None


def test_the_published_files_are_what_the_catalogue_says() -> None:
    """Right cortex first, then left; the published positions lie in or by their parcels, which fetch has hashed."""
    if not SHARED_ATLASES.is_dir():
        pytest.skip("the published atlas files are not beside the repository (../shared/atlases)")
    table, image, sources = a424.a424(SHARED_ATLASES)
    assert [entry["sha256"] for entry in sources] == [source(key).sha256 for key in (a424.IMAGE, a424.POSITIONS)]
    sides = table.parcels["hemisphere"].tolist()
    assert sides[:360] == [*"R" * 180, *"L" * 180]
    assert "B" not in sides[:396]
    place, counts = centroids(np.asarray(image.dataobj), image.affine, np.arange(1, 425))
    away = np.linalg.norm(place - table.parcels[POSITION].to_numpy(), axis=1)
    assert counts.min() >= 1
    assert np.median(away) < 3.5
    assert away.max() < 14
