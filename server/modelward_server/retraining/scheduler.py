"""Turns firings into jobs when their time has come, in every server; the ledger sees to it that each happens once."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from modelward.errors import ModelwardError
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import model_row
from modelward_server.retraining.firings import is_unfired, scheduled
from modelward_server.retraining.jobs import fire_model
from modelward_server.retraining.preview import next_firing
from modelward_server.retraining.schedule_inputs import look
from modelward_server.runtime.background import in_own_thread, progressed, stalled
from modelward_server.runtime.retries import Retries
from modelward_server.storage import audit
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.tables import AuditRow

ACTOR = "modelward"
"""Who made a job that a schedule made due, for the record."""
LONGEST_REST = timedelta(minutes=1)
"""How long a model of which nothing is heard is not looked at: a look costs milliseconds, and models may be many."""

MAX_PAUSE_SECONDS = 300.0
"""The longest time until a model is looked at again whose schedules could not be evaluated."""


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
        self._retries = Retries[str]("looking at the schedules of", seconds, MAX_PAUSE_SECONDS)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            try:
                if await in_own_thread(self.tick):
                    self._on_write()
            except (ModelwardError, SQLAlchemyError) as error:
                await stalled(error)
            else:
                await progressed()

    def tick(self) -> int:
        """Decide every firing up to now, and return for how many models there was something to decide.

        A model that cannot be looked at is tried again later; the others go on.

        Raises:
            StoreUnavailable: the schedules cannot be read.
        """
        now, fired = self._now(), 0
        for model in self._awake(now):
            with self._retries.attempt(model):
                fired += self._look(model, now)
        return fired

    def _awake(self, now: datetime) -> list[str]:
        """Return the models that are to be looked at."""
        with self._ledger.reading() as session:
            self._listen(session)
            models = scheduled(session)
        self._retries.retain(set(models))
        return [model for model in models if now >= self._rests.get(model, now) and self._retries.is_due(model)]

    def _look(self, model: str, now: datetime) -> bool:
        """Decide the firings of one model up to now; without any, let it rest. Return whether there were some."""
        with self._ledger.reading() as session:
            unfired = is_unfired(session, model, now)
            if not unfired:
                self._rests[model] = min(next_firing(session, model, now) or now + LONGEST_REST, now + LONGEST_REST)
        if unfired:
            self._fire(model)
        return unfired

    def _listen(self, session: Session) -> None:
        """End the rest of the models about which records were written."""
        last = audit.last_sequence(session)
        told = select(AuditRow.model).where(AuditRow.sequence > self._heard, AuditRow.sequence <= last).distinct()
        for model in session.scalars(told) if self._rests else ():
            self._rests.pop(model, None)
        self._heard = last

    def _fire(self, model: str) -> None:
        with self._ledger.reading() as session:  # What takes long is done before others wait.
            looked = look(session, model, self._now())
        with suppress(Outdated), self._ledger.writing() as session:  # The next look is soon.
            audit.lock_log(session)
            model_row(session, model, lock=True)
            fire_model(session, model, ActorContext(ACTOR, self._now()), looked)
