"""Who calls: a name for the record, a role, and the models that it is about."""

import re
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


PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What the name of a model may begin with. The empty text is none: every name begins with it."""


def is_prefix(value: object) -> bool:
    """Whether a value can limit a caller to the models whose names begin so."""
    return isinstance(value, str) and PREFIX.fullmatch(value) is not None


@dataclass(frozen=True)
class Identity:
    """A caller that has proved who it is.

    Raises:
        ValueError: a prefix limits nobody.
    """

    name: str
    """The actor of what it does."""
    role: Role
    models: tuple[str, ...] = ()
    """What the names of its models begin with; empty for every model."""

    def __post_init__(self) -> None:
        if not all(map(is_prefix, self.models)):
            raise ValueError(f"models of {self.name}: {self.models!r} are no beginnings of names")

    def may_reach(self, model: str) -> bool:
        """Whether a model is one of its own."""
        return not self.models or model.startswith(self.models)


current: ContextVar[Identity | None] = ContextVar("identity", default=None)
"""Who the call at hand is from; None where the server asks nobody for a proof."""
