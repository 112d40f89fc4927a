"""Tensors of some datasets × one model → a model folder. Asks for a GPU in the profiles, runs on a CPU without one.

A training that is told to stop saves its state outside the output and fails with code 75; the retry goes on from there.
With `gpu: 2` or more in a profile, that many processes share the training.

READS   results/{dataset}/tensors/{recipe}/, results/{dataset}/kept.parquet of the datasets that the model names,
        results/population/{recipe}.parquet for a recipe with normalise 'population', and the files that its settings
        name (the TSV of its tokenizer, its gradients)
WRITES  results/models/{model}/
"""


rule pretrain:
    input:
        model_tensors("pretrain"),
        pretrain_files,
        pretrain_population,
        pretrain_order,
        kept=pretrain_kept,
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
        kept=pretrain_digest,
        files=pretrain_named,
        folders=pretrain_folders,
        version=VERSION,
    shell:
        "$([ {resources.gpu} -gt 1 ] && echo torchrun --standalone --nproc-per-node {resources.gpu} -m) boldtable pretrain"
        " --settings {params.settings:q} --model {wildcards.model:q} --atlas {input.atlas:q}"
        " {params.folders:q} --out {output:q} > {log:q} 2>&1"
