"""How a run ends: the lines that say what to do come last, and the exit code is 2, as on the command line."""

import sys


def lacking():
    """What the tables that were made lack, because a task of theirs failed."""
    from boldtable.stages.report import failed, Report

    tables = {name: Report.parse(settings) for name, settings in config["report"].items()}
    made = [name for name in tables if Path(f"results/tables/{name}.html").exists()]
    return [
        f"boldtable: error: {line}\n" for name in made for line in failed.lines(Path("results"), name, tables[name])
    ]


def end(told):
    print(*told, sep="", end="", file=sys.stderr)
    if told:
        sys.exit(2)


onsuccess:
    end(lacking())


onerror:
    lines = [line for path in log for line in Path(path).read_text().splitlines(keepends=True)]
    end(dict.fromkeys([*(line for line in lines if line.startswith("boldtable: error: ")), *lacking()]))
