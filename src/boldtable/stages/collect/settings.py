"""The settings of `collect`: where one dataset lies and which of its runs are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from boldtable.settings import Settings


class Collect(Settings):
    """Where one dataset lies and which of its runs are wanted."""

    derivatives: Path = Field(description="Folder of fMRIPrep derivatives or of ready parcel series; never written to.")
    participants: Path | None = Field(
        None,
        description="participants.tsv; looked for in the derivatives folder and the two folders above it when null.",
    )
    layout: Literal["fmriprep", "series"] = Field(
        "fmriprep",
        description="What the folder holds: fMRIPrep derivatives, or one text file of parcel series per run.",
    )
    pattern: str | None = Field(
        None,
        description="For layout 'series': path below the folder with the named fields {participant}, {session}, "
        "{task}, {run} and {acquisition} (no '_' or '/' in their values) and '*' for anything else in a name, such as "
        "'ses-{session}/ts_sub-{participant}_ses-{session}.txt.gz'.",
    )
    orientation: Literal["frame_parcel", "parcel_frame"] = Field(
        "frame_parcel", description="For layout 'series': what the rows and columns of a file are."
    )
    tr_s: float | None = Field(
        None,
        gt=0,
        description="Repetition time (s) of every run, whatever the files say; read from the files when null; "
        "for 'series' null means unknown.",
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
    min_minutes: float = Field(2.0, ge=0, description="Shorter runs are excluded (minutes).")
    shard_size: int = Field(32, ge=1, description="Participants per shard, at most on average; a shard is one job.")
