"""The ledger of every run that dropped out, and the tables: CSV, Markdown, LaTeX and one HTML page.

READS   results/scores/ (scores and predictions), results/{dataset}/qc.parquet, results/{dataset}/preprocess/ where
        fMRIPrep ran, results/models/
WRITES  results/ledger.parquet, results/tables/{table}.{csv,md,tex,html}
"""


rule ledger:
    input:
        ledger_records,
        expand("results/{dataset}/qc.parquet", dataset=config["collect"]),
    output:
        "results/ledger.parquet",
    log:
        "results/logs/ledger.log",
    benchmark:
        "results/benchmarks/ledger.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        tables=[part for dataset in config["collect"] for part in ("--qc", f"results/{dataset}/qc.parquet")],
        records=[part for dataset in PREPROCESSED for part in ("--preprocess", f"results/{dataset}/preprocess")],
    shell:
        "boldtable ledger {params.tables:q} {params.records:q} --out {output:q} > {log:q} 2>&1"


rule report:
    input:
        report_scores,
        report_models,
        ledger="results/ledger.parquet",
    output:
        multiext("results/tables/{table}", ".csv", ".md", ".tex"),
        report("results/tables/{table}.html", caption="../report/table.rst", category="Tables"),
    log:
        "results/logs/report/{table}.log",
    benchmark:
        "results/benchmarks/report/{table}.tsv"
    conda:
        "../../envs/boldtable.yaml"
    params:
        settings=block("report", "table"),
        # A function: the patterns of ready series hold braces, which are no wildcards.
        config=lambda wildcards: json.dumps(config, sort_keys=True),
        version=VERSION,
    shell:
        "boldtable report --settings {params.settings:q} --table {wildcards.table:q} --results results"
        " --config {params.config:q} --out results/tables/{wildcards.table:q} > {log:q} 2>&1"
