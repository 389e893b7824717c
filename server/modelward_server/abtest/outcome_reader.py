"""Read the outcomes of a test as arrays, without an object for each of them.

The database packs some thousands of outcomes into one row. Separate rows would be converted into objects while no other
thread can run Python: for a hundred thousand of them, all calls of the server would be delayed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import JSON, BigInteger, ColumnElement, Row, Select, bindparam, func, select, type_coerce
from sqlalchemy.orm import Session

from modelward.abtest import AbTest
from modelward_server.abtest.repository import ab_test_row
from modelward_server.statistics.arm_statistics import Floats, Integers, Outcomes, merge_clusters
from modelward_server.storage.ab_tables import AB_OUTCOMES
from modelward_server.storage.outcome_tables import MICROSECOND

NUMBER = np.dtype("<f8")
"""The type in which the ledger stores the numbers of an outcome."""
PACKED_ROWS = 10_000
"""Number of outcomes packed into one row."""


@dataclass(frozen=True)
class TestOutcomes:
    """The outcomes of a test, and the split of its units."""

    outcomes: Outcomes
    units: list[int]
    """The number of units of each variant."""
    mismatched: int
    """The number of units that got another variant than assigned."""


def read_outcomes(session: Session, test: AbTest) -> TestOutcomes:
    """Read a test's outcomes, ordered by time and, at equal times, by id."""
    packed = list(_packed(session, ab_test_row(session, test.test).sequence))
    times = _integers(row.times for row in packed)
    order = np.argsort(times, kind="stable")  # They are read in the order of their ids.
    times, arms = times[order], _integers(row.arms for row in packed)[order]
    units = _numbered(_codes(row.units for row in packed)[order])
    clusters = _codes((row.clusters for row in packed), {"": -1})[order]
    mismatched = _integers(row.mismatched for row in packed)[order].astype(bool)
    values, before = _unpacked(test, b"".join(bytes.fromhex(row.numbers) for row in packed), order)
    keys = units if test.block is None else _numbered(times // (test.block // MICROSECOND))
    return TestOutcomes(
        Outcomes(arms, keys, times, values, before, merge_clusters(keys, clusters) if (clusters >= 0).any() else None),
        [len(np.unique(units[arms == place])) for place in range(len(test.variants))],
        len(np.unique(units[mismatched])),
    )


def _packed(session: Session, test: int) -> Iterator[Row[Any]]:
    after, packing = "", _packing(session.get_bind().dialect.name == "sqlite", test)
    while (row := session.execute(packing, {"after": after}).one()).last is not None:
        yield row
        after = row.last


def _packing(in_file: bool, test: int) -> Select[Any]:
    """Return the query for the outcomes after the id `after`, in the order of an index."""
    table = AB_OUTCOMES.c
    following = select(AB_OUTCOMES).where(table.test == test, table.outcome_id > bindparam("after"))
    row = following.order_by(table.outcome_id).limit(PACKED_ROWS).subquery().c

    def array(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.json_group_array(column, type_=JSON) if in_file else func.json_agg(column, type_=JSON)

    numbers = func.hex(row.numbers) if in_file else func.encode(row.numbers, "hex")
    return select(
        func.max(row.outcome_id).label("last"),
        array(row.unit).label("units"),
        array(row.cluster).label("clusters"),
        array(row.arm).label("arms"),
        array(row.mismatched).label("mismatched"),
        array(type_coerce(row.observed_at, BigInteger)).label("times"),
        func.aggregate_strings(numbers, "").label("numbers"),
    )


def _integers(parts: Iterator[list[int]]) -> Integers:
    return np.concatenate([np.array(part, np.int64) for part in parts] or [np.array([], np.int64)])


def _codes(parts: Iterator[list[str]], known: Mapping[str, int] | None = None) -> Integers:
    """Replace each name by a number, those that are known by their own."""
    codes = dict(known or {})
    return _integers([codes.setdefault(name, len(codes)) for name in part] for part in parts)


def _numbered(codes: Integers) -> Integers:
    """Renumber codes from 0 in the order of first appearance."""
    _, first, places = np.unique(codes, return_index=True, return_inverse=True)
    numbers: Integers = np.argsort(np.argsort(first))[places]
    return numbers


def _unpacked(test: AbTest, numbers: bytes, order: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return the metrics, and those from before the test, each of shape (outcomes, metrics)."""
    table = np.frombuffer(numbers, NUMBER).reshape(len(order), 2, len(test.metrics))[order]
    return table[:, 0], table[:, 1]
