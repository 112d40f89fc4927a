"""The settings of one recipe block."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from boldtable.settings import Settings

Strategy = Literal["24P", "27P", "36P", "aCompCor", "ICA-AROMA", "none"]


class Clean(Settings):
    """A recipe: everything between parcel signals and a tensor."""

    atlas: str = Field(description="Key of the parcellate block whose parcel signals are cleaned.")
    confounds: Strategy | list[str] = Field(
        "24P",
        description="Confound strategy: 24P (six motion parameters, derivatives, squares), 27P (24P with white matter, "
        "CSF and global signal), 36P (27P with their derivatives and squares), aCompCor (24P, the first components of "
        "the combined mask, and the cosines they were made with), ICA-AROMA (the motion components as fMRIPrep up to "
        "22 writes them, white matter and CSF), none, or a list of column names.",
    )
    components: int | None = Field(
        5,
        ge=1,
        le=1000,
        description="For aCompCor: the first so many components, or fewer where half the variance takes fewer; null: "
        "all that fMRIPrep retained (half of the variance).",
    )
    dummy_frames: Literal["auto"] | Annotated[int, Field(ge=0, le=10_000)] = Field(
        "auto",
        description="Frames dropped at the start of every run: a number, or auto for those that the confounds flag as "
        "non-steady-state (flagged frames further on are censored). Quality control counts them and notes a start that "
        "stands out without a flag.",
    )
    detrend: bool = Field(
        True,
        description="Take out the mean and linear trend of every run; false leaves the trend and, without a high-pass "
        "(low_hz), the mean where they are.",
    )
    fd_mm: float | None = Field(
        0.5, gt=0, description="Frames with a framewise displacement above this (mm) are censored; null: none."
    )
    dvars: float | None = Field(
        None, gt=0, description="Frames with standardised DVARS above this are censored; null: none."
    )
    min_segment_frames: int = Field(
        1,
        ge=1,
        le=10_000,
        description="Kept stretches between censored frames that are shorter than this are censored as well.",
    )
    min_minutes: float = Field(2.0, ge=0, description="Runs with less left after censoring fail (minutes).")
    low_hz: float | None = Field(0.01, gt=0, description="Lower edge of the pass band (Hz); null: no high-pass.")
    high_hz: float | None = Field(0.1, gt=0, description="Upper edge of the pass band (Hz); null: no low-pass.")
    tr_s: float | None = Field(2.0, gt=0, description="Target repetition time (s); null keeps the native one.")
    normalise: Literal["zscore", "robust", "population", "none"] = Field(
        "zscore",
        description="Per parcel: z-score over the run, robust (median and interquartile range over the run), "
        "population (median and interquartile range over the runs of `population`), or none.",
    )
    population: list[str] = Field(
        [], description="For normalise 'population': keys of the collect block whose runs the statistics are fitted on."
    )
    population_split: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*/[0-9]+$",
        description="Fit on the training part of a split only, as task/number such as 'sex/0' (the task's dataset is "
        "then the only one in `population`); null: on every participant.",
    )
    population_frames: int = Field(
        200_000,
        ge=1,
        le=100_000_000,
        description="The statistics pool at most this many frames, as many from each run and evenly spaced.",
    )

    @model_validator(mode="after")
    def _band_is_open(self) -> Self:
        if self.low_hz is not None and self.high_hz is not None and self.low_hz >= self.high_hz:
            raise ValueError(f"low_hz {self.low_hz:g} must be below high_hz {self.high_hz:g}")
        edges = [edge for edge in (self.low_hz, self.high_hz) if edge is not None]
        if self.tr_s is not None and edges and max(edges) > 0.5 / self.tr_s:
            raise ValueError(
                f"the pass band reaches {max(edges):g} Hz, but a TR of {self.tr_s:g} s holds nothing above "
                f"{0.5 / self.tr_s:g} Hz: lower high_hz, or tr_s"
            )
        return self

    @model_validator(mode="after")
    def _population_is_declared(self) -> Self:
        if (self.normalise == "population") != bool(self.population):
            raise ValueError("normalise 'population' and the datasets in population go together")
        if self.population_split is not None and len(self.population) != 1:
            raise ValueError("population_split needs the task's dataset, and no other, in population")
        return self
