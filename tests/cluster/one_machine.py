"""A real Slurm on one machine, without systemd and without accounting: three nodes, one of them with a GPU to ask for.

The steps of jobs read /etc/slurm and nothing else, so the configuration is put there, and taken away again.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ETC = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf")
PROGRAMS = ("munged", "munge", "slurmctld", "slurmd", "sinfo", "sbatch", "scancel")
NODES = {"n1": ("gpu", "Gres=gpu:1"), "n2": ("cpu", ""), "n3": ("cpu", "")}
# The nodes claim more than the machine has: the profile's requests are those of a real cluster.
CPUS, MEMORY_MB, FIRST_PORT, WAIT_S = 16, 200_000, 17_101, 60


def why_not() -> str | None:
    """What keeps a cluster from being started here; None: nothing."""
    if os.geteuid() != 0:
        return "starting Slurm needs root"
    gone = [name for name in PROGRAMS if shutil.which(name) is None]
    if gone:
        return f"no {gone[0]}: apt-get install --no-install-recommends slurm-wlm munge"
    if (ETC / "slurm.conf").exists():
        return "this machine has a Slurm of its own, which is left alone"
    return None


def configuration(folder: Path) -> dict[str, str]:
    """The text of the files in /etc/slurm; state, spools and logs lie in `folder`."""
    host = socket.gethostname()
    lines = [
        "ClusterName=boldtable", f"SlurmctldHost={host}(127.0.0.1)", "SlurmUser=root", "SlurmdUser=root",
        "AuthType=auth/munge", f"StateSaveLocation={folder}/state", f"SlurmdSpoolDir={folder}/spool-%n",
        f"SlurmctldPidFile={folder}/slurmctld.pid", f"SlurmdPidFile={folder}/slurmd-%n.pid",
        f"SlurmctldLogFile={folder}/slurmctld.log", f"SlurmdLogFile={folder}/slurmd-%n.log",
        "SlurmdParameters=config_overrides", "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none",
        "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core_Memory", "ReturnToService=2", "GresTypes=gpu",
        "MpiDefault=none", "SchedulerParameters=batch_sched_delay=1,sched_interval=2", "MinJobAge=3600",
    ]  # fmt: skip
    lines += [
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={FIRST_PORT + number} CPUs={CPUS} "
        f"RealMemory={MEMORY_MB} {extra}"
        for number, (node, (_, extra)) in enumerate(NODES.items())
    ]
    for partition in ("cpu", "gpu"):
        members = ",".join(node for node, (kind, _) in NODES.items() if kind == partition)
        default = "YES" if partition == "cpu" else "NO"
        lines.append(f"PartitionName={partition} Nodes={members} Default={default} MaxTime=INFINITE State=UP")
    # A GPU for scheduling alone: jobs are told of it, and there is no device behind it.
    return {"slurm.conf": "\n".join(lines) + "\n", "gres.conf": "NodeName=n1 Name=gpu File=/dev/null\n"}


@contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """Start the daemons, wait until every node is idle, and stop what was started."""
    started: list[subprocess.Popen[bytes]] = []
    for name, text in configuration(folder).items():
        (ETC / name).write_text(text)
    try:
        (folder / "state").mkdir()
        if not _answers("munge", "-n"):
            started.append(_munged(folder))
        _wait(lambda: _answers("munge", "-n"), "munged")
        started.append(_start(folder, "slurmctld", "-D"))
        started += [_start(folder, "slurmd", "-D", "-N", node) for node in NODES]
        _wait(lambda: _idle() == len(NODES), "the nodes")
        yield
    finally:
        _answers("scancel", "--user", "root")
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(30)
        for name in FILES:
            (ETC / name).unlink(missing_ok=True)


def _munged(folder: Path) -> subprocess.Popen[bytes]:
    """munged runs as its own user and insists on folders that nobody else can write."""
    for place in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
        Path(place).mkdir(mode=0o755, exist_ok=True)
        shutil.chown(place, "munge", "munge")
    return _start(folder, "runuser", "-u", "munge", "--", shutil.which("munged") or "munged", "--foreground")


def _start(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    with (folder / "daemons.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _answers(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _idle() -> int:
    told = subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], capture_output=True, text=True, timeout=20, check=False)
    return told.stdout.split().count("idle")


def _wait(there: object, what: str) -> None:
    assert callable(there)
    deadline = time.monotonic() + WAIT_S
    while not there():
        assert time.monotonic() < deadline, f"{what} did not come up within {WAIT_S} s"
        time.sleep(0.5)
