"""Confound strategies beside nilearn's load_confounds, on the same files as fMRIPrep writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from boldtable.errors import RunError
from boldtable.signal import confounds
from boldtable.stages.parcellate.confounds import read_confounds

N_FRAMES = 60
BASES = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z", "white_matter", "csf", "global_signal")
REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "confounds"
# Strategy → the same in the words of nilearn.interfaces.fmriprep.load_confounds.
NILEARN: dict[str, dict[str, Any]] = {
    "24P": {"strategy": ("motion",), "motion": "full"},
    "27P": {"strategy": ("motion", "wm_csf", "global_signal"), "wm_csf": "basic", "global_signal": "basic"},
    "36P": {"strategy": ("motion", "wm_csf", "global_signal"), "wm_csf": "full", "global_signal": "full"},
    "aCompCor": {
        "strategy": ("motion", "high_pass", "compcor"), "compcor": "anat_combined", "n_compcor": 5,
    },
    "ICA-AROMA": {"strategy": ("wm_csf", "ica_aroma"), "wm_csf": "basic", "ica_aroma": "basic"},
}  # fmt: skip


def made_up(release: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Confounds and their metadata; in 20.2 every mask's components are named alike, from 21 on by mask."""
    rng = np.random.default_rng(5)
    names = [base + end for base in BASES for end in ("", "_derivative1", "_power2", "_derivative1_power2")]
    masks = {"20.2": ("a_comp_cor_",) * 3, "21": ("c_comp_cor_", "w_comp_cor_", "a_comp_cor_")}[release]
    about: dict[str, Any] = {}
    for first, (prefix, mask) in zip((0, 7, 14), zip(masks, ("CSF", "WM", "combined"), strict=True), strict=True):
        for number in range(7):
            name = f"{prefix}{(first if release == '20.2' else 0) + number:02d}"
            about[name] = {"Method": "aCompCor", "Mask": mask, "Retained": True}
            names.append(name)
    about |= {f"dropped_{n}": {"Method": "aCompCor", "Mask": "combined", "Retained": False} for n in range(3)}
    names += ["cosine00", "cosine01", "aroma_motion_02", "aroma_motion_11", "framewise_displacement"]
    table = pd.DataFrame(rng.normal(size=(N_FRAMES, len(names))), columns=names)
    table.loc[0, [name for name in names if "derivative1" in name]] = np.nan
    return table, about


def write(folder: Path, table: pd.DataFrame, about: dict[str, Any] | None) -> Path:
    path = folder / "sub-01_task-rest_desc-confounds_timeseries.tsv"
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    if about is not None:
        path.with_suffix(".json").write_text(json.dumps(about))
    (folder / "sub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz").write_bytes(b"")
    return path


def nilearns(folder: Path, strategy: str) -> pd.DataFrame:
    load = pytest.importorskip("nilearn.interfaces.fmriprep").load_confounds
    image = folder / "sub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz"
    found, _ = load(str(image), demean=False, **NILEARN[strategy])
    return found


@pytest.mark.parametrize("release", ["20.2", "21"])
@pytest.mark.parametrize("strategy", list(NILEARN))
def test_the_columns_are_those_nilearn_takes(tmp_path: Path, strategy: str, release: str) -> None:
    path = write(tmp_path, *made_up(release))
    columns = read_confounds(path, N_FRAMES)
    chosen = confounds.names(strategy, columns, 5)
    theirs = nilearns(tmp_path, strategy)
    assert sorted(chosen) == sorted(theirs.columns)
    ours = confounds.design(chosen, columns, np.ones(N_FRAMES, dtype=bool), 0)
    np.testing.assert_allclose(ours[1:], theirs[chosen].to_numpy()[1:], rtol=1e-6)


def test_the_real_file_of_fmriprep(tmp_path: Path) -> None:
    files = sorted(REAL.glob("test-v21_*.tsv"))
    if not files:
        pytest.skip("no real confounds in ../shared/data/confounds")
    table = pd.read_csv(files[0], sep="\t", na_values="n/a")
    write(tmp_path, table, json.loads(files[0].with_suffix(".json").read_text()))
    columns = read_confounds(files[0], len(table))
    assert sorted(confounds.names("aCompCor", columns, 5)) == sorted(nilearns(tmp_path, "aCompCor").columns)
    with pytest.raises(RunError, match="aroma_motion"):
        confounds.names("ICA-AROMA", columns)


def test_components_come_in_their_order_and_number(tmp_path: Path) -> None:
    columns = read_confounds(write(tmp_path, *made_up("20.2")), N_FRAMES)
    taken = [name for name in confounds.names("aCompCor", columns, 3) if "comp_cor" in name]
    assert taken == ["a_comp_cor_14", "a_comp_cor_15", "a_comp_cor_16"]
    assert len([name for name in confounds.names("aCompCor", columns, None) if "comp_cor" in name]) == 7
    assert len([name for name in confounds.names("aCompCor", columns, 50) if "comp_cor" in name]) == 7
    numbered = [f"a_comp_cor_{number}" for number in ("10", "9", "100")] + ["cosine00"]
    assert confounds.names("aCompCor", numbered, 2)[-3:] == ["a_comp_cor_9", "a_comp_cor_10", "cosine00"]


def test_without_metadata_only_names_that_tell_the_mask_are_trusted(tmp_path: Path) -> None:
    older = read_confounds(write(tmp_path, made_up("20.2")[0], None), N_FRAMES)
    assert not [name for name in older if "comp_cor" in name]
    with pytest.raises(RunError, match="the JSON file beside the confounds says"):
        confounds.names("aCompCor", older, 5)
    newer = read_confounds(write(tmp_path, made_up("21")[0], None), N_FRAMES)
    assert len([name for name in newer if "comp_cor" in name]) == 7


def test_broken_metadata_costs_the_run(tmp_path: Path) -> None:
    path = write(tmp_path, made_up("21")[0], None)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(RunError, match=r"confounds metadata .* is not JSON"):
        read_confounds(path, N_FRAMES)


def test_acompcor_goes_with_its_cosines() -> None:
    with pytest.raises(RunError, match="lack the columns cosine"):
        confounds.names("aCompCor", ["a_comp_cor_00"], 5)
