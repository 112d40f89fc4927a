# BOLD in, table out. The rule files below stand in the order in which they run.
# One command: snakemake --workflow-profile workflow/profiles/default --configfile <your config.yaml>
from snakemake.utils import min_version

min_version("9.20")

# A study's own file (--configfile) replaces this one: nothing of it is merged in.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


wildcard_constraints:
    **dict.fromkeys(["dataset", "atlas", "recipe", "model", "task", "table"], "[A-Za-z0-9][A-Za-z0-9_-]*"),
    shard="[0-9]+",


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/errors.smk"
include: "workflow/rules/preprocess.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/parcellate.smk"
include: "workflow/rules/clean.smk"
include: "workflow/rules/qc.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/embed.smk"
include: "workflow/rules/probe.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        "results/ledger.parquet",
        expand("results/targets/{task}.json", task=TASKS),
        expand("results/tables/{table}.html", table=config["report"]),
