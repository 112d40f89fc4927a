"""A study is one config file: the settings of every stage, by name, and how they refer to each other."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from boldtable.errors import BoldtableError, InputError, SettingsError, nearest
from boldtable.settings import Settings
from boldtable.stages.clean import Clean
from boldtable.stages.collect import Collect
from boldtable.stages.embed import Embed
from boldtable.stages.parcellate import Parcellate
from boldtable.stages.preprocess import Preprocess
from boldtable.stages.pretrain import Pretrain
from boldtable.stages.probe import Probe
from boldtable.stages.qc import QC
from boldtable.stages.report import Report

# Names become folders and files below results/.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]

BUILT_IN_ENCODERS = ("connectome", "nuisance")


class Study(Settings):
    """The whole config: one block per stage; the names in a block are the names in paths and tables."""

    preprocess: dict[Name, Preprocess] = Field({}, description="Raw datasets to run through fMRIPrep, by dataset.")
    collect: dict[Name, Collect] = Field(min_length=1, description="Where each dataset lies, by dataset.")
    parcellate: dict[Name, Parcellate] = Field(min_length=1, description="Atlases, by atlas.")
    clean: dict[Name, Clean] = Field(min_length=1, description="Recipes from parcel signals to tensors, by recipe.")
    qc: QC = Field(description="Which runs are kept; one block for all datasets.")
    pretrain: dict[Name, Pretrain] = Field({}, description="Models to train, by model.")
    embed: dict[Name, Embed] = Field({}, description="Rows of the table: encoders and what they read, by model.")
    probe: dict[Name, Probe] = Field({}, description="Tasks, by task.")
    report: dict[Name, Report] = Field({}, description="Result tables, by table.")

    def check(self) -> None:
        """Raise `SettingsError` where one block names something another block does not define."""
        for name, clean in self.clean.items():
            _known(f"clean.{name}.atlas", [clean.atlas], self.parcellate, "parcellate")
        _known("qc.recipe", [self.qc.recipe], self.clean, "clean")
        for name, model in self.pretrain.items():
            _known(f"pretrain.{name}.recipe", [model.recipe], self.clean, "clean")
            _known(f"pretrain.{name}.datasets", model.datasets, self.collect, "collect")
        for name, embed in self.embed.items():
            _known(f"embed.{name}.recipe", [embed.recipe], self.clean, "clean")
            _known(f"embed.{name}.encoder", [embed.encoder], [*BUILT_IN_ENCODERS, *self.pretrain], "pretrain")
        for name, task in self.probe.items():
            _known(f"probe.{name}.dataset", [task.dataset], self.collect, "collect")
        for name, table in self.report.items():
            rows = [*table.models, table.reference, *(model for pair in table.pairs for model in pair)]
            _known(f"report.{name}", rows, self.embed, "embed")
            _known(f"report.{name}.tasks", table.tasks, self.probe, "probe")

    def check_folders(self) -> None:
        """Raise `InputError` where a dataset's folder is not there; relative paths start from the working directory."""
        for name, collect in self.collect.items():
            if name not in self.preprocess and not collect.derivatives.is_dir():
                raise InputError(f"collect.{name}.derivatives: no such folder: {collect.derivatives}")


def refuse_wrong(config: dict[str, Any]) -> None:
    """For the Snakefile: end the program with one line and exit code 2 where a config is wrong."""
    try:
        study = Study.parse(config, "config")
        study.check()
        study.check_folders()
    except BoldtableError as error:
        print(f"boldtable: error: {error}", file=sys.stderr)
        sys.exit(2)


def _known(place: str, names: Iterable[str], known: Iterable[str], block: str) -> None:
    choices = list(known)
    for name in names:
        if name not in choices:
            raise SettingsError(f"{place}: '{name}' is not defined in the '{block}' block{nearest(name, choices)}")
