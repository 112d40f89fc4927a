"""Who is in train, validation and test: made once per task, the same for every model, and checked at every use.

A split assigns whole groups (a family, or a participant alone), so that nobody related is ever on both sides. Every
scheme here takes `people`, one row per participant with the columns

    dataset, participant, site   who it is (two datasets may share names; a site may be missing)
    group                        who stays together: a family, or the participant alone
    level                        what every part should hold in equal shares: text is a class, which no part may lack;
                                 a number is a quantile of the target, which joins its neighbour where it is small
    target                       text

and returns one row per split and participant: split, held_out (the site or dataset that is tested, else None),
dataset, participant, site, group, part (train, val, test) and target.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from boldtable.errors import InputError

PARTS = ("train", "val", "test")
_COLUMNS = ["split", "held_out", "dataset", "participant", "site", "group", "part", "target"]
_SHUFFLES = 100  # families can make a shuffle miss a class in one part: that many are tried before giving up

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def repeated(
    people: pd.DataFrame, n_splits: int, seed: int, val_share: float, test_share: float, by_site: bool = False
) -> pd.DataFrame:
    """Repeated random splits, stratified by level (and site) and grouped.

    Split number k is drawn from seed + k alone, so adding splits leaves the earlier ones as they are. Raises
    `InputError` with the counts where a class is too small to have a participant in every part.
    """
    strata, names = _strata(people, 3, by_site)
    wanted = _wanted(np.bincount(strata), names, {"test": test_share, "val": val_share})
    drawn = []
    for split in range(n_splits):
        part = _draw(people, strata, wanted, np.random.default_rng(seed + split))
        drawn.append(_table(people, np.array(["test", "val", "train"])[part], split))
    return pd.concat(drawn, ignore_index=True)


def folds(
    people: pd.DataFrame, n_splits: int, n_folds: int, seed: int, val_share: float, by_site: bool = False
) -> pd.DataFrame:
    """Repeated k-fold: each run of `n_folds` splits tests everybody once; stratified by level (and site) and grouped.

    `val_share` is a share of all participants. Repetition r is drawn from seed + r, so adding splits leaves the
    earlier ones as they are. Raises `InputError` where a class has fewer participants (or families) than folds.
    """
    strata, names = _strata(people, max(n_folds, 3), by_site)
    counts = np.bincount(strata)
    small = np.flatnonzero(counts < n_folds)
    if small.size:
        raise InputError(f"{_small(names, counts, small[0])}, too few for {n_folds} folds; set folds lower")
    wanted = _even(counts, n_folds)
    drawn = []
    for split in range(n_splits):
        repetition, fold = divmod(split, n_folds)
        if fold == 0:
            place = _draw(people, strata, wanted, np.random.default_rng(seed + repetition))
        share = val_share * n_folds / (n_folds - 1)
        drawn.append(_around(people, place == fold, split, None, [seed, split], share, by_site))
    return pd.concat(drawn, ignore_index=True)


def leave_one_out(
    people: pd.DataFrame, sites: Iterable[str], seed: int, val_share: float, by_site: bool = False
) -> pd.DataFrame:
    """One split per site of `sites`, which is the test part; `val_share` is a share of the other participants.

    Of a group with members at several sites, those elsewhere are in no part of the split that tests one of them.
    """
    drawn = [
        _around(people, (people["site"] == site).to_numpy(), split, site, [seed, split], val_share, by_site)
        for split, site in enumerate(sites)
    ]
    return pd.concat(drawn, ignore_index=True)


def transfer(
    people: pd.DataFrame, test_dataset: str, n_splits: int, seed: int, val_share: float, by_site: bool = False
) -> pd.DataFrame:
    """Everybody of `test_dataset` is tested in every split; the others are drawn into train and validation.

    Who is of a group with somebody of `test_dataset` is in no part.
    """
    test = (people["dataset"] == test_dataset).to_numpy()
    drawn = [_around(people, test, split, test_dataset, [seed, split], val_share, by_site) for split in range(n_splits)]
    return pd.concat(drawn, ignore_index=True)


def given(
    people: pd.DataFrame, lists: pd.DataFrame, seed: int, val_share: float, by_site: bool = False
) -> pd.DataFrame:
    """Splits from fixed `lists` (split, held_out, participant, part); a split without 'val' gets one out of 'train'.

    Raises `InputError` where a group is on both sides, and where a part of a split is empty.
    """
    table = lists.merge(people, on="participant", validate="many_to_one")
    check(table, "the lists")
    drawn = []
    for number, rows in table.groupby("split", sort=True):
        split = int(str(number))
        missing = [part for part in ("train", "test") if part not in set(rows["part"])]
        if missing:
            raise InputError(f"split {split} of the lists has nobody of the task in {missing[0]}")
        if "val" in set(rows["part"]):
            drawn.append(rows[_COLUMNS])
        else:
            test, held_out = (rows["part"] == "test").to_numpy(), rows["held_out"].iloc[0]
            drawn.append(_around(rows, test, split, held_out, [seed, split], val_share, by_site))
    return pd.concat(drawn, ignore_index=True)


def fingerprint(people: pd.DataFrame) -> pd.DataFrame:
    """The single 'split' of a fingerprint task: nothing is fitted, so every participant is in test."""
    return _table(people, np.array(["test"] * len(people)), 0)


def check(splits: pd.DataFrame, where: str = "splits") -> None:
    """Raise `InputError` when a participant or a group stands in two parts of one split, whatever its source."""
    unknown = sorted(set(splits["part"]) - set(PARTS))
    if unknown:
        raise InputError(f"{where}: part '{unknown[0]}' is none of {', '.join(PARTS)}")
    twice = splits[splits.duplicated(["split", "dataset", "participant"])]
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


def _table(people: pd.DataFrame, part: npt.NDArray[np.str_], split: int, held_out: str | None = None) -> pd.DataFrame:
    return people.assign(split=split, held_out=held_out, part=part)[_COLUMNS]


def _around(
    people: pd.DataFrame, test: npt.NDArray[np.bool_], split: int, held_out: str | None, seed: list[int],
    val_share: float, by_site: bool,
) -> pd.DataFrame:  # fmt: skip
    """The split with this test part; who has no relative in it is drawn into train and validation."""
    tested = people[test]
    rest = people[~people["group"].isin(set(tested["group"]))]
    try:
        strata, names = _strata(rest, 2, by_site)
        wanted = _wanted(np.bincount(strata), names, {"val": val_share})
        part = _draw(rest, strata, wanted, np.random.default_rng(seed))
    except InputError as error:
        where = f"split {split}{f' (tests {held_out})' if held_out else ''}"
        raise InputError(f"{where}, outside the test part: {error}") from None
    both = [_table(tested, np.array(["test"] * len(tested)), split, held_out)]
    both.append(_table(rest, np.array(["val", "train"])[part], split, held_out))
    return pd.concat(both).sort_index()


def _strata(people: pd.DataFrame, least: int, by_site: bool) -> tuple[Ints, list[str]]:
    """The stratum of each participant, as a number and by name: level, or level × site where a cell holds `least`.

    Smaller cells of a level are put together; what is still too small joins the largest cell of its level. Quantiles
    with fewer than `least` participants join the one below (the lowest: the one above); classes stay what they are.
    """
    level = people["level"]
    if pd.api.types.is_numeric_dtype(level):
        level = _joined(level, least).map(lambda number: f"quantile {int(number)}")
    cell = level.astype(str)
    if by_site:
        cell = cell + " of " + people["site"].fillna("no site").astype(str)
        sizes = cell.map(cell.value_counts())
        cell = cell.where(sizes >= least, level.astype(str) + " of small sites")
        sizes = cell.map(cell.value_counts())
        for name in sorted(set(level[sizes < least])):
            largest = cell[level == name].value_counts().sort_index().idxmax()
            cell = cell.mask((level == name) & (sizes < least), largest)
    codes, names = pd.factorize(cell, sort=True)
    return codes.astype(np.int64), [str(name) for name in names]


def _joined(level: pd.Series, least: int) -> pd.Series:
    """Ordered levels, small ones joined to a neighbour."""
    while level.nunique() > 1:
        counts = level.value_counts().sort_index()
        small = counts.index[counts < least]
        if not len(small):
            break
        place = list(counts.index).index(small[0])
        level = level.replace(small[0], counts.index[place - 1 if place else 1])
    return level


def _wanted(counts: Ints, names: list[str], shares: dict[str, float]) -> Floats:
    """How many of each stratum go to the parts of `shares` and, last, to train; shape (part, stratum)."""
    parts = [np.maximum(1, np.round(counts * share)) for share in shares.values()]
    train = counts - np.sum(parts, axis=0)
    small = np.flatnonzero(train < 1)
    if small.size or not len(names):
        into = "train, validation and test" if "test" in shares else "train and validation"
        which = _small(names, counts, small[0]) if len(names) else "there is nobody"
        raise InputError(
            f"{which}, too few for {into}; participants per class: {_sizes(names, counts)}. "
            "Merge or leave out the small classes, or take another kind of task"
        )
    return np.stack([*parts, train])


def _even(counts: Ints, n_folds: int) -> Floats:
    """How many of each stratum go to each fold, shape (fold, stratum): equal to one, in each stratum and altogether."""
    wanted = np.repeat(counts[None] // n_folds, n_folds, axis=0).astype(np.float64)
    first = 0
    for stratum, rest in enumerate(counts % n_folds):
        wanted[(first + np.arange(rest)) % n_folds, stratum] += 1
        first += rest
    return wanted


def _small(names: list[str], counts: Ints, place: int) -> str:
    return f"class '{names[place]}' has {counts[place]} participant(s)"


def _sizes(names: Iterable[object], counts: Iterable[int]) -> str:
    return listed((f"'{name}' {count}" for name, count in zip(names, counts, strict=True)), limit=12)


def _draw(people: pd.DataFrame, strata: Ints, wanted: Floats, rng: np.random.Generator) -> Ints:
    """The part of each participant: shuffled until every part holds every stratum (mostly the first shuffle).

    Where families allow no such split, one in which every part holds every class will do.
    """
    groups = pd.factorize(people["group"], sort=True)[0].astype(np.int64)
    ordered = pd.api.types.is_numeric_dtype(people["level"])
    classes = np.zeros_like(groups) if ordered else pd.factorize(people["level"])[0].astype(np.int64)
    second = None
    for _ in range(_SHUFFLES):
        part = _assign(strata, groups, wanted, rng)
        if _holds(part, strata, len(wanted)):
            return part
        if second is None and _holds(part, classes, len(wanted)):
            second = part
    if second is not None:
        return second
    sizes = people.groupby("level")["group"].nunique()
    raise InputError(
        f"families leave no split with every class in each of the {len(wanted)} parts; families per class: "
        + _sizes(sizes.index, sizes)
    )


def _holds(part: Ints, strata: Ints, n_parts: int) -> bool:
    """Whether every part holds every stratum."""
    filled = np.zeros((n_parts, strata.max() + 1), dtype=bool)
    filled[part, strata] = True
    return bool(filled.all())


def _assign(strata: Ints, groups: Ints, wanted: Floats, rng: np.random.Generator) -> Ints:
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
