"""A benchmark on simulated cohorts: the same file, its datasets, atlases and columns replaced and its sizes shrunk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

COHORTS = ("aurora", "borealis")
# Windows and patches (frames) that the simulated runs are long enough for, by model.
WINDOWS = {"semantoks": (60, 20), "brain-jepa": (48, 16), "brainlm": (40, 20)}
Config = dict[str, Any]


def on_cohorts(config: Config, present: Iterable[str], tasks: int = 3) -> Config:
    """The config with the datasets in `present` replaced by the cohorts in turn, and no other one there.

    Every model, row, recipe, scheme and test stays; of every table the first `tasks` tasks on present datasets do.
    """
    here = list(present)
    lie = {name: f"data/{COHORTS[i % 2]}/derivatives/fmriprep" for i, name in enumerate(here)}
    config["collect"] = {
        name: {"derivatives": lie.get(name, f"nowhere/{name}"), "optional": True} for name in config["collect"]
    }
    config["parcellate"] = {name: {"source": "demo457"} for name in config["parcellate"]}
    for settings in config["pretrain"].values():
        window, patch = WINDOWS[settings.get("model", "semantoks")]
        settings |= {"size": "tiny", "epochs": min(1, settings.get("epochs", 1)), "batch_size": 8}
        settings |= {"window_frames": window, "patch_frames": patch}
    for settings in config["embed"].values():
        settings["windows"] = 2
    for name, task in config["probe"].items():
        config["probe"][name] = _task(task)
    for table in config["report"].values():
        usable = [name for name in table["tasks"] if config["probe"][name]["dataset"] in here]
        absent = [name for name in table["tasks"] if name not in usable]
        table["tasks"] = [*usable[:tasks], *absent]
        table |= {"untrained": min(2, table.get("untrained", 2)), "permutations": min(9, table.get("permutations", 0))}
        if table.get("attribution"):
            table["networks"] = ["Vis", "Default"]
    return config


def _task(task: Config) -> Config:
    """The task on a simulated phenotype of the same kind, with fewer splits and a shorter probe."""
    sex = task["target"] == "sex"
    target = "sex" if sex else "diagnosis" if task["kind"] == "classification" else "age_years"
    kept = {key: value for key, value in task.items() if key not in ("classes", "where", "runs_where")}
    kept |= {"target": target, "val_share": 0.25, "test_share": 0.25}
    if task.get("scheme", "random") == "random":
        kept["splits"] = 2
    if task["kind"] == "binned":
        kept["bins"] = 2
    if task.get("probe") == "linear-sgd":
        kept["epochs"] = 5
    return kept
