"""The scheduler of every server: processes firings into jobs when they are due; the ledger ensures that each happens
once."""

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
from modelward_server.retraining.firings import has_undecided_firings
from modelward_server.retraining.jobs import fire_model
from modelward_server.retraining.preview import next_firing
from modelward_server.retraining.repository import scheduled_models
from modelward_server.retraining.schedule_inputs import evaluate_schedules
from modelward_server.runtime.background import in_own_thread, progressed, stalled
from modelward_server.runtime.retries import Retries
from modelward_server.storage import audit
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.prepared import Outdated
from modelward_server.storage.tables import AuditRow

ACTOR = "modelward"
"""The actor recorded for jobs that schedules create."""
MAX_CHECK_INTERVAL = timedelta(minutes=1)
"""Maximum interval between checks of a model without changes: a check costs milliseconds, and models may be many."""

MAX_PAUSE_SECONDS = 300.0
"""Maximum pause until a model is checked again whose schedules could not be evaluated."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Scheduler:
    """Checks the schedules periodically.

    A model is checked at its next clock firing, when a record about it was written, and once a minute for changes
    without either, such as the end of a freeze.

    Args:
        ledger: the ledger.
        seconds: the interval of the checks.
        on_write: called after each check that changed something.
        now: the clock.
    """

    def __init__(
        self, ledger: Ledger, seconds: float, on_write: Callable[[], None], now: Callable[[], datetime] = utc_now
    ) -> None:
        self._ledger = ledger
        self._seconds = seconds
        self._on_write = on_write
        self._now = now
        self._next_checks: dict[str, datetime] = {}
        """The time of each model's next check."""
        self._last_record = 0
        """The number of the last audit record that was read."""
        self._retries = Retries[str]("looking at the schedules of", seconds, MAX_PAUSE_SECONDS)

    async def run(self) -> None:
        """Run until cancelled."""
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
        """Decide every firing up to now, and return the number of models that had undecided firings.

        A model that cannot be evaluated is retried later and does not affect the others.

        Raises:
            StoreUnavailable: the schedules cannot be read.
        """
        now, fired = self._now(), 0
        for model in self._due_models(now):
            with self._retries.attempt(model):
                fired += self._check(model, now)
        return fired

    def _due_models(self, now: datetime) -> list[str]:
        """Return the models that are due for a check."""
        with self._ledger.reading() as session:
            self._wake_changed(session)
            models = scheduled_models(session)
        self._retries.retain(set(models))
        return [model for model in models if now >= self._next_checks.get(model, now) and self._retries.is_due(model)]

    def _check(self, model: str, now: datetime) -> bool:
        """Decide the firings of one model up to now, or set its next check; return whether there were firings."""
        with self._ledger.reading() as session:
            unfired = has_undecided_firings(session, model, now)
            if not unfired:
                self._next_checks[model] = min(
                    next_firing(session, model, now) or now + MAX_CHECK_INTERVAL, now + MAX_CHECK_INTERVAL
                )
        if unfired:
            self._fire(model)
        return unfired

    def _wake_changed(self, session: Session) -> None:
        """Make the models due for a check about which records were written."""
        last = audit.last_sequence(session)
        changed = (
            select(AuditRow.model).where(AuditRow.sequence > self._last_record, AuditRow.sequence <= last).distinct()
        )
        for model in session.scalars(changed) if self._next_checks else ():
            self._next_checks.pop(model, None)
        self._last_record = last

    def _fire(self, model: str) -> None:
        with self._ledger.reading() as session:  # The slow part runs before the model is locked.
            evaluation = evaluate_schedules(session, model, self._now())
        with suppress(Outdated), self._ledger.writing() as session:  # The next check is soon.
            audit.lock_log(session)
            model_row(session, model, lock=True)
            fire_model(session, model, ActorContext(ACTOR, self._now()), evaluation)
