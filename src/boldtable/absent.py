"""Datasets that a config calls optional and that are not there: what is left of the config without them.

A benchmark names every dataset of a published table; whoever has three of five gets the table of three, and it says
so. Like `boldtable.expansion` this knows names only and imports nothing heavy: the Snakefile asks it in every job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from boldtable.errors import InputError

Block = dict[str, Any]


def present(config: Mapping[str, Any], tell: Callable[[str], object] = lambda line: None) -> Block:
    """The config without the optional datasets whose folder is missing or empty; a new mapping.

    With a dataset go its tasks, its place among the datasets that a model or a recipe learns from, models and recipes
    that are left with none, the rows that need them, and tables without a task. A line per dataset says what went, to
    `tell` and as `skipped` in every table. A config of another shape is returned as it came: the settings classes say
    what is wrong with it. Raises `InputError` where no dataset or no table is left.
    """
    collect = config.get("collect")
    if not isinstance(collect, dict):
        return dict(config)
    gone = {name: place for name, about in collect.items() if (place := _absent(config, name, about)) is not None}
    if not gone or not all(isinstance(config.get(name) or {}, dict) for name in _BLOCKS):
        return dict(config)
    if len(gone) == len(collect):
        raise InputError(f"none of the datasets is there ({', '.join(gone.values())}): fill in where yours lie")
    lost = _lost(config, set(gone))
    lines = [_line(config, name, place, lost) for name, place in gone.items()]
    for line in lines:
        tell(line)
    return _without(config, set(gone), lost, lines)


_BLOCKS = ("preprocess", "clean", "pretrain", "embed", "probe", "report")


def _absent(config: Mapping[str, Any], name: str, about: Any) -> str | None:
    """The folder that an optional dataset should lie in and does not; None where it is there, or needed."""
    if not isinstance(about, dict) or about.get("optional") is not True:
        return None
    raw = (config.get("preprocess") or {}).get(name)
    folder = Path(str(raw.get("bids") if isinstance(raw, dict) else about.get("derivatives")))
    there = folder.is_dir() and any(folder.iterdir())
    return None if there else str(folder)


def _entries(config: Mapping[str, Any], block: str) -> dict[str, Block]:
    """The entries of a block that have the shape of one."""
    return {name: about for name, about in (config.get(block) or {}).items() if isinstance(about, dict)}


def _names(about: Mapping[str, Any], key: str) -> list[str]:
    """The names that a key of an entry lists; one name is a list of one."""
    found = about.get(key) or []
    return [found] if isinstance(found, str) else [name for name in found if isinstance(name, str)]


def _lost(config: Mapping[str, Any], gone: set[str]) -> dict[str, set[str]]:
    """Block → the entries that nothing is left of: tasks, then recipes, models and rows."""

    def emptied(block: str, key: str) -> set[str]:
        return {n for n, about in _entries(config, block).items() if _names(about, key) and not _left(about, key, gone)}

    tasks = {
        name
        for name, about in _entries(config, "probe").items()
        if gone & {*_names(about, "dataset"), *_names(about, "test_dataset")}
    }
    recipes = emptied("clean", "population")
    for name, about in _entries(config, "clean").items():
        if str(about.get("population_split") or "").split("/")[0] in tasks:
            recipes.add(name)
    models = emptied("pretrain", "datasets")
    models |= {name for name, about in _entries(config, "pretrain").items() if about.get("recipe") in recipes}
    rows = {
        name
        for name, about in _entries(config, "embed").items()
        if about.get("encoder") in models or about.get("recipe") in recipes
    }
    return {"probe": tasks, "clean": recipes, "pretrain": models, "embed": rows}


def _left(about: Mapping[str, Any], key: str, gone: set[str]) -> list[str]:
    return [name for name in _names(about, key) if name not in gone]


def _line(config: Mapping[str, Any], name: str, place: str, lost: Mapping[str, set[str]]) -> str:
    """What goes with one dataset."""
    tasks = [
        task
        for task, about in _entries(config, "probe").items()
        if name in (*_names(about, "dataset"), *_names(about, "test_dataset"))
    ]
    fed = [model for model, about in _entries(config, "pretrain").items() if name in _names(about, "datasets")]
    untaught = [model for model in fed if model in lost["pretrain"]]
    poorer = [model for model in fed if model not in lost["pretrain"]]
    parts = [
        *([f"without the tasks {', '.join(tasks)}"] if tasks else []),
        *([f"{', '.join(untaught)} cannot be trained"] if untaught else []),
        *([f"{', '.join(poorer)} learn{'s' * (len(poorer) == 1)} from the other datasets alone"] if poorer else []),
    ]
    return f"{name} is not there (no data in {place}): " + ("; ".join(parts) or "nothing else is missing")


def _without(config: Mapping[str, Any], gone: set[str], lost: Mapping[str, set[str]], lines: list[str]) -> Block:
    """The config without what went, and with the lines in every table that is left."""
    found = dict(config)
    for block in ("collect", "preprocess"):
        if config.get(block):
            found[block] = {name: about for name, about in config[block].items() if name not in gone}
    for block, names in lost.items():
        if config.get(block):
            found[block] = {name: about for name, about in config[block].items() if name not in names}
    for block, key in (("clean", "population"), ("pretrain", "datasets")):
        for name, about in _entries(found, block).items():
            if gone & set(_names(about, key)):
                found[block][name] = {**about, key: _left(about, key, gone)}
    if config.get("report"):
        tables = {name: _table(about, lost, lines) for name, about in _entries(config, "report").items()}
        found["report"] = {name: about for name, about in tables.items() if about is not None}
        if not found["report"]:
            raise InputError(f"no table has a task left: {' '.join(lines)}")
    return found


def _table(about: Block, lost: Mapping[str, set[str]], lines: list[str]) -> Block | None:
    """A table without the rows and tasks that went; None where no task is left."""

    def kept(names: Iterable[str], gone: set[str]) -> list[str]:
        return [name for name in names if name not in gone and name.partition("-untrained")[0] not in gone]

    skipped = [*about.get("skipped", []), *lines]
    found = {**about, "skipped": skipped, "tasks": kept(_names(about, "tasks"), lost["probe"])}
    for key in ("models", "curves", "attribution"):
        if key in about:
            found[key] = kept(_names(about, key), lost["embed"])
    if "controls" in about:
        found["controls"] = kept(_names(about, "controls"), lost["probe"])
    if "pairs" in about:
        found["pairs"] = [pair for pair in about["pairs"] if kept(pair, lost["embed"]) == list(pair)]
    if "reference" in about and not kept([about["reference"]], lost["embed"]):
        del found["reference"]
    return found if found["tasks"] else None
