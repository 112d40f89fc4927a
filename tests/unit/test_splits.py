"""Splits: shares, strata, groups, determinism, and the refusal of leaks whatever their source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boldtable import splits
from boldtable.errors import InputError

SHARES = {"val_share": 0.2, "test_share": 0.2}


def people(counts: dict[str, int], family_size: int = 1) -> pd.DataFrame:
    classes = [name for name, count in counts.items() for _ in range(count)]
    names = [f"{index:03d}" for index in range(len(classes))]
    groups = [f"family {index // family_size}" for index in range(len(classes))]
    who = {"dataset": "aurora", "participant": names, "site": None, "group": groups, "level": classes}
    return pd.DataFrame({**who, "target": classes})


def test_shares_are_60_20_20_in_every_class_and_split() -> None:
    made = splits.repeated(people({"case": 20, "control": 30}), n_splits=10, seed=21, **SHARES)
    counts = made.groupby(["split", "target", "part"]).size().unstack()
    assert (counts.xs("case", level="target")[["train", "val", "test"]].to_numpy() == [12, 4, 4]).all()
    assert (counts.xs("control", level="target")[["train", "val", "test"]].to_numpy() == [18, 6, 6]).all()
    assert list(made.columns) == ["split", "held_out", "dataset", "participant", "site", "group", "part", "target"]


def test_same_seed_same_splits_and_more_splits_keep_the_first() -> None:
    who = people({"a": 15, "b": 15})
    three, five = splits.repeated(who, 3, seed=1, **SHARES), splits.repeated(who, 5, seed=1, **SHARES)
    pd.testing.assert_frame_equal(three, five[five["split"] < 3])
    other = splits.repeated(who, 3, seed=100, **SHARES)
    assert not three["part"].equals(other["part"])


def test_every_participant_is_tested_about_equally_often() -> None:
    made = splits.repeated(people({"a": 20, "b": 20}), 200, seed=0, **SHARES)
    tested = made[made["part"] == "test"].groupby("participant").size()
    assert len(tested) == 40
    assert tested.min() > 15
    assert tested.max() < 65


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(12, 30), min_size=1, max_size=3),
    family=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    order=st.randoms(),
)
def test_nobody_and_no_family_is_on_both_sides(sizes: list[int], family: int, seed: int, order: object) -> None:
    who = people({f"class {index}": size for index, size in enumerate(sizes)}, family)
    who["group"] = order.sample(list(who["group"]), len(who))  # type: ignore[attr-defined]  # families across classes
    made = splits.repeated(who, 2, seed, **SHARES)
    splits.check(made)
    assert made.groupby("split")["participant"].nunique().eq(len(who)).all()
    assert made.groupby(["split", "part"])["target"].nunique().eq(len(sizes)).all()


def test_large_families_are_tested_too() -> None:
    who = people({"a": 120})
    who["group"] = [f"family {index // 4}" if index < 40 else f"alone {index}" for index in range(120)]
    made = splits.repeated(who, 30, seed=3, **SHARES)
    large = made[made["group"].str.startswith("family")]
    assert 0.1 < (large["part"] == "test").mean() < 0.3


def test_a_class_too_small_is_named_with_all_counts() -> None:
    with pytest.raises(InputError, match=r"class 'rare' has 2 participant.*'common' 20, 'rare' 2"):
        splits.repeated(people({"common": 20, "rare": 2}), 5, seed=0, **SHARES)


def test_families_that_leave_no_split_are_an_error() -> None:
    who = people({"a": 10, "b": 10})
    who["group"] = who["level"].map({"a": "one", "b": "two"})
    with pytest.raises(InputError, match="families leave no split"):
        splits.repeated(who, 1, seed=0, **SHARES)


def test_planted_leaks_are_refused() -> None:
    made = splits.repeated(people({"a": 15, "b": 15}, family_size=3), 2, seed=5, **SHARES)
    splits.check(made)
    train = made[(made["split"] == 1) & (made["part"] == "train")].iloc[[0]]
    with pytest.raises(
        InputError, match=f"participant '{train['participant'].iloc[0]}' is in train and test of split 1"
    ):
        splits.check(pd.concat([made, train.assign(part="test")]))
    moved = made.copy()
    moved.loc[train.index, "part"] = "test"
    with pytest.raises(InputError, match=f"group '{train['group'].iloc[0]}' is in .*split 1"):
        splits.check(moved)
    with pytest.raises(InputError, match="twice"):
        splits.check(pd.concat([made, train]))
    with pytest.raises(InputError, match="'holdout' is none of train, val, test"):
        splits.check(made.assign(part="holdout"))


def test_fingerprint_puts_everybody_in_test() -> None:
    who = people({"a": 1, "b": 1}).assign(participant=["b", "a"], target=["b", "a"])
    made = splits.fingerprint(who)
    splits.check(made)
    assert made["part"].tolist() == ["test", "test"]
    assert made["target"].tolist() == ["b", "a"]


def test_listed_names_the_first_and_counts_the_rest() -> None:
    assert splits.listed(np.arange(3)) == "0, 1, 2"
    assert splits.listed("abcdefg") == "a, b, c, d, e and 2 more"


# Every scheme

SCHEMES = {
    "random": lambda who, n, seed, by_site: splits.repeated(who, n, seed, **SHARES, by_site=by_site),
    "kfold": lambda who, n, seed, by_site: splits.folds(who, 3 * n, 3, seed, 0.2, by_site),
    "leave-one-out": lambda who, n, seed, by_site: splits.leave_one_out(who, ["A", "B"], seed, 0.2, by_site),
    "transfer": lambda who, n, seed, by_site: splits.transfer(who, "borealis", n, seed, 0.2, by_site),
}


def cohort(n: int, n_classes: int, family_size: int, order: np.random.Generator) -> pd.DataFrame:
    """Classes at three sites and in two datasets; a third are in families of random members across all of them."""
    who = people({f"class {index}": n for index in range(n_classes)}, family_size)
    alone = [f"alone {index}" for index in who.index]
    who["group"] = order.permutation(np.where(who.index < len(who) // 3, who["group"], alone))
    who["site"] = order.permutation(np.resize(["A", "B", "C"], len(who)))
    who["dataset"] = order.permutation(np.resize(["aurora", "aurora", "borealis"], len(who)))
    return who


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=8, deadline=None)
@given(
    n=st.integers(24, 30), n_classes=st.integers(1, 3), family=st.integers(1, 3), seed=st.integers(0, 2**20),
    by_site=st.booleans(),
)  # fmt: skip
def test_no_scheme_leaves_anybody_or_a_family_on_both_sides(
    scheme: str, n: int, n_classes: int, family: int, seed: int, by_site: bool
) -> None:
    who = cohort(n, n_classes, family, np.random.default_rng(seed))
    made = SCHEMES[scheme](who, 2, seed, by_site)
    splits.check(made)
    assert made.groupby(["split", "group"])["part"].nunique().max() == 1
    assert made.groupby(["split", "dataset", "participant"]).size().max() == 1
    assert made.groupby(["split", "part"])["target"].nunique().eq(n_classes).all()
    assert made.groupby("split")["part"].nunique().eq(3).all()
    fewer = SCHEMES[scheme](who, 1, seed, by_site)
    pd.testing.assert_frame_equal(fewer, made[made["split"] < fewer["split"].nunique()])


@pytest.mark.parametrize("scheme", ["random", "kfold"])
@settings(max_examples=15, deadline=None)
@given(counts=st.lists(st.integers(9, 40), min_size=1, max_size=4), seed=st.integers(0, 2**20))
def test_each_part_holds_its_share_of_every_class_to_one_participant(scheme: str, counts: list[int], seed: int) -> None:
    made = SCHEMES[scheme](people({f"class {index}": count for index, count in enumerate(counts)}), 1, seed, False)
    found = made.groupby(["split", "target", "part"]).size().unstack(fill_value=0)
    share = 1 / 3 if scheme == "kfold" else 0.2
    for index, count in enumerate(counts):
        of_class = found.xs(f"class {index}", level="target")
        assert (abs(of_class["test"] - share * count) < 1).all()
        assert (abs(of_class["val"] - 0.2 * count) < 1).all()
    if scheme == "kfold":
        sizes = made[made["part"] == "test"].groupby("split").size()
        assert sizes.max() - sizes.min() <= 1
        assert made[made["part"] == "test"].groupby("participant").size().eq(1).all()


def test_sites_are_spread_too_and_small_ones_are_put_together() -> None:
    who = people({"case": 30, "control": 30})
    who["site"] = ["A"] * 20 + ["B"] * 8 + ["C", "D"] + ["A"] * 15 + ["B"] * 15
    counts = splits.repeated(who, 5, 1, **SHARES, by_site=True).groupby(["split", "site", "target", "part"]).size()
    assert counts.xs(("B", "case", "test"), level=(1, 2, 3)).eq(2).all()
    assert counts.xs(("B", "control", "test"), level=(1, 2, 3)).eq(3).all()
    assert counts.xs("test", level="part").groupby(["split", "target"]).sum().eq(6).all()


def test_small_quantiles_join_their_neighbour() -> None:
    who = people({"x": 20}).assign(level=[1] * 9 + [2] + [3] * 9 + [4])
    made = splits.repeated(who, 3, 1, **SHARES)
    assert made.groupby(["split", "part"]).size().unstack()["test"].eq(4).all()


def test_the_class_that_outside_a_site_is_too_small_is_named() -> None:
    who = people({"case": 10, "control": 30})
    who["site"] = ["A"] * 9 + ["B"] + ["A"] * 15 + ["B"] * 15
    with pytest.raises(InputError, match=r"split 0 \(tests A\), outside the test part: class 'case' has 1 participant"):
        splits.leave_one_out(who, ["A", "B"], 1, 0.2)
