"""Who is in train, validation and test: made once per task, the same for every model, and checked at every use.

A split assigns whole groups (a family, or a participant alone), so that nobody related is ever on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable.errors import InputError

PARTS = ("train", "val", "test")
_COLUMNS = ["split", "participant", "group", "part", "target"]
_SHUFFLES = 100  # families can make a shuffle miss a class in one part: that many are tried before giving up

Ints = npt.NDArray[np.int64]


def repeated(
    people: pd.DataFrame, n_splits: int, seed: int, val_share: float = 0.2, test_share: float = 0.2
) -> pd.DataFrame:
    """Repeated random splits, stratified and grouped; one row per split and participant.

    `people` has one row per participant: participant, group, stratum (text that every part should hold in equal
    shares: a class, a quantile of the target, a class × site) and target (text). Split number k is drawn from
    seed + k alone, so adding splits leaves the earlier ones as they are. Returns the columns split, participant,
    group, part (train, val, test) and target. Raises `InputError` with the counts where a stratum is too small to
    have a participant in every part.
    """
    strata, names = pd.factorize(people["stratum"], sort=True)
    groups = pd.factorize(people["group"], sort=True)[0]
    wanted = _wanted(np.bincount(strata), [str(name) for name in names], val_share, test_share)
    drawn = []
    for split in range(n_splits):
        part = _draw(strata, groups, wanted, np.random.default_rng(seed + split), people)
        drawn.append(people.assign(split=split, part=part)[_COLUMNS])
    return pd.concat(drawn, ignore_index=True)


def fingerprint(participants: Iterable[str]) -> pd.DataFrame:
    """The single 'split' of a fingerprint task: nothing is fitted, so every participant is in test."""
    names = list(participants)
    return pd.DataFrame({"split": 0, "participant": names, "group": names, "part": "test", "target": names})[_COLUMNS]


def check(splits: pd.DataFrame, where: str = "splits") -> None:
    """Raise `InputError` when a participant or a group stands in two parts of one split, whatever its source."""
    unknown = sorted(set(splits["part"]) - set(PARTS))
    if unknown:
        raise InputError(f"{where}: part '{unknown[0]}' is none of {', '.join(PARTS)}")
    twice = splits[splits.duplicated(["split", "participant"])]
    if len(twice):
        raise InputError(f"{where}: {_both_sides(splits, twice, 'participant')}")
    parts = splits.groupby(["split", "group"])["part"].nunique()
    mixed = parts[parts > 1].reset_index()
    if len(mixed):
        raise InputError(f"{where}: {_both_sides(splits, mixed, 'group')}")


def listed(names: Iterable[object], limit: int = 5) -> str:
    """Names for an error line: the first few, and how many more there are."""
    found = [str(name) for name in names]
    rest = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + rest


def _wanted(counts: Ints, names: list[str], val_share: float, test_share: float) -> Ints:
    """How many of each stratum go to (test, val, train); shape (3, stratum)."""
    test = np.maximum(1, np.round(counts * test_share)).astype(np.int64)
    val = np.maximum(1, np.round(counts * val_share)).astype(np.int64)
    train = counts - val - test
    small = np.flatnonzero(train < 1)
    if small.size:
        sizes = listed((f"'{name}' {count}" for name, count in zip(names, counts, strict=True)), limit=12)
        raise InputError(
            f"class '{names[small[0]]}' has {counts[small[0]]} participant(s), too few for train, validation and test; "
            f" participants per class: {sizes}. Merge or leave out the small classes, or take another kind of task"
        )
    return np.stack([test, val, train])


def _draw(strata: Ints, groups: Ints, wanted: Ints, rng: np.random.Generator, people: pd.DataFrame) -> list[str]:
    """One split: shuffled until every part holds every stratum (the first shuffle, unless families are large)."""
    for _ in range(_SHUFFLES):
        part = _assign(strata, groups, wanted, rng)
        filled = np.zeros(wanted.shape, dtype=bool)
        filled[part, strata] = True
        if filled.all():
            return [("test", "val", "train")[index] for index in part]
    sizes = people.groupby("stratum")["group"].nunique()
    raise InputError(
        "families leave no split with every class in train, validation and test; families per class: "
        + listed((f"'{name}' {count}" for name, count in sizes.items()), limit=12)
    )


def _assign(strata: Ints, groups: Ints, wanted: Ints, rng: np.random.Generator) -> Ints:
    """The part of each participant: groups in random order, large ones first, each to where most is lacking.

    'Lacking' is the share of the wanted number still open, not the number itself: with the number, every large
    family would land in train. Groups of one participant meet `wanted` exactly.
    """
    members = np.zeros((groups.max() + 1, wanted.shape[1]))
    np.add.at(members, (groups, strata), 1)
    order = rng.permutation(len(members))
    order = order[np.argsort(-members[order].sum(axis=1), kind="stable")]
    open_share = np.ones(wanted.shape)
    chosen = np.empty(len(members), dtype=np.int64)
    for group in order:
        part = int(np.argmax(open_share @ members[group]))
        chosen[group] = part
        open_share[part] -= members[group] / wanted[part]
    return chosen[groups]


def _both_sides(splits: pd.DataFrame, found: pd.DataFrame, column: str) -> str:
    first = found.iloc[0]
    rows = splits[(splits["split"] == first["split"]) & (splits[column] == first[column])]
    places = (
        " and ".join(dict.fromkeys(rows["part"])) if rows["part"].nunique() > 1 else f"{rows['part'].iloc[0]} twice"
    )
    names = listed(dict.fromkeys(found[column]))
    return (
        f"{column} '{first[column]}' is in {places} of split {first['split']} (all such: {names}); make the split again"
    )
