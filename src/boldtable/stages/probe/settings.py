"""The settings of one task: what is predicted, from whom, how it is split and probed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from boldtable.settings import Settings
from boldtable.tasks.metrics import KINDS, Name
from boldtable.tasks.settings import Conditions, Value, class_name


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
    metric: Name | None = Field(
        None,
        description="The metric that is printed first, tested and ranked. Classes: balanced_accuracy (null), auroc, "
        "accuracy, f1; regression: mae (null), r2, pearson_r. The CSV has all of them, the page a second one.",
    )
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

    windows: Literal["mean", "samples"] = Field(
        "mean",
        description="One vector per participant (the mean over windows, then over runs), or every window a sample of "
        "its own, with the outputs averaged per participant; linear-sgd always takes samples.",
    )
    absent: Literal["refuse", "leave-out"] = Field(
        "refuse",
        description="A model that has no embedding of some of the task's participants is refused, or scored without "
        "them: a line names them, n counts the others, and the table compares models on whom they share.",
    )

    # How they are split.
    scheme: Literal["random", "kfold", "leave-one-site-out", "transfer", "files"] = Field(
        "random",
        description="random (repeated random splits), kfold, leave-one-site-out (each site is tested once), transfer "
        "(train on dataset, test on test_dataset), or files (the lists of split_file). Families stay together; classes "
        "or quantiles of the target are spread evenly.",
    )
    splits: int = Field(
        10,
        ge=1,
        le=10_000,
        description="Number of splits; for kfold a multiple of folds. Not for leave-one-site-out and files.",
    )
    folds: int = Field(5, ge=2, le=1000, description="For scheme 'kfold': the parts of which each is tested once.")
    split_file: Path | None = Field(
        None,
        description="For scheme 'files': TSV or CSV with columns participant (with or without sub-), part (train, val, "
        "test) and, for several splits, split; without val, val_share of the training part is drawn.",
    )
    site_minimum: int = Field(
        5,
        ge=1,
        le=1_000_000,
        description="For scheme 'leave-one-site-out': a site is tested where it has this many participants of every "
        "class that occurs there (regression and binned: this many participants). The others still train, and the "
        "table names them.",
    )
    stratify_site: bool = Field(
        False, description="Spread the sites evenly too, where at least three participants share class and site."
    )
    seed: int = Field(21, ge=0, le=2**31, description="Split number k is drawn from seed + k.")
    val_share: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of the participants in the validation part; where the scheme fixes the test part (a site, a "
        "dataset, a list), share of the others.",
    )
    test_share: float = Field(0.2, gt=0, lt=1, description="For scheme 'random': share of participants that is tested.")

    # What is done to the features first, fitted on the training part.
    harmonise: Literal["none", "site"] = Field(
        "none",
        description="site: ComBat takes the location and scale of every site out of the features, leaving what the "
        "confounds explain; a site without two training participants is given the pooled ones, and a line says so.",
    )
    confounds: list[str] = Field(
        [],
        description="Regressed out of the features: site, columns of the participants table (age_years, sex) or "
        "measures of the qc table (fd_mm_mean; the mean over a participant's runs). Text becomes indicators; what is "
        "unknown or was not seen in training counts as average.",
    )
    select: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="How many features are kept: those with the largest univariate F; null keeps all.",
    )

    # How they are probed.
    probe: Literal["logistic", "ridge", "knn", "linear-sgd"] | None = Field(
        None,
        description="logistic (classes), ridge (regression), knn (cosine similarity) or linear-sgd (batch "
        "normalisation and a linear head trained on windows, as for Brain-Semantoks); null means logistic for classes "
        "and ridge for regression.",
    )
    balance: bool = Field(
        True, description="For logistic and knn: weight classes inversely to their size in the training part."
    )
    strengths: list[float] = Field(
        [1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4],
        min_length=1,
        description="Inverse regularisation strengths C (ridge: 1 / alpha) to choose from on the validation part, for "
        "standardised features divided by the square root of their number; on a tie the smallest wins.",
    )
    neighbours: list[int] = Field(
        [1, 3, 5, 11, 21],
        min_length=1,
        description="For knn: numbers of neighbours to choose from on the validation part; on a tie the largest wins.",
    )
    inner_folds: int | None = Field(
        5,
        ge=2,
        le=20,
        description="For logistic, ridge and knn: choose by nested cross-validation, over this many folds of the "
        "training and validation parts together (families, and for leave-one-site-out sites, stay together), and fit "
        "on both; null chooses on the validation part and fits on the training part. linear-sgd always does that.",
    )
    choose_by: Literal["auroc", "log_loss", "balanced_accuracy", "r2", "mae"] | None = Field(
        None,
        description="For logistic, ridge and knn: what a value of the grid is chosen by; null means auroc for classes "
        "(which orders people best) and r2 for regression. log_loss, in which classes weigh alike, decides better at "
        "the threshold of balanced accuracy where classes are of unequal size. linear-sgd goes by balanced accuracy or "
        "mean absolute error, as its authors do.",
    )
    rates: list[float] = Field(
        [0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4],
        min_length=1,
        description="For linear-sgd: learning rates to choose from on the validation part; on a tie the first wins.",
    )
    epochs: int = Field(50, ge=1, le=100_000, description="For linear-sgd: passes over the training windows.")
    batch_size: int = Field(
        256,
        ge=2,
        le=1_000_000,
        description="For linear-sgd: largest minibatch (windows); at most an eighth of the training windows.",
    )
    validate_on: Literal["windows", "participants"] = Field(
        "windows",
        description="For linear-sgd: choose the rate by single windows, as the authors do, or by their mean per "
        "participant.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="For linear-sgd: auto takes a GPU where there is one."
    )

    @property
    def head(self) -> str:
        """The probe, where none is named that of the kind."""
        return self.probe or ("ridge" if self.kind == "regression" else "logistic")

    @property
    def nested_folds(self) -> int | None:
        """The inner folds that the probe is chosen over; None where it is chosen on the validation part."""
        return None if self.head == "linear-sgd" else self.inner_folds

    @property
    def measure(self) -> str:
        """What the probe is chosen by."""
        if self.head == "linear-sgd":
            return "mae" if self.kind == "regression" else "balanced_accuracy"
        return self.choose_by or ("r2" if self.kind == "regression" else "auroc")

    @property
    def grid(self) -> list[float]:
        """What the probe chooses from; among equals, the first is preferred."""
        if self.head == "linear-sgd":
            return self.rates
        return sorted(self.neighbours, reverse=True) if self.head == "knn" else sorted(self.strengths)

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
        if self.metric is not None and self.metric not in KINDS[self.kind]:
            raise ValueError(f"metric '{self.metric}' is none of kind '{self.kind}': {', '.join(KINDS[self.kind])}")
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
        if (self.probe == "ridge" and self.kind != "regression") or (
            self.probe == "logistic" and self.kind == "regression"
        ):
            raise ValueError(f"probe '{self.probe}' does not fit kind '{self.kind}': leave it null")
        given = {"inner_folds", "choose_by"} & self.model_fields_set
        if self.probe == "linear-sgd" and any(getattr(self, name) is not None for name in given):
            raise ValueError("linear-sgd chooses on the validation part, as its authors do: leave inner_folds null")
        numbers = self.kind == "regression"
        if self.choose_by is not None and (self.choose_by in ("r2", "mae")) != numbers:
            raise ValueError(f"choose_by '{self.choose_by}' does not fit kind '{self.kind}'")
        for name in ("strengths", "neighbours", "rates"):
            if min(getattr(self, name)) <= 0:
                raise ValueError(f"{name} must be above 0")
        return self

    @model_validator(mode="after")
    def _features(self) -> Self:
        fitted: dict[str, object] = {
            "harmonise": "none", "confounds": [], "select": None, "probe": None, "inner_folds": 5, "choose_by": None,
            "windows": "mean",
        }  # fmt: skip
        wrong = [name for name, off in fitted.items() if self.kind == "fingerprint" and getattr(self, name) != off]
        if wrong:
            raise ValueError(f"a fingerprint task fits nothing, so it takes no {wrong[0]}")
        if self.target is not None and self.target in self.confounds:
            raise ValueError(f"confounds: '{self.target}' is the target")
        if self.harmonise == "site" and "site" in self.confounds:
            raise ValueError("harmonise: site takes the site out already: remove it from confounds")
        return self
