"""Whole cohorts on disk: two datasets, written in parallel, resumable, with the truth beside them."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.progress import progress
from boldtable.simulate import bids, faults, image, phenotypes
from boldtable.simulate.confounds import confounds, to_tsv
from boldtable.simulate.faults import Fault
from boldtable.simulate.phenotypes import Dataset, Run
from boldtable.simulate.scan import Head, Scan, head, scan, voxel_offsets
from boldtable.simulate.signal import Person, Traits, person

TRUTH = "truth.json"
RESTLESS_PATIENT = 1.8  # how much more than others the patients of one site move
# Streams of random numbers: one per participant for what stays, one per run, one for the voxels' brightness.
_LASTING, _RUN, _VOXELS = 0, 1, 2


@dataclass(frozen=True)
class Truth:
    """What was planted below `folder`: the settings of the cohort and every fault with its expected outcome."""

    folder: Path
    settings: dict[str, Any]
    faults: list[Fault]


def cohort(
    folder: Path,
    *,
    participants: int = 48,
    seed: int = 21,
    workers: int = 1,
    voxel_mm: float = 6.0,
    datasets: Sequence[str] = ("aurora", "borealis"),
) -> Truth:
    """Write the datasets below `folder` and return what was planted.

    Each dataset gets a raw-BIDS skeleton and fMRIPrep-style derivatives. Files appear whole and files that exist are
    left alone, so an interrupted simulation goes on where it stopped; `truth.json` comes last, and where it exists
    nothing is done. The same seed gives the same bytes with any number of `workers` (processes). Raises `InputError`
    where `folder` holds a cohort of other settings, `SettingsError` for an unknown dataset or grid.
    """
    if participants < 1 or workers < 1:
        raise SettingsError(f"participants and workers must be 1 or more (given: {participants} and {workers})")
    chosen = [phenotypes.dataset(name) for name in datasets]
    settings = {"participants": participants, "seed": seed, "voxel_mm": voxel_mm}
    planned = [fault for one in chosen for fault in faults.plan(one, participants)]
    truth = Truth(folder, {**settings, "datasets": [one.name for one in chosen]}, planned)
    if _done(truth):
        return truth
    anatomy = head(voxel_mm)  # refuses a grid that does not work before anything is written
    for one in chosen:
        _begin(folder / one.name, one, settings)
    jobs = [
        Job(folder / one.name, one.name, number, participants, seed, voxel_mm, anatomy)
        for one in chosen
        for number in range(participants)
    ]
    for _ in progress(_finished(jobs, workers), "simulate", len(jobs)):
        pass
    bids.write_json(folder / TRUTH, {"settings": truth.settings, "faults": [asdict(fault) for fault in truth.faults]})
    return truth


def load_truth(folder: Path) -> Truth:
    """Read `truth.json` of a finished cohort; raises `InputError` where there is none."""
    path = folder / TRUTH
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Truth(folder, found["settings"], [Fault(**fault) for fault in found["faults"]])
    except FileNotFoundError:
        raise InputError(f"no {TRUTH} in {folder}: simulate the cohort first") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no truth of a simulated cohort ({error}); delete it and simulate again") from None


def _done(truth: Truth) -> bool:
    """Whether this very cohort is finished; a finished cohort of other settings is refused."""
    if not (truth.folder / TRUTH).exists():
        return False
    found = load_truth(truth.folder)
    if found.settings != truth.settings:
        raise InputError(
            f"{truth.folder} holds a cohort simulated with {found.settings}, not {truth.settings}: "
            "choose another folder or delete it"
        )
    return True


def _begin(root: Path, dataset: Dataset, settings: dict[str, Any]) -> None:
    """Write descriptions and participants.tsv; refuse a dataset begun with other settings."""
    description = root / "dataset_description.json"
    if description.exists():
        begun = _begun(description)
        if begun != settings:
            made = f"simulated with {begun}" if begun else "not made by this simulation"
            raise InputError(f"{root} was {made}: choose another folder or delete it")
        return
    table = phenotypes.participants(dataset.name, settings["participants"], settings["seed"])
    gone = {
        f"sub-{fault.participant}"
        for fault in faults.plan(dataset, settings["participants"])
        if fault.fault == "missing-participant"
    }
    kept = table[~table["participant_id"].isin(gone)]
    store.write_text(root / "participants.tsv", kept.to_csv(sep="\t", index=False, lineterminator="\n"))
    bids.describe(root, dataset, settings)


def _begun(description: Path) -> dict[str, Any] | None:
    """The settings that a dataset was begun with; None where it is somebody else's."""
    try:
        found: dict[str, Any] = json.loads(
            json.loads(description.read_text(encoding="utf-8"))["GeneratedBy"][0]["Description"]
        )
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return found


@dataclass(frozen=True)
class Job:
    """One participant to write: everything a worker process needs to know."""

    root: Path
    dataset: str
    number: int
    participants: int
    seed: int
    voxel_mm: float
    anatomy: Head

    def rng(self, *stream: int) -> np.random.Generator:
        """The participant's own random numbers, whoever writes it and in whatever order."""
        key = (phenotypes.dataset(self.dataset).key, self.number, *stream)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


def _finished(jobs: list[Job], workers: int) -> Iterator[None]:
    """Write the participants and yield once for each, in processes where several workers are asked for."""
    if workers == 1:
        yield from map(write_participant, jobs)
        return
    # "spawn": a fork would copy the locks of whatever threads the caller runs.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_watch, initargs=(os.getpid(),))
    try:
        for future in as_completed([pool.submit(write_participant, job) for job in jobs]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _watch(parent: int) -> None:
    """End this worker soon after its parent was killed: nobody else would."""

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def write_participant(job: Job) -> None:
    """Write all runs of one participant that are not there yet."""
    dataset = phenotypes.dataset(job.dataset)
    row = phenotypes.participants(job.dataset, job.participants, job.seed).iloc[job.number]
    someone = person(phenotypes.traits(row), job.anatomy.networks, job.rng(_LASTING))
    planned = faults.plan(dataset, job.participants)
    participant = faults.label(job.number)
    for number, run in enumerate(dataset.runs(job.number)):
        fault = faults.of(planned, participant, run)
        _write_run(job, dataset, someone, run, fault, number)


def _write_run(job: Job, dataset: Dataset, someone: Person, run: Run, fault: str | None, number: int) -> None:
    """Write one run with its fault, raw skeleton and derivatives, leaving alone what exists."""
    participant = faults.label(job.number)
    paths = bids.files(job.root, participant, run, job.voxel_mm)
    n_frames = round(faults.SHORT_S / dataset.tr_s) if fault == "too-short" else run.n_frames
    for path, content in bids.sidecars(job.root, paths, dataset, job.voxel_mm).items():
        if not path.exists():
            bids.write_json(path, content)
    if not paths.raw_bold.exists():
        image.write_bytes(paths.raw_bold, image.encode_placeholder(n_frames, dataset.tr_s))
    wanted = {paths.bold, paths.mask}
    if fault != "no-confounds":
        wanted |= {paths.confounds, paths.confounds_sidecar}
    wanted = {path for path in wanted if not path.exists()}
    if not wanted:
        return
    anatomy, rng = job.anatomy, job.rng(_RUN, number)
    restless = _restless(someone.traits, dataset)
    made = scan(someone, anatomy, n_frames=n_frames, tr_s=dataset.tr_s, restless=restless, rng=rng)
    table, about = confounds(made, anatomy, rng)
    if paths.confounds in wanted:
        store.write_text(paths.confounds, to_tsv(table))
    if paths.confounds_sidecar in wanted:
        bids.write_json(paths.confounds_sidecar, about)
    _write_images(job, dataset, paths, made, fault, rng, wanted)


def _write_images(
    job: Job, dataset: Dataset, paths: bids.Files, made: Scan, fault: str | None, rng: np.random.Generator,
    wanted: set[Path],
) -> None:  # fmt: skip
    anatomy = job.anatomy
    positions = anatomy.positions
    if fault == "no-cerebellum":
        positions = np.where(anatomy.below(faults.CUT_BELOW_MM), 0, positions)
    if paths.mask in wanted:
        image.write_bytes(paths.mask, image.encode_mask(positions > 0, anatomy.affine, dataset.orientation))
    if paths.bold not in wanted:
        return
    signals = made.signals.copy()
    if fault == "nan-frames":
        signals[faults.NAN_FRAMES] = np.nan
    content = image.encode(
        signals, positions, anatomy.affine, dataset.tr_s, image.Storage(dataset.dtype, dataset.orientation),
        noise_sd=made.noise_sd, rng=rng, offsets=voxel_offsets(anatomy, job.rng(_VOXELS)),
    )  # fmt: skip
    image.write_bytes(paths.bold, content, keep=faults.KEEP_OF_GZIP if fault == "truncated-gzip" else 1.0)


def _restless(traits: Traits, dataset: Dataset) -> float:
    """How much a participant moves: patients of one site move more, everyone else alike."""
    moving = traits.diagnosis == "patient" and traits.site == phenotypes.MOVING_SITE[dataset.name]
    return RESTLESS_PATIENT if moving else 1.0


def truth_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The full participants table of every dataset of a finished cohort, those missing from its TSV included."""
    settings = load_truth(folder).settings
    return {
        name: phenotypes.participants(name, settings["participants"], settings["seed"]) for name in settings["datasets"]
    }
