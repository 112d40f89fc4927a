"""The catalogue of published atlas files (``resources/atlases.yaml``): address, sha256, licence, citation, space."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import Field

from boldtable.errors import InputError, nearest
from boldtable.settings import Settings, read_yaml

FILE = "atlases.yaml"


class Source(Settings):
    """One published file: how to get it, how to recognise it and under which terms it comes."""

    file: str = Field(description="Name of the file, in the cache and in an offline folder.")
    address: str = Field(description="Where to download it.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="The sha256 of the file, unmodified.")
    licence: str = Field(description="The licence it is published under.")
    citation: str = Field(description="What to cite.")
    space: str = Field(description="The standard space of the image the file is or belongs to.")
    kind: Literal["labels", "names", "centroids"] = Field(description="What the file holds.")
    note: str = Field("", description="What a reader should know.")


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Source]:
    """Every published file by its key; raises `InputError` when the catalogue is not installed."""
    path = catalogue_path()
    entries = read_yaml(str(path))
    if not isinstance(entries, dict):
        raise InputError(f"{path} is not a mapping of atlas files; restore it from the repository")
    return {str(key): Source.parse(entry, f"{path}: {key}") for key, entry in entries.items()}


def source(key: str) -> Source:
    """One entry of the catalogue; an unknown key raises `InputError` with the nearest known one."""
    known = catalogue()
    if key not in known:
        raise InputError(f"no atlas file '{key}' in the catalogue{nearest(key, known)}")
    return known[key]


def catalogue_path() -> Path:
    """Where the catalogue lies: in the repository, or where the installed package put it (``share/boldtable``)."""
    beside = Path(__file__).resolve().parents[3] / "resources" / FILE
    if beside.is_file():
        return beside
    for installed in metadata.files("boldtable") or []:
        if installed.name == FILE:
            return Path(str(installed.locate()))
    raise InputError(f"the atlas catalogue is missing: neither {beside} nor the installed package has {FILE}")
