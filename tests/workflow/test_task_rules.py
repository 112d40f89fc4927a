"""Tasks of two datasets and of fixed lists: what they wait for, and what runs again when a list changes."""

from collections import Counter


def stages(calls):
    return Counter(call.split()[0] for call in calls)


def test_a_task_waits_for_both_datasets_and_follows_its_lists(study):
    (study.folder / "elsewhere/sub-01").mkdir(parents=True)
    study.config["collect"]["borealis"] = {"derivatives": "elsewhere"}
    (study.folder / "lists.tsv").write_text("participant\tpart\n01\ttrain\n02\ttest\n")
    study.config["probe"] = {
        "sex": {
            "dataset": "aurora", "kind": "classification", "target": "sex", "scheme": "transfer",
            "test_dataset": "borealis",
        },
        "age": {
            "dataset": "aurora", "kind": "regression", "target": "age_years", "scheme": "files",
            "split_file": "lists.tsv",
        },
    }  # fmt: skip
    study.config["report"]["main"]["tasks"] = ["sex", "age"]
    calls = study.run()
    made = [call.split()[-1] for call in calls]
    splits = made.index("results/splits/sex.parquet")
    assert max(made.index(f"results/{name}/qc.parquet") for name in ("aurora", "borealis")) < splits
    scores = made.index("results/scores/connectome/sex.parquet")
    assert max(made.index(f"results/embeddings/connectome/{name}.parquet") for name in ("aurora", "borealis")) < scores
    (study.folder / "lists.tsv").write_text("participant\tpart\n01\ttest\n02\ttrain\n")
    calls = study.run()
    assert stages(calls) == {"target": 1, "split": 1, "probe": 2, "report": 1}
    assert all("age" in call for call in calls if call.startswith(("target", "split", "probe")))
