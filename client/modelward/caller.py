"""Dataclasses of the caller: who a client is to the server, and what it may do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from modelward._record import Record


class Role(StrEnum):
    """Permissions of a client; each role includes the permissions of those before it."""

    VIEWER = "viewer"
    """Reads."""
    TRAINER = "trainer"
    """Also registers versions, and sends data."""
    OPERATOR = "operator"
    """Also changes stages, halts and schedules."""
    ADMIN = "admin"
    """Also sets policies."""

    def covers(self, needed: "Role") -> bool:
        """Return whether this role includes the permissions of another one.

        Args:
            needed: the other role.

        Returns:
            Whether it is the same, or a lesser one.
        """
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, repr=False)
class Caller(Record):
    """Who a client is to the server: the name that is recorded, and the client's permissions."""

    name: str
    """The actor of its changes."""
    role: Role
    """Its role."""
    model_prefixes: Sequence[str]
    """Name prefixes of the models that it may reach; empty for every model."""
    expires_at: datetime | None
    """When its token, JWT or certificate's grant ends, in UTC; None if it does not end."""
    authenticated: bool
    """Whether the server has verified this; False where it requires no authentication."""

    def may_reach(self, model: str) -> bool:
        """Return whether the caller may reach a model.

        Args:
            model: the model's name; the model need not exist.

        Returns:
            Whether one of the prefixes begins its name, or there are none.
        """
        return not self.model_prefixes or model.startswith(tuple(self.model_prefixes))
