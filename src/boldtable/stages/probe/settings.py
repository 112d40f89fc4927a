"""The settings of one task: what is predicted, from whom, how it is split and probed."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from boldtable.settings import Settings


class Probe(Settings):
    """One task; the config key of this block is the task's name in paths and tables."""

    dataset: str = Field(description="Key of the collect block whose participants are predicted.")
    kind: Literal["classification", "regression", "binned", "fingerprint"] = Field(
        description="classification (two or more classes), regression, binned (a number in quantile bins of the "
        "training part, then classification), or fingerprint (find a participant again in another session or run)."
    )
    target: str | None = Field(
        None, description="Column of the participants table, such as diagnosis, sex or age_years; null for fingerprint."
    )
    bins: int = Field(5, ge=2, le=20, description="For kind 'binned': how many bins.")
    across: Literal["session", "run"] = Field(
        "session", description="For kind 'fingerprint': the first two sessions, or the first two runs, are compared."
    )
    splits: int = Field(10, ge=1, description="Repeated random splits, stratified by target, grouped by family.")
    seed: int = Field(21, ge=0, description="Split number k is drawn from seed + k.")
    val_share: float = Field(0.2, gt=0, lt=1, description="Share of the participants in the validation part.")
    test_share: float = Field(0.2, gt=0, lt=1, description="Share of the participants in the test part.")
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "fingerprint" and self.target is not None:
            raise ValueError("a fingerprint task has no target: remove it")
        if self.kind != "fingerprint" and self.target is None:
            raise ValueError(f"kind '{self.kind}' needs a target: a column of the participants table")
        if self.val_share + self.test_share >= 1:
            raise ValueError(f"val_share {self.val_share} and test_share {self.test_share} leave nobody to train on")
        if self.probe is not None and (self.probe == "ridge") != (self.kind == "regression"):
            raise ValueError(f"probe '{self.probe}' does not fit kind '{self.kind}': leave it null")
        if min(self.strengths) <= 0:
            raise ValueError("strengths must be above 0")
        return self
