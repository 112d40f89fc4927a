"""A shard of parcel signals × one recipe → tensors: denoised, band-passed, resampled, normalised.

READS   results/{dataset}/parcels/{atlas}/{shard}.parquet of the recipe's atlas
WRITES  results/{dataset}/tensors/{recipe}/{shard}.parquet, and for normalise 'population', before the tensors,
        results/population/{recipe}.parquet, fitted on the datasets (or the split) that the recipe declares
"""


rule population:
    input:
        population_parcels,
        population_splits,
        population_runs,
    output:
        "results/population/{recipe}.parquet",
    log:
        "results/logs/population/{recipe}.log",
    benchmark:
        "results/benchmarks/population/{recipe}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("clean", "recipe"),
        folders=population_folders,
        digest=population_digest,
        version=VERSION,
    shell:
        "boldtable population --settings {params.settings:q} {params.folders:q} --out {output:q} > {log:q} 2>&1"


rule clean:
    input:
        parcels=clean_parcels,
        population=clean_population,
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
        population=population_argument,
        version=VERSION,
    shell:
        "boldtable clean --settings {params.settings:q} --parcels {input.parcels:q} {params.population:q}"
        " --out {output:q} > {log:q} 2>&1"
