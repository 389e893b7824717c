"""Turns firings into jobs when their time has come, in every server; the ledger sees to it that each happens once."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from modelward.errors import ModelwardError
from modelward_server.caller import Caller
from modelward_server.retraining.firings import unfired
from modelward_server.retraining.jobs import fire_model
from modelward_server.store import audit
from modelward_server.store.ledger import Ledger

log = logging.getLogger(__name__)

ACTOR = "modelward"
"""Who made a job that a schedule made due, for the record."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Ticker:
    """Looks at the schedules again and again.

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

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            if await asyncio.to_thread(self.tick):
                self._on_write()

    def tick(self) -> int:
        """Decide every firing up to now, and return for how many models there was something to decide."""
        try:
            with self._ledger.reading() as session:
                models = unfired(session, self._now())
        except ModelwardError as error:
            log.warning("the schedules could not be read: %s", error)
            return 0
        return sum(self._fire(model) for model in models)

    def _fire(self, model: str) -> bool:
        """Do what is to be done for one model, and return whether that went well; the next look tries again."""
        try:
            with self._ledger.writing() as session:
                audit.queue(session)
                fire_model(session, model, Caller(ACTOR, self._now()))
        except Exception as error:
            log.warning("the schedules of %s could not be looked at: %s", model, error)
            return False
        return True
