"""Raw BIDS participants → fMRIPrep derivatives; only for datasets that have a preprocess block.

READS   the raw dataset that config["preprocess"][dataset] names
WRITES  its derivatives, and results/{dataset}/preprocess/{participant}.json: what ran, or why it failed
"""


rule preprocess:
    output:
        "results/{dataset}/preprocess/{participant}.json",
    log:
        "results/logs/preprocess/{dataset}/{participant}.log",
    benchmark:
        "results/benchmarks/preprocess/{dataset}/{participant}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("preprocess", "dataset"),
        version=VERSION,
    shell:
        "boldtable preprocess --settings {params.settings:q} --participant {wildcards.participant:q}"
        " --out {output:q} > {log:q} 2>&1"
