"""What runs, and what runs again: the whole graph with a stand-in for the `boldtable` command."""

import os
import subprocess
import sys
from collections import Counter

from standin import shard_of


def stages(calls):
    return Counter(call.split()[0] for call in calls)


def test_the_whole_graph_runs_once_and_then_not_again(study):
    n_shards = len({shard_of(f"sub-{number:02d}") for number in range(1, 9)})
    assert stages(study.run()) == {
        "collect": 1, "atlas": 1, "parcellate": n_shards, "clean": n_shards, "qc": 1, "ledger": 1, "pretrain": 1,
        "embed": 2, "target": 1, "split": 1, "probe": 2, "report": 1,
    }  # fmt: skip
    assert (study.folder / "results/tables/main.html").exists()
    assert study.run() == []
    done = study.snakemake("--report", "report.html")
    assert done.returncode == 0, done.stderr
    assert "connectome, semantoks on sex" in (study.folder / "report.html").read_text()


def test_a_new_participant_runs_its_shard_alone(study):
    study.run()
    parent = study.folder / "derivatives"
    study.add_participants("09")
    os.utime(parent)
    calls = study.run()
    shards = [call.split()[1] for call in calls if call.startswith("parcellate")]
    assert shards == [shard_of("sub-09")]
    assert stages(calls)["clean"] == 1
    assert stages(calls)["atlas"] == 0
    assert stages(calls)["qc"] == stages(calls)["pretrain"] == stages(calls)["report"] == 1


def test_a_changed_setting_runs_what_depends_on_it(study):
    study.run()
    study.config["report"]["main"]["title"] = "Another title"
    assert stages(study.run()) == {"report": 1}
    study.config["clean"]["semantoks"]["high_hz"] = 0.08
    calls = stages(study.run())
    assert calls["clean"] > 1
    assert not {"collect", "parcellate", "atlas"} & set(calls)


def test_an_unknown_key_is_one_line_and_exit_code_2(study):
    study.config["clean"]["semantoks"]["hihg_hz"] = 0.08
    done = study.snakemake("-n")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == (
        "boldtable: error: config.clean.semantoks.hihg_hz: unknown key, did you mean 'high_hz'?"
    )
    assert "Traceback" not in done.stderr


def test_a_key_that_comes_twice_is_one_line_and_exit_code_2(study):
    done = study.snakemake("-n")
    assert done.returncode == 0
    path = study.folder / "study.yaml"
    path.write_text(path.read_text() + "qc: {recipe: semantoks, max_fd_mm_mean: 0.2}\n")
    again = subprocess.run(done.args, env=os.environ, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "study.yaml: key 'qc' comes twice: keep one" in again.stderr.strip().splitlines()[-1]


def test_a_second_run_in_the_folder_of_a_living_one_is_refused(study):
    hold = (
        "import sys; from boldtable import running; running.begin(True); print('x', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], cwd=study.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as living:
        living.stdout.readline()
        done = study.snakemake()
        assert done.returncode == 2
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("boldtable: error: another run of this study is going on in ")
        assert f"process {living.pid} on" in last
        assert study.snakemake("-n").returncode == 0
        living.kill()


def test_blocks_must_agree(study):
    study.config["clean"]["semantoks"]["atlas"] = "demo475"
    done = study.snakemake("-n")
    assert done.returncode == 2
    assert "'demo475' is not defined in the 'parcellate' block, did you mean 'demo457'?" in done.stderr


def test_a_missing_derivatives_folder_is_one_line_and_exit_code_2(study):
    study.config["collect"]["aurora"]["derivatives"] = "derivatvies"
    done = study.snakemake("-n")
    assert done.returncode == 2
    assert "collect.aurora.derivatives: no such folder: derivatvies" in done.stderr


def test_raw_participants_are_preprocessed_first(study):
    for name in ("01", "02"):
        (study.folder / f"raw/sub-{name}").mkdir(parents=True)
    study.config["preprocess"] = {
        "aurora": {"bids": "raw", "derivatives": "derivatives", "license_file": "license.txt"}
    }
    calls = study.run()
    assert stages(calls)["preprocess"] == 2
    names = [call.split()[0] for call in calls]
    assert max(i for i, name in enumerate(names) if name == "preprocess") < names.index("collect")


def test_a_studys_config_replaces_the_starter(study):
    (study.folder / "config").mkdir()
    (study.folder / "config/config.yaml").write_text("collect: {my_dataset: {derivatives: nowhere}}\n")
    done = study.snakemake("-n")
    assert done.returncode == 0, done.stderr
    assert "my_dataset" not in done.stdout
