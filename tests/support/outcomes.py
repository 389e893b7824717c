"""What tests of outcomes share."""

import asyncio

from modelward import AsyncClient, EventKind, PerformanceAlarm
from tests.support.waiting import PATIENCE_SECONDS


def ids_of(count: int, day: int = 0) -> list[str]:
    """Return ids that no other day has."""
    return [f"{day}-{i}" for i in range(count)]


async def watched_alarm(client: AsyncClient, model: str, sequence: int) -> PerformanceAlarm:
    """Return the alarm of a sequence number as a watcher gets it."""
    async with AsyncClient(client.target) as watcher, asyncio.timeout(PATIENCE_SECONDS):
        events = watcher.watch([model], resume_token=str(sequence - 1))
        event = await anext(events)
        await events.aclose()
    assert (event.kind, event.sequence) == (EventKind.PERFORMANCE_ALARM, sequence)
    assert isinstance(event.subject, PerformanceAlarm)
    return event.subject
