"""What an fMRIPrep run has left: whether it is complete, which runs are missing, why it failed, who made it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from boldtable.stages.preprocess.settings import Preprocess
from boldtable.stages.preprocess.units import Unit, sessions

_ERRORS = b"One or more execution steps failed"  # in the report of a run that left crash files
_RAW = "_bold.nii*"
_BOLD = "_desc-preproc_bold.nii*"
_IN_DERIVATIVES = {"space", "res", "den", "cohort", "desc"}
_JOINED = {"echo", "part"}  # entities of raw files that fMRIPrep joins into one series
_NATIVE = {"func": None, "bold": None, "run": None, "boldref": None, "sbref": None, "anat": "T1w", "T1w": "T1w"}
_SURFACE = ("fsaverage", "fsnative", "fsLR")


def is_complete(settings: Preprocess, unit: Unit) -> bool:
    """Whether fMRIPrep has finished with it: an error-free report, BOLD in every space, and no newer raw run."""
    found = reports(settings, unit)
    if not found or any(_ERRORS in path.read_bytes() for path in found) or not has_bold(settings, unit):
        return False
    newest = max(path.stat().st_mtime for path in found)
    # A raw run that the report has seen and that has no derivative was skipped by fMRIPrep, and would be again.
    return not any(path.stat().st_mtime > newest for path in missing(settings, unit))


def has_bold(settings: Preprocess, unit: Unit) -> bool:
    """Whether a preprocessed BOLD series is there in every volumetric output space."""
    made = [entities(path.name) for path in bold(settings, unit)]
    return bool(made) and all(any(_is_in(one, space) for one in made) for space in settings.output_spaces)


def bold(settings: Preprocess, unit: Unit) -> list[Path]:
    """The preprocessed BOLD series that are there, in every space."""
    return _files(settings.derivatives, settings, unit, _BOLD)


def missing(settings: Preprocess, unit: Unit) -> list[Path]:
    """The raw BOLD series without a preprocessed one; none are named where a filter chooses among them."""
    chosen = {"--task-id", "-t", "--echo-idx", "--anat-only"} & {argument.split("=")[0] for argument in settings.extra}
    if settings.filter_file is not None or chosen:
        return []
    made = {_key(path.name) for path in bold(settings, unit)}
    gone = {_key(path.name): path for path in _files(settings.bids, settings, unit, _RAW)}
    return [path for key, path in sorted(gone.items()) if key not in made]


def entities(name: str) -> dict[str, str]:
    """``sub-01_task-rest_bold.nii.gz`` → its entities; run numbers without their zeros."""
    parts = (part.partition("-") for part in name.split(".")[0].split("_") if "-" in part)
    found = {key: value for key, _, value in parts}
    if found.get("run", "").isdigit():
        found["run"] = str(int(found["run"]))
    return found


def reason(settings: Preprocess, unit: Unit, log: Path, start: float) -> str:
    """Why fMRIPrep failed, in a few words: the last line of a crash file since `start`, else of the log."""
    folder = f"sub-{unit.participant}"
    crashes = [*settings.derivatives.glob(f"{folder}/log/*/crash*.txt"),
               *settings.derivatives.glob(f"{folder}/ses-*/log/*/crash*.txt")]  # fmt: skip
    recent = sorted(path for path in crashes if path.stat().st_mtime >= start)
    if recent:
        lines = _lines(recent[0])
        node = next((line.removeprefix("Node: ") for line in lines if line.startswith("Node: ")), "a step")
        return _short(f"{node}: {lines[-1] if lines else 'no message'}")
    lines = [line for line in _lines(log) if "report errors to" not in line]  # the wrapper's own last line
    return _short(lines[-1]) if lines else "it said nothing"


def maker(settings: Preprocess, unit: Unit) -> str | None:
    """The fMRIPrep version that made the newest derivatives of a participant, as it has noted in its log folder."""
    notes = sorted(settings.derivatives.glob(f"sub-{unit.participant}/**/log/*/fmriprep.toml"))
    for path in reversed(notes):  # the names of the folders begin with the date
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))["environment"]["version"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return str(found)
    return None


def reports(settings: Preprocess, unit: Unit) -> list[Path]:
    """The HTML reports of a participant or session; with many sessions fMRIPrep splits them into several."""
    stem = f"sub-{unit.participant}"
    named = [settings.derivatives / f"{stem}{end}.html" for end in ("", "_anat")]
    of_sessions = f"{stem}_ses-{unit.session}" if unit.session else f"{stem}_ses-*"
    split = [path for end in ("", "_*") for path in settings.derivatives.glob(f"{of_sessions}{end}.html")]
    return sorted({*(path for path in named if path.is_file()), *split})


def _files(root: Path, settings: Preprocess, unit: Unit, ending: str) -> list[Path]:
    """The functional files below the folders of a unit, wanted sessions only."""
    folder = root / f"sub-{unit.participant}"
    chosen = [unit.session] if unit.session else sessions(settings, unit.participant)
    places = [folder / f"ses-{session}" for session in chosen] or [folder]
    return [path for place in places for path in place.glob(f"func/*{ending}")]


def _key(name: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, v) for k, v in entities(name).items() if k not in _IN_DERIVATIVES | _JOINED))


def _is_in(found: dict[str, str], space: str) -> bool:
    """Whether a file with these entities is what an output space such as ``MNI152NLin6Asym:res-2`` asks for."""
    base, *modifiers = space.split(":")
    if base.startswith(_SURFACE):
        return True  # surfaces are GIFTI files: nothing to look for among the images
    if base in _NATIVE:
        return found.get("space") == _NATIVE[base]
    wanted = dict(part.split("-", 1) for part in modifiers if "-" in part)
    same_res = "res" not in wanted or found.get("res") in (wanted["res"], None)
    return found.get("space") == base.removeprefix("tpl-") and same_res


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def _short(text: str) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", " ".join(text.split()))
    return plain if len(plain) <= 200 else plain[:197] + "..."
