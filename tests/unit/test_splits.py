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
