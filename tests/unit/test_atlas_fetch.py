"""The catalogue and how its files are found: offline folder, cache, download, always verified."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from boldtable.atlas import catalogue, fetch
from boldtable.errors import InputError

CONTENT = b"an atlas"
SHA = hashlib.sha256(CONTENT).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served at, on this machine only."""
    folder = tmp_path / "served"
    folder.mkdir()
    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.fixture
def published(server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One file, 'a', in the catalogue; returns where its server keeps it."""
    folder, address = server
    (folder / "a.nii").write_bytes(CONTENT)
    entry = catalogue.Source(
        file="a.nii", address=f"{address}/a.nii", sha256=SHA, licence="MIT", citation="c", space="s", kind="labels"
    )
    monkeypatch.setattr(fetch, "source", {"a": entry}.__getitem__)
    monkeypatch.setenv("BOLDTABLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BOLDTABLE_ATLAS_DIR", raising=False)
    return folder / "a.nii"


def offline(tmp_path: Path, content: bytes = CONTENT) -> Path:
    path = tmp_path / "offline" / "deep" / "er" / "a.nii"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return tmp_path / "offline"


def test_every_entry_is_complete() -> None:
    entries = catalogue.catalogue()
    assert len(entries) == len({entry.file for entry in entries.values()}) == 10
    for entry in entries.values():
        assert entry.address.startswith("https://")
        assert entry.file.replace("+", "%2B") == entry.address.rsplit("/", 1)[1]
        assert entry.licence
        assert entry.citation


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'tian-s3-image'"):
        catalogue.source("tian-s3-imag")


def test_a_missing_catalogue_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    monkeypatch.setattr(catalogue.metadata, "files", lambda _: [])
    with pytest.raises(InputError, match="catalogue is missing"):
        catalogue.catalogue_path()


def test_downloads_once_into_the_cache(published: Path, tmp_path: Path) -> None:
    path = fetch.fetch("a")
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "cache")
    published.unlink()
    assert fetch.fetch("a") == path


def test_an_altered_download_is_refused_and_not_kept(published: Path, tmp_path: Path) -> None:
    published.write_bytes(b"altered")
    with pytest.raises(fetch.UnavailableError, match=r"a\.nii cannot be downloaded"):
        fetch.fetch("a")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_no_network_names_both_ways_out(published: Path, tmp_path: Path) -> None:
    published.unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(fetch.UnavailableError, match=r"empty has no a\.nii and http.*BOLDTABLE_ATLAS_DIR"):
        fetch.fetch("a", tmp_path / "empty")


def test_the_offline_folder_goes_first(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published.unlink()
    folder = offline(tmp_path)
    assert fetch.fetch("a", folder) == folder / "deep" / "er" / "a.nii"
    monkeypatch.setenv("BOLDTABLE_ATLAS_DIR", str(folder))
    assert fetch.fetch("a").is_relative_to(folder)
    assert not (tmp_path / "cache").exists()


def test_the_setting_goes_before_the_environment(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOLDTABLE_ATLAS_DIR", str(tmp_path / "nowhere"))
    folder = offline(tmp_path)
    assert fetch.fetch("a", folder).is_relative_to(folder)
    with pytest.raises(InputError, match=r"nowhere \(BOLDTABLE_ATLAS_DIR\) does not exist"):
        fetch.fetch("a")


def test_a_wrong_offline_file_is_an_error_with_both_hashes(published: Path, tmp_path: Path) -> None:
    folder = offline(tmp_path, b"another")
    other = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(InputError, match=f"a.nii is not the published file: sha256 {other}, expected {SHA}"):
        fetch.fetch("a", folder)
    (folder / "a.nii").write_bytes(CONTENT)  # a right copy elsewhere below the folder is enough
    assert fetch.fetch("a", folder) == folder / "a.nii"
