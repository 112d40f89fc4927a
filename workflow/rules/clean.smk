"""A shard of parcel signals × one recipe → tensors: denoised, band-passed, resampled, normalised.

READS   results/{dataset}/parcels/{atlas}/{shard}.parquet of the recipe's atlas
WRITES  results/{dataset}/tensors/{recipe}/{shard}.parquet
"""


rule clean:
    input:
        clean_parcels,
    output:
        "results/{dataset}/tensors/{recipe}/{shard}.parquet",
    log:
        "results/logs/clean/{dataset}/{recipe}/{shard}.log",
    benchmark:
        "results/benchmarks/clean/{dataset}/{recipe}/{shard}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("clean", "recipe"),
        version=VERSION,
    shell:
        "boldtable clean --settings {params.settings:q} --parcels {input:q} --out {output:q} > {log:q} 2>&1"
