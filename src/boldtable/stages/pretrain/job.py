"""From settings and files to a finished model folder: load, build, train, write."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from boldtable import __version__, store
from boldtable.atlas.table import AtlasTable, load_table
from boldtable.errors import InputError
from boldtable.models import save_model
from boldtable.objectives.base import Objective
from boldtable.progress import say
from boldtable.stages.pretrain import card, log
from boldtable.stages.pretrain.batches import Batches
from boldtable.stages.pretrain.checkpoint import Bench, Stop
from boldtable.stages.pretrain.data import Cohort, load
from boldtable.stages.pretrain.distributed import choose, place, together
from boldtable.stages.pretrain.index import Portion
from boldtable.stages.pretrain.settings import Pretrain
from boldtable.stages.pretrain.training import Training, precision

_BUFFERS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Sources:
    """The files a model is made from: `tensors` (folders) and `qc` (files) in the order of the settings' datasets."""

    atlas: Path
    tensors: Sequence[Path]
    qc: Sequence[Path]
    population: Path | None = None

    @property
    def inputs(self) -> list[Path]:
        """What the training log names as its inputs, without the tensors: those are told by their fingerprint."""
        return [self.atlas, *self.qc, *([self.population] if self.population else [])]

    def check(self, normalisation: str) -> None:
        """Raise `InputError` where the statistics are missing, or are not those that the tensors were made with."""
        if normalisation != "population" and self.population is not None:
            raise InputError(f"the tensors have normalise '{normalisation}': leave out --population {self.population}")
        if normalisation == "population" and self.population is None:
            raise InputError("the tensors have normalise 'population': name its statistics with --population")
        if self.population is None:
            return
        mine = store.fingerprint(self.population)["sha256"]
        for folder in self.tensors:
            path = next(iter(sorted(folder.glob("*.parquet"))))
            if mine not in {given.get("sha256") for given in store.provenance(path)["inputs"]}:
                raise InputError(f"{path} was made with other statistics than {self.population}: run clean again")


def pretrain(settings: Pretrain, model: str, sources: Sources, out: Path) -> None:
    """Read the cohort, train, and put the model folder in its place; see `boldtable.stages.pretrain.run`."""
    device = choose(settings.device, place().local)
    table = load_table(sources.atlas)
    with Stop() as stop, together(device) as processes:
        stop.patient = processes.size > 1
        cohort = _read(settings, sources, table, device)
        with closing(cohort.stream) if cohort.stream else nullcontext():
            objective = build(settings, table, cohort).to(device)
            batches = Batches(settings, cohort, settings.sampling(objective), processes)
            identity = settings.identity(
                data=cohort.fingerprint, parcels=table.names, version=__version__, device=device.type,
                architecture=objective.encoder.config.to_dict(), precision=str(precision(settings, device)),
            )  # fmt: skip
            training = Training(settings, objective, batches, device, processes)
            result = Result(model, training, cohort, table, sources)
            bench = Bench(out, identity, settings.checkpoint_s)
            with bench.held() if processes.first else nullcontext():
                training.run(bench, stop, result.snapshot)
                if processes.first:
                    with bench.finish() as folder:
                        result.model(folder)
        if processes.first:
            say(f"wrote {out}")


def _read(settings: Pretrain, sources: Sources, table: AtlasTable, device: torch.device) -> Cohort:
    cohort = load(
        settings.datasets, sources.tensors, sources.qc, table, _BUFFERS[settings.buffer], device,
        buffer_gb=settings.buffer_gb, portion=Portion(settings.portion, settings.portion_seed), seed=settings.seed,
    )  # fmt: skip
    sources.check(cohort.normalisation)
    how = f"{cohort.frames.nbytes / 1e6:.0f} MB" if cohort.stream is None else "read group by group"
    say(
        f"{cohort.n_runs} runs of {cohort.n_participants} participants: {int(cohort.lengths.sum())} frames, {how} on "
        f"{device}"
    )
    return cohort


@dataclass(frozen=True)
class Result:
    """What a training leaves behind: the model, and models on the way."""

    name: str
    training: Training
    cohort: Cohort
    table: AtlasTable
    sources: Sources

    def model(self, folder: Path) -> None:
        """Write weights, architecture, card, training log and the list of participants."""
        settings, curves = self.training.settings, self.training.log.frame()
        last = curves.tail(self.training.batches.per_epoch)
        losses = [name for name in curves if name == "loss" or str(name).endswith("_loss")]
        ends = {str(name): float(last[name].mean()) for name in losses if last[name].notna().any()}
        self._write(folder, card.trained(settings, ends))
        inputs = [*self.sources.inputs, *settings.files()]
        made = store.Provenance(
            "pretrain", settings, inputs, model=self.name, data=self.cohort.fingerprint,
            device=self.training.device.type, threads=torch.get_num_threads(),
        )  # fmt: skip
        log.write(folder / "training.parquet", curves, made)

    def snapshot(self, folder: Path, done: int) -> None:
        """Write the encoder after `done` steps."""
        total = self.training.batches.total
        self._write(folder, f"A snapshot: the encoder after {done} of {total} steps of its training.")

    def _write(self, folder: Path, trained: str) -> None:
        encoder, settings = self.training.objective.encoder, self.training.settings
        n_parameters = sum(weight.numel() for weight in encoder.parameters())
        text = card.text(self.name, settings, self.cohort, self.table, n_parameters, trained)
        beside = {} if self.sources.population is None else {"normalisation.parquet": self.sources.population}
        save_model(folder, encoder, text, name=self.name, beside=beside)
        store.write_text(folder / "data.json", card.seen(settings, self.cohort))


def build(settings: Pretrain, table: AtlasTable, cohort: Cohort) -> Objective:
    """The objective with the weights that the seed gives; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return settings.build(table, cohort)
