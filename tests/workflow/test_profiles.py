"""The profiles of clusters, each with stand-ins for its commands that run a job at once and answer as the real ones."""

import json
import re
import stat
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

PROFILES = sorted(path.parent.name for path in (ROOT / "workflow/profiles").glob("*/config.yaml"))
COLLECT = "results/aurora/runs.parquet"

# Records its arguments, runs the job and keeps its exit code; the script comes on stdin (LSF) or as the last argument.
SUBMIT = """#!{python}
import json, subprocess, sys
from pathlib import Path

here = Path(__file__).parent
script = sys.stdin.read() if {stdin} else Path(sys.argv[-1]).read_text()
number = 4711 + len(list(here.glob("*.exit")))
with (here / "submitted.jsonl").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
code = subprocess.run(["sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
(here / f"{{number}}.exit").write_text(str(code))
print(f"{said}")
"""
BJOBS = """#!/bin/sh
for last; do :; done
code=$(cat "$(dirname "$0")/$last.exit" 2>/dev/null) || { echo "Job <$last> is not found" >&2; exit 255; }
if [ "$code" = 0 ]; then echo DONE; else echo EXIT; fi
"""
QSTAT = """#!/bin/sh
for last; do :; done
code=$(cat "$(dirname "$0")/${last%%.*}.exit" 2>/dev/null) || { echo "qstat: Unknown Job Id $last" >&2; exit 153; }
printf 'Job Id: %s\\n    job_state = F\\n    Exit_status = %s\\n' "$last" "$code"
"""
COMMANDS = {
    "lsf": {"bsub": (True, "Job <{number}> is submitted to queue <gpu>."), "bjobs": BJOBS},
    "pbs": {"qsub": (False, "{number}.server"), "qstat": QSTAT},
}


def install(folder: Path, profile: str) -> None:
    """Put the commands of a batch system into a folder of the PATH."""
    for name, content in COMMANDS[profile].items():
        if isinstance(content, tuple):
            text = SUBMIT.format(python=sys.executable, stdin=content[0], said=content[1])
        else:
            text = content
        (folder / name).write_text(text)
        (folder / name).chmod((folder / name).stat().st_mode | stat.S_IXUSR)


def on_cluster(study, profile: str, *arguments: str):
    """Run one job that asks for a GPU through a profile, without the minutes that a real cluster is given."""
    fast = ["--seconds-between-status-checks", "1", "--latency-wait", "1", "--retries", "0"]
    folder = str(ROOT / "workflow/profiles" / profile)
    needs = [f"collect:{need}" for need in ("gpu=2", "mem_mb=8000", "runtime=120")]  # instead of all of the profile's
    return study.snakemake(*arguments, "--workflow-profile", folder, *fast, "--set-resources", *needs)


def test_every_system_has_its_profile():
    assert PROFILES == ["default", "lsf", "pbs", "slurm"]


@pytest.mark.parametrize("profile", [name for name in PROFILES if name != "default"])
def test_the_options_of_a_profile_are_known_and_its_gpu_rules_ask_for_one(study, profile):
    (study.folder / "results/aurora").mkdir(parents=True)
    done = study.snakemake("-n", "--workflow-profile", str(ROOT / "workflow/profiles" / profile))
    assert done.returncode == 0, done.stderr
    jobs = {job.split(":")[0]: job for job in re.split(r"^rule ", done.stdout, flags=re.MULTILINE)}
    for name, asked in (("pretrain", True), ("embed", True), ("report", False)):
        assert ("gpu=1" in jobs[name]) == asked
        assert bool(re.search(r"(queue|slurm_partition)=gpu", jobs[name])) == asked
    settings = yaml.safe_load((ROOT / f"workflow/profiles/{profile}/config.yaml").read_text())
    assert set(settings["set-resources"]) <= {path.stem for path in (ROOT / "workflow/rules").glob("*.smk")} | {
        "fsaverage"
    }


@pytest.mark.parametrize("profile", sorted(COMMANDS))
def test_a_job_is_submitted_with_what_its_rule_needs(study, profile):
    install(study.folder / "bin", profile)
    done = on_cluster(study, profile, COLLECT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (study.folder / COLLECT).exists()
    assert "external jobid '4711" in done.stdout + done.stderr
    [call] = [json.loads(line) for line in (study.folder / "bin/submitted.jsonl").read_text().splitlines()]
    asked = " ".join(call)
    wanted = {
        "lsf": ["-J collect", "-n 1", "-M 8000MB", "-W 120", "rusage[mem=8000MB]", "-gpu num=2", "-q normal"],
        "pbs": ["-N collect", "select=1:ncpus=1:mem=8000mb:ngpus=2", "walltime=7200", "-q workq", "-V"],
    }[profile]
    assert [part for part in wanted if part not in asked] == []


@pytest.mark.parametrize("profile", sorted(COMMANDS))
def test_a_job_that_fails_is_noticed(study, profile):
    install(study.folder / "bin", profile)
    (study.folder / "bin/boldtable").write_text("#!/bin/sh\nexit 1\n")
    done = on_cluster(study, profile, COLLECT)
    assert done.returncode == 1
    assert "Error in rule collect" in done.stdout + done.stderr
