"""The settings of `report`: which models and tasks one table shows, and what is tested against what."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, model_validator

from boldtable.errors import nearest
from boldtable.expansion import BASELINES, UNTRAINED
from boldtable.settings import Settings

SEEDS = re.compile(r"(.+-untrained)-\d+")


class Report(Settings):
    """Which models and tasks one table shows, and what they are compared with."""

    title: str = Field("Benchmark", description="Heading of the table and the page.")
    models: list[str] = Field(min_length=1, description="Keys of the embed block, in row order.")
    tasks: list[str] = Field(min_length=1, description="Keys of the probe block, in column order.")
    reference: str = Field(
        "connectome",
        description="The model that every other one is compared with. Every trained model against it and against its "
        "untrained self are the primary comparisons, corrected after Holm; all others are exploratory.",
    )
    pairs: list[tuple[str, str]] = Field(
        [], description="Further pairs of models to compare, exploratory: [better?, than]."
    )
    controls: list[str] = Field(
        [],
        description="Tasks of this table that nobody should solve (a coin) or everybody (a planted effect): their "
        "comparisons are exploratory and do not count in the correction.",
    )
    curves: list[str] = Field(
        [],
        description="Keys of the embed block that are drawn and neither listed nor tested: snapshots of a model "
        "against the step of training, models trained on a portion against the participants they learnt from, and "
        "embeddings with networks hidden as the attribution to networks.",
    )
    baselines: bool | list[str] = Field(
        True,
        description=f"Rows that every table has, before the others: {', '.join(BASELINES)}. true adds them all, a list "
        "those it names, false none; they read the recipe of qc unless the embed block says otherwise. In a table with "
        "a fingerprint task true means connectome and connectome-partial.",
    )
    untrained: int = Field(
        UNTRAINED,
        ge=0,
        le=100,
        description="For every trained model, how many untrained ones stand before it: the same but for training, each "
        "of another seed. Three show how much the first weights alone decide; 0 adds none.",
    )
    attribution: list[str] = Field(
        [],
        description="Keys of the embed block that are also probed without each network of their atlas, and with each "
        "alone: rows that are added to the curves, and drawn.",
    )
    networks: list[str] = Field(
        [], description="The networks for attribution; empty takes those of the atlas where its source is built in."
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Level of the intervals.")
    permutations: int = Field(
        1999,
        ge=0,
        le=1_000_000,
        description="How often the targets are dealt out anew to test every model against chance; 0: no such test. "
        "The smallest p is 1 / (permutations + 1).",
    )
    seed: int = Field(21, ge=0, le=2**31, description="Seed of the permutations and of the bootstrap.")
    published: str | None = Field(
        None,
        description="A file of resources/published (its name without .tsv) whose numbers are printed beside the "
        "measured ones, where task, model and metric agree.",
    )
    published_tasks: dict[str, str] = Field({}, description="Task → its name in that file, where they differ.")
    published_models: dict[str, str] = Field({}, description="Row → its name in that file, where they differ.")
    skipped: list[str] = Field(
        [],
        description="Lines on what the table lacks because an optional dataset is not there; written by the workflow.",
    )

    @property
    def rows(self) -> dict[str, list[str]]:
        """The printed rows and the models behind each: several seeds of an untrained model are one row.

        ``semantoks-untrained-1``, ``semantoks-untrained-2`` … make the row ``semantoks-untrained``, at the place of
        the first, unless a model of that name is listed itself.
        """
        found: dict[str, list[str]] = {}
        for model in self.models:
            match = SEEDS.fullmatch(model)
            found.setdefault(match[1] if match and match[1] not in self.models else model, []).append(model)
        return {row if len(models) > 1 else models[0]: models for row, models in found.items()}

    @model_validator(mode="after")
    def _lists_once(self) -> Self:
        rows = [*self.models, *self.curves]
        for name, values in (("models", self.models), ("tasks", self.tasks), ("models and curves", rows)):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{name} lists '{twice[0]}' twice; list it once")
        for better, than in self.pairs:
            if better == than:
                raise ValueError(f"the pair [{better}, {than}] tests a model against itself")
        return self

    @model_validator(mode="after")
    def _names_what_it_has(self) -> Self:
        for model in [self.reference, *(model for pair in self.pairs for model in pair)]:
            if model not in self.rows:
                raise ValueError(f"'{model}' (reference or pair) is not among the models{nearest(model, self.rows)}")
        for task in self.controls:
            if task not in self.tasks:
                raise ValueError(f"'{task}' (controls) is not among the tasks{nearest(task, self.tasks)}")
        if self.published is None and (self.published_tasks or self.published_models):
            raise ValueError("published_tasks and published_models need 'published': the name of a file")
        for baseline in self.baselines if isinstance(self.baselines, list) else []:
            if baseline not in BASELINES:
                raise ValueError(f"baselines: '{baseline}' is none{nearest(baseline, BASELINES)}")
        return self
