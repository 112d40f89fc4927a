"""Score one model on one task: every split, or the two sessions of a fingerprint."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable import splits, store
from boldtable.errors import InputError
from boldtable.progress import progress, say
from boldtable.stages.probe import covariates, features, heads, metrics
from boldtable.stages.probe import runs as recordings
from boldtable.stages.probe.conditions import natural
from boldtable.stages.probe.heads import Fitted, Part, Samples
from boldtable.stages.probe.settings import Probe
from boldtable.tasks.metrics import leading

Row = dict[str, Any]
Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
_CHOICES = {"knn": "neighbours", "linear-sgd": "rate"}


@dataclass(frozen=True)
class Result:
    """What one split gives: values by metric, the choices made, and a row per test participant."""

    values: dict[str, float]
    choices: dict[str, Any]
    predictions: list[Row]
    counts: tuple[int, int, int]
    classes: tuple[str, ...] = ()


def write(
    settings: Probe, model: str, task: str, embeddings: Sequence[Path], qc: Sequence[Path],
    participants: Sequence[Path], path: Path, out: Path, predictions: Path,
) -> None:  # fmt: skip
    """Write ``scores`` and ``predictions``; the work behind `boldtable.stages.probe.run`."""
    made = store.frame(path, "splits")
    others = sorted(set(made["task"]) - {task})
    if others or made.empty:
        raise InputError(f"{path} holds the splits of task '{others[0] if others else None}', not '{task}'")
    splits.check(made, str(path))
    runs = recordings.used(settings, qc)
    recordings.refuse_duplicates(runs, made, str(path))
    what, rows = f"{task} x {model}", features.read(embeddings, settings)
    if settings.absent == "leave-out":
        made = _present(settings, rows, runs, made, what)
    if settings.kind == "fingerprint":
        results = {0: _fingerprint(settings, rows, runs, made)}
    else:
        results = _splits(settings, _samples(settings, rows, runs, made, participants), made, what)
    inputs = [*embeddings, *qc, *(participants if settings.confounds else []), path]
    _write(settings, {"model": model, "task": task}, results, inputs, out, predictions, _places(made))


def _places(made: pd.DataFrame) -> dict[tuple[str, str], Row]:
    """Site and group (the family, or the participant alone) by dataset and participant."""
    first = made.drop_duplicates(recordings.PERSON).set_index(recordings.PERSON)[["site", "group"]]
    return {(str(one), str(two)): {"site": site, "group": group} for (one, two), site, group in first.itertuples()}


def _write(
    settings: Probe, labels: Row, results: dict[int, Result], inputs: list[Path], out: Path, predictions: Path,
    places: dict[tuple[str, str], Row],
) -> None:  # fmt: skip
    scores, predicted = [], []
    for split, result in results.items():
        place = {**labels, "split": split}
        counts = dict(zip(("n_train", "n_val", "n_test"), result.counts, strict=True))
        choices = json.dumps(result.choices, sort_keys=True)
        more = {**counts, "seed": settings.seed + split, "hyperparameters": choices}
        scores += [{**place, **more, "metric": metric, "value": value} for metric, value in result.values.items()]
        predicted += [{**place, **row, **places[row["dataset"], row["participant"]]} for row in result.predictions]
    provenance = store.Provenance("probe", settings, inputs, **labels)
    classes = next(iter(results.values())).classes
    about = store.Provenance("probe", settings, inputs, **labels, classes=classes)
    store.write(predictions, "predictions", predicted, about)
    store.write(out, "scores", scores, provenance)
    metric = leading(settings.kind, settings.metric)
    mean = float(np.mean([result.values[metric] for result in results.values()]))
    say(f"{labels['task']} x {labels['model']}: mean {metric} {mean:.3f} over {len(results)} split(s)")


def _present(settings: Probe, rows: features.Rows, runs: pd.DataFrame, made: pd.DataFrame, what: str) -> pd.DataFrame:
    """The splits of those of whom the model has embeddings; a line names the others."""
    people = made[recordings.PERSON].drop_duplicates().reset_index(drop=True)
    there = features.present(rows, people, runs, settings)
    if there.any() and not there.all():
        names, n = splits.listed(people.loc[~there, "participant"]), int((~there).sum())
        say(f"{what}: scored without {n} of {len(people)} participants, who have no embedding: {names}")
        made = made.merge(people[there], on=recordings.PERSON)
    return made


def _samples(
    settings: Probe, rows: features.Rows, runs: pd.DataFrame, made: pd.DataFrame, participants: Sequence[Path]
) -> Samples:
    """The embeddings of the task's participants, numbered in the order of dataset and name, and their confounds."""
    people = _targets(made).reset_index()
    if settings.head == "linear-sgd" or settings.windows == "samples":
        values, owner = features.samples(rows, people, runs)
    else:
        values, owner = features.of_participants(rows, people, runs), np.arange(len(people))
    return Samples(
        values,
        owner,
        covariates.confounds(settings, made, runs, participants),
        covariates.site(settings, made) if settings.harmonise == "site" else None,
        store.provenance(rows.paths[0]).get("transform"),
    )


def _targets(made: pd.DataFrame) -> pd.Series:
    return made.groupby(recordings.PERSON, sort=True)["target"].first()


def _splits(settings: Probe, samples: Samples, made: pd.DataFrame, what: str) -> dict[int, Result]:
    people, cut = _targets(made), {}
    groups = pd.factorize(made.groupby(recordings.PERSON, sort=True)["group"].first())[0]
    sites = pd.factorize(covariates.site(settings, made))[0] if settings.scheme == "leave-one-site-out" else None
    for split, rows in made.groupby("split"):
        places = people.index.get_indexer(pd.MultiIndex.from_frame(rows[recordings.PERSON]))
        parts = {part: np.sort(places[rows["part"].to_numpy() == part]) for part in splits.PARTS}
        empty = [part for part, members in parts.items() if not len(members)]
        if empty:
            raise InputError(f"split {split} of {what} has nobody in {empty[0]}: make the splits again")
        cut[int(str(split))] = _Split(settings, people, parts, groups, sites, settings.seed + int(str(split)))
    fits = heads.fit(settings, samples, [split.part for split in cut.values()])
    found, unseen, edges = {}, [], Counter[str]()
    for number, fitted in progress(zip(cut, fits, strict=True), what, total=len(cut)):
        found[number] = cut[number].result(settings, fitted, samples.values.shape[1])
        unseen += [f"{', '.join(fitted.unseen)} (split {number})"] if fitted.unseen else []
        edges.update([fitted.edge] if fitted.edge else [])
    for edge, n in edges.items():
        say(f"{what}: the {edge} value of the grid was chosen in {n} of {len(cut)} splits; widen it to see beyond")
    if unseen:
        say(f"{what}: sites without two training participants get the pooled location and scale: {'; '.join(unseen)}")
    return found


class _Split:
    """One split of a task: its part for the probe, and what the finished probe says of its test participants."""

    def __init__(
        self, settings: Probe, people: pd.Series, parts: dict[str, Ints], groups: Ints, sites: Ints | None, seed: int
    ) -> None:
        self.people, self.parts = people, parts
        self.names: list[str] = []
        self.choices: Row = {}
        if settings.kind == "regression":
            y: Any = people.to_numpy().astype(float)
        else:
            y, self.names, self.choices = _class_numbers(settings, people, parts["train"])
        self.part = Part(parts["train"], parts["val"], y, len(self.names), groups, seed, sites)

    def result(self, settings: Probe, fitted: Fitted, n_features: int) -> Result:
        """Score the test participants."""
        y, output, test = self.part.y, fitted.output, self.parts["test"]
        if settings.kind == "regression":
            values = metrics.regression(y[test], output[test])
            texts, scores, shares = [repr(float(value)) for value in output], output, None
            truths = [str(value) for value in self.people]
        else:
            values = metrics.classification(y[test], output[test])
            texts, scores, shares = [self.names[label] for label in output.argmax(axis=1)], output[:, -1], output
            truths = [self.names[label] for label in y]
        rows = [
            {**_person(self.people.index[i]), "target": truths[i], "prediction": texts[i], "score": float(scores[i]),
             "probabilities": None if shares is None else [float(share) for share in shares[i]]}
            for i in test
        ]  # fmt: skip
        choices = {
            "probe": settings.head, _CHOICES.get(settings.head, "strength"): fitted.chosen, "n_features": n_features,
            f"val_{settings.measure}": -fitted.validation if settings.measure == "mae" else fitted.validation,
            **({"grid_edge": fitted.edge} if fitted.edge else {}), **self.choices,
        }  # fmt: skip
        if fitted.unseen:
            choices["pooled_sites"] = list(fitted.unseen)
        counts = (len(self.parts["train"]), len(self.parts["val"]), len(test))
        return Result(values, choices, rows, counts, tuple(self.names))


def _person(key: tuple[str, str]) -> Row:
    return dict(zip(recordings.PERSON, key, strict=True))


def _class_numbers(
    settings: Probe, people: pd.Series, train: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], list[str], Row]:
    """Class numbers (participant,), class names in order, and the bin edges where the target was a number."""
    if settings.kind == "classification":
        names = sorted({str(value) for value in people}, key=natural)
        return np.array([names.index(str(value)) for value in people]), names, {"classes": names}
    y = people.to_numpy().astype(float)
    edges = bin_edges(y[train], settings.bins)
    return (
        np.searchsorted(edges, y, side="right"),
        [f"bin {k + 1}" for k in range(settings.bins)],
        {"edges": edges.tolist()},
    )


def bin_edges(train: Floats, bins: int) -> npt.NDArray[np.float64]:
    """The inner edges of `bins` quantile bins of the training targets; a value on an edge is in the upper bin.

    Raises `InputError` where equal values leave a bin empty.
    """
    edges: npt.NDArray[np.float64] = np.quantile(train, np.linspace(0, 1, bins + 1)[1:-1])
    filled = np.bincount(np.searchsorted(edges, train, side="right"), minlength=bins)
    if not filled.all():
        raise InputError(
            f"{bins} quantile bins of the training targets leave bin {int(filled.argmin()) + 1} empty, because many "
            "participants share a value; set bins lower"
        )
    return edges


def _fingerprint(settings: Probe, embeddings: features.Rows, runs: pd.DataFrame, made: pd.DataFrame) -> Result:
    """Both sessions (or runs, or halves) of every participant, compared by Pearson correlation over the features.

    Features missing in any of the compared embeddings are left out for all; nothing is fitted and nothing centred
    across participants.
    """
    people = made.sort_values(recordings.PERSON)
    participants = [str(name) for name in people["participant"]]
    first, second = features.pairs(embeddings, people, runs, settings.across == "half")
    known = np.isfinite(first).all(axis=0) & np.isfinite(second).all(axis=0)
    if known.sum() < 2:
        raise InputError(
            f"{embeddings.name}: fewer than two features are known for all {len(participants)} participants"
        )
    similarity = _unit_rows(first[:, known]) @ _unit_rows(second[:, known]).T
    values, forward, backward = metrics.fingerprint(similarity)
    own = np.diag(similarity)
    rows = [
        {**_person(who), "target": who[1], "prediction": participants[nearest[i]], "score": float(own[i])}
        for nearest in (forward, backward)
        for i, who in enumerate(zip(people["dataset"], participants, strict=True))
    ]
    choices = {"across": settings.across, "n_features": int(known.sum()), "n_features_missing": int((~known).sum())}
    return Result(values, choices, rows, (0, 0, len(participants)))


def _unit_rows(values: Floats) -> npt.NDArray[np.float64]:
    """Rows centred and of length 1, so that their products are Pearson correlations; a constant row is 0."""
    centred = values.astype(np.float64) - values.mean(axis=1, keepdims=True, dtype=np.float64)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = centred / np.where(norm > 0, norm, 1)
    return unit
