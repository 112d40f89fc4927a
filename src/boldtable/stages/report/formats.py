"""The table as text: CSV (long and complete), Markdown and LaTeX (models × tasks, primary metric)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from boldtable import __version__
from boldtable.stages.report.settings import Report
from boldtable.stages.report.table import LOWER_IS_BETTER, Table

PERCENT = {"balanced_accuracy", "accuracy", "auroc", "f1"}
METRIC_NAMES = {
    "balanced_accuracy": "balanced accuracy (%)",
    "accuracy": "accuracy (%)",
    "auroc": "AUROC (%)",
    "f1": "F1 (%)",
    "mae": "mean absolute error",
    "r2": "R²",
    "pearson_r": "Pearson r",
    "mean_rank": "mean rank",
}
_DIGITS = {"mae": 2, "mean_rank": 2, "r2": 3, "pearson_r": 3}
MINUS = "\N{MINUS SIGN}"
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "\N{MINUS SIGN}": "$-$", "²": r"$^2$", "†": r"$^\dagger$", "≥": r"$\geq$",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One printed cell: texts of mean, sd and interval, and its marks."""

    mean: str
    sd: str
    interval: str
    best: bool
    near: bool
    n: str

    @property
    def spread(self) -> str:
        """``± sd`` and the interval; empty where a single split has neither."""
        return " ".join(part for part in (f"± {self.sd}" if self.sd else "", self.interval) if part)


def csv(rows: pd.DataFrame) -> str:
    """Every row, numbers to six significant digits, nothing for a missing one: equal inputs give equal bytes."""
    plain = rows.map(lambda value: str(value).lower() if isinstance(value, bool) else value)
    counts = {name: plain[name].astype("Int64") for name in ("n_splits", "n_train", "n_val", "n_test")}
    text: str = plain.assign(**counts).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return text


def number(value: float, metric: str, signed: bool = False) -> str:
    """A value as printed: accuracies in percent with one digit; an empty text for a missing value."""
    if not math.isfinite(value):
        return ""
    digits = _DIGITS.get(metric, 1)
    text = f"{value * 100 if metric in PERCENT else value:{'+' if signed else ''}.{digits}f}"
    return text.replace("-", MINUS)


def interval(low: float, high: float, metric: str) -> str:
    """``[low, high]`` as printed, or an empty text."""
    return f"[{number(low, metric)}, {number(high, metric)}]" if math.isfinite(low) and math.isfinite(high) else ""


def p_value(p: float) -> str:
    """A p value as printed: three digits, never zero."""
    if not math.isfinite(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def entries(table: Table) -> dict[tuple[str, str], Entry]:
    """The printed cells by (model, task)."""
    return {(row["model"], row["task"]): _entry(row, table.alpha) for _, row in table.scores.iterrows()}


def _entry(row: pd.Series, alpha: float) -> Entry:
    metric = str(row["metric"])
    counts = [f"{int(row[name])} {part}" for name, part in _PARTS.items() if row[name]]
    return Entry(
        mean=number(row["mean"], metric) or "n/a",
        sd=number(row["sd"], metric),
        interval=interval(row["ci_low"], row["ci_high"], metric),
        best=bool(row["best"]),
        near=bool(row["p_best_holm"] >= alpha),
        n=f"{' / '.join(counts)}, {int(row['n_splits'])} split{'s' if row['n_splits'] != 1 else ''}",
    )


_PARTS = {"n_train": "train", "n_val": "validation", "n_test": "test"}


def heading(task: str, dataset: str) -> tuple[str, str]:
    """A task's name on two lines: its dataset, and what remains of the name without it."""
    rest = task.removeprefix(f"{dataset}-")
    return (dataset, rest) if dataset else ("", task)


def columns(table: Table) -> pd.DataFrame:
    """One row per task in printed order: task, dataset, metric, chance (as printed)."""
    found = table.scores.drop_duplicates("task")[["task", "dataset", "metric", "chance", "n_test"]].copy()
    found["chance"] = [number(value, metric) for value, metric in zip(found["chance"], found["metric"], strict=True)]
    return found


def caption(settings: Report, table: Table) -> str:
    """What the marks and numbers of the printed table mean."""
    tasks = columns(table)
    metrics = dict.fromkeys(tasks["metric"])
    names = ", ".join(
        METRIC_NAMES[metric] + (", lower is better" if metric in LOWER_IS_BETTER else "") for metric in metrics
    )
    level = f"{settings.confidence:.0%}".replace(".0", "")
    return (
        f"Primary metric of each task ({names}): mean ± standard deviation over the splits and the {level} interval, "
        f"corrected for splits that share participants (Nadeau and Bengio 2003) and cut off where the metric ends. "
        f"Bold: best mean of the column. "
        f"†: not significantly worse than the best (corrected resampled t-test, Holm over all such tests of the table, "
        f"p ≥ {table.alpha:g})."
    )


def tests_caption(settings: Report, table: Table) -> str:
    """What the table of comparisons holds."""
    return (
        f"Differences on the primary metric, first minus second, on the same splits, with p of the two-sided corrected "
        f"resampled t-test after Holm over all {n_tests(table)} tests of this table (uncorrected p in the CSV). "
        f"Reference: {settings.reference}."
    )


def comparisons(table: Table) -> list[tuple[str, str]]:
    """The pairs (model, reference) that were tested, in order, each once."""
    return list(dict.fromkeys(zip(table.tests["model"], table.tests["reference"], strict=True)))


def n_tests(table: Table) -> int:
    """How many different tests the Holm correction of the comparisons counts."""
    known = table.tests.loc[table.tests["p"].notna()]
    return len({(task, *sorted(pair)) for task, *pair in known[["task", "model", "reference"]].itertuples(index=False)})


def test_entry(table: Table, pair: tuple[str, str], task: str) -> tuple[str, str, bool]:
    """Difference and corrected p as printed, and whether it is significant; empty texts where none was made."""
    tests = table.tests
    chosen = tests.loc[(tests["model"] == pair[0]) & (tests["reference"] == pair[1]) & (tests["task"] == task)]
    row = chosen.iloc[0]
    metric = str(row["metric"])
    return number(row["difference"], metric, signed=True), p_value(row["p_holm"]), bool(row["p_holm"] < table.alpha)


def trace(table: Table) -> pd.DataFrame:
    """What the numbers of each task trace to: splits, n, seed, code version and the two fingerprints."""
    shown = [
        "task",
        "metric",
        "n_splits",
        "n_train",
        "n_val",
        "n_test",
        "seed",
        "version",
        "settings_sha256",
        "data_sha256",
    ]
    found = table.scores.drop_duplicates("task")[shown]
    return found.astype({"n_splits": int, "n_train": int, "n_val": int, "n_test": int})


def markdown(settings: Report, table: Table) -> str:
    """A GitHub table: ``mean ± sd [low, high]``, best in bold, † for not significantly worse; then tests and traces."""
    cells, tasks = entries(table), columns(table)
    rows = [[model, *(_markdown_cell(cells[model, task]) for task in tasks["task"])] for model in settings.models]
    rows.append(["*chance*", *tasks["chance"]])
    tests = [
        [f"{one} {MINUS} {two}", *_test_texts(table, (one, two), tasks["task"])] for one, two in comparisons(table)
    ]
    parts = [f"# {_pipe(settings.title)}", _grid(["model", *tasks["task"]], rows), caption(settings, table)]
    if tests:
        about = tests_caption(settings, table)
        parts += ["## Comparisons", _grid(["difference", *tasks["task"]], tests), about]
    parts += ["\n".join(f"- {note}" for note in table.notes)] if table.notes else []
    parts += ["## What the numbers trace to", _trace_grid(table)]
    parts.append(
        f"Written by boldtable {__version__}; every metric, test and full fingerprint is in the CSV beside this file."
    )
    return "\n\n".join(parts) + "\n"


def _markdown_cell(entry: Entry) -> str:
    mean = f"**{entry.mean}**" if entry.best else entry.mean
    return f"{mean}{'†' if entry.near else ''} {entry.spread}".rstrip()


def _test_texts(table: Table, pair: tuple[str, str], tasks: Iterable[str]) -> list[str]:
    found = [test_entry(table, pair, task) for task in tasks]
    return [f"{gap} (p {p})" if p else gap for gap, p, _ in found]


def _trace_grid(table: Table) -> str:
    found = trace(table).astype(str)
    short = found.assign(**{name: found[name].str[:12] for name in ("settings_sha256", "data_sha256")})
    return _grid(list(short.columns), short.to_numpy().tolist())


def _grid(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(_pipe(str(cell)) for cell in line) + " |" for line in lines)


def _pipe(text: str) -> str:
    """A text that cannot end a cell or a line."""
    return " ".join(text.replace("|", r"\|").replace("<", "&lt;").split())


def escape(text: str) -> str:
    """A text with everything that LaTeX would read as a command made plain."""
    return "".join(_LATEX.get(letter, letter) for letter in text)


def latex(settings: Report, name: str, table: Table) -> str:
    """A booktabs ``table*``: two lines per model, mean ± sd and below it the interval."""
    tasks = columns(table)
    heads = [heading(task, dataset) for task, dataset in zip(tasks["task"], tasks["dataset"], strict=True)]
    lines = [
        f"% {escape(' '.join(settings.title.split()))}; boldtable {__version__}; needs \\usepackage{{booktabs}}",
        *[f"% {' '.join(map(str, row))}" for row in trace(table).to_numpy().tolist()],
        r"\begin{table*}", r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape(settings.title)}. {escape(caption(settings, table))}}}", rf"\label{{tab:{_label(name)}}}",
        rf"\begin{{tabular}}{{l{'c' * len(tasks)}}}", r"\toprule",
        _row("", [dataset for dataset, _ in heads]), _row("model", [task for _, task in heads]), r"\midrule",
        *(line for model in settings.models for line in _latex_model(settings, table, model)),
        r"\midrule", _row("chance", tasks["chance"]), r"\bottomrule", r"\end{tabular}", r"\end{table*}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _latex_model(settings: Report, table: Table, model: str) -> list[str]:
    cells = [entry for (row, _), entry in entries(table).items() if row == model]
    first = " & ".join([escape(model), *(_latex_cell(entry) for entry in cells)])
    second = " & ".join(["", *(rf"{{\scriptsize {escape(entry.interval)}}}" for entry in cells)])
    return [rf"{first} \\", rf"{second} \\"]


def _latex_cell(entry: Entry) -> str:
    mean = rf"\textbf{{{escape(entry.mean)}}}" if entry.best else escape(entry.mean)
    spread = rf" $\pm$ {escape(entry.sd)}" if entry.sd else ""
    return f"{mean}{escape('†') if entry.near else ''}{spread}"


def _row(first: str, cells: Iterable[str], change: Callable[[str], str] = escape) -> str:
    return " & ".join([change(first), *(change(cell) for cell in cells)]) + r" \\"


def _label(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-:" else "-" for letter in name)
