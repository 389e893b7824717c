"""Reads the outcomes of a test as arrays, without an object for each of them.

The database packs some thousands of outcomes into one row. Rows of their own would be made into objects while no other
thread runs Python: of a hundred thousand, all calls of the server would wait for that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import JSON, BigInteger, ColumnElement, Row, Select, bindparam, func, select, type_coerce
from sqlalchemy.orm import Session

from modelward.abtest import AbTest
from modelward_server.abtest.repository import ab_test_row
from modelward_server.statistics.arm_statistics import Floats, Integers, Outcomes
from modelward_server.storage.ab_tables import AB_OUTCOMES
from modelward_server.storage.outcome_tables import MICROSECOND

NUMBER = np.dtype("<f8")
"""How the ledger keeps the numbers of an outcome."""
PACKED_ROWS = 10_000
"""How many outcomes are packed into one row."""


@dataclass(frozen=True)
class Taken:
    """The outcomes of a test, and how its units were dealt."""

    outcomes: Outcomes
    units: list[int]
    """How many units each variant has."""
    mismatched: int
    """How many units got another variant than the assignment gives them."""


def read_outcomes(session: Session, test: AbTest) -> Taken:
    """Read a test's outcomes, in the order of time, and of their ids where the time is the same."""
    packed = list(_packed(session, ab_test_row(session, test.test).sequence))
    times = _integers(row.times for row in packed)
    order = np.argsort(times, kind="stable")  # They come in the order of their ids.
    times, arms = times[order], _integers(row.arms for row in packed)[order]
    units = _numbered(_codes(row.units for row in packed)[order])
    mismatched = _integers(row.mismatched for row in packed)[order].astype(bool)
    values, before = _unpacked(test, b"".join(bytes.fromhex(row.numbers) for row in packed), order)
    keys = units if test.block is None else _numbered(times // (test.block // MICROSECOND))
    return Taken(
        Outcomes(arms, keys, times, values, before),
        [len(np.unique(units[arms == place])) for place in range(len(test.variants))],
        len(np.unique(units[mismatched])),
    )


def _packed(session: Session, test: int) -> Iterator[Row[Any]]:
    after, packing = "", _packing(session.get_bind().dialect.name == "sqlite", test)
    while (row := session.execute(packing, {"after": after}).one()).last is not None:
        yield row
        after = row.last


def _packing(in_file: bool, test: int) -> Select[Any]:
    """Return the query for the outcomes that follow the id `after`, by which an index finds them in order."""
    of = AB_OUTCOMES.c
    chosen = select(AB_OUTCOMES).where(of.test == test, of.outcome_id > bindparam("after"))
    row = chosen.order_by(of.outcome_id).limit(PACKED_ROWS).subquery().c

    def array(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.json_group_array(column, type_=JSON) if in_file else func.json_agg(column, type_=JSON)

    numbers = func.hex(row.numbers) if in_file else func.encode(row.numbers, "hex")
    return select(
        func.max(row.outcome_id).label("last"),
        array(row.unit).label("units"),
        array(row.arm).label("arms"),
        array(row.mismatched).label("mismatched"),
        array(type_coerce(row.observed_at, BigInteger)).label("times"),
        func.aggregate_strings(numbers, "").label("numbers"),
    )


def _integers(parts: Iterator[list[int]]) -> Integers:
    return np.concatenate([np.array(part, np.int64) for part in parts] or [np.array([], np.int64)])


def _codes(parts: Iterator[list[str]]) -> Integers:
    """Give each name a number."""
    codes: dict[str, int] = {}
    return _integers([codes.setdefault(name, len(codes)) for name in part] for part in parts)


def _numbered(codes: Integers) -> Integers:
    """Number what has a code from 0 by first appearance."""
    _, first, places = np.unique(codes, return_index=True, return_inverse=True)
    numbers: Integers = np.argsort(np.argsort(first))[places]
    return numbers


def _unpacked(test: AbTest, numbers: bytes, order: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return the metrics and those from before the test, each of shape (outcomes, metrics)."""
    table = np.frombuffer(numbers, NUMBER).reshape(len(order), 2, len(test.metrics))[order]
    return table[:, 0], table[:, 1]
