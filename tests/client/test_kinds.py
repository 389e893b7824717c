"""One table says what kind a column is of, whatever it comes in."""

import datetime as dt
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from modelward import errors
from modelward.data import to_columns
from modelward.kinds import Kind, from_arrow, kind_of, missing_in, to_column
from modelward.shared.typed_columns import from_typed, to_typed
from modelward.v1 import common_pb2 as pb

NOON, DAY, LAST = map(dt.datetime.fromisoformat, ("2026-01-02T12:00", "2026-01-02", "9999-12-31"))
BERLIN = dt.timezone(dt.timedelta(hours=1))
MISSING = [
    None,
    float("nan"),
    np.nan,
    pd.NA,
    pd.NaT,
    np.datetime64("NaT"),
    np.ma.masked,
    Decimal("NaN"),
    Decimal("sNaN"),
]


def _arrow(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind)


def _views(*values: str | None) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), pa.array(values, pa.string_view()))


TAKEN: dict[str, tuple[Any, Kind, list[Any]]] = {
    "a list of numbers": ([1, 2.5, None], Kind.NUMBER, [1.0, 2.5, None]),
    "whole numbers": ([1, 2], Kind.NUMBER, [1, 2]),
    "whole numbers beyond 64 bits": ([2**64, 1], Kind.NUMBER, [2.0**64, 1.0]),
    "unsigned whole numbers": (np.array([2**63 + 2048, 0], np.uint64), Kind.NUMBER, [2.0**63 + 2048, 0.0]),
    "unsigned whole numbers of Arrow": (_arrow([2**63, None], pa.uint64()), Kind.NUMBER, [2.0**63, None]),
    "unsigned whole numbers of polars": (pl.Series([2**63, None], dtype=pl.UInt64), Kind.NUMBER, [2.0**63, None]),
    "whole numbers beyond 2**53 of Arrow": (_arrow([2**60 + 1, None], pa.int64()), Kind.NUMBER, [2.0**60, None]),
    "whole numbers of 128 bits": (pl.Series([2**70, None], dtype=pl.Int128), Kind.NUMBER, [2.0**70, None]),
    "decimals": ([Decimal("1.5"), Decimal("NaN")], Kind.NUMBER, [1.5, None]),
    "decimals of Arrow": (_arrow([Decimal("1.5"), None], pa.decimal256(40, 2)), Kind.NUMBER, [1.5, None]),
    "halves": (_arrow([1.5, None], pa.float16()), Kind.NUMBER, [1.5, None]),
    "big-endian floats": (np.array([1.5], ">f4"), Kind.NUMBER, [1.5]),
    "infinity": ([float("inf"), -1], Kind.NUMBER, [float("inf"), -1.0]),
    "masked numbers": (np.ma.masked_array([1, 999], [False, True]), Kind.NUMBER, [1.0, None]),
    "masked text": (np.ma.masked_array(["a", "b"], [False, True]), Kind.CATEGORY, ["a", None]),
    "masked truth values": (np.ma.masked_array([True, True], [False, True]), Kind.TRUTH, [True, None]),
    "truth values": ([True, np.False_], Kind.TRUTH, [True, False]),
    "truth values of which one is missing": ([None, True], Kind.TRUTH, [None, True]),
    "truth values of pandas": (pd.array([True, None], dtype="boolean"), Kind.TRUTH, [True, None]),
    "truth values of Arrow": (_arrow([True, None], pa.bool_()), Kind.TRUTH, [True, None]),
    "text": (["a", "", None, "b\0"], Kind.CATEGORY, ["a", "", None, "b\0"]),
    "text of numpy": (np.array(["a", "bc"]), Kind.CATEGORY, ["a", "bc"]),
    "text of pandas": (pd.array(["a", None], dtype="string"), Kind.CATEGORY, ["a", None]),
    "views": (_arrow(["a", None], pa.string_view()), Kind.CATEGORY, ["a", None]),
    "a dictionary of views": (_views("a", "b"), Kind.CATEGORY, ["a", "b", None]),
    "dictionaries in several pieces": (
        pa.chunked_array([pa.array(["a", None]).dictionary_encode(), pa.array(["b"]).dictionary_encode()]),
        Kind.CATEGORY,
        ["a", None, "b"],
    ),
    "categories of pandas": (pd.Categorical(["a", None]), Kind.CATEGORY, ["a", None]),
    "times": ([NOON, None], Kind.TIME, [NOON, None]),
    "times of a zone": ([NOON.replace(tzinfo=BERLIN)], Kind.TIME, [NOON - dt.timedelta(hours=1)]),
    "times of a zone in Arrow": (_arrow([NOON, None], pa.timestamp("s", "Europe/Berlin")), Kind.TIME, [NOON, None]),
    "times of a zone in pandas": (pd.Series([NOON, None]).dt.tz_localize("UTC"), Kind.TIME, [NOON, None]),
    "dates": ([dt.date(9999, 12, 31), None], Kind.TIME, [LAST, None]),
    "dates of Arrow": (_arrow([dt.date(2026, 1, 2), None], pa.date64()), Kind.TIME, [DAY, None]),
    "dates of numpy": (np.array(["2026-01-02", "NaT"], "M8[D]"), Kind.TIME, [DAY, None]),
    "all text missing": (pd.array([None], dtype="string"), Kind.CATEGORY, [None]),
    "all text missing in polars": (pl.Series([None], dtype=pl.String), Kind.CATEGORY, [None]),
    "all text missing in Arrow": (pa.nulls(1, pa.string()), Kind.CATEGORY, [None]),
    "all text masked": (np.ma.masked_array(["a"], [True]), Kind.CATEGORY, [None]),
    "all times missing": (pd.Series([pd.NaT], dtype="datetime64[ns, UTC]"), Kind.TIME, [None]),
    "all numbers missing": (pd.array([None], dtype="Int64"), Kind.NUMBER, [None]),
    "all decimals missing": (pl.Series([None], dtype=pl.Decimal(5, 2)), Kind.NUMBER, [None]),
    "all missing of no kind": ([None, pd.NA], Kind.CATEGORY, [None, None]),
    "all missing of no kind in Arrow": (pa.nulls(2), Kind.CATEGORY, [None, None]),
    "all missing of no kind in polars": (pl.Series([None]), Kind.CATEGORY, [None]),
    "what is iterated over once": ((x for x in (1, 2)), Kind.NUMBER, [1, 2]),
}


def _listed(values: Any, kind: Kind) -> list[Any]:
    return [None if gone else value for value, gone in zip(values.tolist(), missing_in(values), strict=True)]


@pytest.mark.parametrize(("values", "kind", "expected"), TAKEN.values(), ids=TAKEN)
def test_column_has_the_kind_and_values_of_its_type(values: Any, kind: Kind, expected: list[Any]) -> None:
    column = to_column(values, "c")
    assert (kind_of(column), _listed(column, kind)) == (kind, expected)
    again = to_column(column, "c")
    assert (again.dtype, _listed(again, kind)) == (column.dtype, expected), "what was converted stays as it is"


@pytest.mark.parametrize(("values", "kind", "expected"), TAKEN.values(), ids=TAKEN)
def test_typed_columns_of_a_message_hold_the_same(values: Any, kind: Kind, expected: list[Any]) -> None:
    if not hasattr(values, "__len__"):
        pytest.skip("was iterated over before")
    [sent] = to_typed({"c": to_column(values, "c")}).columns
    column = from_typed(pb.Column.FromString(sent.SerializeToString()), "c")
    assert (kind_of(column), _listed(column, kind)) == (kind, expected)


@pytest.mark.parametrize("missing", MISSING, ids=repr)
@pytest.mark.parametrize("present", [1.5, "text", True, NOON], ids=repr)
def test_whatever_stands_for_a_missing_value_is_one(missing: Any, present: Any) -> None:
    assert missing_in(to_column([present, missing], "c")).tolist() == [False, True]


def test_nanoseconds_are_kept_in_arrow_pandas_and_messages() -> None:
    exact = np.array([1_700_000_000_123_456_789, "NaT"], "M8[ns]")
    for values in (exact, pd.Series(exact), pd.Series(exact).dt.tz_localize("UTC"), pa.array(exact), pl.Series(exact)):
        column = to_column(values, "c")
        np.testing.assert_array_equal(column, exact)
        assert column.dtype == exact.dtype
    [sent] = to_typed({"c": exact}).columns
    np.testing.assert_array_equal(from_typed(sent, "c"), exact)


REFUSED: dict[str, tuple[Any, str]] = {
    "a mixture": ([1, "a"], "mixes categories and numbers"),
    "booleans and numbers": ([True, 2], "mixes booleans and numbers"),
    "huge whole numbers": ([10**400], "outside the range of 64-bit floats"),
    "huge decimals": ([Decimal("1e400")], "outside the range of 64-bit floats"),
    "a lone surrogate": (["\ud800"], "lone surrogate"),
    "times with and without a zone": ([NOON, NOON.replace(tzinfo=BERLIN)], "with and without a time zone"),
    "times before year 1": ([dt.datetime.min.replace(tzinfo=BERLIN)], "before year 1"),
    "times that are out of range": (np.array(["99999999"], "M8[Y]"), "out of range"),
    "times that are too fine": (np.array([1], "M8[ps]"), "finer than a nanosecond"),
    "durations": ([dt.timedelta(1)], "numbers of seconds"),
    "durations of numpy": (np.array([1], "m8[s]"), "numbers of seconds"),
    "durations of Arrow": (pa.array([1], pa.duration("s")), "numbers of seconds"),
    "durations of polars": (pl.Series([dt.timedelta(1)]), "numbers of seconds"),
    "times of day": ([dt.time(1)], "times of day"),
    "times of day of Arrow": (pa.array([dt.time(1)]), "times of day"),
    "bytes": ([b"a"], "decode them"),
    "bytes of numpy": (np.array([b"a"]), "decode them"),
    "bytes of Arrow": (pa.array([b"a"]), "decode them"),
    "lists": ([[1], [2]], "nested"),
    "lists of Arrow": (pa.array([[1]]), "nested"),
    "structs of Arrow": (pa.array([{"a": 1}]), "nested"),
    "lists of polars": (pl.Series([[1]]), "nested"),
    "lists of pandas": (pa.table({"a": [[1]]}).to_pandas(types_mapper=pd.ArrowDtype)["a"], "nested"),
    "two dimensions": (np.zeros((2, 2)), "one dimension"),
    "complex numbers": ([1j], "real and imaginary"),
    "periods": (pd.period_range("2026", "2027", freq="Y"), "type Period"),
    "objects": ([object()], "type object"),
    "one text": ("abc", "sequence of values"),
}


@pytest.mark.parametrize(("values", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_column_is_refused_with_the_fix(values: Any, said: str) -> None:
    with pytest.raises(errors.InvalidField, match=said) as refused:
        to_columns({"a": values})
    assert refused.value.violations[0].field == "data['a']"
    to_columns({"a": values, "b": [1]}, ignore=["a"])


@pytest.mark.skipif(sys.platform == "win32", reason="long doubles are no longer there")
def test_long_doubles_beyond_doubles_are_refused() -> None:
    with pytest.raises(errors.InvalidField, match="outside the range"):
        to_column(np.array([np.longdouble("1e400")]), "c")


def test_text_of_arrow_that_is_not_utf_8_is_refused() -> None:
    raw = pa.array([b"h\xf6her"]).view(pa.string())
    with pytest.raises(errors.InvalidField, match="not UTF-8"):
        from_arrow(raw, "c")


TABLES: dict[str, tuple[Callable[[], Any], str]] = {
    "a plan of polars": (lambda: pl.DataFrame({"a": [1]}).lazy(), r"send its \.collect\(\)"),
    "a reader of Arrow": (lambda: pa.table({"a": [1]}).to_reader(), r"send its \.read_all\(\)"),
    "names that are equal as text": (lambda: {1: [1], "1": [2]}, "same name: 1"),
    "equal names in Arrow": (lambda: pa.table([[1], [2]], ["a", "a"]), "same name: a"),
    "a name that is no text": (lambda: {"\udcff": [1]}, "lone surrogate"),
    "rows of different lengths": (lambda: [[1, 2], [3]], "shape|different lengths"),
}


@pytest.mark.parametrize(("table", "said"), TABLES.values(), ids=TABLES)
def test_what_is_no_table_is_refused_with_the_fix(table: Callable[[], Any], said: str) -> None:
    with pytest.raises(errors.InvalidField, match=said) as refused:
        to_columns(table())
    assert refused.value.violations[0].field == "data"


def test_rows_of_several_kinds_keep_them() -> None:
    columns = to_columns([[1, "a", True], [2, "b", None]], ["n", "t", "b"])
    assert [kind_of(column) for column in columns.values()] == [Kind.NUMBER, Kind.CATEGORY, Kind.TRUTH]


@pytest.mark.parametrize("rows", [[-1], [2], [0, 5]], ids=str)
def test_row_that_is_not_there_cannot_be_missing(rows: list[int]) -> None:
    column = pb.Column(name="c", strings=pb.StringValues(values=["a", "b"]), missing=rows)
    with pytest.raises(errors.InvalidField, match="does not exist") as refused:
        from_typed(column, "data.columns.columns[0]")
    assert refused.value.violations[0].field == "data.columns.columns[0].missing"
