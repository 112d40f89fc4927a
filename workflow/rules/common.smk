"""What all rules share: the checked config, settings blocks as params, and the shards of a dataset."""

import hashlib
import json
import os
import sys
from functools import cache
from pathlib import Path

import pyarrow.parquet
from boldtable import __version__ as VERSION, running
from boldtable.absent import present
from boldtable.expansion import expand as with_every_row
from snakemake.utils import validate

# envs/boldtable.yaml installs from here: --sdm conda copies it elsewhere.
os.environ.update(BOLDTABLE_HOME=str(workflow.basedir))

if workflow.is_main_process:
    from boldtable.study import start

    start(config, workflow.overwrite_configfiles or ["config/config.yaml"], sys.argv[1:])
else:
    running.join()

run = with_every_row(present(config))
config.clear()
config.update(run)
validate(config, "../schemas/config.schema.json", set_default=False)
for optional in ("preprocess", "pretrain", "embed", "probe", "report"):
    config.setdefault(optional, {})
TASKS = list(dict.fromkeys(task for table in config["report"].values() for task in table["tasks"]))
PREPROCESSED = [dataset for dataset in config["collect"] if dataset in config["preprocess"]]
QC_RECIPE = config["qc"]["recipe"]
QC_ATLAS = config["clean"][QC_RECIPE]["atlas"]


def block(stage, wildcard, without=()):
    """Params function: the settings that a stage's block holds under the name in `wildcard`, as JSON."""

    def settings(wildcards):
        values = config[stage][wildcards[wildcard]]
        return json.dumps({key: value for key, value in values.items() if key not in without}, sort_keys=True)

    return settings


@cache
def read_shards(path, mtime):
    """Shard → digest of its runs; read once per state of the table, not once per job."""
    digests = {}
    for row in pyarrow.parquet.read_table(path, columns=["shard", "status", "fingerprint"]).to_pylist():
        if row["status"] == "found":
            digests.setdefault(row["shard"], hashlib.sha256()).update(row["fingerprint"].encode())
    return {shard: digest.hexdigest() for shard, digest in sorted(digests.items())}


def shards(dataset):
    path = Path("results") / dataset / "runs.parquet"
    return read_shards(path, path.stat().st_mtime_ns)


def every_shard(dataset, folder):
    """The files of all shards in a dataset's folder; waits for the checkpoint `collect`."""
    checkpoints.collect.get(dataset=dataset)
    return [f"results/{dataset}/{folder}/{shard}.parquet" for shard in shards(dataset)]
