"""A study is one config file: the settings of every stage, by name, and how they refer to each other."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints

from boldtable import running
from boldtable.absent import present
from boldtable.errors import BoldtableError, InputError, SettingsError, nearest
from boldtable.expansion import BASELINES, expand
from boldtable.plain import plain
from boldtable.progress import say
from boldtable.settings import Settings, read_yaml
from boldtable.stages.clean import Clean
from boldtable.stages.collect import Collect
from boldtable.stages.embed import Embed
from boldtable.stages.parcellate import Parcellate
from boldtable.stages.preprocess import Preprocess
from boldtable.stages.pretrain import AnyPretrain
from boldtable.stages.probe import Probe
from boldtable.stages.qc import QC
from boldtable.stages.report import Report

# Names become folders and files below results/.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]

# Folders below results/ beside those of the datasets.
RESERVED = (
    "atlases", "benchmarks", "embeddings", "logs", "models", "population", "scores", "splits", "tables", "targets",
)  # fmt: skip
# A settings block travels as one argument of a command; Linux takes 128 KiB.
LONGEST_CONFIG = 100_000


class Study(Settings):
    """The whole config: one block per stage; the names in a block are the names in paths and tables."""

    preprocess: dict[Name, Preprocess] = Field({}, description="Raw datasets to run through fMRIPrep, by dataset.")
    collect: dict[Name, Collect] = Field(min_length=1, description="Where each dataset lies, by dataset.")
    parcellate: dict[Name, Parcellate] = Field(min_length=1, description="Atlases, by atlas.")
    clean: dict[Name, Clean] = Field(min_length=1, description="Recipes from parcel signals to tensors, by recipe.")
    qc: QC = Field(description="Which runs are kept; one block for all datasets.")
    pretrain: dict[Name, AnyPretrain] = Field({}, description="Models to train, by model.")
    embed: dict[Name, Embed] = Field({}, description="Rows of the table: encoders and what they read, by model.")
    probe: dict[Name, Probe] = Field({}, description="Tasks, by task.")
    report: dict[Name, Report] = Field({}, description="Result tables, by table.")

    @classmethod
    def parse(cls, values: Any, where: str = "settings") -> Self:
        """Validate a config, with the rows that its tables ask for; errors as in `Settings.parse`."""
        return super().parse(expand(values) if isinstance(values, dict) else values, where)

    def check(self) -> None:
        """Raise `SettingsError` where one block names what another does not define, or two blocks contradict."""
        _free("collect", self.collect, RESERVED)
        _free("pretrain", self.pretrain, BASELINES)
        self._check_data()
        self._check_models()
        for name, task in self.probe.items():
            _known(f"probe.{name}.dataset", task.datasets, self.collect, "collect")
        for name, table in self.report.items():
            _known(f"report.{name}", [*table.models, *table.curves, *table.attribution], self.embed, "embed")
            _known(f"report.{name}.tasks", table.tasks, self.probe, "probe")
            self._check_halves(name, [*table.models, *table.curves], table.tasks)

    def _check_halves(self, name: str, rows: Iterable[str], tasks: Iterable[str]) -> None:
        """A fingerprint across the halves of a run needs rows that embed them."""
        cut = [task for task in tasks if self.probe[task].across == "half" and self.probe[task].kind == "fingerprint"]
        whole = [row for row in rows if not self.embed[row].halves]
        if cut and whole:
            raise SettingsError(
                f"report.{name}: task '{cut[0]}' compares the halves of a run, but embed.{whole[0]} embeds whole runs: "
                "set halves: true there, or leave it out of this table"
            )

    def _check_data(self) -> None:
        _known("preprocess", self.preprocess, self.collect, "collect")
        for name, raw in self.preprocess.items():
            if raw.derivatives != self.collect[name].derivatives:
                raise SettingsError(
                    f"preprocess.{name}.derivatives is {raw.derivatives}, but collect.{name}.derivatives is "
                    f"{self.collect[name].derivatives}: name the same folder"
                )
        for name, clean in self.clean.items():
            _known(f"clean.{name}.atlas", [clean.atlas], self.parcellate, "parcellate")
            _known(f"clean.{name}.population", clean.population, self.collect, "collect")
            if clean.population_split is not None:
                self._check_population_split(name, clean)
        _known("qc.recipe", [self.qc.recipe], self.clean, "clean")

    def _check_population_split(self, name: str, clean: Clean) -> None:
        """Statistics fitted on the training part of a task need its splits, which need qc, which needs its recipe."""
        task = str(clean.population_split).split("/")[0]
        _known(f"clean.{name}.population_split", [task], self.probe, "probe")
        if self.probe[task].dataset not in clean.population:
            raise SettingsError(
                f"clean.{name}.population: lacks '{self.probe[task].dataset}', the dataset of task '{task}'"
            )
        if name == self.qc.recipe:
            raise SettingsError(
                f"clean.{name}.population_split: qc measures this recipe, and splits need qc; give qc another recipe"
            )

    def _check_models(self) -> None:
        for name, model in self.pretrain.items():
            _known(f"pretrain.{name}.recipe", [model.recipe], self.clean, "clean")
            _known(f"pretrain.{name}.datasets", model.datasets, self.collect, "collect")
        for name, embed in self.embed.items():
            _known(f"embed.{name}.recipe", [embed.recipe], self.clean, "clean")
            if embed.encoder is None:
                continue
            _known(f"embed.{name}.encoder", [embed.encoder], [*BASELINES, *self.pretrain], "pretrain")
            if embed.snapshot is not None and embed.encoder in self.pretrain:
                n = self.pretrain[embed.encoder].snapshots
                if embed.snapshot >= n:
                    raise SettingsError(
                        f"embed.{name}.snapshot: {embed.snapshot}, but pretrain.{embed.encoder}.snapshots is {n}, and "
                        "they are counted from 0"
                    )

    def check_folders(self) -> None:
        """Raise `InputError` where a folder is not there; relative paths start from the working directory."""
        for name, raw in self.preprocess.items():
            _folder(f"preprocess.{name}.bids", raw.bids)
        for name, collect in self.collect.items():
            if name not in self.preprocess:
                _folder(f"collect.{name}.derivatives", collect.derivatives)
            for table in collect.phenotypes:
                if not table.table.is_file():
                    raise InputError(
                        f"collect.{name}.phenotypes: no such table: {table.table.absolute()}; correct 'table'"
                    )
        self._check_lists()
        for name, embed in self.embed.items():
            if embed.weights is not None:
                _folder(f"embed.{name}.weights", embed.weights)
        results = Path("results").absolute()
        there = next(path for path in (results, *results.parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise InputError(
                f"cannot write {results}: {there} is no folder that can be written; choose another --directory"
            )

    def _check_lists(self) -> None:
        for name, task in self.probe.items():
            if task.split_file is not None and not task.split_file.is_file():
                raise InputError(f"probe.{name}.split_file: no such file: {task.split_file.absolute()}; correct it")


def start(config: dict[str, Any], files: Iterable[str], arguments: Iterable[str]) -> None:
    """For the main process of the Snakefile: check the config, then begin the run.

    `files` are the config files as Snakemake was given them (it lets the last of two equal keys win), `arguments` its
    own. Where something is wrong, or another run of the study lives, the program ends with one line and exit code 2.
    """
    try:
        for path in files:
            read_yaml(str(path))
        _refuse_wrong(config)
        running.begin(executes=running.executes(arguments))
    except BoldtableError as error:
        print(plain(f"boldtable: error: {error}", keep="\n\t"), file=sys.stderr)
        sys.exit(2)


def _refuse_wrong(config: dict[str, Any]) -> None:
    config = present(config, say)
    study = Study.parse(config, "config")
    if len(json.dumps(expand(config))) > LONGEST_CONFIG:
        raise SettingsError("config: longer than a command line takes; shorten its lists of names")
    study.check()
    study.check_folders()


def _known(place: str, names: Iterable[str], known: Iterable[str], block: str) -> None:
    choices = list(known)
    for name in names:
        if name not in choices:
            raise SettingsError(f"{place}: '{name}' is not defined in the '{block}' block{nearest(name, choices)}")


def _free(block: str, names: Iterable[str], taken: Iterable[str]) -> None:
    for name in sorted(set(names) & set(taken)):
        raise SettingsError(f"{block}.{name}: boldtable uses the name '{name}' itself; choose another")


def _folder(place: str, path: Path) -> None:
    if not path.is_dir():
        seen = "" if path.is_absolute() else f" ({path.absolute()})"
        raise InputError(
            f"{place}: no such folder: {path}{seen}; correct it in the config, or choose another --directory"
        )
    if not any(path.iterdir()):
        raise InputError(f"{place}: the folder is empty: {path}; fill it or name another in the config")
