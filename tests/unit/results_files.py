"""A results folder with one small dataset, as `boldtable export` and `boldtable figure` read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.stages import qc

Row = dict[str, Any]
NETWORKS = ["Vis", "Vis", "Limbic", "Limbic", "Vis", "Limbic"]
SPACE = "MNI152NLin6Asym"
RECIPE = {
    "atlas": "two-part", "confounds": "24P", "dummy_frames": 2, "fd_mm": 0.5, "dvars": None, "min_segment_frames": 1,
    "low_hz": 0.01, "high_hz": 0.1, "tr_s": 2.0, "normalise": "zscore",
}  # fmt: skip
N_FRAMES, N_CLEAN = 160, 79
SOURCES = [
    {"file": "a.nii", "sha256": "0", "address": "https://example.org/a", "licence": "MIT", "citation": "A 2018"},
    {"file": "b.nii", "sha256": "0", "address": "https://example.org/b", "licence": "CC BY-ND", "citation": "B 2011"},
]


@dataclass
class Study:
    """Three participants: 01 with two sessions, 02 with an uncovered parcel, 03 that moves too much."""

    folder: Path
    image: bool = False
    runs: list[Row] = field(default_factory=list)
    parcels: list[Row] = field(default_factory=list)
    tensors: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, (name, session) in enumerate([("01", "1"), ("01", "2"), ("02", "1"), ("03", "1")]):
            self._add(name, session, np.random.default_rng(number))
        for rows in (self.parcels, self.tensors):
            rows[2]["signal"][:, 3] = np.nan
            rows[2]["coverage"] = np.array([1, 1, 1, 0.2, 1, 1], dtype=np.float32)
        self.parcels[2].update(status="partial", reason="1 of 6 parcels below coverage 0.5: left empty")
        self.parcels[3]["confounds"]["framewise_displacement"][1:] = 2.0

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def _add(self, name: str, session: str, rng: np.random.Generator) -> None:
        keys = {"dataset": "toy", "participant": name, "session": session, "task": "rest"}
        keys |= {"run": None, "acquisition": None}
        bold = f"sub-{name}/ses-{session}/func/sub-{name}_ses-{session}_task-rest_desc-preproc_bold.nii.gz"
        run = {"space": SPACE, "bold": bold, "tr_s": 1.0, "n_frames": N_FRAMES, "shard": "0", "fingerprint": "f"}
        self.runs.append({**keys, **run, "status": "found", "reason": None})
        whole = {"coverage": np.ones(6, dtype=np.float32), "status": "ok", "reason": None}
        signal = (1000 + 10 * rng.normal(size=(N_FRAMES, 6))).astype(np.float32)
        fd = np.full(N_FRAMES, 0.1, dtype=np.float32)
        fd[[0, 40]] = np.nan, 0.9
        confounds = {"framewise_displacement": fd, "std_dvars": np.full(N_FRAMES, 1.1, dtype=np.float32)}
        self.parcels.append(
            {**keys, **whole, "tr_s": 1.0, "n_frames": N_FRAMES, "signal": signal, "confounds": confounds}
        )
        clean = rng.normal(size=(N_CLEAN, 6)).astype(np.float32)
        marked = np.arange(N_CLEAN) == 19
        self.tensors.append(
            {
                **keys,
                **whole,
                "tr_s": 2.0,
                "n_frames": N_CLEAN,
                "n_dummy_frames": 2,
                "signal": clean,
                "interpolated": marked,
            }
        )

    def write(self) -> Path:
        """Write everything below results/ and return it."""
        toy = self.results / "toy"
        source = store.Provenance("collect")
        source.settings = {"derivatives": "data/fmriprep"}
        store.write(toy / "runs.parquet", "runs", self.runs, source)
        people = [
            {"participant": "01", "session": "1", "site": "x", "age_years": 95.0, "sex": "F", "mood": 3.0},
            {"participant": "01", "session": "2", "site": "x", "age_years": 95.0, "sex": "F", "mood": 5.0},
            {"participant": "02", "session": "1", "site": "y", "age_years": 30.0, "sex": None, "mood": None},
            {"participant": "04", "session": None, "site": "y", "age_years": 31.0, "sex": "M", "mood": None},
        ]
        store.write(toy / "participants.parquet", "participants", people, store.Provenance("collect"))
        self._write_atlas()
        made = {"atlas": "two-part", "space": SPACE, "atlas_sha256": "abc"}
        raw = store.Provenance("parcellate", **made)
        raw.settings = {"source": "file", "min_coverage": 0.5}
        clean = store.Provenance("clean", recipe=RECIPE, **made)
        for artefact, name, rows, about in (
            ("parcels", "two-part", self.parcels, raw),
            ("tensors", "semantoks", self.tensors, clean),
        ):
            with store.Writer(toy / artefact / name / "0.parquet", artefact, about, 6) as writer:
                for row in rows:
                    writer.append(row)
        qc.run(
            qc.QC.parse({"recipe": "semantoks", "max_empty_parcels": 0.5}),
            runs=toy / "runs.parquet",
            participants=toy / "participants.parquet",
            parcels=toy / "parcels/two-part",
            tensors=toy / "tensors/semantoks",
            atlas=self.results / "atlases/two-part.parquet",
            out=toy / "qc.parquet",
        )
        return self.results

    def _write_atlas(self) -> None:
        table = pd.DataFrame(
            {
                "index": range(1, 7),
                "name": ["LH_a", "LH_b", "LH_c", "RH_a", "RH_b", "RH_c"],
                "hemisphere": list("LLLRRR"),
                "network": NETWORKS,
                "x_mm": [-30.0, -20, -40, 30, 20, 40],
                "y_mm": [-60.0, -20, 30, -60, -20, 30],
                "z_mm": [10.0, 40, -10, 10, 40, -10],
                "n_voxels": [30] * 6,
            }
        )
        about = store.Provenance("atlas", sources=SOURCES)
        about.settings = {"source": "demo457" if self.image else "file"}
        path = self.results / "atlases/two-part.parquet"
        AtlasTable("two-part", SPACE, table).save(path, about)
        import nibabel as nib

        labels = np.zeros((4, 4, 4), dtype=np.int16)
        labels.flat[:6] = range(1, 7)
        image = nib.Nifti1Image(labels, np.diag([40.0, 40, 40, 1]))
        image.header.set_xyzt_units("mm")
        image.to_filename(path.with_suffix(".nii.gz"))
