"""The background task that ends drills whose time is over."""

import asyncio
from datetime import UTC, datetime
from typing import NoReturn

from sqlalchemy.exc import SQLAlchemyError

from modelward.errors import ModelwardError
from modelward_server.lifecycle.drills import end_overdue, has_overdue
from modelward_server.runtime.background import progressed, stalled
from modelward_server.storage.unit_of_work import UnitOfWork

ACTOR = "modelward"
"""The actor recorded for the end of a drill that not all engines have answered."""
POLL_SECONDS = 1.0


class DrillTask:
    """Ends drills whose time is over, also those that another server started.

    Args:
        unit_of_work: the transactions of the ledger.
    """

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def run(self) -> NoReturn:
        """Run until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._end_overdue()
            except (ModelwardError, SQLAlchemyError) as error:
                await stalled(error)
            else:
                await progressed()

    async def _end_overdue(self) -> None:
        now = datetime.now(UTC)
        if await self._unit_of_work.read(lambda session: has_overdue(session, now)):
            await self._unit_of_work.run_as_system(ACTOR, end_overdue)
