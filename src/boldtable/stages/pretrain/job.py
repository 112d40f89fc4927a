"""From settings and files to a finished model folder: load, build, train, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from boldtable import __version__, store
from boldtable.atlas.table import AtlasTable, load_table
from boldtable.errors import SettingsError
from boldtable.models import InputSpec, save_model
from boldtable.models.semantoks import Semantoks, semantoks_config
from boldtable.objectives.distillation import SelfDistillation, distillation_config
from boldtable.progress import say
from boldtable.stages.pretrain import card, log
from boldtable.stages.pretrain.batches import Batches
from boldtable.stages.pretrain.checkpoint import Bench, Stop
from boldtable.stages.pretrain.data import Cohort, load
from boldtable.stages.pretrain.settings import Pretrain
from boldtable.stages.pretrain.training import Training, precision

_BUFFERS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
_LOSSES = ("loss", "cls_loss", "token_loss", "network_loss")


def pretrain(
    settings: Pretrain, model: str, atlas: Path, tensors: Sequence[Path], qc: Sequence[Path], out: Path
) -> None:
    """Read the cohort, train, and put the model folder in its place; see `boldtable.stages.pretrain.run`."""
    device = choose(settings.device)
    table = load_table(atlas)
    with Stop() as stop:
        cohort = load(settings.datasets, tensors, qc, table, _BUFFERS[settings.buffer], device)
        say(
            f"{cohort.n_runs} runs of {cohort.n_participants} participants: {len(cohort.frames)} frames, "
            f"{cohort.frames.nbytes / 1e6:.0f} MB on {device}"
        )
        objective = build(settings, table, cohort).to(device)
        batches = Batches(settings, cohort, (len(objective.student.config.groups), objective.student.config.n_patches))
        identity = settings.identity(
            data=cohort.fingerprint, parcels=table.names, networks=table.networks, version=__version__,
            device=device.type, precision=str(precision(settings, device)),
        )  # fmt: skip
        training, bench = Training(settings, objective, batches, device), Bench(out, identity, settings.checkpoint_s)
        training.run(bench, stop)
        with bench.finish() as folder:
            _write(folder, model, training, cohort, table)
            made = store.Provenance("pretrain", settings, [atlas, *qc], model=model, data=cohort.fingerprint)
            log.write(folder / "training.parquet", training.log.frame(), made)
    say(f"wrote {out}")


def _write(folder: Path, name: str, training: Training, cohort: Cohort, table: AtlasTable) -> None:
    """Write weights, architecture, card and the list of participants."""
    settings, teacher = training.settings, training.objective.teacher.cpu()
    last = training.log.frame().tail(training.batches.per_epoch)
    ends = {name: float(last[name].mean()) for name in _LOSSES if last[name].notna().any()}
    n_parameters = sum(weight.numel() for weight in teacher.parameters())
    save_model(folder, teacher, card.text(name, settings, cohort, table, n_parameters, ends))
    store.write_text(folder / "data.json", card.seen(settings, cohort))


def choose(wanted: str) -> torch.device:
    """The device to train on; says so where a GPU was hoped for and there is none."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise SettingsError("device is 'cuda', but there is no GPU here: set 'device: auto' to train on the CPU")
    if wanted == "auto" and not there:
        say("no GPU here: training on the CPU")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def build(settings: Pretrain, table: AtlasTable, cohort: Cohort) -> SelfDistillation:
    """Student and teacher with the weights that the seed gives; the caller's random state stays as it was."""
    spec = InputSpec(
        atlas=table.name,
        parcels=tuple(table.names),
        networks=tuple(table.networks),
        tr_s=cohort.tr_s,
        n_frames=settings.window_frames,
        normalisation=cohort.normalisation,
        recipe=settings.recipe,
    )
    config = semantoks_config(
        settings.size, table.networks, settings.window_frames, settings.patch_frames, settings.tokenizer
    )
    losses = distillation_config(settings.size, settings.cls_weight, settings.token_weight)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return SelfDistillation(Semantoks(config, spec), replace(losses, coding_eps=settings.coding_epsilon))
