"""The page: one file, nothing loaded, nothing run, whatever a participant file contains."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from test_report import CONFIG, DATASETS, build, write_model, write_qc

from boldtable import store
from boldtable.stages import report

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&--> {{ 7*7 }} $a$"
PROVENANCE = store.Provenance("qc")
VOID = {"meta", "link", "br", "img", "use"}


class Page(HTMLParser):
    """Collects elements, attributes and text, and checks that every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page whose ledger, config, title and table name are hostile."""
    results = tmp_path_factory.mktemp("results")
    settings = build(results).model_copy(update={"title": EVIL, "tasks": ["aurora-sex", "borealis-age"]})
    tables = [write_qc(results, dataset, reason=EVIL) for dataset in DATASETS]
    qc = store.frame(tables[0], "qc")
    store.write(tables[0], "qc", qc.assign(participant=[EVIL, *qc["participant"][1:]]).assign(status="odd"), PROVENANCE)
    report.ledger(tables, results / "ledger.parquet")
    write_model(results, "semantoks", steps=5000)
    (results / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"note": EVIL}))
    report.run(settings, EVIL, results, results / "config.yaml", results / "page")
    return (results / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_element_is_closed(page: Page) -> None:
    assert page.open == []


def test_what_a_file_contains_is_shown_and_never_read_as_html(html: str, page: Page) -> None:
    assert "script" not in page.names
    assert "img" not in page.names
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    shown = "".join(page.text)
    assert shown.count("<script>alert('x')</script>") >= 8  # title twice, table name, six ledger rows, config
    assert "{{ 7*7 }}" in shown
    assert "<script" not in html


def test_nothing_is_loaded(html: str, page: Page) -> None:
    loading = [
        (tag, name, value) for tag, name, value in page.attributes if name in {"src", "href", "xlink:href", "data"}
    ]
    assert loading
    assert all(value.startswith(("#", "data:")) for _, _, value in loading), loading
    assert not re.search(r"url\((?!#)|@import", html)


def test_every_reference_has_its_one_target(html: str, page: Page) -> None:
    ids = [value for _, name, value in page.attributes if name == "id"]
    wanted = {value[1:] for _, name, value in page.attributes if name.endswith("href") and value.startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", html))
    assert wanted <= set(ids)
    assert len(ids) == len(set(ids))


def test_sections_figures_and_size(html: str, page: Page) -> None:
    ids = {value for tag, name, value in page.attributes if tag == "section" and name == "id"}
    assert ids == {"table", "splits", "training", "qc", "ledger", "methods", "trace", "settings"}
    assert page.names.count("svg") == 2 + 1 + 2  # a plot per task, a trained model, two datasets
    assert "Not trained" in html
    assert len(html) < 1_000_000
    assert not re.search(r"\b20\d\d-\d\d-\d\d", html)  # no date


def test_figures_use_the_colours_of_the_page(html: str) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.S))
    assert "var(--one)" in drawn
    assert not set(re.findall(r"#[0-9a-f]{6}\b", drawn)) - {"#000000"}


def test_works_are_cited_only_where_they_are_used(html: str) -> None:
    assert "gijsen2025semantoks" in html
    assert "nadeau2003" in html
    assert "it is none of them" in html  # the demo atlas never pretends


@pytest.mark.slow
def test_chromium_shows_the_page_without_a_message(html: str, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium")
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu"]
    options = ["--headless", "--no-sandbox", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"]
    shot = f"--screenshot={tmp_path / 'page.png'}"
    done = subprocess.run(
        [chromium, *quiet, *options, shot, (tmp_path / "page.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert "CONSOLE" not in done.stderr
