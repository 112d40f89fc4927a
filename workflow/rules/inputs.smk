"""Which files depend on which: input and params functions of the rules, named <stage>_<what they give>.

Where the time of a file says too much or too little, it is an `ancient` input, which only has to be there, and a digest
of what is read of it is a param (`boldtable.planning`).
"""

from boldtable import planning


def preprocess_records(dataset):
    """What fMRIPrep has to finish: a record per participant or session (those of the config, else of a listing)."""
    from boldtable.stages.preprocess import records

    units = records(config["preprocess"][dataset])
    return [f"results/{dataset}/fsaverage.json", *(f"results/{dataset}/preprocess/{unit}.json" for unit in units)]


def ledger_records(wildcards):
    return [record for dataset in PREPROCESSED for record in preprocess_records(dataset)]


def collect_tables(wildcards):
    """The tables and the filters that collect reads, those that exist already (it looks for them here)."""
    settings = config["collect"][wildcards.dataset]
    folder = Path(settings["derivatives"])
    above = [folder.resolve(), *folder.resolve().parents[:2]]  # the folder may be there only later
    tables = [settings.get("participants") or str(path / "participants.tsv") for path in above]
    tables += [table["table"] for table in settings.get("phenotypes", [])]
    tables += [path for path in [settings.get("filters")] if isinstance(path, str)]
    return [path for path in dict.fromkeys(tables) if Path(path).exists()]


def collect_sources(wildcards):
    """The folder, or what fMRIPrep makes of it, and the tables that exist already."""
    folder = config["collect"][wildcards.dataset]["derivatives"]
    made = preprocess_records(wildcards.dataset) if wildcards.dataset in PREPROCESSED else [folder]
    return made + collect_tables(wildcards)


def collect_digest(wildcards):
    """Changes with the content of these tables and of the files of the dataset, even where their time is kept.

    What fMRIPrep makes is there only later: its records say whether it has changed.
    """
    if wildcards.dataset in PREPROCESSED:
        return planning.of_files(collect_tables(wildcards))
    from boldtable.stages.collect import Collect, changes

    settings = Collect.parse(config["collect"][wildcards.dataset])
    folder = changes.folder_digest(settings, Path(".snakemake/boldtable") / f"{wildcards.dataset}.json")
    return f"{planning.of_files(collect_tables(wildcards))} {folder}"


def atlas_files(wildcards):
    """Changes with the content of the files of an atlas that its settings name."""
    settings = config["parcellate"][wildcards.atlas]
    return planning.of_files(settings.get(key) for key in ("image", "table", "folder"))


def parcellate_digest(wildcards):
    """Changes exactly when a run of this shard is added, removed or repaired."""
    return shards(wildcards.dataset).get(wildcards.shard, "none")


def clean_parcels(wildcards):
    atlas = config["clean"][wildcards.recipe]["atlas"]
    return f"results/{wildcards.dataset}/parcels/{atlas}/{wildcards.shard}.parquet"


def population_parcels(wildcards):
    """Every shard of the datasets that the recipe's statistics are fitted on."""
    settings = config["clean"][wildcards.recipe]
    return [path for dataset in settings["population"] for path in every_shard(dataset, f"parcels/{settings['atlas']}")]


def population_task(recipe):
    """The task and split that the statistics of a recipe are fitted on the training part of, if there is one."""
    return config["clean"][recipe].get("population_split")


def population_splits(wildcards):
    """The splits of the task that the recipe names, if it names one."""
    named = population_task(wildcards.recipe)
    return [ancient(checkpoints.split.get(task=named.split("/")[0]).output[0])] if named else []


def population_settled(recipe):
    """Wait for the checkpoints that the statistics of a recipe wait for, if it has any.

    Snakemake forgets why a job is to run only when a checkpoint that it waits for itself has ended. So whatever comes
    after the statistics waits for the same ones, or it would run again although they do not.
    """
    for dataset in config["clean"][recipe].get("population", []):
        checkpoints.collect.get(dataset=dataset)
    if population_task(recipe):
        checkpoints.split.get(task=population_task(recipe).split("/")[0])


def population_runs(wildcards):
    """The tables of runs of the datasets that the statistics are fitted on."""
    return [ancient(f"results/{dataset}/runs.parquet") for dataset in config["clean"][wildcards.recipe]["population"]]


def population_digest(wildcards):
    """Changes with the shards of these datasets, and with who is in the training part of the split."""
    datasets, named = config["clean"][wildcards.recipe]["population"], population_task(wildcards.recipe)
    there = [shards(dataset) for dataset in datasets if (Path("results") / dataset / "runs.parquet").exists()]
    people = planning.of_training(f"results/splits/{named.split('/')[0]}.parquet", named) if named else "all"
    return json.dumps([there, people])


def population_folders(wildcards):
    """One --parcels and one --runs argument per dataset, in the same order, and --splits where the recipe names one."""
    settings = config["clean"][wildcards.recipe]
    pairs = [
        "--parcels",
        f"results/{{dataset}}/parcels/{settings['atlas']}",
        "--runs",
        "results/{dataset}/runs.parquet",
    ]
    folders = [part.format(dataset=dataset) for dataset in settings["population"] for part in pairs]
    named = population_task(wildcards.recipe)
    return folders + (["--splits", f"results/splits/{named.split('/')[0]}.parquet"] if named else [])


def clean_population(wildcards):
    """The population statistics, for the recipes that use them."""
    population_settled(wildcards.recipe)
    fitted = config["clean"][wildcards.recipe].get("normalise") == "population"
    return [f"results/population/{wildcards.recipe}.parquet"] if fitted else []


def population_argument(wildcards):
    fitted = config["clean"][wildcards.recipe].get("normalise") == "population"
    return ["--population", f"results/population/{wildcards.recipe}.parquet"] if fitted else []


def qc_shards(wildcards):
    folders = [f"parcels/{QC_ATLAS}", f"tensors/{QC_RECIPE}"]
    return [path for folder in folders for path in every_shard(wildcards.dataset, folder)]


def model_tensors(stage):
    """Input function: every shard that a model of this stage reads."""

    def paths(wildcards):
        settings = config[stage][wildcards.model]
        population_settled(settings["recipe"])
        datasets = settings.get("datasets", [wildcards.get("dataset")])
        return [path for dataset in datasets for path in every_shard(dataset, f"tensors/{settings['recipe']}")]

    return paths


def model_atlas(stage):
    """Input function: the atlas table of the recipe that a model of this stage reads."""

    def path(wildcards):
        return f"results/atlases/{config['clean'][config[stage][wildcards.model]['recipe']]['atlas']}.parquet"

    return path


def kept_of(dataset, table="kept"):
    """The list of kept runs of a dataset, or the whole table of qc; waits for the checkpoint `qc`."""
    checkpoints.qc.get(dataset=dataset)
    return ancient(f"results/{dataset}/{table}.parquet")


def pretrain_kept(wildcards):
    return [kept_of(dataset) for dataset in config["pretrain"][wildcards.model]["datasets"]]


def pretrain_digest(wildcards):
    """Changes with the list of runs that are learnt from, and with nothing else of qc."""
    datasets = config["pretrain"][wildcards.model]["datasets"]
    return json.dumps([planning.of_kept(f"results/{dataset}/kept.parquet") for dataset in datasets])


def pretrain_order(wildcards):
    """The splits of the tasks on these datasets come first: what is wrong with them is said before hours are spent."""
    return [ancient(f"results/{dataset}/splits.done") for dataset in config["pretrain"][wildcards.model]["datasets"]]


def pretrain_folders(wildcards):
    """One --tensors and one --qc argument per dataset, in the same order, and --population where the recipe has one."""
    settings = config["pretrain"][wildcards.model]
    pairs = ["--tensors", f"results/{{dataset}}/tensors/{settings['recipe']}", "--qc", "results/{dataset}/kept.parquet"]
    folders = [part.format(dataset=dataset) for dataset in settings["datasets"] for part in pairs]
    return folders + [part for path in pretrain_population(wildcards) for part in ("--population", path)]


def pretrain_population(wildcards):
    """The population statistics of the model's recipe, if it uses any: they travel with the weights."""
    recipe = config["pretrain"][wildcards.model]["recipe"]
    fitted = config["clean"][recipe].get("normalise") == "population"
    return [f"results/population/{recipe}.parquet"] if fitted else []


def pretrain_files(wildcards):
    """The files that the model's settings name: a grouping of parcels (its tokenizer), or gradients."""
    settings = config["pretrain"][wildcards.model]
    named = [settings.get("tokenizer") or "", settings.get("gradients") or ""]
    return [path for path in named if Path(path).suffix]


def pretrain_named(wildcards):
    """Changes with the content of these files."""
    return planning.of_files(pretrain_files(wildcards))


def embed_kept(wildcards):
    """The list of kept runs, or for the row that needs its measures the whole table of qc."""
    return kept_of(wildcards.dataset, "qc" if embed_encoder(wildcards) == "nuisance" else "kept")


def embed_encoder(wildcards):
    return config["embed"][wildcards.model].get("encoder")


def embed_digest(wildcards):
    """Changes with the list of kept runs, and for rows of tables with the columns that they read."""
    folder = f"results/{wildcards.dataset}"
    people = planning.of_people(embed_encoder(wildcards), f"{folder}/qc.parquet", f"{folder}/participants.parquet")
    return json.dumps([planning.of_kept(f"{folder}/kept.parquet"), people])


def embed_order(wildcards):
    """The splits of the tasks on this dataset come first, and what the training waits for (see population_settled)."""
    trained = config["pretrain"].get(embed_encoder(wildcards), {})
    for dataset in trained.get("datasets", []):
        kept_of(dataset)
    waited = dict.fromkeys([wildcards.dataset, *trained.get("datasets", [])])
    return [ancient(f"results/{dataset}/splits.done") for dataset in waited]


def embed_named(wildcards):
    """Changes with the content of a model folder that was made elsewhere."""
    given = config["embed"][wildcards.model].get("weights")
    return planning.of_files([f"{given}/{name}" for name in ("config.json", "model.safetensors")] if given else [])


def embed_weights(wildcards):
    """The model folder, for encoders with weights: one that the pretrain block makes, or one made elsewhere."""
    settings = config["embed"][wildcards.model]
    given, encoder = settings.get("weights"), settings.get("encoder")
    return [given] if given else [f"results/models/{encoder}"] if encoder in config["pretrain"] else []


def embed_folders(wildcards):
    """The --tensors argument, and --weights where the encoder has some that its settings do not name."""
    settings = config["embed"][wildcards.model]
    folders = [] if settings.get("weights") else embed_weights(wildcards)
    tensors = f"results/{wildcards.dataset}/tensors/{settings['recipe']}"
    return ["--tensors", tensors, *(part for folder in folders for part in ("--weights", folder))]


def task_files(pattern):
    """Input function: a file of each of the task's datasets, the one that is trained on first."""

    def paths(wildcards):
        settings = config["probe"][wildcards.task]
        datasets = [name for name in (settings["dataset"], settings.get("test_dataset")) if name]
        return [pattern.format(dataset=dataset, **wildcards) for dataset in datasets]

    return paths


def split_lists(wildcards):
    """The fixed lists of a task, where it has some."""
    given = config["probe"][wildcards.task].get("split_file")
    return [given] if given else []


def split_digest(wildcards):
    """Changes with the content of these lists."""
    return planning.of_files(split_lists(wildcards))


def splits_of(wildcards):
    """The splits of every task of a table that is tested on this dataset."""
    return [f"results/splits/{task}.parquet" for task in TASKS if tested_on(config["probe"][task]) == wildcards.dataset]


def tested_on(task):
    return task.get("test_dataset") or task["dataset"]


def each(option, files):
    """Params function: the option once for each of the rule's input files of this name."""

    def arguments(wildcards, input):
        return [part for path in input[files] for part in (option, path)]

    return arguments


def report_rows(wildcards):
    """The rows of a table and those drawn as curves."""
    settings = config["report"][wildcards.table]
    return [*settings["models"], *settings.get("curves", [])]


def report_models(wildcards):
    """The models with weights behind the table's rows, for their curves."""
    encoders = {config["embed"][model].get("encoder") for model in report_rows(wildcards)}
    given = {config["embed"][model].get("weights") for model in report_rows(wildcards)} - {None}
    return [f"results/models/{encoder}" for encoder in sorted(encoders & set(config["pretrain"]))] + sorted(given)


def report_scores(wildcards):
    """Scores and predictions of every row of a table on every task of it."""
    tasks, ends = config["report"][wildcards.table]["tasks"], ("parquet", "predictions.parquet")
    return expand("results/scores/{model}/{task}.{end}", model=report_rows(wildcards), task=tasks, end=ends)
