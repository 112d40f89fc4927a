"""What the rules share: the checked config, settings blocks as params, and input functions, <stage>_<what they give>."""

import hashlib
import json
from functools import cache
from pathlib import Path

import pyarrow.parquet
from boldtable import __version__ as VERSION
from snakemake.utils import validate

if workflow.is_main_process:
    from boldtable.study import refuse_wrong

    refuse_wrong(config)

validate(config, "../schemas/config.schema.json", set_default=False)
for optional in ("preprocess", "pretrain", "embed", "probe", "report"):
    config.setdefault(optional, {})
QC_RECIPE = config["qc"]["recipe"]
QC_ATLAS = config["clean"][QC_RECIPE]["atlas"]


def block(stage, wildcard):
    """Params function: the settings that a stage's block holds under the name in `wildcard`, as JSON."""
    return lambda wildcards: json.dumps(config[stage][wildcards[wildcard]], sort_keys=True)


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


def preprocess_records(dataset):
    """The records of the raw participants (named in the config, else a listing) that fMRIPrep has to finish."""
    settings = config["preprocess"][dataset]
    named = settings.get("participants") or [path.name[4:] for path in sorted(Path(settings["bids"]).glob("sub-*"))]
    return [f"results/{dataset}/preprocess/{participant}.json" for participant in named]


def collect_sources(wildcards):
    """The folder and tables that exist already (collect looks for them here), and what fMRIPrep has to finish first."""
    settings = config["collect"][wildcards.dataset]
    folder = Path(settings["derivatives"])
    tables = [settings.get("participants") or folder / up / "participants.tsv" for up in ("", "..", "../..")]
    there = [str(path) for path in dict.fromkeys([folder, *tables]) if Path(path).exists()]
    return there + (preprocess_records(wildcards.dataset) if wildcards.dataset in config["preprocess"] else [])


def parcellate_digest(wildcards):
    """Changes exactly when a run of this shard is added, removed or repaired."""
    return shards(wildcards.dataset).get(wildcards.shard, "none")


def clean_parcels(wildcards):
    atlas = config["clean"][wildcards.recipe]["atlas"]
    return f"results/{wildcards.dataset}/parcels/{atlas}/{wildcards.shard}.parquet"


def qc_shards(wildcards):
    folders = [f"parcels/{QC_ATLAS}", f"tensors/{QC_RECIPE}"]
    return [path for folder in folders for path in every_shard(wildcards.dataset, folder)]


def model_tensors(stage):
    """Input function: every shard that a model of this stage reads."""

    def paths(wildcards):
        settings = config[stage][wildcards.model]
        datasets = settings.get("datasets", [wildcards.get("dataset")])
        return [path for dataset in datasets for path in every_shard(dataset, f"tensors/{settings['recipe']}")]

    return paths


def model_atlas(stage):
    """Input function: the atlas table of the recipe that a model of this stage reads."""

    def path(wildcards):
        return f"results/atlases/{config['clean'][config[stage][wildcards.model]['recipe']]['atlas']}.parquet"

    return path


def pretrain_folders(wildcards):
    """One --tensors and one --qc argument per dataset, in the same order."""
    settings = config["pretrain"][wildcards.model]
    pairs = ["--tensors", f"results/{{dataset}}/tensors/{settings['recipe']}", "--qc", "results/{dataset}/qc.parquet"]
    return [part.format(dataset=dataset) for dataset in settings["datasets"] for part in pairs]


def embed_weights(wildcards):
    """The model folder, for encoders that the pretrain block makes."""
    encoder = config["embed"][wildcards.model]["encoder"]
    return [f"results/models/{encoder}"] if encoder in config["pretrain"] else []


def embed_folders(wildcards):
    """The --tensors argument, and --weights where the encoder has some."""
    tensors = f"results/{wildcards.dataset}/tensors/{config['embed'][wildcards.model]['recipe']}"
    return ["--tensors", tensors, *(part for folder in embed_weights(wildcards) for part in ("--weights", folder))]


def task_file(pattern):
    """Input function: a file of the task's dataset."""
    return collect(pattern, dataset=lookup("probe/{task}/dataset", within=config))


def report_models(wildcards):
    """The trained models behind the table's rows, for their curves."""
    encoders = {config["embed"][model]["encoder"] for model in config["report"][wildcards.table]["models"]}
    return [f"results/models/{encoder}" for encoder in sorted(encoders & set(config["pretrain"]))]
