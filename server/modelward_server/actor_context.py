"""The actor and timestamp recorded for a change."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self


@dataclass(frozen=True)
class ActorContext:
    """The actor and time of a change, as recorded."""

    name: str
    at: datetime
    """Time at which the change acquired the write lock, in UTC."""

    def not_before(self, instant: datetime) -> Self:
        """Return the context at `instant` or later: servers' clocks differ, and timestamps must not decrease."""
        return replace(self, at=max(self.at, instant))
