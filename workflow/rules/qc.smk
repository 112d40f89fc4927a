"""Parcels + tensors of a dataset → one row per run (measures, keep or drop, and why) and the dataset's summary.

A checkpoint: who trains or embeds asks again afterwards, and starts only where the list of kept runs is another one.

READS   results/{dataset}/runs.parquet, participants.parquet, and every shard of the recipe that qc measures
WRITES  results/{dataset}/qc.parquet, qc_summary.parquet, kept.parquet (the kept runs: keys, shard, fingerprint)
"""


checkpoint qc:
    input:
        qc_shards,
        runs="results/{dataset}/runs.parquet",
        participants="results/{dataset}/participants.parquet",
        atlas=f"results/atlases/{QC_ATLAS}.parquet",
    output:
        qc="results/{dataset}/qc.parquet",
        summary="results/{dataset}/qc_summary.parquet",
        kept="results/{dataset}/kept.parquet",
    log:
        "results/logs/qc/{dataset}.log",
    benchmark:
        "results/benchmarks/qc/{dataset}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=json.dumps(config["qc"], sort_keys=True),
        parcels=f"results/{{dataset}}/parcels/{QC_ATLAS}",
        tensors=f"results/{{dataset}}/tensors/{QC_RECIPE}",
        version=VERSION,
    shell:
        "boldtable qc --settings {params.settings:q} --runs {input.runs:q} --participants {input.participants:q}"
        " --parcels {params.parcels:q} --tensors {params.tensors:q} --atlas {input.atlas:q} --out {output.qc:q}"
        " --summary {output.summary:q} --kept {output.kept:q} > {log:q} 2>&1"
