"""The table as text: CSV (long and complete), Markdown and LaTeX (models × tasks, primary metric)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from boldtable import __version__
from boldtable.plain import cell as csv_cell
from boldtable.plain import markdown as shown
from boldtable.plain import plain
from boldtable.stages.report.by_site import SiteTable
from boldtable.stages.report.claims import comparisons, test_entry, tests_caption
from boldtable.stages.report.printed import (
    PUBLISHED_CAPTION,
    Entry,
    caption,
    columns,
    entries,
    heading,
    label,
    published_entries,
    trace,
)
from boldtable.stages.report.settings import Report
from boldtable.stages.report.table import Table
from boldtable.stages.report.texts import MINUS

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "\N{MINUS SIGN}": "$-$", "²": r"$^2$",
    "▲": r"$^\blacktriangle$", "▼": r"$^\blacktriangledown$",
    "△": r"$^\vartriangle$",
    "▽": r"$^\triangledown$", "≥": r"$\geq$",
}  # fmt: skip


COUNTED = ("n", "n_seeds", "n_splits", "n_train", "n_val", "n_test")


def csv(rows: pd.DataFrame) -> str:
    """Every row, numbers to six significant digits, nothing for a missing one: equal inputs give equal bytes.

    A text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    safe = rows.map(_csv_value)
    counts = {name: safe[name].astype("Int64") for name in COUNTED}
    text: str = safe.assign(**counts).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return text


def _csv_value(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return csv_cell(value) if isinstance(value, str) else value


def markdown(settings: Report, table: Table, sites: list[SiteTable]) -> str:
    """A GitHub table: ``mean ± sd [low, high]``, best in bold, marks for better and worse; then tests and traces."""
    tasks = columns(table)
    parts = [f"# {shown(settings.title)}", _markdown_table(settings, table), caption(settings, table)]
    tests = [
        [f"{shown(one)} {MINUS} {shown(two)}", *_test_texts(table, (one, two), tasks["task"])]
        for one, two in comparisons(table)
    ]
    if tests:
        about = tests_caption(settings, table)
        parts += ["## Comparisons", _grid(["difference", *map(shown, tasks["task"])], tests), about]
    parts += [text for one in sites for text in _markdown_sites(one)]
    parts += _markdown_published(table)
    parts += ["\n".join(f"- {shown(note)}" for note in table.notes)] if table.notes else []
    parts += ["## What the numbers trace to", _trace_grid(table)]
    parts.append(
        f"Written by boldtable {__version__}; every metric, test and full fingerprint is in the CSV beside this file."
    )
    return "\n\n".join(parts) + "\n"


def _markdown_table(settings: Report, table: Table) -> str:
    cells, tasks, ranks = entries(table), columns(table), table.ranks
    names = [
        f"{shown(task)} ({scheme})" if scheme else shown(task) for task, scheme in tasks[["task", "scheme"]].to_numpy()
    ]
    rows = [
        [_named(settings, row), *(_markdown_cell(cells[row, task]) for task in tasks["task"])] for row in settings.rows
    ]
    lines = [*rows, ["*chance*", *tasks["chance"]], ["*n*", *tasks["counts"]]]
    last = [f"{ranks[row]:.1f}" for row in settings.rows] + ["", ""] if ranks else []
    lines = [[*line, rank] for line, rank in zip(lines, last, strict=True)] if ranks else lines
    return _grid(["model", *names, *(["mean rank"] if ranks else [])], lines)


def _named(settings: Report, row: str) -> str:
    name, said = label(settings, row)
    return f"{shown(name)} ({said})" if said else shown(name)


def _markdown_cell(entry: Entry) -> str:
    mean = f"**{entry.mean}**" if entry.best else entry.mean
    value = " ".join(part for part in (f"{mean}{entry.mark}", entry.spread) if part)
    chance = f"p {entry.chance}" if entry.chance else ""
    return ", ".join(part for part in (value, chance, entry.second, entry.few) if part)


def _markdown_published(table: Table) -> list[str]:
    """The section of published numbers; nothing where there are none."""
    rows = [
        [shown(row["task"]), shown(row["model"]), row["metric"], f"{row['measured']} {row['interval']}",
         row["published"], row["difference"], row["inside"], shown(row["source"])]
        for row in published_entries(table)
    ]  # fmt: skip
    header = ["task", "model", "metric", "measured", "published", "difference", "inside", "source"]
    return ["## Measured beside published", _grid(header, rows), PUBLISHED_CAPTION] if rows else []


def _markdown_sites(one: SiteTable) -> list[str]:
    """The section of one task's sites."""
    rows = [
        [label, shown(name), str(n), shown(classes), *(" ".join(score).strip() for score in scores)]
        for label, name, n, classes, scores in one.rows
    ]
    means = [["", f"*{name}*", "", "", *scores] for name, scores in one.summaries]
    header = ["", "site left out", "n", "classes", *map(shown, one.models)]
    return [f"## Sites of {shown(one.task)}: {one.metric}", _grid(header, [*rows, *means])]


def _test_texts(table: Table, pair: tuple[str, str], tasks: Iterable[str]) -> list[str]:
    found = [test_entry(table, pair, task) for task in tasks]
    return [f"{gap} (p {p})" if p and p[0] != "(" else f"{gap} {p}".strip() for gap, p, _ in found]


def _trace_grid(table: Table) -> str:
    found = trace(table).astype(str)
    short = found.assign(**{name: found[name].str[:12] for name in ("settings_sha256", "data_sha256")})
    return _grid(list(short.columns), short.map(shown).to_numpy().tolist())


def _grid(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def escape(text: str) -> str:
    """A text with everything that LaTeX would read as a command made plain."""
    return "".join(_LATEX.get(letter, letter) for letter in plain(text))


def latex(settings: Report, name: str, table: Table) -> str:
    """A booktabs ``table*``: two lines per model, mean ± sd and below it the interval."""
    tasks, ranks = columns(table), table.ranks
    heads = [heading(task, dataset) for task, dataset in zip(tasks["task"], tasks["dataset"], strict=True)]
    last = [""] if ranks else []
    lines = [
        f"% {escape(' '.join(settings.title.split()))}; boldtable {__version__}; packages booktabs, amssymb",
        *[f"% {plain(' '.join(map(str, row)))}" for row in trace(table).to_numpy().tolist()],
        r"\begin{table*}", r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape(settings.title)}. {escape(caption(settings, table))}}}", rf"\label{{tab:{_label(name)}}}",
        rf"\begin{{tabular}}{{l{'c' * (len(tasks) + bool(ranks))}}}", r"\toprule",
        _row("", [*(dataset for dataset, _ in heads), *last]),
        _row("model", [*(task for _, task in heads), *(["mean rank"] if ranks else [])]),
        *([_row("", [*tasks["scheme"], *last])] if tasks["scheme"].any() else []), r"\midrule",
        *(line for model in settings.rows for line in _latex_model(table, model)), r"\midrule",
        _row("chance", [*tasks["chance"], *last]), _row("n", [*tasks["counts"], *last]),
        r"\bottomrule", r"\end{tabular}", r"\end{table*}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _latex_model(table: Table, model: str) -> list[str]:
    cells, ranks = [entry for (row, _), entry in entries(table).items() if row == model], table.ranks
    first = [escape(model), *(_latex_cell(entry) for entry in cells), *([f"{ranks[model]:.1f}"] if ranks else [])]
    second = ["", *(rf"{{\scriptsize {escape(_below(entry))}}}" for entry in cells), *([""] if ranks else [])]
    return [rf"{' & '.join(first)} \\", rf"{' & '.join(second)} \\"]


def _below(entry: Entry) -> str:
    """What stands below a value: its interval, and p of the test against chance."""
    return ", ".join(part for part in (entry.interval, f"p {entry.chance}" if entry.chance else "") if part)


def _latex_cell(entry: Entry) -> str:
    mean = rf"\textbf{{{escape(entry.mean)}}}" if entry.best else escape(entry.mean)
    spread = rf" $\pm$ {escape(entry.sd)}" if entry.sd else ""
    return f"{mean}{escape(entry.mark)}{spread}"


def _row(first: str, cells: Iterable[str], change: Callable[[str], str] = escape) -> str:
    return " & ".join([change(first), *(change(cell) for cell in cells)]) + r" \\"


def _label(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-:" else "-" for letter in name)
