"""Atlases from their sources, and a shard of BOLD runs × one atlas → parcel signals.

READS   the derivatives, results/{dataset}/runs.parquet, results/atlases/{atlas}.parquet
WRITES  results/atlases/{atlas}.parquet (its label image beside it), results/{dataset}/parcels/{atlas}/{shard}.parquet
"""


rule atlas:
    output:
        "results/atlases/{atlas}.parquet",
    log:
        "results/logs/atlas/{atlas}.log",
    benchmark:
        "results/benchmarks/atlas/{atlas}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("parcellate", "atlas"),
        files=atlas_files,
        version=VERSION,
    shell:
        "boldtable atlas --settings {params.settings:q} --name {wildcards.atlas:q} --out {output:q} > {log:q} 2>&1"


# The table of runs changes with every new participant; this shard's part of it is in params.digest. The former file is
# left in place (update): of it come the rows of runs that are as they were.
rule parcellate:
    input:
        runs=ancient("results/{dataset}/runs.parquet"),
        atlas="results/atlases/{atlas}.parquet",
    output:
        update("results/{dataset}/parcels/{atlas}/{shard}.parquet"),
    log:
        "results/logs/parcellate/{dataset}/{atlas}/{shard}.log",
    benchmark:
        "results/benchmarks/parcellate/{dataset}/{atlas}/{shard}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("parcellate", "atlas"),
        root=lookup("collect/{dataset}/derivatives", within=config),
        digest=parcellate_digest,
        files=atlas_files,
        version=VERSION,
    shell:
        "boldtable parcellate --settings {params.settings:q} --dataset {wildcards.dataset:q} --root {params.root:q}"
        " --runs {input.runs:q} --shard {wildcards.shard:q} --atlas {input.atlas:q} --out {output:q} > {log:q} 2>&1"
