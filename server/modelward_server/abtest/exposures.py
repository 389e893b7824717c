"""Exposures of A/B tests in the ledger: which units were given their variant by the server, each the first time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cachetools import LRUCache
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelward.abtest import AbTest
from modelward_server.abtest.repository import ab_test_row
from modelward_server.storage.ab_tables import AB_EXPOSURES, AbTestRow
from modelward_server.storage.insert_new import insert_new

MAX_EXPOSED_UNITS = 1_000_000
"""Maximum number of units of one test whose exposure is recorded; further ones are scored all the same."""
MAX_TESTS = 1_000
"""Maximum number of tests whose units are counted in memory."""


@dataclass(frozen=True)
class Exposure:
    """A unit that was given its variant.

    Attributes:
        test: the test's name.
        arm: the index of the variant in the test.
        model, version: the version that answered.
    """

    test: str
    unit: str
    arm: int
    model: str
    version: int
    exposed_at: datetime


def record_exposures(session: Session, exposures: Sequence[Exposure]) -> None:
    """Store exposures; of each unit of a test the first counts.

    Raises:
        AbTestNotFound: there is no such test.
    """
    tests = {name: ab_test_row(session, name).sequence for name in {one.test for one in exposures}}
    insert_new(session, AB_EXPOSURES, [vars(one) | {"test": tests[one.test]} for one in exposures])


class ExposureCounts:
    """How many units of each test are on record, so that there is a maximum: a client may make up any number of them.

    Counting them in each transaction would take longer than storing them, so they are counted once, and what is stored
    since is added. With several servers a test may therefore have so many of each of them.
    """

    def __init__(self) -> None:
        self._counts: LRUCache[str, int] = LRUCache(MAX_TESTS)

    def with_room(self, session: Session, exposures: Sequence[Exposure]) -> list[Exposure]:
        """Return the exposures of tests that may have further ones."""
        for test in {one.test for one in exposures} - self._counts.keys():
            self._counts[test] = sum(_units_by_arm(session, test).values())
        return [one for one in exposures if self._counts[one.test] < MAX_EXPOSED_UNITS]

    def add(self, exposures: Sequence[Exposure]) -> None:
        """Count exposures that were stored."""
        for one in exposures:
            self._counts[one.test] = self._counts.get(one.test, 0) + 1


def exposed_units(session: Session, test: AbTest) -> list[int]:
    """Return the number of units that were given each variant, in the order of the variants."""
    units = _units_by_arm(session, test.test)
    return [units.get(arm, 0) for arm in range(len(test.variants))]


def _units_by_arm(session: Session, test: str) -> dict[int, int]:
    table = AB_EXPOSURES.c
    of_test = select(AbTestRow.sequence).where(AbTestRow.test == test).scalar_subquery()
    counted = select(table.arm, func.count()).where(table.test == of_test).group_by(table.arm)
    return {row[0]: row[1] for row in session.execute(counted)}
