"""The background task that deletes what has outlived its retention period."""

import asyncio
from typing import NoReturn

from modelward_server.runtime.background import in_own_thread, progressed
from modelward_server.storage.retention import Retention, is_done

INTERVAL_SECONDS = 3_600.0
PAUSE_SECONDS = 0.05
"""Time between two steps, in which clients' changes can use the ledger."""


async def run(retention: Retention) -> NoReturn:
    """Delete now and every hour, with a pause after each step, until cancelled."""
    while True:
        steps = retention.steps()
        while not await in_own_thread(is_done, steps):
            await progressed()
            await asyncio.sleep(PAUSE_SECONDS)
        await progressed()
        await asyncio.sleep(INTERVAL_SECONDS)
