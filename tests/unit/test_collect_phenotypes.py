"""Further tables of phenotypes: kinds of files, ID rules, sessions, missing codes, and what is refused."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from boldtable import store
from boldtable.errors import InputError, SettingsError
from boldtable.stages import collect
from boldtable.stages.collect.ids import canonical, matcher
from boldtable.stages.collect.participants import participants_of, read_participants
from boldtable.stages.collect.phenotypes import add_phenotypes
from trees import Tree, write_participants

Rows = list[dict[str, Any]]


def joined(tmp_path: Path, people: Rows | list[str], *tables: dict[str, Any], **settings: Any) -> Rows:
    rows = [row if isinstance(row, dict) else participants_of([row])[0] for row in people]
    named = [{**table, "table": str(tmp_path / table["table"])} for table in tables]
    parsed = collect.Collect.parse({"derivatives": tmp_path, "phenotypes": named, **settings})
    return add_phenotypes(parsed, rows)


def column(rows: Rows, name: str) -> list[Any]:
    return [row[name] for row in rows]


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz", "parquet"])
def test_every_kind_of_table_gives_the_same(tmp_path: Path, kind: str) -> None:
    table = pd.DataFrame({"participant_id": ["sub-02", "sub-01"], "iq": [100.0, None], "note": ["a, b", "n/a"]})
    path = tmp_path / f"wisc.{kind}"
    if kind == "parquet":
        table.to_parquet(path)
    else:
        text = table.to_csv(index=False, sep="\t" if kind == "tsv" else ",", na_rep="n/a")
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    rows = joined(tmp_path, ["01", "02"], {"table": path.name})
    assert column(rows, "iq") == [None, 100.0]
    assert column(rows, "note") == [None, "a, b"]


def test_columns_are_chosen_renamed_and_prefixed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("EID,WISC_FSIQ,raw,Age,Site\n01,101,7,90+,3\n")
    spec = {"table": "a.csv", "key": "EID", "columns": ["WISC_FSIQ", "Age", "Site"], "prefix": "hbn_"}
    (row,) = joined(tmp_path, ["01"], spec | {"rename": {"Age": "age_years", "Site": "site"}})
    assert (row["hbn_WISC_FSIQ"], row["age_years"], row["site"]) == (101, 90.0, "3")
    assert "raw" not in row
    assert "hbn_raw" not in row


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_declared_codes_are_missing_however_they_are_written(tmp_path: Path, kind: str) -> None:
    ids, scores, codes = ["01", "02", "03", "04"], [-9999.0, 1.5, 2.0, 777.0], ["-9999", "x", "don't know", "n/a"]
    table = pd.DataFrame({"participant_id": ids, "score": scores, "code": codes})
    if kind == "csv":
        table.to_csv(tmp_path / "a.csv", index=False)
    else:
        table.to_parquet(tmp_path / "a.parquet")
    rows = joined(tmp_path, ids, {"table": f"a.{kind}", "missing": [777, "don't know"]}, missing=[-9999])
    assert column(rows, "score") == [None, 1.5, 2.0, None]
    assert column(rows, "code") == [None, "x", None, None]


def test_declared_codes_are_missing_in_participants_tsv_too(tmp_path: Path) -> None:
    path = tmp_path / "participants.tsv"
    path.write_text("participant_id\tage\tiq\n01\t-9999\t-9999.0\n02\t89+\t3\n")
    rows = read_participants(collect.Collect(derivatives=tmp_path, missing=[-9999]), path)
    assert column(rows, "age_years") == [None, 89.0]
    assert column(rows, "iq") == [None, 3]


@pytest.mark.parametrize(
    ("rule", "given", "meant"),
    [
        ("exact", "sub-0012", "0012"),
        ("padding", "12", "0012"),
        ("padding", "sub-000012", "0012"),
        ("padding", "S12", "S0012"),
        ("alphanumeric", "NDAR_INV-1", "NDARINV1"),
        ("number", "HBN_0012", "0012"),
        ("number", "HBN_12", "sub-0012"),
        ("number", "control", "control"),
    ],
)
def test_id_rules(rule: str, given: str, meant: str) -> None:
    assert matcher([meant, "7", "S7"] if rule != "number" else [meant, "7"], rule, "t")(given) == meant


@pytest.mark.parametrize(
    ("rule", "given", "other"),
    [("exact", "12", "0012"), ("padding", "HBN_12", "0012"), ("padding", "120", "12"), ("number", "HBN_13", "0012")],
)
def test_id_rules_do_not_reach_further_than_they_say(rule: str, given: str, other: str) -> None:
    assert canonical(given, rule) != canonical(other, rule)


def test_a_rule_that_merges_participants_is_refused() -> None:
    with pytest.raises(InputError, match="t: ids: number takes the participants A1 and B1 for the same"):
        matcher(["A1", "B1"], "number", "t")


def test_participants_tsv_follows_the_id_rule_too(tmp_path: Path) -> None:
    derivatives = Tree(frames=200).write(tmp_path / "derivatives", ["0012", "0013"])
    write_participants(derivatives / "participants.tsv", ["12", "99"], age=["30", "40"])
    settings = collect.Collect(derivatives=derivatives, ids="padding")
    collect.run(settings, "d", tmp_path / "out/runs.parquet", tmp_path / "out/participants.parquet")
    people = store.read(tmp_path / "out/participants.parquet", "participants").to_pylist()
    assert [(row["participant"], row["age_years"]) for row in people] == [("0012", 30.0), ("99", 40.0)]
    notes = column(store.read(tmp_path / "out/runs.parquet", "runs").to_pylist(), "reason")
    assert notes[0] is None
    assert notes[1].startswith("not in participants.tsv")


def test_numbers_as_keys_meet_labels(tmp_path: Path) -> None:
    pd.DataFrame({"id": [1.0, 2.0], "x": [5, 6]}).to_parquet(tmp_path / "a.parquet")
    assert column(joined(tmp_path, ["1", "2"], {"table": "a.parquet", "key": "id"}), "x") == [5, 6]


def test_strangers_are_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("participant_id,x\n01,1\n77,2\n")
    rows = joined(tmp_path, ["01", "02"], {"table": "a.csv"})
    assert column(rows, "x") == [1, None]
    assert "a.csv: 1 row(s) not of this dataset, left out: 77" in capsys.readouterr().err


def test_sessions_make_rows_where_there_were_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("participant_id,visit,mood\n01,ses-1,3\n01,2,4\n02,1,5\n")
    (tmp_path / "b.csv").write_text("participant_id,iq\n01,100\n03,90\n")
    tables = {"table": "a.csv", "session": "visit"}, {"table": "b.csv"}
    rows = joined(tmp_path, ["01", "02", "03"], *tables)
    found = [tuple(row[name] for name in ("participant", "session", "mood", "iq")) for row in rows]
    assert found == [("01", "1", 3, 100), ("01", "2", 4, 100), ("02", "1", 5, None), ("03", None, None, 90)]


def test_sessions_meet_the_rows_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = [{**participants_of(["01"])[0], "session": session} for session in ("1", "2")]
    (tmp_path / "a.csv").write_text("participant_id,visit,mood\n01,2,4\n01,3,9\n")
    rows = joined(tmp_path, people, {"table": "a.csv", "session": "visit"})
    assert column(rows, "mood") == [None, 4]
    assert "a.csv: in no row of the participants, left out: 01 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "spec", "told"),
    [
        ("participant_id,x\n01,1\nsub-01,2\n", {}, "lists participants more than once: 01; keep one row"),
        ("participant_id,x\nHBN_1,1\nHBN_01,2\n", {"ids": "number"}, "more than once: 01 (HBN_01 and HBN_1)"),
        ("participant_id,v,x\n01,1,1\n01,1,2\n", {"session": "v"}, "more than once: 01 1"),
        ("participant_id,x\n,1\n", {}, "row 2 has no participant_id"),
        ("participant_id,v,x\n01,,1\n", {"session": "v"}, "row 2 has no v"),
        ("participant_id,x\nP9,1\n", {}, "none of the participants (01; it has P9); correct 'key', or 'ids'"),
        ("EID,x\n01,1\n", {}, "key: "),
        ("EID,x\n01,1\n", {"key": "EIDD"}, "no column 'EIDD', did you mean 'EID'?"),
        ("participant_id,x\n01,1\n", {"columns": ["y"]}, "columns: "),
        ("participant_id,x\n01,1\n", {"rename": {"y": "z"}}, "rename: "),
        ("participant_id,x\n01,1\n", {"rename": {"x": "session"}}, "'session' cannot be the name"),
        ("participant_id,x,x\n01,1,2\n", {}, "more than once"),
        ("participant_id,iq\n01,1\n", {}, "there is a column 'iq' already; set prefix, rename or columns"),
        ("participant_id,sex\n01,M\n", {}, "there is a column 'sex' already"),
        ("participant_id,x\n", {}, "has no rows"),
        (None, {}, "table not found"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(
    tmp_path: Path, text: str | None, spec: dict[str, Any], told: str
) -> None:
    if text is not None:
        (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        joined(tmp_path, [{**participants_of(["01"])[0], "sex": "F", "iq": None}], {"table": "a.csv", **spec})
    assert told in str(caught.value)
    assert "a.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_kinds_of_files_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").touch()
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(InputError, match=r"a.xlsx is none of .csv, .tsv"):
        joined(tmp_path, ["01"], {"table": "a.xlsx"})
    with pytest.raises(InputError, match=r"cannot read .*a.parquet"):
        joined(tmp_path, ["01"], {"table": "a.parquet"})


def test_values_of_parquet_that_no_column_could_hold_together_are_text(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"participant_id": ["01", "02"], "day": [datetime.date(2020, 1, 2), None], "ok": [True, None], "l": [[1], [2]]}
    )
    table.to_parquet(tmp_path / "a.parquet")
    rows = joined(tmp_path, ["01", "02"], {"table": "a.parquet"})
    assert (column(rows, "day"), column(rows, "ok"), column(rows, "l")) == (
        ["2020-01-02", None],
        [True, None],
        ["[1]", "[2]"],
    )


def test_a_misspelt_key_of_a_table_is_refused_with_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"phenotypes.0.keey: unknown key, did you mean 'key'"):
        collect.Collect.parse({"derivatives": tmp_path, "phenotypes": [{"table": "a.csv", "keey": "x"}]})


def test_tables_are_inputs_of_the_participants_and_series_need_no_participants_tsv(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("1_a", "1_b", "2_a"):
        (tmp_path / f"data/{name}.txt").write_text("1 2\n3 4\n")
    (tmp_path / "wisc.csv").write_text("participant_id,iq\n2,100\n")
    settings = collect.Collect.parse(
        {
            "derivatives": tmp_path / "data",
            "layout": "series",
            "pattern": "{participant}_{session}.txt",
            "phenotypes": [{"table": tmp_path / "wisc.csv"}],
        }
    )
    collect.run(settings, "d", tmp_path / "out/runs.parquet", tmp_path / "out/participants.parquet")
    people = store.read(tmp_path / "out/participants.parquet", "participants").to_pylist()
    assert [(row["participant"], row["session"], row["iq"]) for row in people] == [("1", None, None), ("2", None, 100)]
    made = store.provenance(tmp_path / "out/participants.parquet")
    assert [one["name"] for one in made["inputs"]] == ["wisc.csv"]
