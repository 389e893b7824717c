"""Turns firings into jobs when their time has come, in every server; the ledger sees to it that each happens once."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward_server.caller import Caller
from modelward_server.lifecycle.rows import model_row
from modelward_server.retraining.firings import is_unfired, scheduled
from modelward_server.retraining.jobs import fire_model
from modelward_server.retraining.preview import next_firing
from modelward_server.store import audit
from modelward_server.store.ledger import Ledger
from modelward_server.store.tables import AuditRow

log = logging.getLogger(__name__)

ACTOR = "modelward"
"""Who made a job that a schedule made due, for the record."""
LONGEST_REST = timedelta(minutes=1)
"""How long a model of which nothing is heard is not looked at: a look costs milliseconds, and models may be many."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Ticker:
    """Looks at the schedules again and again.

    A model is looked at when its next time of the clock has come, when a record about it was written, and once a
    minute for all that comes without either, as a metric or the end of a freeze.

    Args:
        on_write: called after each look that changed something.
        now: the clock.
    """

    def __init__(
        self, ledger: Ledger, seconds: float, on_write: Callable[[], None], now: Callable[[], datetime] = utc_now
    ) -> None:
        self._ledger = ledger
        self._seconds = seconds
        self._on_write = on_write
        self._now = now
        self._rests: dict[str, datetime] = {}
        """Until when a model need not be looked at."""
        self._heard = 0
        """The number of the last record that was heard of."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            if await asyncio.to_thread(self.tick):
                self._on_write()

    def tick(self) -> int:
        """Decide every firing up to now, and return for how many models there was something to decide."""
        now = self._now()
        try:
            with self._ledger.reading() as session:
                models = list(self._unfired(session, now))
        except Exception as error:  # Whatever it is, the next look may go well, and nobody else would begin it.
            log.warning("the schedules could not be read: %s", error)
            return 0
        return sum(self._fire(model) for model in models)

    def _unfired(self, session: Session, now: datetime) -> Iterator[str]:
        self._listen(session)
        for model in scheduled(session):
            if now < self._rests.get(model, now):
                continue
            if is_unfired(session, model, now):
                yield model
            else:
                self._rests[model] = min(next_firing(session, model, now) or now + LONGEST_REST, now + LONGEST_REST)

    def _listen(self, session: Session) -> None:
        """End the rest of the models about which records were written."""
        last = audit.last_sequence(session)
        told = select(AuditRow.model).where(AuditRow.sequence > self._heard, AuditRow.sequence <= last).distinct()
        for model in session.scalars(told) if self._rests else ():
            self._rests.pop(model, None)
        self._heard = last

    def _fire(self, model: str) -> bool:
        """Do what is to be done for one model, and return whether that went well; the next look tries again."""
        try:
            with self._ledger.writing() as session:
                audit.queue(session)
                model_row(session, model, lock=True)
                fire_model(session, model, Caller(ACTOR, self._now()))
        except Exception as error:
            log.warning("the schedules of %s could not be looked at: %s", model, error)
            return False
        return True
