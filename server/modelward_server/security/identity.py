"""Who calls: a name for the record, a role, and the models that it is about."""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody may do; each role may do what those before it may."""

    VIEWER = "viewer"
    TRAINER = "trainer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether who has this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True)
class Identity:
    """A caller that has proved who it is."""

    name: str
    """The actor of what it does."""
    role: Role
    models: tuple[str, ...] = ()
    """What the names of its models begin with; empty for every model."""

    def may_reach(self, model: str) -> bool:
        """Whether a model is one of its own."""
        return not self.models or model.startswith(self.models)


current: ContextVar[Identity | None] = ContextVar("identity", default=None)
"""Who the call at hand is from; None where the server asks nobody for a proof."""
