"""The actor and timestamp recorded for a change."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self


@dataclass(frozen=True)
class ActorContext:
    """Who makes a change, and when, as the record names them."""

    name: str
    at: datetime
    """When the change entered the write lock, in UTC."""

    def not_before(self, instant: datetime) -> Self:
        """Return the context at `instant` or later: servers' clocks differ, and history must not run backwards."""
        return replace(self, at=max(self.at, instant))
