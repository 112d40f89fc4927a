"""A cohort in which everything goes wrong at once: every fault costs its run, with a reason, and no other run.

Then half of it is repaired: a second start reads just the repaired runs again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from parcellate_files import RAS, SHAPE, SPACE, little_labels, little_table, paint, write_nifti

from boldtable import store
from boldtable.stages import clean, collect, parcellate, qc, report
from boldtable.stages.parcellate import shard as shard_module

N_FRAMES, TR_S = 150, 2.0
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
ROOT = not hasattr(os, "geteuid") or os.geteuid() == 0


@dataclass
class Run:
    """The files of one good run, to be spoilt."""

    folder: Path
    participant: str
    image: np.ndarray
    confounds: pd.DataFrame
    mask: np.ndarray = field(default_factory=lambda: np.ones(SHAPE))
    tr_s: float = TR_S
    sidecar: dict[str, Any] = field(default_factory=lambda: {"RepetitionTime": TR_S})

    def path(self, ending: str, space: bool = True) -> Path:
        where = f"_space-{SPACE}_res-2" if space else ""
        return self.folder / f"sub-{self.participant}" / "func" / f"sub-{self.participant}_task-rest{where}_{ending}"

    @property
    def bold(self) -> Path:
        return self.path("desc-preproc_bold.nii.gz")

    def write(self) -> None:
        self.bold.parent.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(self.image.astype(np.float32), RAS)
        image.header.set_sform(RAS, code=4)
        if self.image.ndim == 4:
            image.header.set_xyzt_units("mm", "sec")
            image.header["pixdim"][4] = self.tr_s
        nib.save(image, self.bold)
        write_nifti(self.path("desc-brain_mask.nii.gz"), self.mask, dtype="|u1")
        if self.sidecar:
            self.path("desc-preproc_bold.json").write_text(json.dumps(self.sidecar))
        table = self.path("desc-confounds_timeseries.tsv", space=False)
        self.confounds.to_csv(table, sep="\t", index=False, na_rep="n/a")


def good(folder: Path, participant: str) -> Run:
    rng = np.random.default_rng(int(participant))
    image = paint(little_labels(), 1000 + rng.normal(size=(N_FRAMES, 6)).cumsum(axis=0))
    confounds = pd.DataFrame({name: rng.normal(size=N_FRAMES).cumsum() for name in MOTION})
    confounds["framewise_displacement"] = np.r_[np.nan, rng.uniform(0, 0.2, N_FRAMES - 1)]
    return Run(folder, participant, image, confounds)


Spoil = Callable[[Run], None]


def values(change: Callable[[np.ndarray], object]) -> Spoil:
    """Change the image before it is written."""

    def spoil(run: Run) -> None:
        change(run.image)
        run.write()

    return spoil


def given(**changes: Any) -> Spoil:
    """Replace a part of the run before it is written."""

    def spoil(run: Run) -> None:
        for name, value in changes.items():
            setattr(run, name, value(getattr(run, name)) if callable(value) else value)
        run.write()

    return spoil


def after(change: Callable[[Run], object]) -> Spoil:
    """Write the run, then damage its files."""

    def spoil(run: Run) -> None:
        run.write()
        change(run)

    return spoil


def cut(run: Run) -> None:
    run.bold.write_bytes(run.bold.read_bytes()[: run.bold.stat().st_size * 6 // 10])


def wrong_magic(run: Run) -> None:
    plain = bytearray(nib.load(run.bold).to_bytes())
    plain[344:348] = b"xyz\0"
    run.bold.unlink()
    run.path("desc-preproc_bold.nii").write_bytes(plain)


def broken_link(run: Run) -> None:
    run.bold.unlink()
    run.bold.symlink_to("../../../.git/annex/objects/gone")


def put(where: tuple[Any, ...], value: float) -> Callable[[np.ndarray], None]:
    def change(image: np.ndarray) -> None:
        image[where] = value

    return change


VOXEL = (6, 5, 2, 11)
PARCEL = (little_labels() == 2,)
# fault → how it comes about, the stage that must say so, words of the reason there
FAULTS: dict[str, tuple[Spoil, str, str]] = {
    "truncated gzip": (after(cut), "parcellate", "truncated"),
    "empty file": (after(lambda run: run.bold.write_bytes(b"")), "collect", "not a NIfTI file (empty)"),
    "no gzip": (after(lambda run: run.bold.write_bytes(b"hello" * 99)), "collect", "not a readable NIfTI file"),
    "wrong magic": (after(wrong_magic), "collect", "not a readable NIfTI file"),
    "3-D": (given(image=lambda image: image[..., 0]), "collect", "3 dimensions, not 4"),
    "one volume": (given(image=lambda image: image[..., :1]), "collect", "too short"),
    "NaN": (values(put(VOXEL, np.nan)), "parcellate", "NaN or infinite voxels in 1 of 150 volumes"),
    "infinite": (values(put(VOXEL, np.inf)), "parcellate", "NaN or infinite voxels in 1 of 150 volumes"),
    "all zero": (values(put((), 0)), "parcellate", "is zero"),
    "constant parcel": (values(put(PARCEL, 700)), "parcellate", "1 of 6 parcels below coverage"),
    "confound rows": (given(confounds=lambda table: table[:-3]), "parcellate", "has 147 rows, the run has 150"),
    "confound columns": (given(confounds=lambda table: table.drop(columns="rot_y")), "clean", "lack the column rot_y"),
    "no confounds": (
        after(lambda run: run.path("desc-confounds_timeseries.tsv", space=False).unlink()), "clean", "no confounds",
    ),
    "TR 0": (given(tr_s=0.0, sidecar={}), "collect", "no repetition time: 0"),
    "TR in milliseconds": (given(sidecar={"RepetitionTime": 2000}), "collect", "repetition time disagrees: 2000 s"),
    "TR in milliseconds, twice": (given(tr_s=2000.0, sidecar={}), "collect", "milliseconds?"),
    "mask on another grid": (given(mask=np.ones((12, 14, 9))), "parcellate", "is on another grid"),
    "empty mask": (given(mask=np.zeros(SHAPE)), "parcellate", "is empty"),
    "duplicate": (
        after(lambda run: nib.save(nib.load(run.bold), run.path("desc-preproc_bold.nii"))), "collect", "two files",
    ),
    "broken link": (after(broken_link), "collect", "is a broken link"),
    "unreadable image": (after(lambda run: run.bold.chmod(0)), "collect", "not a readable NIfTI file"),
    "unreadable folder": (after(lambda run: run.bold.parent.chmod(0)), "collect", "cannot list"),
    "unreadable mask": (
        after(lambda run: run.path("desc-brain_mask.nii.gz").chmod(0)), "parcellate", "permission denied",
    ),
}  # fmt: skip
if ROOT:  # root may read everything
    FAULTS = {name: fault for name, fault in FAULTS.items() if not name.startswith("unreadable")}
KEPT = {"constant parcel"}  # noted, and kept
GOOD = ("101", "102")


class Cohort:
    """The tree, and the five stages over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.derivatives = folder / 'dérivés de l\'été "24" (β)'
        self.labels = {f"{number + 1:02d}": fault for number, fault in enumerate(FAULTS)}
        for participant, fault in self.labels.items():
            FAULTS[fault][0](good(self.derivatives, participant))
        for participant in GOOD:
            good(self.derivatives, participant).write()
        (self.derivatives / "dataset_description.json").write_text('{"Name": "made up", "BIDSVersion": "1.9.0"}')
        names = [*self.labels, *GOOD]
        rows = "".join(f"sub-{name}\t30\tF\n" for name in names)
        (self.derivatives / "participants.tsv").write_text(f"participant_id\tage\tsex\n{rows}")
        write_nifti(folder / "own.nii.gz", little_labels(), dtype="<i2")
        own = {"image": str(folder / "own.nii.gz"), "table": str(little_table(folder / "own.tsv")), "space": SPACE}
        self.atlas = parcellate.Parcellate.parse({"source": "file", **own})
        parcellate.atlas(self.atlas, "own", folder / "own.parquet")

    def run(self) -> pd.DataFrame:
        """Everything from collect to the ledger, which is returned with the fault of each participant as index."""
        runs, people = self.folder / "runs.parquet", self.folder / "participants.parquet"
        parcels, tensors = self.folder / "parcels", self.folder / "tensors"
        settings = collect.Collect(derivatives=self.derivatives, min_minutes=0.5, shard_size=8)
        collect.run(settings, "bad", runs, people)
        table = store.frame(runs, "runs")
        recipe = clean.Clean(atlas="own")
        for name in sorted(set(table.loc[table["status"] == "found", "shard"])):
            shard = parcels / f"{name}.parquet"
            parcellate.run(self.atlas, "bad", self.derivatives, runs, name, self.folder / "own.parquet", shard)
            clean.run(recipe, shard, tensors / shard.name)
        rules = qc.QC(recipe="toy", max_empty_parcels=0.5)
        measured = self.folder / "qc.parquet"
        qc.run(rules, runs, people, parcels, tensors, self.folder / "own.parquet", measured)
        report.ledger([measured], self.folder / "ledger.parquet")
        self.qc = store.frame(measured, "qc").set_index("participant")
        ledger = store.frame(self.folder / "ledger.parquet", "ledger")
        return ledger.set_index(ledger["participant"].map(self.labels))

    def unlock(self) -> None:
        """Give every permission back, so that the folder can be removed."""
        for path in [*self.derivatives.rglob("func"), *self.derivatives.rglob("*.gz")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Cohort(tmp_path_factory.mktemp("a study's 'first' try"))
    made.before = {path: path.lstat().st_mtime_ns for path in made.derivatives.rglob("*")}
    made.ledger = made.run()
    yield made
    made.unlock()


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_costs_its_run_with_a_reason(cohort: Cohort, fault: str) -> None:
    _, stage, words = FAULTS[fault]
    found = cohort.ledger.loc[[fault]]
    assert len(found) == 1
    row = found.iloc[0]
    assert row["stage"] == stage
    assert words in row["reason"]
    assert "\n" not in row["reason"]
    assert bool(cohort.qc.loc[row["participant"], "keep"]) == (fault in KEPT)


def test_no_other_run_is_touched_and_every_run_is_somewhere(cohort: Cohort) -> None:
    assert sorted(cohort.ledger.index) == sorted(FAULTS)
    assert set(cohort.qc.index) == {*cohort.labels, *GOOD}
    assert cohort.qc.loc[list(GOOD), "keep"].all()
    assert (cohort.qc.loc[list(GOOD), "status"] == "ok").all()


def test_the_input_is_left_alone(cohort: Cohort) -> None:
    assert {path: path.lstat().st_mtime_ns for path in cohort.before} == cohort.before


def test_after_a_repair_just_the_repaired_runs_are_read(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs last: it repairs the cohort of the tests above."""
    cohort.unlock()
    mended = {name: fault for name, fault in cohort.labels.items() if fault not in ("NaN", "all zero", "no confounds")}
    for participant, fault in mended.items():
        if fault == "constant parcel" or "unreadable" in fault:
            continue
        run = good(cohort.derivatives, participant)
        for path in run.bold.parent.glob("*_bold.nii*"):
            path.unlink()
        run.write()
    read = []
    one = shard_module._parcels
    monkeypatch.setattr(shard_module, "_parcels", lambda *given: read.append(given[-1]["participant"]) or one(*given))
    ledger = cohort.run()
    assert sorted(ledger.index) == ["NaN", "all zero", "constant parcel", "no confounds"]
    assert sorted(read) == sorted(name for name, fault in mended.items() if fault != "constant parcel")
    assert cohort.run().equals(ledger)
    assert len(read) == len(mended) - 1
