"""The settings of `report`: which models and tasks one table shows, and what is tested against what."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from boldtable.errors import nearest
from boldtable.settings import Settings


class Report(Settings):
    """Which models and tasks one table shows, and what they are compared with."""

    title: str = Field("Benchmark", description="Heading of the table and the page.")
    models: list[str] = Field(min_length=1, description="Keys of the embed block, in row order.")
    tasks: list[str] = Field(min_length=1, description="Keys of the probe block, in column order.")
    reference: str = Field("connectome", description="The model that every other one is tested against.")
    pairs: list[tuple[str, str]] = Field([], description="Further pairs of models to test: [better?, than].")
    curves: list[str] = Field(
        [],
        description="Keys of the embed block, snapshots of a model, that are drawn against the step of training and "
        "neither listed nor tested.",
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Level of the intervals.")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        rows = [*self.models, *self.curves]
        for name, values in (("models", self.models), ("tasks", self.tasks), ("models and curves", rows)):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{name} lists '{twice[0]}' twice; list it once")
        for model in [self.reference, *(model for pair in self.pairs for model in pair)]:
            if model not in self.models:
                raise ValueError(f"'{model}' (reference or pair) is not among the models{nearest(model, self.models)}")
        for better, than in self.pairs:
            if better == than:
                raise ValueError(f"the pair [{better}, {than}] tests a model against itself")
        return self
