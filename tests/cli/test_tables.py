"""Files of tables that commands read: what stands in a CSV file is what the reference or a rule says."""

import datetime as dt
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelward import Client
from modelward.cli.output import Failure
from modelward.cli.tables import read_table
from tests.cli.conftest import Commands
from tests.support.column_kinds import SPARSE, plain

DAYS = [dt.datetime.fromisoformat("2026-01-02"), None]
GUESSED: dict[str, tuple[str, pa.DataType, list[Any]]] = {
    "whole numbers": ("1\n-2\n+3\n", pa.int64(), [1, -2, 3]),
    "numbers": ("1.5\n .5 \n1e3\ninf\n", pa.float64(), [1.5, 0.5, 1000.0, float("inf")]),
    "missing numbers": ("1\nNA\nnan\n\n", pa.int64(), [1, None, None, None]),
    "codes": ("00501\n01234\n", pa.string(), ["00501", "01234"]),
    "one code among numbers": ("7\n007\n", pa.string(), ["7", "007"]),
    "long codes": ("12345678901234567890\n1\n", pa.string(), ["12345678901234567890", "1"]),
    "too large": ("1e400\n", pa.string(), ["1e400"]),
    "zero": ("0\n0.5\n", pa.float64(), [0.0, 0.5]),
    "text": ('a\n""\nNA\n', pa.string(), ["a", None, "NA"]),
    "truth values": ('true\nFalse\n""\n', pa.bool_(), [True, False, None]),
    "days": ('2026-01-02\n""\n', pa.timestamp("us"), DAYS),
    "nothing": ('""\n""\n', pa.null(), [None, None]),
}


@pytest.mark.parametrize(("text", "kind", "expected"), GUESSED.values(), ids=GUESSED)
def test_column_of_csv_is_numbers_only_when_they_would_be_written_so(
    tmp_path: Path, text: str, kind: pa.DataType, expected: list[Any]
) -> None:
    (tmp_path / "a").write_text("c\n" + text)
    column = read_table(tmp_path / "a")["c"]
    assert (column.type, column.to_pylist()) == (kind, expected)


REFUSED: dict[str, tuple[bytes, str]] = {
    "Latin-1": (
        "c\nhöher\n".encode("latin-1"),
        "is not UTF-8 but probably Windows-1252.* 0xf6 .* -f WINDOWS-1252",
    ),
    "UTF-16": ("c\nhöher\n".encode("utf-16"), "is not UTF-8 but probably UTF-16.* iconv -f UTF-16"),
    "semicolons": (b"a;b\n1;2\n", "separate columns by commas"),
    "two of one name": (b"a,a\n1,2\n", "columns of the same name: a"),
    "a short line": (b"a,b\n1\n", "Expected 2 columns, got 1"),
    "nothing": (b"", "cannot be read"),
}


@pytest.mark.parametrize(("content", "said"), REFUSED.values(), ids=REFUSED)
def test_file_that_is_no_table_is_refused_with_the_fix(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(Failure, match=said):
        read_table(tmp_path / "a.csv")


def _written(path: Path, table: pa.Table, new: Callable[..., Any]) -> None:
    with new(path, table.schema) as out:
        out.write_table(table)


WRITERS: dict[str, Callable[[Path, pa.Table], Any]] = {
    "parquet": lambda path, table: pq.write_table(table, path),
    "file": lambda path, table: _written(path, table, pa.ipc.new_file),
    "stream": lambda path, table: _written(path, table, pa.ipc.new_stream),
}


@pytest.mark.parametrize("form", WRITERS)
def test_file_is_told_by_its_content_and_not_by_its_name(tmp_path: Path, form: str) -> None:
    table = pa.table({"a": [1, 2], "raw": [[1], [2]]})
    WRITERS[form](tmp_path / "data.csv", table)
    assert read_table(tmp_path / "data.csv", ignore=["raw"]) == table.drop_columns(["raw"])


def test_compressed_csv_and_marks_of_the_byte_order_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfa,b\n1,x\n"))
    assert read_table(tmp_path / "a.csv.gz").to_pydict() == {"a": [1], "b": ["x"]}


@pytest.mark.system
def test_csv_is_read_under_the_kinds_of_the_reference(
    commands: Commands, sdk: Client, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.txt").write_text("x")
    version = sdk.register(name, tmp_path / "model.txt")
    codes, truths = ["01234", "00501"] * 30, [True, None] * 30
    reference = {"code": codes, "digits": ["1", "2"] * 30, "n": [1.0, 2.5] * 30, "t": truths, "text": ["", "NA"] * 30}
    sdk.set_reference(version, reference)
    rows = zip(codes, ["1", "2"] * 30, ["", "2.5"] * 30, ["True", ""] * 30, ['""', "NA"] * 30, strict=True)
    lines = [",".join([*row, f"2026-01-02 12:00:{i:02}", "x"]) for i, row in enumerate(rows)]
    (tmp_path / "live.data").write_text("\n".join(["code,digits,n,t,text,when,symbol", *lines]))
    report = commands.json("drift", version, tmp_path / "live.data", "--ignore", "symbol")
    shares = {one["name"]: one["missing_share"] for one in report["features"]}
    assert shares == {"code": 0, "digits": 0, "n": 0.5, "t": 0.5, "text": 0.5}
    assert all(one["new_categories"] == [] for one in report["features"])
    assert "leave it out" in commands.refused("drift", version, tmp_path / "live.data")[0]
    (tmp_path / "wrong.csv").write_text("code,digits,n,t,text\n1,1,many,true,a\n")
    [said] = commands.refused("drift", version, tmp_path / "wrong.csv")
    assert "contains 'many' in column 'n', where the reference has numbers" in said


@pytest.mark.system
def test_csv_of_every_type_is_what_was_written(sdk: Client, name: str, tmp_path: Path) -> None:
    from pyarrow import csv

    (tmp_path / "model.txt").write_text("x")
    version = sdk.register(name, tmp_path / "model.txt")
    table = plain(SPARSE)
    reference = sdk.set_reference(version, table)
    text = [(one.name, pa.string() if pa.types.is_dictionary(one.type) else one.type) for one in table.schema]
    csv.write_csv(table.cast(pa.schema(text)), tmp_path / "all.csv")
    report = sdk.detect_drift(version, read_table(tmp_path / "all.csv", reference))
    assert {one.name: one.missing_share for one in report.features} == {
        one.name: one.missing_share for one in reference.features
    }
    assert max(one.ks for one in report.features) == 0
