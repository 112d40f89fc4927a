"""A model folder that somebody has edited, or means ill with, is one line: no traceback, no hang, no silent load."""

from __future__ import annotations

import copy
import json
import os
import random
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from published_case import make_spec
from safetensors.torch import load_file, save_file

from boldtable.errors import InputError
from boldtable.models import InputSpec, load_model, save_model, untrained_model
from boldtable.models.brain_jepa import BrainJepa, brain_jepa_config
from boldtable.models.brainlm import BrainLM, brainlm_config
from boldtable.models.folder import companion
from boldtable.models.semantoks import Semantoks, semantoks_config

NETWORKS = ("vis", "som", "vis", "dmn")
SPEC = InputSpec("atlas", ("a", "b", "c", "d"), NETWORKS, 2.0, 32, "zscore", "r")
MODELS = {
    "semantoks": lambda: Semantoks(semantoks_config("tiny", NETWORKS, window_frames=40), make_spec(NETWORKS, 40)),
    "brainlm": lambda: BrainLM(brainlm_config("tiny", 4, 40, 20), SPEC),
    "brain-jepa": lambda: BrainJepa(brain_jepa_config("tiny", 4, 32, 16, 3), SPEC),
}


@pytest.fixture(params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    statistics = tmp_path / "statistics"
    statistics.write_bytes(b"statistics")
    save_model(
        tmp_path / "model", MODELS[request.param](), "# A model\n", name="m",
        beside={"normalisation.parquet": statistics},
    )  # fmt: skip
    load_model(tmp_path / "model")
    return tmp_path / "model"


def refused(folder: Path, limit_s: float = 20) -> str:
    """The one line that loading ends in."""
    began = time.monotonic()
    for load in (load_model, lambda place: untrained_model(place, 3)):
        with pytest.raises(InputError) as caught:
            load(folder)
        line = str(caught.value)
        assert str(folder) in line
        assert "\n" not in line
        assert len(line) < 1500
    assert time.monotonic() - began < limit_s
    return line


VALUES: list[Any] = [
    10**9, 10**30, 2**63, -1, 0, 1.5, 1e300, True, None, "x", "x" * 10**6, [], [1], ["a"] * 200_000, {}, {"a": {}},
    [[]], 3, 64, 65_537, 201,
]  # fmt: skip


def paths(node: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [place] if place else []
    if isinstance(node, dict):
        for key, inner in node.items():
            found += paths(inner, (*place, key))
    elif isinstance(node, list):
        for number, inner in enumerate(node[:2]):
            found += paths(inner, (*place, number))
    return found


def test_any_value_of_the_description_that_is_edited_is_refused(folder: Path) -> None:
    """Every key in turn and many values: 60 mutations of each kind of model."""
    good = json.loads((folder / "config.json").read_text())
    places, draw = paths(good), random.Random(11)
    for number in range(60):
        place, value = places[number % len(places)], draw.choice(VALUES)
        bad = copy.deepcopy(good)
        node = bad
        for key in place[:-1]:
            node = node[key]
        if node[place[-1]] == value and type(node[place[-1]]) is type(value):
            continue
        node[place[-1]] = value
        (folder / "config.json").write_text(json.dumps(bad))
        refused(folder)


def test_any_key_that_is_lost_or_new_is_refused(folder: Path) -> None:
    good = json.loads((folder / "config.json").read_text())
    for place in (one for one in paths(good) if isinstance(one[-1], str) and one != ("name",)):
        for change in ("lost", "new"):
            bad = copy.deepcopy(good)
            node = bad
            for key in place[:-1]:
                node = node[key]
            if change == "lost":
                del node[place[-1]]
            else:
                node[f"{place[-1]}_"] = 1
            if place[0] == "files" and place[-1] == "normalisation.parquet":
                continue
            (folder / "config.json").write_text(json.dumps(bad))
            if change == "new" and place[0] == "files":
                continue
            refused(folder)


RAW: dict[str, Callable[[str], bytes]] = {
    "empty": lambda text: b"",
    "brackets": lambda text: b"[" * 200_000,
    "deep": lambda text: b'{"kind":' * 5000,
    "not UTF-8": lambda text: b"\xff\xfe" + text.encode(),
    "twins": lambda text: text.replace('{\n  "name"', '{"kind": "other",\n  "name"', 1).encode(),
    "NaN": lambda text: text.replace('"tr_s": 2.0', '"tr_s": NaN').encode(),
    "infinite": lambda text: text.replace('"tr_s": 2.0', '"tr_s": 1e999').encode(),
    "a list": lambda text: f"[{text}]".encode(),
    "a number": lambda text: b"1",
    "digits": lambda text: b"9" * 100_000,
    "cut": lambda text: text.encode()[: len(text) // 2],
    "nothing but blanks": lambda text: b" " * 100_000,
    "too long": lambda text: b" " * 20_000_001,
    "another kind": lambda text: text.replace('"kind": "', '"kind": "no').encode(),
}


@pytest.mark.parametrize("name", RAW)
def test_a_description_that_is_none_is_refused(folder: Path, name: str) -> None:
    path = folder / "config.json"
    path.write_bytes(RAW[name](path.read_text()))
    refused(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_pipes_devices_and_folders_are_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    refused(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder)
    (folder / name).rmdir()
    (folder / name).symlink_to("nowhere")
    refused(folder)


def test_every_flipped_bit_of_the_weights_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    good, draw = path.read_bytes(), random.Random(5)
    for number in range(40):
        bad = bytearray(good)
        bad[draw.randrange(len(bad) if number % 2 else 2000)] ^= 1 << draw.randrange(8)
        path.write_bytes(bad)
        refused(folder)


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**40, 2**63])
def test_headers_that_lie_about_their_length_are_refused(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    refused(folder)


def test_headers_that_promise_more_than_there_is_take_no_memory(folder: Path) -> None:
    path = folder / "model.safetensors"
    text = json.dumps({"w": {"dtype": "F32", "shape": [2**20, 2**19], "data_offsets": [0, 2**41]}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"0" * 100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_weights_of_another_training_are_refused(folder: Path) -> None:
    """Right names, right shapes, a right header: other numbers."""
    path = folder / "model.safetensors"
    save_file(
        {name: value + 1 if value.is_floating_point() else value for name, value in load_file(path).items()}, path
    )
    assert "is not the file that was saved" in refused(folder)


def test_an_edit_that_builds_the_same_shapes_is_refused(folder: Path) -> None:
    """Heads, pooling, TR or the order of the parcels: the weights fit, and mean something else."""
    good = json.loads((folder / "config.json").read_text())
    for key, value in (("tr_s", 0.8), ("recipe", "other"), ("parcels", list(reversed(good["input"]["parcels"])))):
        bad = copy.deepcopy(good)
        bad["input"][key] = value
        (folder / "config.json").write_text(json.dumps(bad))
        assert "is not the one that was saved with model.safetensors" in refused(folder)


def test_a_folder_of_an_older_version_is_refused_with_the_way_out(folder: Path) -> None:
    described = json.loads((folder / "config.json").read_text())
    del described["files"]
    (folder / "config.json").write_text(json.dumps(described))
    assert "of an older version; make the folder again" in refused(folder)


def test_statistics_beside_the_weights_are_vouched_for(folder: Path) -> None:
    path = folder / "normalisation.parquet"
    assert companion(folder, path.name) == path
    path.write_bytes(b"statisticz")
    with pytest.raises(InputError, match=r"normalisation\.parquet is not the file that was saved"):
        companion(folder, path.name)
    path.unlink()
    with pytest.raises(InputError, match=r"normalisation\.parquet: cannot be read"):
        companion(folder, path.name)
    (folder / "other.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match="does not belong to this model"):
        companion(folder, "other.parquet")
    assert companion(folder, "nothing.parquet") is None


def test_the_group_may_read_all_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_model(tmp_path / "model", MODELS["brainlm"](), "# A model\n")
    finally:
        os.umask(before)
    for path in (tmp_path / "model").iterdir():
        assert path.stat().st_mode & 0o777 == 0o640, path
