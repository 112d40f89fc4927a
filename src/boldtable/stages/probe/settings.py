"""The settings of one task: what is predicted, from whom, how it is split and probed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from boldtable.settings import Settings

Value = str | int | float | bool


class Limits(Settings):
    """A range of numbers."""

    min: float | None = Field(None, description="Smallest value that passes; null for none.")
    max: float | None = Field(None, description="Largest value that passes; null for none.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


Conditions = dict[str, Limits | list[Value] | Value]


class Probe(Settings):
    """One task; the config key of this block is the task's name in paths and tables."""

    # Who is predicted, and what.
    dataset: str = Field(description="Key of the collect block whose participants are predicted.")
    test_dataset: str | None = Field(
        None, description="For scheme 'transfer': key of the collect block whose participants are tested."
    )
    shared_ids: bool = Field(
        False,
        description="For scheme 'transfer': participants (or families) of one name in both datasets are the same; they "
        "are tested and never trained on.",
    )
    kind: Literal["classification", "regression", "binned", "fingerprint"] = Field(
        description="classification (two or more classes), regression, binned (a number in quantile bins of the "
        "training part, then classification), or fingerprint (find a participant again in another recording)."
    )
    target: str | None = Field(
        None, description="Column of the participants table, such as diagnosis, sex or age_years; null for fingerprint."
    )
    classes: dict[str, list[Value]] | None = Field(
        None,
        description="For kind 'classification': class → the values of the target that it takes, such as {ASD: [1], "
        "control: [2]}; participants with other values are left out. null takes the values as they are.",
    )
    bins: int = Field(5, ge=2, le=20, description="For kind 'binned': how many bins.")
    across: Literal["session", "run", "half"] = Field(
        "session",
        description="For kind 'fingerprint': compare the first two sessions, the first two runs, or the two halves of "
        "one run (the longest, or the first with runs: first), which needs models with halves: true.",
    )

    # Which participants and which runs of theirs.
    where: Conditions = Field(
        {},
        description="Filters: column of the participants table → a value, a list of values, or a range {min, max} with "
        "both ends inside, such as {age_years: {min: 18, max: 60}, site: [NYU, UCLA]}. Missing values do not pass.",
    )
    runs_where: Conditions = Field(
        {},
        description="Filters on the runs that quality control kept: column of the qc table → as in where, such as "
        "{fd_mm_mean: {max: 0.2}, task: rest}. Unknown measures do not pass.",
    )
    runs: Literal["all", "first", "longest"] = Field(
        "all",
        description="Which of a participant's runs stand for them: the mean of all, the first (by session, task, run), "
        "or the one with the most minutes left after censoring.",
    )

    # How they are split.
    scheme: Literal["random", "kfold", "leave-one-site-out", "transfer", "files"] = Field(
        "random",
        description="random (repeated random splits), kfold, leave-one-site-out (each site is tested once), transfer "
        "(train on dataset, test on test_dataset), or files (the lists of split_file). Families stay together; classes "
        "or quantiles of the target are spread evenly.",
    )
    splits: int = Field(
        10, ge=1, description="Number of splits; for kfold a multiple of folds. Not for leave-one-site-out and files."
    )
    folds: int = Field(5, ge=2, description="For scheme 'kfold': the parts of which each is tested once.")
    split_file: Path | None = Field(
        None,
        description="For scheme 'files': TSV or CSV with columns participant (with or without sub-), part (train, val, "
        "test) and, for several splits, split; without val, val_share of the training part is drawn.",
    )
    stratify_site: bool = Field(
        False, description="Spread the sites evenly too, where at least three participants share class and site."
    )
    seed: int = Field(21, ge=0, description="Split number k is drawn from seed + k.")
    val_share: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of the participants in the validation part; where the scheme fixes the test part (a site, a "
        "dataset, a list), share of the others.",
    )
    test_share: float = Field(0.2, gt=0, lt=1, description="For scheme 'random': share of participants that is tested.")

    # How they are probed.
    probe: Literal["logistic", "ridge"] | None = Field(
        None, description="Linear probe; null means logistic for classes and ridge for regression."
    )
    balance: bool = Field(
        True, description="For logistic: weight classes inversely to their size in the training part."
    )
    strengths: list[float] = Field(
        [1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4],
        min_length=1,
        description="Inverse regularisation strengths C (ridge: 1 / alpha) to choose from on the validation part, for "
        "standardised features divided by the square root of their number; on a tie the smallest wins.",
    )

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets that the task reads, the one that is trained on first."""
        return (self.dataset,) if self.test_dataset is None else (self.dataset, self.test_dataset)

    @model_validator(mode="after")
    def _target(self) -> Self:
        if self.kind == "fingerprint" and self.target is not None:
            raise ValueError("a fingerprint task has no target: remove it")
        if self.kind != "fingerprint" and self.target is None:
            raise ValueError(f"kind '{self.kind}' needs a target: a column of the participants table")
        if self.classes is not None:
            if self.kind != "classification":
                raise ValueError(f"classes are for kind 'classification', not '{self.kind}'")
            values = [class_name(value) for members in self.classes.values() for value in members]
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"classes: value '{twice[0]}' is in two of them")
            if len(self.classes) < 2:
                raise ValueError("classes: there must be two or more")
        return self

    @model_validator(mode="after")
    def _scheme(self) -> Self:
        if self.kind == "fingerprint" and self.scheme != "random":
            raise ValueError("a fingerprint task fits nothing, so it has no scheme: remove it")
        for scheme, key in (("transfer", "test_dataset"), ("files", "split_file")):
            if (self.scheme == scheme) != (getattr(self, key) is not None):
                raise ValueError(f"scheme '{scheme}' and {key} go together: give both or neither")
        if self.test_dataset == self.dataset:
            raise ValueError(f"test_dataset is dataset '{self.dataset}' itself: name another")
        if self.scheme == "random" and self.val_share + self.test_share >= 1:
            raise ValueError(f"val_share {self.val_share} and test_share {self.test_share} leave nobody to train on")
        if self.scheme == "kfold":
            if self.splits % self.folds:
                raise ValueError(f"splits {self.splits} is no multiple of folds {self.folds}")
            if self.val_share + 1 / self.folds >= 1:
                raise ValueError(f"val_share {self.val_share} and {self.folds} folds leave nobody to train on")
        return self

    @model_validator(mode="after")
    def _head(self) -> Self:
        if self.probe is not None and (self.probe == "ridge") != (self.kind == "regression"):
            raise ValueError(f"probe '{self.probe}' does not fit kind '{self.kind}': leave it null")
        if min(self.strengths) <= 0:
            raise ValueError("strengths must be above 0")
        return self


def class_name(value: object) -> str:
    """A class as text: 1.0 (a whole number in a column with gaps) reads 1."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
