"""Exposures of A/B tests in the ledger: which units were given their variant by the server, each the first time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelward.abtest import AbTest
from modelward_server.abtest.repository import ab_test_row
from modelward_server.storage.ab_tables import AB_EXPOSURES, AbTestRow
from modelward_server.storage.insert_new import insert_new


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


def exposed_units(session: Session, test: AbTest) -> list[int]:
    """Return the number of units that were given each variant, in the order of the variants."""
    table = AB_EXPOSURES.c
    of_test = select(AbTestRow.sequence).where(AbTestRow.test == test.test).scalar_subquery()
    counted = select(table.arm, func.count()).where(table.test == of_test).group_by(table.arm)
    units = {row[0]: row[1] for row in session.execute(counted)}
    return [units.get(arm, 0) for arm in range(len(test.variants))]
