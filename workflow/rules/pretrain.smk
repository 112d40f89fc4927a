"""Tensors of some datasets × one model → a model folder. Asks for a GPU in the profiles, runs on a CPU without one.

READS   results/{dataset}/tensors/{recipe}/, results/{dataset}/qc.parquet of the datasets that the model names
WRITES  results/models/{model}/
"""


rule pretrain:
    input:
        model_tensors("pretrain"),
        collect("results/{dataset}/qc.parquet", dataset=lookup("pretrain/{model}/datasets", within=config)),
        atlas=model_atlas("pretrain"),
    output:
        directory("results/models/{model}"),
    log:
        "results/logs/pretrain/{model}.log",
    benchmark:
        "results/benchmarks/pretrain/{model}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("pretrain", "model"),
        folders=pretrain_folders,
        version=VERSION,
    shell:
        "boldtable pretrain --settings {params.settings:q} --model {wildcards.model:q} --atlas {input.atlas:q}"
        " {params.folders:q} --out {output:q} > {log:q} 2>&1"
