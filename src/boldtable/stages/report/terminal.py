"""The table in a terminal: read back from its CSV, wide tables in as many parts as the terminal needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table as Grid
from rich.text import Text

from boldtable.errors import InputError
from boldtable.plain import plain
from boldtable.stages.report.printed import heading
from boldtable.stages.report.table import COLUMNS
from boldtable.stages.report.texts import interval, number

_CELL = 15  # the width of "[-12.3, 100.0]" and its margin
_TEXTS = ("row", "task", "dataset", "model", "metric", "reference", "primary", "best")
_NUMBERS = ["mean", "ci_low", "ci_high", "chance"]


@dataclass(frozen=True)
class TerminalTable:
    """What rich prints: models × tasks, mean and interval, best in bold, the reference marked."""

    shown: pd.DataFrame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield as many grids as the tasks need at this width, and one line that explains them."""
        tasks, models = (list(dict.fromkeys(self.shown[name])) for name in ("task", "model"))
        fit = max(1, (options.max_width - max(len(model) for model in models) - 5) // _CELL)
        each = math.ceil(len(tasks) / math.ceil(len(tasks) / fit))
        for start in range(0, len(tasks), each):
            yield _grid(self.shown, models, tasks[start : start + each])
        words = "mean [interval], accuracies in percent; bold: best mean; *: the reference of the tests"
        yield Text(words, style="dim")


def terminal(csv: Path) -> TerminalTable:
    """The table in `csv` for rich's ``print``; it fits itself to the width of the console.

    Raises `InputError` when the file is not there or is no table of this package.
    """
    try:
        rows = pd.read_csv(csv, dtype=dict.fromkeys(_TEXTS, str), keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"table not found: {csv}; run the stage 'report' first") from None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"cannot read the table {csv}: {' '.join(str(error).split())}") from None
    missing = [name for name in COLUMNS if name not in rows]
    if missing:
        raise InputError(f"{csv} is no table of boldtable: column {missing[0]} is missing")
    rows[list(_TEXTS)] = rows[list(_TEXTS)].map(plain)
    rows[_NUMBERS] = rows[_NUMBERS].apply(pd.to_numeric, errors="coerce")
    return TerminalTable(rows.loc[(rows["row"] == "score") & (rows["primary"] == "true")])


def _grid(shown: pd.DataFrame, models: list[str], tasks: list[str]) -> Grid:
    rows = {(row["model"], row["task"]): row for _, row in shown.iterrows()}
    grid = Grid(header_style="bold")
    grid.add_column("model", no_wrap=True)
    for task in tasks:
        over, short = heading(task, str(rows[models[0], task]["dataset"]))
        grid.add_column(Text(f"{over}\n{short}" if over else short), justify="right")
    references = set(shown["reference"])
    for model in models:
        name = Text(f"{model} *" if model in references else model)
        grid.add_row(name, *(_cell(rows[model, task]) for task in tasks))
    grid.add_section()
    chances = [number(rows[models[0], task]["chance"], str(rows[models[0], task]["metric"])) for task in tasks]
    grid.add_row(Text("chance", style="dim"), *(Text(chance, style="dim") for chance in chances))
    return grid


def _cell(row: pd.Series) -> Text:
    metric = str(row["metric"])
    cell = Text()
    cell.append(number(row["mean"], metric) or "n/a", style="bold green" if row["best"] == "true" else "")
    span = interval(row["ci_low"], row["ci_high"], metric)
    return cell.append(f"\n{span}", style="dim") if span else cell
