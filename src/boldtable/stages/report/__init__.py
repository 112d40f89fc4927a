"""report: scores, qc and training logs → the result table (CSV, Markdown, LaTeX) and one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boldtable import store
from boldtable.errors import InputError, SettingsError, nearest
from boldtable.progress import say
from boldtable.settings import read_yaml
from boldtable.stages.report import failed
from boldtable.stages.report.dropouts import ledger
from boldtable.stages.report.settings import Report

__all__ = ["Report", "ledger", "run"]


def run(settings: Report, table: str, results: Path, config: Path | str | None, out: Path) -> None:
    """Write ``{out}.csv``, ``.md``, ``.tex`` and ``.html`` for the table called `table`.

    `results` is the results folder, `config` the whole config (a YAML file, inline JSON, or None), printed on the
    page and part of the settings fingerprint. A task that failed is left out, with a note. Raises `InputError` for a
    file that is missing and names the stage that makes it, `SettingsError` for a model or task that the config does not
    define.
    """
    # The settings above must be readable where matplotlib and jinja2 are not installed (GPU nodes, the schema), and in
    # the second that every start of the workflow takes: scipy.stats alone would take another.
    from boldtable.stages.report import formats, nuisance, page
    from boldtable.stages.report.by_site import tables
    from boldtable.stages.report.read import arranged, overlaps, read_task
    from boldtable.stages.report.table import make

    everything = _config(config)
    _check_names(settings, everything)
    settings, lacking = failed.without(settings, results, table)
    tasks = arranged([read_task(settings, results, task, everything) for task in settings.tasks])
    datasets = list(dict.fromkeys(name for task in tasks for name in task.datasets))
    seen = nuisance.lines(results, everything, settings.rows, datasets)
    notes = [*lacking, *seen, *overlaps(settings, results, everything, tasks)]
    result = make(settings, tasks, notes, everything)
    for note in result.notes:
        say(f"report {table}: {note}")
    html = page.render(settings, table, results, everything, tasks, result)
    store.write_text(_named(out, "csv"), formats.csv(result.rows))
    store.write_text(_named(out, "md"), formats.markdown(settings, result, tables(settings, tasks, result)))
    store.write_text(_named(out, "tex"), formats.latex(settings, table, result))
    store.write_text(_named(out, "html"), html)


def _config(source: Path | str | None) -> dict[str, Any]:
    """The whole config as a mapping; empty where none is given."""
    values = read_yaml(str(source)) if source is not None else {}
    if not isinstance(values, dict):
        raise InputError(f"config {source}: expected a mapping of blocks, found {type(values).__name__}")
    return values


def _check_names(settings: Report, config: dict[str, Any]) -> None:
    for block, names in (("embed", [*settings.models, *settings.curves]), ("probe", settings.tasks)):
        known = config.get(block)
        if not isinstance(known, dict):
            continue
        for name in names:
            if name not in known:
                raise SettingsError(f"report: '{name}' is not defined in the '{block}' block{nearest(name, known)}")


def _named(out: Path, suffix: str) -> Path:
    """`out` is a prefix: a dot in the table's name is no suffix to replace."""
    return out.with_name(f"{out.name}.{suffix}")
