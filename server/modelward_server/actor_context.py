"""Who asks for a change, and when."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self


@dataclass(frozen=True)
class Caller:
    """The author of one change, as the record will name them."""

    actor: str
    at: datetime
    """When the change had its turn, in UTC."""

    def not_before(self, instant: datetime) -> Self:
        """Return the caller at `instant` or later: servers' clocks differ, and history must not run backwards."""
        return replace(self, at=max(self.at, instant))
