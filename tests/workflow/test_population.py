"""Population statistics: fitted between parcels and tensors, or on the training part of a task."""

from collections import Counter


def test_population_statistics_come_between_parcels_and_tensors(study):
    recipe = {"atlas": "demo457", "normalise": "population", "population": ["aurora"]}
    study.config["clean"]["population"] = recipe
    study.config["embed"]["connectome"] = {"recipe": "population", "encoder": "connectome"}
    calls = [call.split() for call in study.run()]
    counts = Counter(call[0] for call in calls)
    assert counts["population"] == 1
    assert counts["clean"] == 2 * counts["parcellate"]
    names = [call[0] for call in calls]
    last = max(place for place, name in enumerate(names) if name == "parcellate")
    assert last < names.index("population")
    made = [call[2] for call in calls[names.index("population") :]]
    assert sum("/tensors/population/" in path for path in made) == counts["parcellate"]
    assert study.run() == []


def test_statistics_of_a_split_wait_for_it(study):
    study.config["clean"]["population"] = {
        "atlas": "demo457", "normalise": "population", "population": ["aurora"], "population_split": "sex/0",
    }  # fmt: skip
    study.config["embed"]["connectome"] = {"recipe": "population", "encoder": "connectome"}
    names = [call.split()[0] for call in study.run()]
    assert names.index("split") < names.index("population")


def test_statistics_travel_with_a_model(study):
    study.config["clean"]["population"] = {"atlas": "demo457", "normalise": "population", "population": ["aurora"]}
    study.config["pretrain"]["semantoks"]["recipe"] = "population"
    study.config["embed"]["semantoks"]["recipe"] = "population"
    names = [call.split()[0] for call in study.run()]
    assert names.index("population") < names.index("pretrain")
    done = study.snakemake("results/models/semantoks", "--forcerun", "pretrain", "-n", "-p")
    assert "--population results/population/population.parquet" in done.stdout
