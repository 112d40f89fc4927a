"""The settings of `preprocess`: how fMRIPrep is run on one dataset."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from boldtable.settings import Settings

# fMRIPrep options that boldtable sets itself → the setting to use instead (None: they would hide the outputs).
_SET_ELSEWHERE = {
    "--participant-label": "participants",
    "--session-label": "sessions",
    "--output-spaces": "output_spaces",
    "--fs-license-file": "license_file",
    "--work-dir": "work",
    "-w": "work",
    "--bids-filter-file": "filter_file",
    "--bids-database-dir": "database",
    "--nthreads": "threads",
    "--nprocs": "threads",
    "--n-cpus": "threads",
    "--mem": "memory_mb",
    "--mem-mb": "memory_mb",
    "--image": "image",
    "-i": "image",
    "--output-layout": None,
    "--fs-subjects-dir": None,
}
_PINNED = re.compile(r"@sha256:[0-9a-f]{64}$|:(?!latest$)[\w][\w.-]*$")


class Preprocess(Settings):
    """How fMRIPrep is run on one dataset: `boldtable fsaverage` checks and prepares, `boldtable preprocess` runs it."""

    bids: Path = Field(description="Folder of the raw BIDS dataset; never written to.")
    derivatives: Path = Field(
        description="Folder that receives the fMRIPrep derivatives; nothing in it is ever deleted by the "
        "workflow or by Snakemake."
    )
    engine: Literal["docker", "apptainer"] = Field(
        "docker", description="Container engine: fmriprep-docker or Apptainer."
    )
    image: str = Field(
        "nipreps/fmriprep:25.2.7",
        description="Image with its version: a tag other than latest (or a digest), or for Apptainer a .sif file.",
    )
    license_file: Path = Field(description="FreeSurfer licence file.")
    work: Path = Field(Path("work"), description="Working folder of fMRIPrep (large, may be deleted afterwards).")
    output_spaces: list[str] = Field(["MNI152NLin6Asym:res-2"], min_length=1, description="Output spaces of fMRIPrep.")
    per: Literal["participant", "session"] = Field(
        "participant",
        description="One fMRIPrep run per participant, or per session with an anatomical reference of its own: "
        "sessions of a participant then run side by side, and each needs a T1w image.",
    )
    participants: list[str] | None = Field(
        None, description="Participants to process, with or without 'sub-'; all when null."
    )
    sessions: list[str] | None = Field(
        None,
        description="Sessions to process, with or without 'ses-'; all when null. Not together with a session in "
        "the filter file.",
    )
    filter_file: Path | None = Field(None, description="JSON file handed to fMRIPrep as --bids-filter-file.")
    database: Path | None = Field(
        None,
        description="Folder of the index of the raw dataset (--bids-database-dir); made in the container, once, where "
        "it does not exist. Worth it from some hundred participants on.",
    )
    templateflow: Path | None = Field(
        None,
        description="TemplateFlow cache to use instead of the one in the image, which has the common spaces only; "
        "fill it before ('templateflow get <space>'): nodes may have no internet.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Threads fMRIPrep may use; all of the machine when null. In the workflow the rule's threads count.",
    )
    memory_mb: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="Memory fMRIPrep may plan with (MB); all when null. In the workflow the rule's mem_mb counts.",
    )
    min_free_gb: float = Field(
        20.0, ge=0, description="Free disk space wanted for the working folder and the derivatives before a start (GB)."
    )
    protect: bool = Field(
        True,
        description="Take the write permission from the derivatives of a participant that fMRIPrep has finished "
        "(chmod -R u+w gives it back).",
    )
    extra: list[str] = Field([], description="Further fMRIPrep arguments, one list item each.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.engine == "docker" and not _PINNED.search(self.image):
            raise ValueError(f"image '{self.image}' names no version: write one, such as nipreps/fmriprep:25.2.7")
        for argument in self.extra:
            option = argument.split("=")[0]
            option = option.replace("_", "-") if option.startswith("--") else option
            if option not in _SET_ELSEWHERE:
                continue
            setting = _SET_ELSEWHERE[option]
            hint = f"use the setting '{setting}' instead" if setting else "boldtable needs fMRIPrep's own place for it"
            raise ValueError(f"extra: {argument} cannot be given here; {hint}")
        return self

    @property
    def surfaces(self) -> bool:
        """Whether FreeSurfer runs, so that fsaverage is needed."""
        return "--fs-no-reconall" not in self.extra
