"""The settings of one atlas block."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from boldtable.settings import Settings

_SPACES = ("MNI152NLin6Asym", "MNI152NLin2009cAsym")


class Parcellate(Settings):
    """One atlas and what counts as covered; the config key of this block is the atlas's name in paths."""

    source: Literal["schaefer400-tian3-buckner7", "a424", "demo457", "file", "series"] = Field(
        description="A built-in atlas (a424 is BrainLM's), 'file' for your own image and table, or 'series' where the "
        "runs are parcel series."
    )
    image: Path | None = Field(None, description="For source 'file': NIfTI label image.")
    table: Path | None = Field(
        None,
        description="For 'file' and 'series': TSV with the columns index, name, hemisphere (L, R, B for both; n/a "
        "counts as B) and network (n/a where unknown); for 'series' one row per parcel in the order of the series.",
    )
    space: str | None = Field(
        None,
        description="For source 'file': the standard space of the image. For schaefer400-tian3-buckner7: the space it "
        "is made in, MNI152NLin6Asym (when null) or MNI152NLin2009cAsym (which needs TemplateFlow's transform and the "
        "extra 'spaces').",
    )
    to_space: Literal["MNI152NLin2009cAsym"] | None = Field(
        None,
        description="For a424, and for 'file' in MNI152NLin6Asym: bring the image to this space by TemplateFlow's "
        "transform (extra 'spaces'); null leaves it where it is.",
    )
    orientation: Literal["frame_parcel", "parcel_frame"] = Field(
        "frame_parcel", description="For source 'series': what the rows and columns of a file are."
    )
    folder: Path | None = Field(None, description="Offline folder with the atlas files; BOLDTABLE_ATLAS_DIR when null.")
    schaefer: Literal["cbig", "templateflow"] = Field(
        "cbig",
        description="Where the built-in atlas takes Schaefer-400 from: the authors' repository or TemplateFlow (the "
        "same parcels by index, older names); TemplateFlow is also tried, and said, where the authors' files cannot be "
        "had.",
    )
    min_coverage: float = Field(
        0.5, gt=0, le=1, description="Share of a parcel's voxels that must lie in the brain mask with signal, else NaN."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """A user's own atlas names its files, and only then."""
        needed = {"file": ("image", "table", "space"), "series": ("table",)}.get(self.source, ())
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(f"source '{self.source}' needs {' and '.join(missing)}")
        if self.source == "schaefer400-tian3-buckner7" and self.space not in (None, *_SPACES):
            raise ValueError(f"source '{self.source}' is made in {' or '.join(_SPACES)}, not in {self.space}")
        if self.source == "a424" and self.space not in (None, _SPACES[0]):
            raise ValueError(f"source 'a424' is in {_SPACES[0]}, not in {self.space}; to_space brings it elsewhere")
        if self.to_space is not None and self.source != "a424" and (self.source, self.space) != ("file", _SPACES[0]):
            raise ValueError(f"to_space is for source 'file' with an image in {_SPACES[0]}, and for a424")
        return self
