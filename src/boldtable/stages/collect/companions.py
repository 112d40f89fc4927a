"""Files that should stand beside an image and do not: a mask by another name, or confounds of another run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from boldtable.stages.collect.files import examples
from boldtable.stages.collect.record import Run

_IMAGES = (".nii.gz", ".nii")
# What is missing: what it is called, and what names of files that may be meant hold.
_KINDS = {
    "mask": ("brain mask", "desc-brain_mask", ("mask",)),
    "confounds": ("confounds", "desc-confounds_timeseries", ("confounds", "regressors", "timeseries.tsv")),
}
_RENDERING = ("space-", "res-", "den-", "cohort-")  # which confounds do not name


def missing(derivatives: Path, found: Sequence[Run]) -> Iterator[str]:
    """Yield a line for each kind of companion that images lack: how many, what was looked for, and what is there."""
    images = [run for run in found if run.status == "found" and str(run.bold).endswith(_IMAGES)]
    for kind, (what, ending, words) in _KINDS.items():
        lacking = [run for run in images if getattr(run, kind) is None]
        if lacking:
            folder, _, name = str(lacking[0].bold).rpartition("/")
            there = _like(derivatives / folder, words)
            yield (
                f"{len(lacking)} of {len(images)} runs have no {what}: looked for {folder}/{_expected(name, ending)}; "
                + (f"there: {examples(there, 4)}" if there else "nothing like it is there")
            )


def _expected(bold: str, ending: str) -> str:
    """What a companion of this image is called."""
    parts = bold.split("_desc-")[0].split("_")
    if "confounds" in ending:
        parts = [part for part in parts if not part.startswith(_RENDERING)]
    suffix = ".tsv" if "confounds" in ending else next(end for end in _IMAGES if bold.endswith(end))
    return "_".join([*parts, ending]) + suffix


def _like(folder: Path, words: Sequence[str]) -> list[str]:
    """Files whose names could mean such a companion."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return []
    return [name for name in names if any(word in name for word in words) and not name.endswith(".json")]
