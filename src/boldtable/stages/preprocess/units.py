"""What one fMRIPrep run takes: a participant, or one session of a participant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from boldtable.stages.preprocess.settings import Preprocess


@dataclass(frozen=True, order=True)
class Unit:
    """A participant (session None: all that are wanted) or one session; labels without ``sub-`` and ``ses-``."""

    participant: str
    session: str | None = None

    @classmethod
    def parse(cls, text: str) -> Unit:
        """From ``01``, ``sub-01``, ``01_ses-1`` or ``sub-01_ses-1``."""
        participant, _, session = text.removeprefix("sub-").partition("_ses-")
        return cls(participant, session or None)

    @property
    def label(self) -> str:
        """``01`` or ``01_ses-1``: the name of its record and log."""
        return self.participant + (f"_ses-{self.session}" if self.session else "")

    def folder(self, root: Path) -> Path:
        """Its folder below a raw dataset or derivatives."""
        folder = root / f"sub-{self.participant}"
        return folder / f"ses-{self.session}" if self.session else folder


def units(settings: Preprocess) -> list[Unit]:
    """What to process, sorted: the participants of the settings, else every ``sub-*`` folder; per session if wanted.

    Participants without any of the wanted sessions are left out where nobody named them. Lists folders and nothing
    else, so that a workflow may call it while it plans.
    """
    names = settings.participants
    found = [name.removeprefix("sub-") for name in names] if names is not None else labels(settings.bids, "sub-")
    made: set[Unit] = set()
    for participant in found:
        wanted, has = sessions(settings, participant), labels(settings.bids / f"sub-{participant}", "ses-")
        if settings.per == "session" and has:
            made |= {Unit(participant, session) for session in wanted}
        elif wanted or not has or names is not None:
            made.add(Unit(participant))
    return sorted(made, key=lambda unit: unit.label)


def sessions(settings: Preprocess, participant: str) -> list[str]:
    """The wanted sessions that a participant has, sorted; empty for data without sessions."""
    has = labels(settings.bids / f"sub-{participant}", "ses-")
    if settings.sessions is None:
        return has
    wanted = {name.removeprefix("ses-") for name in settings.sessions}
    return [name for name in has if name in wanted]


def labels(folder: Path, prefix: str) -> list[str]:
    """The labels of the subfolders whose names start with `prefix`, sorted."""
    return sorted(path.name.removeprefix(prefix) for path in folder.glob(f"{prefix}*") if path.is_dir())
