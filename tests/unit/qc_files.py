"""A small cohort of one run per participant, as the files that qc and the helpers after it read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boldtable import store
from boldtable.atlas.table import AtlasTable
from boldtable.stages import qc
from boldtable.stages.qc import QC

N_PARCELS, N_FRAMES, TR_S = 10, 150, 2.0
Row = dict[str, Any]


def keys(participant: str) -> Row:
    entities = {"session": None, "task": "rest", "run": None, "acquisition": None}
    return {"dataset": "toy", "participant": participant, **entities}


class Cohort:
    """Runs, parcels and tensors of one run per participant, to be spoilt and written."""

    def __init__(self, folder: Path, participants: tuple[str, ...] = ("01", "02", "03")) -> None:
        self.folder = folder
        self.runs: dict[str, Row] = {}
        self.parcels: dict[str, Row] = {}
        self.tensors: dict[str, Row] = {}
        self.labelled = list(participants)
        for number, name in enumerate(participants):
            self._add(name, np.random.default_rng(number))

    def _add(self, name: str, rng: np.random.Generator) -> None:
        shard = "0001" if name == "03" else "0000"
        common = {**keys(name), "tr_s": TR_S, "n_frames": N_FRAMES}
        self.runs[name] = {**common, "shard": shard, "status": "found", "reason": None}
        fd = np.full(N_FRAMES, 0.1, dtype=np.float32)
        fd[0] = np.nan
        made: Row = {**common, "coverage": np.ones(N_PARCELS, dtype=np.float32), "status": "ok", "reason": None}
        signal = 1000 + 10 * rng.normal(size=(N_FRAMES, N_PARCELS))
        confounds = {"framewise_displacement": fd, "std_dvars": np.full(N_FRAMES, 1.2, dtype=np.float32)}
        self.parcels[name] = {**made, "signal": signal.astype(np.float32), "confounds": confounds}
        scaled = ((signal - signal.mean(axis=0)) / signal.std(axis=0)).astype(np.float32)
        self.tensors[name] = {**made, "signal": scaled, "interpolated": np.zeros(N_FRAMES, dtype=bool)}

    def write(self) -> dict[str, Path]:
        about = store.Provenance("test")
        paths = {name: self.folder / f"{name}.parquet" for name in ("runs", "participants", "atlas")}
        store.write(paths["runs"], "runs", list(self.runs.values()), about)
        store.write(paths["participants"], "participants", [{"participant": name} for name in self.labelled], about)
        parcels = pd.DataFrame({"index": range(1, N_PARCELS + 1), "name": "p", "hemisphere": "L", "network": "n"})
        AtlasTable("toy10", "MNI", parcels).save(paths["atlas"], store.Provenance("atlas"))
        for artefact, rows in (("parcels", self.parcels), ("tensors", self.tensors)):
            paths[artefact] = self.folder / artefact
            for shard in {row["shard"] for row in self.runs.values() if row["status"] == "found"}:
                path = paths[artefact] / f"{shard}.parquet"
                with store.Writer(path, artefact, about, N_PARCELS) as writer:
                    for name, row in rows.items():
                        if self.runs[name]["shard"] == shard:
                            writer.append(row)
        return paths

    def rows(self, **settings: Any) -> dict[str, Row]:
        out = self.folder / "qc.parquet"
        qc.run(QC.parse({"recipe": "toy", **settings}), **self.write(), out=out)
        return {row["participant"]: row for row in store.read(out, "qc").to_pylist()}

    def fail(self, name: str, stage: str, reason: str) -> None:
        rows = self.parcels if stage == "parcellate" else self.tensors
        rows[name].update(signal=None, interpolated=None, coverage=None, confounds=None, status="failed", reason=reason)
