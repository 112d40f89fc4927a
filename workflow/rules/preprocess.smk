"""Raw BIDS participants → fMRIPrep derivatives; only for datasets that have a preprocess block.

READS   the raw dataset that config["preprocess"][dataset] names
WRITES  its derivatives, which are no outputs: Snakemake never deletes them, and a participant that is complete is not
        run again; results/{dataset}/fsaverage.json: what was checked and prepared once, before the participants;
        results/{dataset}/preprocess/{unit}.json: what ran, or why it failed, of a participant (01) or session (01_ses-1)
"""


rule fsaverage:
    output:
        "results/{dataset}/fsaverage.json",
    log:
        "results/logs/fsaverage/{dataset}.log",
    benchmark:
        "results/benchmarks/fsaverage/{dataset}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("preprocess", "dataset"),
        version=VERSION,
    shell:
        "boldtable fsaverage --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule preprocess:
    input:
        "results/{dataset}/fsaverage.json",
    output:
        "results/{dataset}/preprocess/{unit}.json",
    log:
        "results/logs/preprocess/{dataset}/{unit}.log",
    benchmark:
        "results/benchmarks/preprocess/{dataset}/{unit}.tsv"
    wildcard_constraints:
        unit=r"[A-Za-z0-9+]+(_ses-[A-Za-z0-9+]+)?",
    conda:
        "../../envs/boldtable.yaml"
    resources:
        mem_mb=0,  # the profiles say how much; 0 where none does: all of the machine
    params:
        settings=block("preprocess", "dataset", without=["participants"]),
        version=VERSION,
    shell:
        "boldtable preprocess --settings {params.settings:q} --dataset {wildcards.dataset:q}"
        " --participant {wildcards.unit:q} --ready {input:q} --threads {threads} --memory-mb {resources.mem_mb}"
        " --out {output:q} > {log:q} 2>&1"
