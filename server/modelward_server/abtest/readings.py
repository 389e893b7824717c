"""How a test stood when it was read, and whether that still counts a moment later, when something is decided by it."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.abtest import AbTest, AbTestResult
from modelward_server.abtest.outcomes import result_of
from modelward_server.abtest.result import MOST_LOOKS
from modelward_server.storage.ab_tables import AbTestRow
from modelward_server.storage.prepared import Outdated

MAX_LATER_SHARE = 0.01
"""How many outcomes more a test may have by then, of those that were read. Its intervals hold at every number of
outcomes, so what was read stays true; but a test with traffic could else never be read in time, and what decides shall
be no older than that."""


@dataclass(frozen=True)
class Reading:
    """A running test, and how it stood."""

    test: AbTest
    result: AbTestResult
    outcomes: int
    """How many it had."""

    def check(self, session: Session) -> None:
        """Refuse it once the test was concluded, or has many more outcomes.

        Raises:
            Outdated: it must be read again.
        """
        outcomes, revision = _standing(session, self.test)
        if f"r{revision}" != self.test.etag or outcomes > self.outcomes * (1 + MAX_LATER_SHARE):
            raise Outdated


def read_test(session: Session, test: AbTest, most_looks: int = MOST_LOOKS) -> Reading:
    """Work out how a running test stands by all of its outcomes.

    Args:
        most_looks: how often to say how it stood on the way.
    """
    outcomes, _ = _standing(session, test)
    return Reading(test, result_of(session, test, most_looks), outcomes)


def _standing(session: Session, test: AbTest) -> tuple[int, int]:
    row = select(AbTestRow.outcomes, AbTestRow.revision).where(AbTestRow.test == test.test)
    outcomes, revision = session.execute(row).one()
    return outcomes, revision
