"""Dataclasses of the caller: who a client is to the server, and what it may do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from modelward._given import check_given
from modelward._record import Record


class Permission(StrEnum):
    """What a role may permit; each call of the contract requires one of these."""

    READ = "read"
    """Read everything but secrets."""
    ASSESS = "assess"
    """Compare versions, and compare data with their references."""
    SUBMIT = "submit"
    """Register versions, and send data about them."""
    OPERATE = "operate"
    """Change stages, halts and schedules."""
    REVIEW = "review"
    """Open and close findings, and record reviews."""
    DRILL = "drill"
    """Start drills of halts, which stop nothing."""
    ADMINISTER = "administer"
    """Set policies."""


class Role(StrEnum):
    """A set of permissions of a client."""

    VIEWER = "viewer"
    """Reads."""
    TRAINER = "trainer"
    """Also assesses, registers versions, and sends data."""
    OPERATOR = "operator"
    """A trainer who also changes stages, halts and schedules, and starts drills."""
    ADMIN = "admin"
    """Has every permission."""
    VALIDATOR = "validator"
    """Reads, assesses, reviews and starts drills; registers, promotes and halts nothing."""

    @property
    def permissions(self) -> frozenset[Permission]:
        """The permissions of this role."""
        return _PERMISSIONS[self]

    def covers(self, needed: "Role") -> bool:
        """Return whether this role includes the permissions of another one.

        Args:
            needed: the other role.

        Returns:
            Whether it has each of them.

        Raises:
            InvalidField: it is no role.
        """
        check_given("needed", needed, Role)
        return self.permissions >= needed.permissions


_VIEWER = frozenset({Permission.READ})
_TRAINER = _VIEWER | {Permission.ASSESS, Permission.SUBMIT}
_PERMISSIONS = {
    Role.VIEWER: _VIEWER,
    Role.TRAINER: _TRAINER,
    Role.OPERATOR: _TRAINER | {Permission.OPERATE, Permission.DRILL},
    Role.ADMIN: frozenset(Permission),
    Role.VALIDATOR: _VIEWER | {Permission.ASSESS, Permission.REVIEW, Permission.DRILL},
}


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
    functions: Sequence[str] = ()
    """The functions for which it decides requests of approval, such as "risk"."""

    def may_reach(self, model: str) -> bool:
        """Return whether the caller may reach a model.

        Args:
            model: the model's name; the model need not exist.

        Returns:
            Whether one of the prefixes begins its name, or there are none.

        Raises:
            InvalidField: the name is no text.
        """
        check_given("model", model, str)
        return not self.model_prefixes or model.startswith(tuple(self.model_prefixes))
