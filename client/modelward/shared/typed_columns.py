"""Columns in the typed form of a message, which needs no Arrow."""

from collections.abc import Sequence

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import Column, Kind, is_time, kind_of, missing_in, with_missing
from modelward.v1 import common_pb2 as pb

BILLION = 1_000_000_000
NANOSECONDS = {"us": 1_000, "ns": 1}


def to_typed(columns: dict[str, Column]) -> pb.ColumnTable:
    """Convert columns to a message of typed columns, the form for messages written by hand."""
    return pb.ColumnTable(columns=[_column(name, values) for name, values in columns.items()])


def _column(name: str, values: Column) -> pb.Column:
    if values.dtype.kind == "f":
        return pb.Column(name=name, doubles=pb.DoubleValues(values=values.tolist()))
    if values.dtype.kind == "i":
        return pb.Column(name=name, int64s=pb.Int64Values(values=values.tolist()))
    missing = np.flatnonzero(missing_in(values)).tolist()
    if is_time(values):
        return pb.Column(name=name, times=_times(values), missing=missing)
    if kind_of(values) is Kind.TRUTH:
        return pb.Column(name=name, bools=pb.BoolValues(values=map(bool, values)), missing=missing)
    return pb.Column(name=name, strings=pb.StringValues(values=[value or "" for value in values]), missing=missing)


def _times(values: Column) -> pb.TimeValues:
    message = pb.TimeValues()
    nanoseconds = np.where(np.isnat(values), 0, values.astype(np.int64)).astype(object)
    for time in nanoseconds * NANOSECONDS[np.datetime_data(values.dtype)[0]]:
        message.values.add(seconds=time // BILLION, nanos=time % BILLION)
    return message


def from_typed(column: pb.Column, field: str) -> Column:
    """Convert a message's column.

    Raises:
        InvalidField: a row that is marked as missing does not exist.
    """
    kind = column.WhichOneof("values") or "doubles"
    values = getattr(column, kind).values
    mask = np.zeros(len(values), np.bool_)
    beyond = [row for row in column.missing if not 0 <= row < len(values)]
    if beyond:
        fix = f"row {beyond[0]} does not exist; there are {len(values)} rows, counted from 0"
        raise InvalidField(FieldViolation(f"{field}.missing", fix))
    mask[column.missing] = True
    present = _from_times(values, f"{field}.times") if kind == "times" else np.array(values, dtype=_DTYPES[kind])
    return with_missing(present[~mask], mask)


_DTYPES: dict[str, type] = {"doubles": np.float64, "int64s": np.int64, "strings": object, "bools": np.bool_}


def _from_times(values: Sequence[Timestamp], field: str) -> Column:
    """Convert times to microseconds, or to nanoseconds where one has some."""
    if not any(time.nanos % 1_000 for time in values):
        return np.array([time.seconds * 1_000_000 + time.nanos // 1_000 for time in values], "M8[us]")
    try:
        return np.array([time.seconds * BILLION + time.nanos for time in values], np.int64).astype("M8[ns]")
    except OverflowError:
        fix = "contains times with nanoseconds and times before 1678 or after 2262; round them to microseconds"
        raise InvalidField(FieldViolation(field, fix)) from None
