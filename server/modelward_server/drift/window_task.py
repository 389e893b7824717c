"""The background task that closes windows of live data for which no more rows come."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NoReturn

from sqlalchemy.exc import SQLAlchemyError

from modelward.errors import ModelwardError
from modelward.lifecycle import VersionRef
from modelward_server.drift import live_monitoring
from modelward_server.drift.window_closing import WindowClosers
from modelward_server.drift.windows import Observer
from modelward_server.runtime.background import progressed, stalled
from modelward_server.runtime.retries import Retries
from modelward_server.storage.unit_of_work import UnitOfWork

ACTOR = "modelward"
"""The actor recorded for reports of windows that the server closes by itself."""
MAX_PAUSE_SECONDS = 300.0
"""Maximum pause until a sender is tried again whose window could not be compared."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class WindowTask:
    """Closes the windows whose time is over, and compares those that a server left when it died.

    Args:
        unit_of_work: the transactions of the ledger.
        closers: opens what closes windows.
        seconds: the interval of the checks.
        now: the clock.
    """

    def __init__(
        self, unit_of_work: UnitOfWork, closers: WindowClosers, seconds: float, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._unit_of_work, self._closers, self._seconds, self._now = unit_of_work, closers, seconds, now
        self._retries = Retries[tuple[VersionRef, str, str]]("closing the window of", seconds, MAX_PAUSE_SECONDS)

    async def run(self) -> NoReturn:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self.close_due()
            except (ModelwardError, SQLAlchemyError) as error:
                await stalled(error)
            else:
                await progressed()

    async def close_due(self) -> None:
        """Close every window whose time is over; one that cannot be compared is tried again later."""
        now = self._now()
        due = await self._unit_of_work.read(lambda session: live_monitoring.due_observers(session, now))
        for observer in due:
            key = observer.version, observer.reference, observer.sender
            if self._retries.is_due(key):
                with self._retries.attempt(key):
                    await self._close(observer, now)

    async def _close(self, observer: Observer, now: datetime) -> None:
        after = await self._unit_of_work.run_as_system(
            ACTOR, lambda session, _: live_monitoring.claim(session, observer, now)
        )
        if after is None:
            return
        closer = await self._closers.open(self._unit_of_work, observer)
        while await self._unit_of_work.run_prepared_as_system(
            ACTOR, lambda session: closer.prepare(session, after), closer.store
        ):
            pass
        await self._unit_of_work.run_as_system(
            ACTOR, lambda session, _: live_monitoring.release(session, observer, after)
        )
