"""The servers that share a ledger: each records its heartbeats there."""

import asyncio
import os
import socket
from datetime import UTC, datetime, timedelta
from typing import NoReturn
from uuid import uuid4

from sqlalchemy import String, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from modelward import __version__
from modelward.errors import ModelwardError
from modelward.system import Replica
from modelward_server.runtime.background import in_own_thread, progressed, stalled
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.tables import Base

BEAT_SECONDS = 15.0
SILENT_AFTER = timedelta(seconds=4 * BEAT_SECONDS)
FORGOTTEN_AFTER = timedelta(days=1)
"""A server that ended without a word is listed for so long."""


class ReplicaRow(Base):
    """A server process."""

    __tablename__ = "ledger_replicas"

    replica_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    address: Mapped[str]
    machine: Mapped[str]
    pid: Mapped[int]
    version: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class Replicas:
    """This server's place among those that share its ledger.

    Args:
        ledger: theirs.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._started_at = datetime.now(UTC)
        self.replica_id = str(uuid4())

    async def run(self, address: str) -> NoReturn:
        """Record a heartbeat every `BEAT_SECONDS`, until cancelled.

        Args:
            address: where this server listens.
        """
        while True:
            try:
                await in_own_thread(self.beat, address)
                await progressed()
            except ModelwardError as error:
                await stalled(error)
            await asyncio.sleep(BEAT_SECONDS)

    def beat(self, address: str) -> None:
        """Record a heartbeat, and forget servers that have been silent for long."""
        now = datetime.now(UTC)
        with self._ledger.writing() as session:
            session.execute(delete(ReplicaRow).where(ReplicaRow.seen_at < now - FORGOTTEN_AFTER))
            session.merge(
                ReplicaRow(
                    replica_id=self.replica_id,
                    address=address,
                    machine=socket.gethostname(),
                    pid=os.getpid(),
                    version=__version__,
                    started_at=self._started_at,
                    seen_at=now,
                )
            )

    def leave(self) -> None:
        """Forget this server, which ends."""
        with self._ledger.writing() as session:
            session.execute(delete(ReplicaRow).where(ReplicaRow.replica_id == self.replica_id))


def replicas(session: Session) -> tuple[Replica, ...]:
    """Return the servers that share the ledger, the newest last."""
    before = datetime.now(UTC) - SILENT_AFTER
    rows = session.scalars(select(ReplicaRow).order_by(ReplicaRow.started_at, ReplicaRow.replica_id))
    return tuple(
        Replica(
            row.replica_id,
            row.address,
            row.machine,
            row.pid,
            row.version,
            row.started_at,
            row.seen_at,
            silent=row.seen_at < before,
        )
        for row in rows
    )
