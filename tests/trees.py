"""Made-up fMRIPrep trees for tests of indexing and planning: zero-byte images, or tiny ones with real headers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import nibabel
import numpy as np

Labels = Sequence[str | None]


@dataclass(frozen=True)
class Tree:
    """What an fMRIPrep derivatives folder holds: every participant × session × task × acquisition × run × space.

    `frames` = 0 writes zero-byte images (enough for names and plans); else each BOLD is a real NIfTI file of one voxel.
    `echoes` besides None are single echoes, which fMRIPrep writes in the native space, without confounds of their own.
    """

    sessions: Labels = (None,)
    tasks: Labels = ("rest",)
    acquisitions: Labels = (None,)
    runs: Labels = (None,)
    echoes: Labels = (None,)
    spaces: Sequence[tuple[str | None, str | None]] = (("MNI152NLin6Asym", "2"),)
    frames: int = 0
    tr_s: float = 2.0
    unit: str = "sec"
    sidecar_tr_s: float | None = 2.0
    confounds: str | None = "desc-confounds_timeseries.tsv"
    mask: bool = True
    extension: str = ".nii.gz"

    def write(self, derivatives: Path, participants: Sequence[str]) -> Path:
        """Write the tree below `derivatives` (made if need be) and return it."""
        derivatives.mkdir(parents=True, exist_ok=True)
        about = {"Name": "made-up derivatives", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
        (derivatives / "dataset_description.json").write_text(json.dumps(about))
        for participant, session in product(participants, self.sessions):
            folder = func(derivatives, participant, session)
            folder.mkdir(parents=True, exist_ok=True)
            for task, acquisition, run in product(self.tasks, self.acquisitions, self.runs):
                entities = {"sub": participant, "ses": session, "task": task, "acq": acquisition, "run": run}
                self._run(folder, entities)
        return derivatives

    def _run(self, folder: Path, entities: dict[str, str | None]) -> None:
        compressed = self.extension.endswith(".gz")
        image = nifti(self.frames, self.tr_s, self.unit, compressed=compressed) if self.frames else b""
        if self.confounds:
            (folder / name(entities, self.confounds)).write_bytes(b"")
        for echo, (space, resolution) in product(self.echoes, self.spaces):
            here = {**entities, "space": space, "res": resolution}
            if echo is not None:
                here = {**entities, "echo": echo}
            (folder / name(here, f"desc-preproc_bold{self.extension}")).write_bytes(image)
            if self.mask and echo is None:
                (folder / name(here, f"desc-brain_mask{self.extension}")).write_bytes(b"")
            if self.sidecar_tr_s is not None:
                sidecar = folder / name(here, "desc-preproc_bold.json")
                sidecar.write_text(json.dumps({"RepetitionTime": self.sidecar_tr_s}))


@dataclass(frozen=True)
class XcpdTree:
    """What an XCP-D derivatives folder holds of parcel series: every participant × run × atlas × space.

    `old` takes the names up to XCP-D 0.6 (``atlas-4S156Parcels_timeseries.tsv``), `entity` the later ones
    (``seg-`` or ``atlas-``, ``stat-mean``). Each series has `frames` rows, its motion file `motion_frames`.
    """

    sessions: Labels = (None,)
    tasks: Labels = ("rest",)
    runs: Labels = (None,)
    atlases: Sequence[str] = ("4S156Parcels",)
    spaces: Sequence[str] = ("MNI152NLin6Asym",)
    parcels: Sequence[str] = ("LH_Vis_1", "LH_Vis_2", "RH-Thalamus")
    entity: str = "seg"
    old: bool = False
    frames: int = 200
    motion_frames: int | None = None
    tr_s: float | None = 2.0

    def write(self, derivatives: Path, participants: Sequence[str]) -> Path:
        """Write the tree below `derivatives` (made if need be) and return it."""
        for participant, session, task, run in product(participants, self.sessions, self.tasks, self.runs):
            folder = func(derivatives, participant, session)
            folder.mkdir(parents=True, exist_ok=True)
            self._run(folder, {"sub": participant, "ses": session, "task": task, "run": run})
        return derivatives

    def _run(self, folder: Path, entities: dict[str, str | None]) -> None:
        if self.motion_frames is not None:
            motion = ["framewise_displacement\ttrans_x"] + ["0.1\t0.0"] * self.motion_frames
            (folder / name(entities, "motion.tsv")).write_text("\n".join(motion) + "\n")
        entity, ending = ("atlas", "") if self.old else (self.entity, "stat-mean_")
        for space, atlas in product(self.spaces, self.atlases):
            here = {**entities, "space": space, entity: atlas}
            rows = ["\t".join(self.parcels)] + [
                "\t".join(f"{frame + column:.1f}" for column in range(len(self.parcels)))
                for frame in range(self.frames)
            ]
            (folder / name(here, f"{ending}timeseries.tsv")).write_text("\n".join(rows) + "\n")
            (folder / name(here, f"{ending}timeseries.json")).write_text('{"SamplingFrequency": "TR"}')
            (folder / name(here, "stat-coverage_bold.tsv")).write_text("Node\tcoverage\n")
            if self.tr_s is not None:
                denoised = name({**entities, "space": space, "res": "2"}, "desc-denoised_bold.json")
                (folder / denoised).write_text(json.dumps({"RepetitionTime": self.tr_s}))


def func(derivatives: Path, participant: str, session: str | None = None) -> Path:
    """The func folder of a participant (and session)."""
    below = derivatives / f"sub-{participant}"
    return (below / f"ses-{session}" if session else below) / "func"


def name(entities: dict[str, str | None], ending: str) -> str:
    """A BIDS file name from its entities; those that are None are left out."""
    return "_".join([*(f"{key}-{value}" for key, value in entities.items() if value is not None), ending])


def write_participants(path: Path, participants: Sequence[str], **columns: Sequence[str]) -> Path:
    """Write a participants.tsv with these further columns."""
    rows = [["participant_id", *columns], *zip((f"sub-{one}" for one in participants), *columns.values(), strict=True)]
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


@lru_cache
def nifti(frames: int, tr_s: float, unit: str = "sec", dimensions: int = 4, compressed: bool = True) -> bytes:
    """A NIfTI-1 file of one voxel with this header; `tr_s` is written in `unit`."""
    shape = (1, 1, 1, frames)[:dimensions]
    image = nibabel.Nifti1Image(np.zeros(shape, dtype=np.int16), np.eye(4))
    if dimensions == 4:
        image.header.set_xyzt_units("mm", unit)
        # not set_zooms, which refuses the wrong values that tests need
        image.header["pixdim"][4] = tr_s * {"sec": 1, "msec": 1e3, "usec": 1e6, "unknown": 1}[unit]
    plain: bytes = image.to_bytes()
    return gzip.compress(plain, mtime=0) if compressed else plain
