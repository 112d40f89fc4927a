"""Derivatives + participants.tsv → the tables of runs and participants: the one place that looks at BIDS.

READS   the folders that config["collect"][dataset] names; a file that is new, gone, replaced or edited starts it again
WRITES  results/{dataset}/runs.parquet, results/{dataset}/participants.parquet
"""


checkpoint collect:
    input:
        collect_sources,
    output:
        runs="results/{dataset}/runs.parquet",
        participants="results/{dataset}/participants.parquet",
    log:
        "results/logs/collect/{dataset}.log",
    benchmark:
        "results/benchmarks/collect/{dataset}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("collect", "dataset"),
        files=collect_digest,
        version=VERSION,
    shell:
        "boldtable collect --settings {params.settings:q} --dataset {wildcards.dataset:q}"
        " --runs {output.runs:q} --participants {output.participants:q} > {log:q} 2>&1"
