"""Reading what others wrote: strict tables, and nothing without a bound."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from boldtable.errors import InputError
from boldtable.reading.arrays import npy_shape, read_npy
from boldtable.reading.bounded import read_bytes, read_json, read_text
from boldtable.reading.tables import read_numbers, read_table


def table(tmp_path: Path, text: str | bytes, name: str = "t.tsv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a\tb\n1\t2\n3\t4\n", [["1", "2"], ["3", "4"]]),
        ("a\tb\r\n1\t2\r\n", [["1", "2"]]),
        ("a\tb\r1\t2\r", [["1", "2"]]),
        ("\ufeffa\tb\n1\t2", [["1", "2"]]),
        ("a\tb\n\n1\t2\n\n\n", [["1", "2"]]),
        ("a\tb\n1\t2\n\t\n\t\n", [["1", "2"]]),
        ('"a"\t"b"\n"1"\t"say ""hi"""\n', [["1", 'say "hi"']]),
        ('a\tb\n1\t"begins with a mark\n2\t"so does this\n', [["1", '"begins with a mark'], ["2", '"so does this']]),
        ('a\tb\n1\tinner "words" stay\n', [["1", 'inner "words" stay']]),
        ("\ta\tb\n0\t1\t2\n1\t3\t4\n", [["1", "2"], ["3", "4"]]),
        ("a\tb\t\n1\t2\t\n", [["1", "2"]]),
        ("a\tb\n1\tx\x0by\u2028z\n", [["1", "x\x0by\u2028z"]]),
    ],
)
def test_what_stands_between_tabs_is_what_is_read(tmp_path: Path, text: str, rows: list[list[str]]) -> None:
    found = read_table(table(tmp_path, text), "\t")
    assert (found.names, found.rows) == (["a", "b"], rows)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("a\tb\n1\t2\t\n", "line 2 has 3 fields, the header 2"),
        ("a\tb\n1\t2\n3\n", "line 3 has 1 field, the header 2"),
        ('"a"\t"b"\n"1"\t"first line\nsecond line"\n', "line 3 has 1 field, the header 2"),
        ("a\tb\n1\t2\t3\n", "line 2 has 3 fields"),
        ("a\ta\n1\t2\n", "has the column 'a' more than once"),
        ("a\t\n1\t2\n", "column 2 has no name"),
        ("\ta\n5\t1\n9\t2\n", "column 1 has no name"),
        ("a,b\n1,2\n", "seems to be separated by commas"),
        ("a;b\n1;2\n", "seems to be separated by semicolons"),
        (b"a\tb\n\xe9\t1\n", "is not UTF-8 text"),
        ("a\tb\n1\t2\n".encode("utf-16"), "is not UTF-8 text"),
        ("a\tb\n1\0\t2\n", "NUL"),
    ],
)
def test_a_table_that_says_two_things_is_refused(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_table(table(tmp_path, text), "\t")
    assert told in str(caught.value)
    assert "t.tsv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_commas_are_quoted_as_rfc_4180_has_it_but_for_line_breaks(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, 'a,b\n1,"x, y"\n2,"say ""hi"""\n', "t.csv"), ",")
    assert found.rows == [["1", "x, y"], ["2", 'say "hi"']]
    with pytest.raises(InputError, match="quotation marks of line 3 do not match"):
        read_table(table(tmp_path, 'a,b\n1,x\n2,"opened\n3,y"\n', "t.csv"), ",")


def test_numbers_and_nothing_else(tmp_path: Path) -> None:
    found = read_numbers(table(tmp_path, "a\tb\nn/a\t1e-3\n-2.5\t+.5\n\t7\n"))
    np.testing.assert_array_equal(found["a"], [np.nan, -2.5, np.nan])
    np.testing.assert_array_equal(found["b"], [1e-3, 0.5, 7])


@pytest.mark.parametrize(
    "cell", ["0,5", "n/a ", " 1", "1_000", "inf", "nan", "NA", "1e400", "1e39", "0x1f", "--1", "1-2", "x", "\u0661"]
)
def test_a_cell_that_is_no_number_is_named(tmp_path: Path, cell: str) -> None:
    with pytest.raises(InputError) as caught:
        read_numbers(table(tmp_path, f"a\ttrans_x\n1\t2\n1\t{cell}\n1\toops\n"))
    assert f"column trans_x, line 3 holds '{cell}'" in str(caught.value)


def test_only_regular_files_and_never_more_than_the_limit(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is a named pipe"):
        read_text(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is a device"):
        read_text(tmp_path / "zero")
    with pytest.raises(InputError, match="is a folder"):
        read_bytes(tmp_path)
    bomb = table(tmp_path, gzip.compress(bytes(50_000_000)), "bomb.gz")
    with pytest.raises(InputError, match="holds more than 1 MB"):
        read_bytes(bomb, 1_000_000)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_bytes(table(tmp_path, gzip.compress(os.urandom(10_000))[:5000], "half.gz"))
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, "{", "nonsense", '{"a": 1' + "0" * 5000 + "}"])
def test_hostile_json_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_json(table(tmp_path, text, "x.json"))
    assert "x.json" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_npy_file_is_believed_as_far_as_it_reaches(tmp_path: Path) -> None:
    values = np.arange(12, dtype="<f4").reshape(4, 3)
    np.save(tmp_path / "a.npy", values)
    assert npy_shape(tmp_path / "a.npy") == (4, 3)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), values)
    np.save(tmp_path / "f.npy", np.asfortranarray(values))
    np.testing.assert_array_equal(read_npy(tmp_path / "f.npy"), values)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "b.npy").write_bytes(content.replace(b"(4, 3), }          ", b"(4000000000, 300), }"[:19]))
    for name, told in (("b.npy", "truncated|no npy file"), ("c.npy", "no npy file"), ("o.npy", "object values")):
        if name == "c.npy":
            np.savez(tmp_path / "c.npz", values)
            (tmp_path / "c.npz").rename(tmp_path / name)
        if name == "o.npy":
            np.save(tmp_path / name, np.array([{}], dtype=object), allow_pickle=True)
        with pytest.raises(InputError, match=told):
            read_npy(tmp_path / name)
