"""The command line as a user meets it: help, one-line errors, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("preprocess", "collect", "parcellate", "clean", "qc", "pretrain", "embed", "probe", "report")
HELPERS = (
    "atlas", "split", "ledger", "simulate", "check", "init", "doctor", "demo", "fsaverage", "export", "figure",
    "import-weights", "population", "reconstruct", "gradients", "fetch-abide",
)  # fmt: skip


def boldtable(*arguments, cwd=None):
    command = [sys.executable, "-m", "boldtable", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120, check=False)


def refused(*arguments, cwd=None):
    """The single line of an error that a user can mend."""
    done = boldtable(*arguments, cwd=cwd)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("boldtable: error: ")]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
    return lines[0]


def test_help_lists_every_stage_and_helper():
    shown = boldtable("--help").stdout
    assert all(name in shown for name in (*STAGES, *HELPERS))


def test_every_command_is_in_a_document():
    text = (
        (ROOT / "README.md").read_text()
        + (ROOT / "CONTRIBUTING.md").read_text()
        + (ROOT / "config/README.md").read_text()
    )
    assert [name for name in (*STAGES, *HELPERS) if name not in text] == []


def test_version_is_the_packages():
    from boldtable import __version__

    assert boldtable("--version").stdout.strip() == __version__


def test_unknown_setting_names_the_nearest(tmp_path):
    line = refused(
        "clean", "--settings", '{"atlas": "a", "low_hzz": 1}', "--parcels", "p", "--out", tmp_path / "o.parquet"
    )
    assert "settings.low_hzz: unknown key, did you mean 'low_hz'?" in line


def test_missing_settings_file(tmp_path):
    line = refused("clean", "--settings", tmp_path / "no.yaml", "--parcels", "p", "--out", tmp_path / "o.parquet")
    assert "settings file not found" in line


def test_broken_yaml(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("atlas: [unclosed")
    assert "cannot read settings" in refused(
        "clean", "--settings", path, "--parcels", "p", "--out", tmp_path / "o.parquet"
    )


def test_missing_derivatives_folder(tmp_path):
    settings = f'{{"derivatives": "{tmp_path}/nowhere"}}'
    out = ["--runs", tmp_path / "out/runs.parquet", "--participants", tmp_path / "out/participants.parquet"]
    line = refused("collect", "--settings", settings, "--dataset", "aurora", *out)
    assert f"{tmp_path}/nowhere" in line
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_that_is_no_artefact(tmp_path):
    path = tmp_path / "parcels.parquet"
    path.write_text("not Parquet")
    line = refused("clean", "--settings", '{"atlas": "a"}', "--parcels", path, "--out", tmp_path / "o.parquet")
    assert str(path) in line
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_results_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    path = tmp_path / "locked/results/ledger.parquet"
    assert "cannot write" in refused("ledger", "--qc", "none.parquet", "--out", path)


def test_a_results_folder_that_is_a_file(tmp_path):
    (tmp_path / "results").write_text("in the way")
    out = tmp_path / "results/atlases/demo.parquet"
    table = tmp_path / "parcels.tsv"
    table.write_text("index\tname\themisphere\tnetwork\n1\ta\tL\tVis\n")
    line = refused("atlas", "--settings", f'{{"source": "series", "table": "{table}"}}', "--name", "mine", "--out", out)
    assert "cannot write" in line


def test_init_writes_a_config_that_check_accepts(tmp_path):
    assert boldtable("init", tmp_path).returncode == 0
    assert "fine" in boldtable("check", tmp_path / "config.yaml").stdout
    whole = yaml.safe_load(boldtable("check", tmp_path / "config.yaml", "--whole").stdout)
    assert whole["report"]["main"]["models"][:2] == ["majority", "nuisance"]
    assert whole["embed"]["my_model-untrained-1"]["encoder"] == "my_model-untrained-1"
    assert "left as it is" in refused("init", tmp_path)


def test_check_names_what_does_not_agree(tmp_path):
    boldtable("init", tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("recipe: semantoks", "recipe: semantok", 1))
    assert "'semantok' is not defined in the 'clean' block, did you mean 'semantoks'?" in refused("check", path)


def test_doctor_looks_and_changes_nothing(tmp_path):
    done = boldtable("doctor", cwd=tmp_path)
    assert done.returncode == 0
    assert "torch" in done.stdout
    assert list(tmp_path.iterdir()) == []
