"""Tensors of a dataset × one model → embeddings, one row per run and window.

READS   results/{dataset}/tensors/{recipe}/, kept.parquet, and results/models/{encoder}/ if it has weights; rows that look
        at no signal: qc.parquet and participants.parquet
WRITES  results/embeddings/{model}/{dataset}.parquet
"""


rule embed:
    input:
        model_tensors("embed"),
        embed_weights,
        embed_order,
        atlas=model_atlas("embed"),
        kept=embed_kept,
        participants=ancient("results/{dataset}/participants.parquet"),
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
        kept=embed_digest,
        files=embed_named,
        folders=embed_folders,
        version=VERSION,
    shell:
        "boldtable embed --settings {params.settings:q} --atlas {input.atlas:q} {params.folders:q}"
        " --qc {input.kept:q} --participants {input.participants:q} --out {output:q} > {log:q} 2>&1"
