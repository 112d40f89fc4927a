"""Tensors of a dataset × one model → embeddings, one row per run and window.

READS   results/{dataset}/tensors/{recipe}/, qc.parquet, participants.parquet, and results/models/{encoder}/ if it has weights
WRITES  results/embeddings/{model}/{dataset}.parquet
"""


rule embed:
    input:
        model_tensors("embed"),
        embed_weights,
        atlas=model_atlas("embed"),
        qc="results/{dataset}/qc.parquet",
        participants="results/{dataset}/participants.parquet",
    output:
        "results/embeddings/{model}/{dataset}.parquet",
    log:
        "results/logs/embed/{model}/{dataset}.log",
    benchmark:
        "results/benchmarks/embed/{model}/{dataset}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("embed", "model"),
        folders=embed_folders,
        version=VERSION,
    shell:
        "boldtable embed --settings {params.settings:q} --atlas {input.atlas:q} {params.folders:q}"
        " --qc {input.qc:q} --participants {input.participants:q} --out {output:q} > {log:q} 2>&1"
