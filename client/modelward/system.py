"""The server itself: the health of its parts, its settings, and the servers that share its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

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


@dataclass(frozen=True, repr=False)
class Setting(Record):
    """A setting of a server."""

    name: str
    """Its name; the environment variable is `MODELWARD_` and the name in capitals."""
    value: str
    """Its value as text, with `***` in place of passwords in URLs; empty for a secret."""
    secret: bool
    """Whether it is a secret, which the server never sends."""
    given: bool
    """Whether it was given: it is not its default. Of a secret: whether it is set."""

    @property
    def shown(self) -> str:
        """The value for people: of a secret only whether it is set."""
        return ("set" if self.given else "not set") if self.secret else self.value

    def _describe(self) -> str:
        return f"{self.name}: {self.shown}"


@dataclass(frozen=True, repr=False)
class Replica(Record):
    """A server process that shares the ledger."""

    replica_id: str
    """An id that is made when it starts."""
    address: str
    """The address at which it listens."""
    machine: str
    """The name of its machine."""
    pid: int
    """The id of its process."""
    version: str
    """Its version of Modelward."""
    started_at: datetime
    """When it started, in UTC."""
    seen_at: datetime
    """Its last heartbeat, in UTC."""
    silent: bool
    """Whether it missed several heartbeats: it has ended, hangs, or does not reach the database."""

    def _describe(self) -> str:
        return f"{self.address} on {self.machine}, version {self.version}{', silent' if self.silent else ''}"


@dataclass(frozen=True, repr=False)
class SystemInfo(Record):
    """The server that answers, and those that share its ledger."""

    settings: tuple[Setting, ...]
    """The settings of the server that answers, by name."""
    replicas: tuple[Replica, ...]
    """The servers that share the ledger, the newest last: those that serve, and those silent for less than a day."""
    replica_id: str
    """Which of them answers."""

    def _describe(self) -> str:
        return f"{len(self.settings)} settings, {len(self.replicas)} replicas"
