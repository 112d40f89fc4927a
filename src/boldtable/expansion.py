"""What a table needs although its config does not say so: baselines, untrained models, one network at a time.

`expand` turns a config as it is written into the config that is run. It knows names only and imports nothing heavy:
the Snakefile asks it in every job, `boldtable check` and the whole-config class ask it before they check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from boldtable.errors import SettingsError

# In row order: from what says least about the brain to what says most.
BASELINES = ("majority", "nuisance", "demographics", "connectome", "connectome-partial", "connectome-tangent")
# Defaults of the settings classes, needed before those classes read the config; a test compares them.
UNTRAINED, SEED = 3, 21
MOST_UNTRAINED = 100  # the settings class refuses more
# Where a participant is to be found again: age and sex are the same in both recordings, and nothing is fitted, so that
# there is no majority and no tangent projection.
_FOR_FINGERPRINTS = ("connectome", "connectome-partial")
_NINE = ("Vis", "SomMot", "DorsAttn", "SalVentAttn", "Limbic", "Cont", "Default", "Subcortex", "Cerebellum")
# The networks of the atlas sources whose networks are known before the atlas is made.
NETWORKS = {"demo457": _NINE, "schaefer400-tian3-buckner7": _NINE}

Block = dict[str, Any]


def expand(config: Mapping[str, Any]) -> Block:
    """The config with every row that its tables ask for by `baselines`, `untrained` and `attribution`; a new mapping.

    Baselines read the tensors that quality control measures, so that they are the same in every table. What the config
    names itself is kept as it is; expanding twice changes nothing. A config of another shape is returned as it came:
    the settings classes say what is wrong with it. Raises `SettingsError` where networks have to be named.
    """
    blocks = {name: config.get(name) or {} for name in ("pretrain", "embed", "report")}
    if not all(isinstance(block, dict) and _are_mappings(block.values()) for block in blocks.values()):
        return dict(config)
    found = {**config, **{name: dict(block) for name, block in blocks.items() if name in config or block}}
    for name in ("pretrain", "embed"):
        found.setdefault(name, {})
    for name, table in blocks["report"].items():
        if _is_list(table.get("models")) and _is_list(table.get("curves", [])):
            found["report"][name] = _table(found, name, table)
    return found


def _are_mappings(values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def _is_list(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _table(config: Block, name: str, table: Block) -> Block:
    """The table with all its rows; what they need is added to the pretrain and embed blocks of `config`."""
    models = list(_untrained(config, table, _baselines(config, table)))
    curves = list(table.get("curves", []))
    named = table.get("attribution", [])
    for model in named if _is_list(named) else []:
        if model in config["embed"]:
            curves += [row for row in _one_network_at_a_time(config, name, table, model) if row not in curves]
    return {**table, "models": models, **({"curves": curves} if curves else {})}


def _baselines(config: Block, table: Block) -> list[str]:
    """The rows of the table with its baselines, which come first and in the order of `BASELINES`."""
    setting, qc, tasks = table.get("baselines", True), config.get("qc"), _fingerprints(config, table)
    every = _FOR_FINGERPRINTS if tasks else BASELINES
    wanted = setting if _is_list(setting) else every if setting is True else ()
    recipe = qc.get("recipe") if isinstance(qc, dict) else None
    # Of all tables: a baseline is the same row in each of them.
    anywhere = _fingerprints(config, {"tasks": list(config.get("probe") or {})})
    halves = {"halves": True} if any(task.get("across") == "half" for task in anywhere) else {}
    encoders = {config["embed"].get(row, {}).get("encoder") for row in table["models"]}
    first = []
    for baseline in BASELINES:
        if baseline in wanted and (baseline in table["models"] or baseline not in encoders):
            cut = halves if baseline.startswith("connectome") else {}
            config["embed"].setdefault(baseline, {"recipe": recipe, "encoder": baseline, **cut})
            first.append(baseline)
    return [*first, *(row for row in table["models"] if row not in first)]


def _fingerprints(config: Block, table: Block) -> list[Block]:
    """The fingerprint tasks of a table."""
    probe, tasks = config.get("probe"), table.get("tasks")
    named = [probe.get(task) for task in tasks] if isinstance(probe, dict) and _is_list(tasks) else []
    return [task for task in named if isinstance(task, dict) and task.get("kind") == "fingerprint"]


def _untrained(config: Block, table: Block, models: list[str]) -> Iterator[str]:
    """The rows with untrained ones before every trained one that has none yet."""
    n = table.get("untrained", UNTRAINED)
    for row in models:
        there = re.compile(re.escape(row) + r"-untrained(-\d+)?")
        wanted = isinstance(n, int) and n <= MOST_UNTRAINED and not any(there.fullmatch(other) for other in models)
        for number in range(n if wanted else 0):
            end = "untrained" if n == 1 else f"untrained-{number + 1}"
            about = config["embed"].get(f"{row}-{end}") or _untrained_row(config, row, end, number)
            if about is not None:
                config["embed"][f"{row}-{end}"] = about
                yield f"{row}-{end}"
        yield row


def _untrained_row(config: Block, row: str, end: str, number: int) -> Block | None:
    """What embeds as `row` does but for training, its model added where there is none; None if nothing was trained.

    Number 0 of a model that the config trains has the weights from which it started, the next those of later seeds.
    """
    about = config["embed"].get(row, {})
    trained = config["pretrain"].get(str(about.get("encoder")), {})
    if about.get("snapshot") is not None or about.get("untrained_seed") is not None:
        return None
    if about.get("weights"):
        return {**about, "untrained_seed": SEED + number}
    if not trained or trained.get("epochs") == 0:
        return None
    seed = trained.get("seed", SEED)
    start = {**trained, "epochs": 0, "seed": seed + number if isinstance(seed, int) else seed}
    start.pop("snapshots", None)
    config["pretrain"].setdefault(f"{about['encoder']}-{end}", start)
    return {**about, "encoder": f"{about['encoder']}-{end}"}


def _one_network_at_a_time(config: Block, name: str, table: Block, model: str) -> Iterator[str]:
    """Rows that embed like `model`, but without a network, or with no other."""
    about = config["embed"][model]
    for network in table.get("networks") or _networks(config, name, about):
        for words, setting in (("without", "hide_networks"), ("only", "only_networks")):
            row = f"{model}-{words}-{re.sub('[^A-Za-z0-9_-]', '-', str(network))}"
            config["embed"].setdefault(row, {**about, setting: [network]})
            yield row


def _networks(config: Block, name: str, about: Block) -> tuple[str, ...]:
    """The networks of the atlas that a row of the embed block reads."""
    clean, atlases = config.get("clean"), config.get("parcellate")
    recipe = clean.get(about.get("recipe")) if isinstance(clean, dict) else None
    atlas = recipe.get("atlas") if isinstance(recipe, dict) else None
    made = atlases.get(atlas) if isinstance(atlases, dict) else None
    source = made.get("source") if isinstance(made, dict) else None
    if source not in NETWORKS:
        raise SettingsError(
            f"report.{name}.networks: the networks of atlas '{atlas}' (source '{source}') are not known before it is "
            "made; name those that are to be hidden"
        )
    return NETWORKS[source]
