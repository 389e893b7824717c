"""Identity of a client: a name for the record, a role, and a restriction to some models."""

import re
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from modelward.caller import Role

PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""Format of a model name's prefix. The empty text is not a prefix: it would match every name."""

FUNCTION = re.compile(r"[a-z][a-z0-9-]{0,31}")


def is_prefix(value: object) -> bool:
    """Whether a value can restrict a client to the models with that name prefix."""
    return isinstance(value, str) and PREFIX.fullmatch(value) is not None


@dataclass(frozen=True)
class Identity:
    """An authenticated client.

    Raises:
        ValueError: a prefix would restrict nothing.
    """

    name: str
    """The actor of its changes."""
    role: Role
    models: tuple[str, ...] = ()
    """Name prefixes of its models; empty for every model."""
    expires_at: datetime | None = None
    """When its credential ends, in UTC; None for one that does not end by itself."""
    functions: tuple[str, ...] = ()
    """The functions for which it decides requests of approval, such as "risk"."""

    def __post_init__(self) -> None:
        if not all(map(is_prefix, self.models)):
            raise ValueError(f"models of {self.name}: {self.models!r} are not prefixes of names")

    def may_reach(self, model: str) -> bool:
        """Whether the client may reach a model."""
        return not self.models or model.startswith(self.models)


def is_function(value: object) -> bool:
    """Whether a value can be the name of a function that decides requests of approval."""
    return isinstance(value, str) and FUNCTION.fullmatch(value) is not None


current: ContextVar[Identity | None] = ContextVar("identity", default=None)
"""The client of the current call; None where the server does not authenticate."""
