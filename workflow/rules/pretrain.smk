"""Tensors of some datasets × one model → a model folder. Asks for a GPU in the profiles, runs on a CPU without one.

A training that is told to stop saves its state outside the output and fails with code 75; the retry goes on from there.
With `gpu: 2` or more in a profile, that many processes share the training.

READS   results/{dataset}/tensors/{recipe}/, results/{dataset}/qc.parquet of the datasets that the model names,
        and the TSV of its tokenizer, where it names one
WRITES  results/models/{model}/
"""


rule pretrain:
    input:
        model_tensors("pretrain"),
        pretrain_grouping,
        collect("results/{dataset}/qc.parquet", dataset=lookup("pretrain/{model}/datasets", within=config)),
        atlas=model_atlas("pretrain"),
    output:
        directory("results/models/{model}"),
    log:
        "results/logs/pretrain/{model}.log",
    benchmark:
        "results/benchmarks/pretrain/{model}.tsv"
    retries: 2
    conda:
        "../../envs/boldtable.yaml"
    resources:
        gpu=0,
    params:
        settings=block("pretrain", "model"),
        folders=pretrain_folders,
        version=VERSION,
    shell:
        "$([ {resources.gpu} -gt 1 ] && echo torchrun --standalone --nproc-per-node {resources.gpu} -m) boldtable pretrain"
        " --settings {params.settings:q} --model {wildcards.model:q} --atlas {input.atlas:q}"
        " {params.folders:q} --out {output:q} > {log:q} 2>&1"
