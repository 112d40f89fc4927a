"""The settings of `collect`: where one dataset lies, which of its runs are wanted, and what is known of the people."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from boldtable.errors import SettingsError
from boldtable.settings import Settings
from boldtable.stages.collect.filters import check_filters

IdRule = Literal["exact", "padding", "alphanumeric", "number"]


class Phenotypes(Settings):
    """One further table of phenotypes, joined to the participants."""

    table: Path = Field(description="CSV, TSV (either also .gz) or Parquet.")
    key: str = Field("participant_id", description="Column that identifies the participant.")
    ids: IdRule = Field("exact", description="How identifiers are compared, as 'ids' of the dataset.")
    session: str | None = Field(None, description="Column that identifies the session, where a row is a visit.")
    columns: list[str] | None = Field(None, description="Columns to take; all when null.")
    rename: dict[str, str] = Field({}, description="Column of the table: name in the participants table.")
    prefix: str = Field("", description="Put in front of the names of all columns that are not renamed.")
    missing: list[str | int | float] = Field([], description="Further codes of missing values in this table.")


class Collect(Settings):
    """Where one dataset lies and which of its runs are wanted."""

    derivatives: Path = Field(description="Folder of fMRIPrep derivatives or of ready parcel series; never written to.")
    optional: bool = Field(
        False,
        description="Where the folder is missing or empty, leave the dataset out, its tasks with it, and say so in the "
        "table; false: stop.",
    )
    participants: Path | None = Field(
        None,
        description="participants.tsv; looked for in the derivatives folder and the two folders above it when null.",
    )
    layout: Literal["fmriprep", "series", "xcpd", "hdf5"] = Field(
        "fmriprep",
        description="What the folder holds: fMRIPrep derivatives; one file of parcel series per run (.txt, .1D, .csv, "
        ".tsv or .npy, any also .gz); XCP-D derivatives, of which the parcel series are taken; or HDF5 files as the "
        "authors of Semantoks lay them out (timeseries/*, long_subject_id, labels/*), where each recording is a run "
        "and the labels become phenotypes.",
    )
    pattern: str | None = Field(
        None,
        description="For layout 'series': path below the folder with the named fields {participant}, {session}, "
        "{task}, {run} and {acquisition} (no '_' or '/' in their values) and '*' for anything else in a name, such as "
        "'ses-{session}/ts_sub-{participant}_ses-{session}.txt.gz'. For 'hdf5': the same, without {participant} and "
        "{run}; every .h5 and .hdf5 file of the folder when null.",
    )
    orientation: Literal["frame_parcel", "parcel_frame"] = Field(
        "frame_parcel", description="For layout 'series': what the rows and columns of a file are."
    )
    tr_s: float | None = Field(
        None,
        gt=0,
        le=60,
        description="Repetition time (s) of every run, whatever the files say; read from the files when null; "
        "for 'series' and 'hdf5' null means unknown.",
    )
    filters: Path | dict[str, Any] | None = Field(
        None,
        description='Which runs to take, as fMRIPrep\'s --bids-filter-file: a JSON file or {"bold": {entity: values}} '
        "with the entity names of PyBIDS. Several values are alternatives, null asks for the entity to be absent, '*' "
        "for any value, regex_search: true makes the values regular expressions.",
    )
    atlas: str | None = Field(
        None, description="For layout 'xcpd': the atlas to take (the atlas- or seg- entity); needed where several are."
    )
    space: str | None = Field(
        None,
        description="Standard space to take, such as MNI152NLin6Asym; needed where several are left. "
        "'native': files without a space entity.",
    )
    resolution: str | None = Field(
        None,
        description="Resolution to take (the res- entity); needed where several are left. "
        "'native': files without a res entity.",
    )
    tasks: list[str] | None = Field(None, description="Tasks to take; all when null.")
    sessions: list[str] | None = Field(None, description="Sessions to take; all when null.")
    leave_out: list[str] = Field([], description="Participants to leave out, with or without 'sub-'.")
    site: str = Field("site", description="Column of participants.tsv that holds the acquisition site.")
    family: str = Field("family", description="Column of participants.tsv that holds the family.")
    age: str = Field("age", description="Column of participants.tsv that holds the age in years.")
    sex: str = Field("sex", description="Column of participants.tsv that holds the sex.")
    ids: IdRule = Field(
        "exact",
        description="How participant_id is compared with the folders, always without 'sub-': exact; padding (12 is "
        "0012); alphanumeric (NDAR_INV1 is NDARINV1); or number (HBN_0012 is 12: only the number at the end counts).",
    )
    missing: list[str | int | float] = Field(
        [],
        description="Codes of missing values in participants.tsv and all phenotype tables, such as -9999, besides n/a, "
        "NA, NaN and empty cells.",
    )
    phenotypes: list[Phenotypes] = Field(
        [],
        description="Further tables (CSV, TSV, Parquet) joined to the participants, each a mapping with the keys "
        "table, key (column of the participants, participant_id by default), ids (as above), session (column of the "
        "sessions, where a row is a visit), columns (to take; all by default), rename (column: new name; site, "
        "family, age_years and sex fill the standard columns), prefix (of all other names) and missing (further "
        "codes).",
    )
    min_minutes: float = Field(2.0, ge=0, description="Shorter runs are excluded (minutes).")
    shard_size: int = Field(
        32, ge=1, le=10_000, description="Participants per shard, at most on average; a shard is one job."
    )

    @model_validator(mode="after")
    def _filters_are_understood(self) -> Self:
        """Wrong filters are told with the other settings, not hours later."""
        if isinstance(self.filters, dict):
            try:
                check_filters(self.filters)
            except SettingsError as error:
                raise ValueError(str(error)) from None
        return self
