"""Readings: the result of a test at one moment, and whether it is still valid when a decision is based on it."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from cachetools import LRUCache
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.abtest import AbTest, AbTestResult
from modelward_server.abtest.outcomes import result_of
from modelward_server.abtest.result import MAX_LOOKS
from modelward_server.storage.ab_tables import AbTestRow
from modelward_server.storage.prepared import Outdated

MAX_LATER_SHARE = 0.01
"""Maximum number of additional outcomes of a test since it was read, as a share of those that were read. Its intervals
are valid at any number of outcomes, so the result remains valid, and a test under traffic could otherwise never be read
in time; but a decision should not be based on an older result than this."""
MAX_KEPT = 64
"""Number of tests whose last readings are kept."""


@dataclass(frozen=True)
class Reading:
    """A running test and its result."""

    test: AbTest
    result: AbTestResult
    outcomes: int
    """The number of outcomes in the result."""

    def check(self, session: Session) -> None:
        """Check that the test has not changed since, and does not have many more outcomes.

        Raises:
            Outdated: it must be read again.
        """
        outcomes, revision = _outcomes_and_revision(session, self.test)
        if f"r{revision}" != self.test.etag or outcomes > self.outcomes * (1 + MAX_LATER_SHARE):
            raise Outdated


def read_test(session: Session, test: AbTest, max_looks: int = MAX_LOOKS) -> Reading:
    """Compute the result of a running test from all of its outcomes.

    Args:
        max_looks: the maximum number of intermediate looks in the result.
    """
    outcomes, _ = _outcomes_and_revision(session, test)
    return Reading(test, result_of(session, test, max_looks), outcomes)


_recent: LRUCache[tuple[str, datetime, str], Reading] = LRUCache(MAX_KEPT)
"""Readings by the test, when it began, and its revision."""
_lock = Lock()


def recent_reading(session: Session, test: AbTest) -> Reading:
    """Return the last reading of a running test, without looks, while it is valid; otherwise read the test.

    A promotion that follows its dry run, or one that was refused, then takes no processor time from other calls.
    """
    key = test.test, test.created_at, test.etag
    with _lock:
        reading = _recent.get(key)
    if reading is not None:
        with suppress(Outdated):
            reading.check(session)
            return reading
    reading = read_test(session, test, max_looks=0)
    with _lock:
        _recent[key] = reading
    return reading


def _outcomes_and_revision(session: Session, test: AbTest) -> tuple[int, int]:
    row = select(AbTestRow.outcomes, AbTestRow.revision).where(AbTestRow.test == test.test)
    outcomes, revision = session.execute(row).one()
    return outcomes, revision
