"""What the health service tells: the server and its services as long as the ledger answers; MLflow and each background
task by itself.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from grpc import aio
from grpc_health.v1 import health, health_pb2
from sqlalchemy import create_engine, make_url, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from modelward.errors import ModelwardError
from modelward_server.runtime.background import Background, in_own_thread, progressed
from modelward_server.sandbox.level import level
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.tables import AuditHeadRow

DATABASE, MLFLOW = "database", "mlflow"
"""What health calls the stores behind the server."""
CONFINEMENT = "modelward.sandbox."
"""What the health service puts before each part of what may confine models, which serves where it holds."""
SECONDS = 2.0
"""How often each is asked."""
PATIENCE_SECONDS = 3.0
"""After which one that has not answered counts as away."""
MESSAGES: Any = health_pb2
"""The types of the health service's messages do not know those of its call `List`."""

Check = Callable[[], bool]


class HealthServicer(health.aio.HealthServicer):
    """The standard health service, with its call that lists every service and its state."""

    def __init__(self) -> None:
        super().__init__()
        self._names: set[str] = set()

    async def List(self, request: object, context: "aio.ServicerContext[Any, Any]") -> Any:  # noqa: N802 - gRPC's name
        answer = MESSAGES.HealthListResponse()
        for name in self._names:
            found = await self.Check(health_pb2.HealthCheckRequest(service=name), context)
            answer.statuses[name].CopyFrom(found)
        return answer

    async def show(self, name: str, well: bool) -> None:
        """Say whether a service is well."""
        answer = health_pb2.HealthCheckResponse
        self._names.add(name)
        await self.set(name, answer.SERVING if well else answer.NOT_SERVING)


class Health:
    """Asks the stores again and again.

    Args:
        servicer: the health service.
        services: those that need the ledger.
        mlflow: the tracking URI.
    """

    def __init__(self, servicer: HealthServicer, services: Sequence[str], ledger: Ledger, mlflow: str) -> None:
        self._servicer = servicer
        self._services = services
        self._ledger = ledger
        self._mlflow = mlflow

    async def begin(self, background: Background) -> None:
        """Say that all is well, as the ledger was just migrated and MLflow is not needed to begin; and begin to ask.

        Each store is asked by a task of its own, so that one that hangs keeps nobody from asking the other.
        """
        needing_ledger = ["", *self._services, DATABASE]
        await self._tell([*needing_ledger, MLFLOW], True)
        background.start("health-database", lambda: self._keep(lambda: answers(self._ledger), needing_ledger))
        background.start("health-mlflow", lambda: self._keep(lambda: is_reached(self._mlflow), [MLFLOW]))
        background.start("confinement", self._tell_confinement)

    async def _tell_confinement(self) -> None:
        """Say once what confines models here, which does not change while the server runs."""
        found = await in_own_thread(level)
        for name, holds in found.parts.items():
            await self._tell([f"{CONFINEMENT}{name}"], holds)
        await progressed()
        await asyncio.Event().wait()

    async def _keep(self, check: Check, names: Sequence[str]) -> None:
        while True:
            running = asyncio.create_task(in_own_thread(check))
            done, _ = await asyncio.wait({running}, timeout=PATIENCE_SECONDS)
            await self._tell(names, bool(done) and running.exception() is None and running.result())
            await running  # One that hangs must not be asked again by another thread, and yet another.
            await progressed()
            await asyncio.sleep(SECONDS)

    async def _tell(self, names: Sequence[str], well: bool) -> None:
        for name in names:
            await self._servicer.show(name, well)


def answers(ledger: Ledger) -> bool:
    """Ask the ledger's database for one row; a question for nothing would not find out that it is damaged."""
    try:
        with ledger.reading() as session:
            session.execute(select(AuditHeadRow.sequence)).first()
    except (ModelwardError, SQLAlchemyError):
        return False
    return True


def is_reached(tracking_uri: str) -> bool:
    """Find out whether a tracking server or database answers; of a store of another kind nothing is asked."""
    if tracking_uri.startswith(("http://", "https://")):
        return _answers_http(f"{tracking_uri.rstrip('/')}/health")
    return "://" not in tracking_uri or tracking_uri.startswith("file:") or _answers_sql(tracking_uri)


def _answers_http(url: str) -> bool:
    try:
        urlopen(url, timeout=PATIENCE_SECONDS).close()  # noqa: S310 - the operator's own URL, http or https
    except HTTPError as error:
        return error.code < 500  # Somebody is there, who wants a password or knows no such page.
    except (OSError, ValueError):
        return False
    return True


def _answers_sql(url: str) -> bool:
    database = make_url(url).database or ""
    if url.startswith("sqlite:") and not Path(database).exists():
        return True  # The mirror makes it when there is something to show; to look into it would make an empty one.
    try:
        with create_engine(url, poolclass=NullPool).connect() as connection:
            connection.execute(select(1))
    except (SQLAlchemyError, ModuleNotFoundError):
        return False
    return True
