"""The server itself: the health of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelward._record import Record


@dataclass(frozen=True, repr=False)
class Health(Record):
    """The health of a server; each state is `serving`, `not serving`, `service unknown` or `unknown`."""

    parts: Mapping[str, str]
    """The states of the server, the database and MLflow."""
    services: Mapping[str, str]
    """The state of each gRPC service."""
    tasks: Mapping[str, str]
    """The state of each background task."""
    confinement: str
    """The mechanisms that confine models on the server."""

    def _describe(self) -> str:
        return ", ".join(f"{part} {state}" for part, state in self.parts.items())
