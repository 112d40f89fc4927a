"""participants.tsv: where it is looked for, what becomes of its columns, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from boldtable import store
from boldtable.errors import InputError
from boldtable.stages.collect import Collect
from boldtable.stages.collect.participants import find_participants, participants_of, read_participants


def read(tmp_path: Path, text: str, **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "participants.tsv"
    path.write_text(text, encoding="utf-8")
    return read_participants(Collect(derivatives=tmp_path, **settings), path)


def test_prefix_missing_values_and_kinds(tmp_path: Path) -> None:
    text = (
        "participant_id\tage\tsex\tsite\tiq\tscore\tgroup\tnote\n"
        "sub-02\t89+\tF\t01\t100\t1.5\tpatient\tn/a\n"
        "01\tn/a\t\tn/a\tn/a\t2\tcontrol\t\n"
    )
    first, second = read(tmp_path, text)
    assert first == {
        "participant": "01", "session": None, "site": None, "family": None, "age_years": None, "sex": None,
        "fd_mm_mean": None,
        "iq": None, "score": 2.0, "group": "control", "note": None,
    }  # fmt: skip
    assert (second["participant"], second["age_years"], second["sex"], second["site"]) == ("02", 89.0, "F", "01")
    assert second["iq"] == 100
    assert isinstance(second["iq"], int)
    assert second["score"] == 1.5


def test_identifiers_of_many_digits_and_odd_numbers_stay_text(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "participant_id\tguid\tkey\n01\t12345678901234567890\t1_000\n")
    assert (row["guid"], row["key"]) == ("12345678901234567890", "1_000")


def test_columns_named_in_the_settings(tmp_path: Path) -> None:
    text = "participant_id\tscanner\tpair\tages\tgender\n01\tS1\tf7\t31.5\tmale\n"
    (row,) = read(tmp_path, text, site="scanner", family="pair", age="ages", sex="gender")
    assert (row["site"], row["family"], row["age_years"], row["sex"]) == ("S1", "f7", 31.5, "male")
    assert not {"scanner", "pair", "ages", "gender"} & set(row)


def test_a_column_with_the_standard_name_is_taken_but_never_hidden(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "participant_id\tage_years\n01\t40\n")
    assert row["age_years"] == 40.0
    with pytest.raises(InputError, match="has both 'age' and 'age_years'"):
        read(tmp_path, "participant_id\tage\tage_years\n01\t480\t40\n")
    (row,) = read(tmp_path, "participant_id\tage\tage_years\n01\t480\t40\n", age="age_years")
    assert (row["age"], row["age_years"]) == (480, 40.0)


def test_ages_that_are_no_numbers_are_missing_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = read(tmp_path, "participant_id\tage\n01\t20-25\n")
    assert row["age_years"] is None
    assert "'20-25' of 01" in capsys.readouterr().err


def test_rows_by_session(tmp_path: Path) -> None:
    rows = read(tmp_path, "participant_id\tsession_id\tage\n01\tses-2\t31\n01\tses-1\t30\n")
    assert [(row["participant"], row["session"], row["age_years"]) for row in rows] == [
        ("01", "1", 30.0),
        ("01", "2", 31.0),
    ]


def test_participants_left_out_have_no_row(tmp_path: Path) -> None:
    assert [row["participant"] for row in read(tmp_path, "participant_id\n01\n02\n", leave_out=["sub-01"])] == ["02"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("participant_id\n01\nsub-01\n", "lists participants more than once: 01"),
        ("subject\tage\n01\t3\n", "has no column participant_id (there: age, subject)"),
        ("participant_id\tage\n", "has no rows"),
        ("", "is empty"),
        ("participant_id\tage\n01\t3\n\t4\n", "row 3 has no participant_id"),
        ("participant_id,age\n01,3\n", "with tabs between the columns"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert told in str(caught.value)
    assert "participants.tsv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "participants.tsv"
    path.write_bytes("participant_id\tnote\n01\tmüde\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_participants(Collect(derivatives=tmp_path), path)


def test_where_the_file_is_looked_for(tmp_path: Path) -> None:
    derivatives = tmp_path / "above/bids/derivatives/fmriprep"
    derivatives.mkdir(parents=True)
    settings = Collect(derivatives=derivatives)
    (tmp_path / "above/participants.tsv").touch()
    assert find_participants(settings) is None
    for folder in (tmp_path / "above/bids", derivatives.parent, derivatives):
        (folder / "participants.tsv").touch()
        assert find_participants(settings) == (folder / "participants.tsv").resolve()
    named = tmp_path / "named.tsv"
    named.touch()
    assert find_participants(Collect(derivatives=derivatives, participants=named)) == named


def test_participants_without_a_file() -> None:
    rows = participants_of(["02", "01", "02"])
    assert [row["participant"] for row in rows] == ["01", "02"]
    assert set(rows[0]) == set(store.schema("participants").names)


def test_another_kind_of_table_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("participant_id,age\nsub-01,30\n")
    (row,) = read_participants(Collect(derivatives=tmp_path), path)
    assert (row["participant"], row["age_years"]) == ("01", 30.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("participant_id\tage\tparticipant\nsub-01\t20\t02\n", "column 'participant' would hide what participant_id"),
        ("participant_id\tage\nsub-01\t20\t3\t4\n", "line 2 has 4 fields, the header 2"),
    ],
)
def test_tables_that_would_shift_or_hide_values_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)
