"""The clock by which a server of this process dates changes, set by a test: history of earlier years."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from types import ModuleType

import pytest

from modelward_server.lifecycle import drill_task
from modelward_server.rpc import drills
from modelward_server.storage import audit

READERS: tuple[ModuleType, ...] = (audit, drills, drill_task)
"""The modules that read the clock for what the audit log records."""


class ServerClock:
    """Stands where these modules have `datetime`; it stands still until it is set, and never goes back."""

    def __init__(self, begin: str) -> None:
        self._now = _time(begin)

    def set(self, text: str) -> None:
        """Set it to a time in UTC, such as `2025-03-31T10:00`."""
        assert _time(text) >= self._now, "the audit log dates no record before the last one"
        self._now = _time(text)

    def now(self, zone: tzinfo) -> datetime:
        return self._now.astimezone(zone)


@contextmanager
def server_clock(begin: str) -> Iterator[ServerClock]:
    """Set the clock of the servers of this process for the duration of the block."""
    clock = ServerClock(begin)
    with pytest.MonkeyPatch.context() as patch:
        for module in READERS:
            patch.setattr(module, "datetime", clock)
        yield clock


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
