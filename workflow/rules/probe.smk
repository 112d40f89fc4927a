"""Splits of a task, made once; then embeddings × task → scores, one row per split and metric.

READS   results/{dataset}/participants.parquet and qc.parquet, results/embeddings/{model}/{dataset}.parquet, and the
        fixed lists of a task where it has some
WRITES  results/targets/{task}.json: that the task can be made of the participants; results/splits/{task}.parquet, results/scores/{model}/{task}.parquet and {task}.predictions.parquet
"""


# Right after collect: what is wrong with a task is said before anything that costs hours has begun.
rule target:
    input:
        participants=task_files("results/{dataset}/participants.parquet"),
    output:
        "results/targets/{task}.json",
    log:
        "results/logs/target/{task}.log",
    benchmark:
        "results/benchmarks/target/{task}.tsv"
    priority: 100
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("probe", "task"),
        files=split_digest,
        participants=each("--participants", "participants"),
        version=VERSION,
    shell:
        "boldtable target --settings {params.settings:q} --task {wildcards.task:q} {params.participants:q}"
        " --out {output:q} > {log:q} 2>&1"


# A task that fails here or in probe leaves a file that says why: the table is made without it.
checkpoint split:
    input:
        split_lists,
        participants=task_files("results/{dataset}/participants.parquet"),
        qc=task_files("results/{dataset}/qc.parquet"),
    output:
        "results/splits/{task}.parquet",
    log:
        "results/logs/split/{task}.log",
    benchmark:
        "results/benchmarks/split/{task}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("probe", "task"),
        files=split_digest,
        participants=each("--participants", "participants"),
        qc=each("--qc", "qc"),
        version=VERSION,
    shell:
        "boldtable split --settings {params.settings:q} --task {wildcards.task:q} {params.participants:q}"
        " {params.qc:q} --keep-going --out {output:q} > {log:q} 2>&1"


# What trains or embeds waits for this, and not for the splits themselves: a further task starts nothing again. It is a
# checkpoint because Snakemake looks at jobs behind an ancient input only when the job before them has ended.
checkpoint splits:
    input:
        splits_of,
    output:
        touch("results/{dataset}/splits.done"),


rule probe:
    input:
        embeddings=task_files("results/embeddings/{model}/{dataset}.parquet"),
        qc=task_files("results/{dataset}/qc.parquet"),
        participants=task_files("results/{dataset}/participants.parquet"),
        splits="results/splits/{task}.parquet",
    output:
        scores="results/scores/{model}/{task}.parquet",
        predictions="results/scores/{model}/{task}.predictions.parquet",
    log:
        "results/logs/probe/{model}/{task}.log",
    benchmark:
        "results/benchmarks/probe/{model}/{task}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("probe", "task"),
        embeddings=each("--embeddings", "embeddings"),
        qc=each("--qc", "qc"),
        participants=each("--participants", "participants"),
        version=VERSION,
    shell:
        "boldtable probe --settings {params.settings:q} --model {wildcards.model:q} --task {wildcards.task:q}"
        " {params.embeddings:q} {params.qc:q} {params.participants:q} --splits {input.splits:q} --keep-going"
        " --out {output.scores:q} --predictions {output.predictions:q} > {log:q} 2>&1"
