"""The rule of pretrain: a training told to stop is taken up again, several GPUs share one, and a grouping counts."""

import stat
import subprocess

# The first training stops as after SIGTERM; everything else is the stand-in.
STOPS_ONCE = """#!/bin/sh
if [ "$1" = pretrain ] && [ ! -e stopped ]; then touch stopped; exit 75; fi
exec "$(dirname "$0")/standin" "$@"
"""
# torchrun ... -m boldtable pretrain ... → boldtable pretrain ...
TORCHRUN = """#!/bin/sh
echo "$@" >> torchrun.txt
while [ "$1" != -m ]; do shift; done
shift
exec "$@"
"""


def put(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def trained(study, *arguments: str) -> subprocess.CompletedProcess[str]:
    return study.snakemake("results/models/semantoks", *arguments)


def test_code_75_is_retried_and_several_gpus_share_a_training(study):
    commands = study.folder / "bin"
    (commands / "boldtable").rename(commands / "standin")
    put(commands / "boldtable", STOPS_ONCE)
    put(commands / "torchrun", TORCHRUN)
    done = trained(study, "--set-resources", "pretrain:gpu=2")
    assert done.returncode == 0, done.stderr
    assert (study.folder / "stopped").exists()
    calls = (study.folder / "torchrun.txt").read_text().splitlines()
    assert len(calls) == 2
    assert all(call.startswith("--standalone --nproc-per-node 2 -m boldtable pretrain --settings") for call in calls)
    # One GPU or none: no launcher. Another grouping: another model.
    assert "Nothing to be done" in (trained(study).stdout + trained(study).stderr)
    (study.folder / "halves.tsv").write_text("index\tgroup\n")
    study.config["pretrain"]["semantoks"]["tokenizer"] = "halves.tsv"
    done = trained(study)
    assert done.returncode == 0, done.stderr
    assert len((study.folder / "torchrun.txt").read_text().splitlines()) == 2
    assert [line.split()[0] for line in (study.folder / "calls.txt").read_text().splitlines()].count("pretrain") == 2
    assert "halves.tsv" in trained(study, "--forcerun", "pretrain", "-n").stdout
