"""The conda environment of the rules: what it installs is found wherever Snakemake copies the file to."""

import json
import stat
import sys
from pathlib import Path

import yaml
from conftest import ROOT

# Answers what Snakemake asks of conda, and keeps the environment file that it is to create from, and where it was.
CONDA = """#!{python}
import json, os, sys
from pathlib import Path

asked = " ".join(sys.argv[1:])
if "info" in asked:
    prefix = str(Path(__file__).parents[1])
    print(json.dumps({{"conda_prefix": prefix, "root_prefix": prefix, "platform": "linux-64"}}))
elif "--version" in asked:
    print("conda 25.3.1")
elif "channel_priority" in asked:
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif "create" in asked:
    file = Path(sys.argv[sys.argv.index("--file") + 1])
    made = {{"folder": str(file.parent), "text": file.read_text(), "home": os.environ.get("BOLDTABLE_HOME")}}
    Path("created.json").write_text(json.dumps(made))
"""


def installed(text: str, home: str) -> list[str]:
    """The lines that pip is given, with the variable replaced as pip does it."""
    [pip] = [entry["pip"] for entry in yaml.safe_load(text)["dependencies"] if isinstance(entry, dict)]
    return [line.replace("${BOLDTABLE_HOME}", home) for line in pip]


def test_conda_is_told_where_the_checkout_is(study):
    conda = study.folder / "bin/conda"
    conda.write_text(CONDA.format(python=sys.executable))
    conda.chmod(conda.stat().st_mode | stat.S_IXUSR)
    (study.folder / "bin/activate").write_text("")
    (study.folder / "results/aurora").mkdir(parents=True)
    done = study.snakemake("--sdm", "conda", "--conda-create-envs-only")
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads((study.folder / "created.json").read_text())
    assert Path(made["folder"]) != ROOT / "envs"  # a copy: nothing beside it is there
    torch, lock, package = installed(made["text"], made["home"])
    assert torch.startswith("torch==")
    assert Path(lock.removeprefix("-r ")).samefile(ROOT / "envs/requirements.lock")
    assert (Path(package) / "pyproject.toml").is_file()
