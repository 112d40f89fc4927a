"""A folder is taken for the model that the settings name, and for no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from published_case import make_spec

from boldtable.errors import InputError
from boldtable.models import save_model
from boldtable.models.semantoks import Semantoks, semantoks_config
from boldtable.stages.embed.encoders import _refuse_other

NETWORKS = ("vis", "som", "vis", "dmn")


def save(folder: Path, name: str | None) -> Path:
    encoder = Semantoks(semantoks_config("tiny", NETWORKS, window_frames=40), make_spec(NETWORKS, 40))
    save_model(folder, encoder, "# A model\n", name=name)
    return folder


def test_a_folder_of_another_model_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    folder = save(tmp_path / "mine", "theirs")
    with pytest.raises(InputError, match=r"mine holds model 'theirs', but the settings have encoder 'mine'"):
        _refuse_other("mine", folder)
    _refuse_other("theirs", folder)
    _refuse_other(None, folder)


def test_without_a_name_the_folder_s_own_counts(tmp_path: Path) -> None:
    folder = save(tmp_path / "mine", None)
    _refuse_other("mine", folder)
    with pytest.raises(InputError, match="or name this one by 'weights'"):
        _refuse_other("other", folder)


def test_a_snapshot_is_of_its_model(tmp_path: Path) -> None:
    _refuse_other("mine", save(tmp_path / "mine/snapshots/000001", "mine"))
    with pytest.raises(InputError, match="holds model 'mine'"):
        _refuse_other("other", save(tmp_path / "mine/snapshots/000002", None))
