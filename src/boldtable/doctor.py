"""What this machine has: versions, cores, memory, GPU, container engines, atlas folder."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

PACKAGES = (
    "boldtable", "torch", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "nibabel", "nilearn", "snakemake",
    "templateflow", "fmriprep-docker",
)  # fmt: skip
ENGINES = ("docker", "apptainer", "fmriprep-docker")
VARIABLES = ("BOLDTABLE_ATLAS_DIR", "BOLDTABLE_CACHE", "TEMPLATEFLOW_HOME", "FS_LICENSE")


def run() -> None:
    """Print one table; nothing is changed and nothing is an error."""
    table = Table("what", "found", title="boldtable doctor")
    for name, found in findings():
        table.add_row(name, found)
    Console().print(table)


def findings() -> list[tuple[str, str]]:
    """What was looked at and what was found, in order."""
    rows = [("python", platform.python_version()), ("cores", str(os.cpu_count())), ("memory", memory()), ("gpu", gpu())]
    rows += [(name, package(name)) for name in PACKAGES]
    rows += [(name, shutil.which(name) or "not on PATH") for name in ENGINES]
    rows += [(name, os.environ.get(name) or "not set") for name in VARIABLES]
    return rows


def package(name: str) -> str:
    """The installed version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def memory() -> str:
    """Physical memory in GiB."""
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def gpu() -> str:
    """The GPU that torch sees, or that training will run on the CPU."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none: training and embedding run on the CPU"
