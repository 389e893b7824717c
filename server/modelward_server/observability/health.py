"""Health checks: the server and its services depend on the ledger; MLflow and background tasks have their own state."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from sqlalchemy import create_engine, make_url, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from modelward.errors import ModelwardError
from modelward_server.runtime.background import Background, Show, in_own_thread, progressed
from modelward_server.sandbox.level import level
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.tables import AuditHeadRow

DATABASE, MLFLOW = "database", "mlflow"
"""The health service's names of the stores behind the server."""
CONFINEMENT = "modelward.sandbox."
"""Prefix of the health services for the sandbox's mechanisms, which are SERVING where they are in effect."""
SECONDS = 2.0
"""Interval of the checks."""
PATIENCE_SECONDS = 3.0
"""Timeout after which a store counts as unavailable."""
Check = Callable[[], bool]


class Health:
    """Checks the stores periodically.

    Args:
        report: tells the health service whether a service is healthy.
        services: the services that depend on the ledger.
        mlflow: the tracking URI.
    """

    def __init__(self, report: Show, services: Sequence[str], ledger: Ledger, mlflow: str) -> None:
        self._report = report
        self._services = services
        self._ledger = ledger
        self._mlflow = mlflow

    async def begin(self, background: Background) -> None:
        """Report all as healthy, since the ledger was just migrated and MLflow is not needed to start; begin checking.

        Each store is checked by a task of its own, so that one that hangs does not delay the other check.
        """
        needing_ledger = ["", *self._services, DATABASE]
        await self._show([*needing_ledger, MLFLOW], True)
        background.start("health-database", lambda: self._keep(lambda: answers(self._ledger), needing_ledger))
        background.start("health-mlflow", lambda: self._keep(lambda: is_reached(self._mlflow), [MLFLOW]))
        background.start("confinement", self._show_confinement)

    async def _show_confinement(self) -> None:
        """Report once the sandbox's mechanisms, which do not change while the server runs."""
        strongest = await in_own_thread(level)
        for name, holds in strongest.parts.items():
            await self._show([f"{CONFINEMENT}{name}"], holds)
        await progressed()
        await asyncio.Event().wait()

    async def _keep(self, check: Check, names: Sequence[str]) -> None:
        while True:
            running = asyncio.create_task(in_own_thread(check))
            done, _ = await asyncio.wait({running}, timeout=PATIENCE_SECONDS)
            await self._show(names, bool(done) and running.exception() is None and running.result())
            await running  # A check that hangs must not be started again in another thread, and yet another.
            await progressed()
            await asyncio.sleep(SECONDS)

    async def _show(self, names: Sequence[str], healthy: bool) -> None:
        for name in names:
            await self._report(name, healthy)


def answers(ledger: Ledger) -> bool:
    """Return whether the ledger's database answers; reads one row, since a constant query would not detect damage."""
    try:
        with ledger.reading() as session:
            session.execute(select(AuditHeadRow.sequence)).first()
    except (ModelwardError, SQLAlchemyError):
        return False
    return True


def is_reached(tracking_uri: str) -> bool:
    """Return whether a tracking server or database answers; True for stores of other kinds, which are not checked."""
    if tracking_uri.startswith(("http://", "https://")):
        return _answers_http(f"{tracking_uri.rstrip('/')}/health")
    return "://" not in tracking_uri or tracking_uri.startswith("file:") or _answers_sql(tracking_uri)


def _answers_http(url: str) -> bool:
    try:
        urlopen(url, timeout=PATIENCE_SECONDS).close()  # noqa: S310 - the operator's own URL, http or https
    except HTTPError as error:
        return error.code < 500  # The server answers, but requires a password or lacks this page.
    except (OSError, ValueError):
        return False
    return True


def _answers_sql(url: str) -> bool:
    database = make_url(url).database or ""
    if url.startswith("sqlite:") and not Path(database).exists():
        return True  # The mirror creates it when needed; connecting to it here would create an empty one.
    try:
        with create_engine(url, poolclass=NullPool).connect() as connection:
            connection.execute(select(1))
    except (SQLAlchemyError, ModuleNotFoundError):
        return False
    return True
