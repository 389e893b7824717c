"""The background task that keeps MLflow in sync with the ledger, outside the path of every request."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError

from modelward.errors import ModelwardError
from modelward.lifecycle import Model, ModelVersion, VersionRef
from modelward_server.lifecycle.models import get_model
from modelward_server.lifecycle.repository import to_version, version_row
from modelward_server.lifecycle.resolve import alias_holders
from modelward_server.mlflow.details import NOTHING, Details, MetricPoint, metric_points, read_details, requests_of
from modelward_server.runtime.background import in_own_thread, progressed, stalled
from modelward_server.runtime.retries import Retries
from modelward_server.runtime.tracing import span
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.retraining_tables import log_of
from modelward_server.storage.tables import MirrorRequestRow, VersionRow

FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 30.0
"""Pauses between the retries of a version that could not be shown."""
POLL_SECONDS = 10.0
"""Interval at which it checks for changes of other servers; this server's own changes wake it at once."""
WATCHERS_FIRST_SECONDS = 0.5
"""Delay of MLflow after a change: its client's work would delay the events for watching engines."""


class Shown(Protocol):
    """Where MLflow shows a version."""

    @property
    def run_id(self) -> str: ...
    @property
    def mlflow_version(self) -> str: ...


class Mirror(Protocol):
    """Shows the ledger's state elsewhere."""

    def sync(
        self,
        version: ModelVersion,
        model: Model,
        files: Mapping[str, Path],
        holders: Sequence[ModelVersion],
        log: Path | None = None,
        details: Details = NOTHING,
    ) -> Shown:
        """Make the mirror show the current state of the version; idempotent.

        Args:
            holders: the versions of the model that the stages' aliases point to.
            log: output of the retraining job that created the version.
            details: what else is shown.
        """
        ...


class MirrorTask:
    """Syncs every version with changes that the mirror has not shown, and retries while the mirror is unavailable.

    Of all servers, only one syncs a version at a time: two that find something missing would both add it.
    """

    def __init__(self, ledger: Ledger, blobs: BlobStore, mirror: Mirror) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._mirror = mirror
        self._changed = asyncio.Event()
        self._draining = asyncio.Event()
        self._cancelled = threading.Event()
        self._retries = Retries[VersionRef]("showing MLflow", FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS)

    def wake(self) -> None:
        """Signal that something changed."""
        self._changed.set()

    def drain(self) -> None:
        """Let `run` end when it has shown all changes up to now, or has tried to."""
        self._draining.set()
        self._changed.set()

    async def run(self) -> None:
        """Work until asked to drain; when cancelled, end after the version that is being shown."""
        self._cancelled.clear()
        try:
            while not self._draining.is_set():
                await self._work()
            await self._pass(everything=True)
        except asyncio.CancelledError:
            self._cancelled.set()
            raise

    async def _work(self) -> None:
        """Show the versions that are due, and wait for the next change or retry."""
        self._changed.clear()
        succeeded = await self._pass()
        pause = min(POLL_SECONDS, self._retries.seconds_left()) if succeeded else FIRST_PAUSE_SECONDS
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), pause)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._draining.wait(), WATCHERS_FIRST_SECONDS)

    async def _pass(self, *, everything: bool = False) -> bool:
        """Sync once and return whether the pending versions could be read from the ledger."""
        try:
            await in_own_thread(self.sync_pending, everything=everything)
        except (ModelwardError, SQLAlchemyError) as error:
            await stalled(error)
            return False
        await progressed()
        return True

    def sync_pending(self, *, everything: bool = False) -> None:
        """Sync every version that needs it; one that fails does not delay the others.

        A concurrent change ends the pass, so that new changes are synced before failed ones.

        Args:
            everything: also sync versions whose pause is not over.
        """
        pending = self._pending()
        self._retries.retain(pending)
        for ref in sorted(pending, key=self._retries.attempts):
            if everything or self._retries.is_due(ref):
                with self._retries.attempt(ref):
                    self._sync_if_pending(ref)
            if self._cancelled.is_set() or (self._changed.is_set() and not everything):
                return

    def behind(self) -> int:
        """Return the number of versions with changes that the mirror has not shown."""
        return len(self._pending())

    def _pending(self) -> list[VersionRef]:
        changed = select(VersionRow.model, VersionRow.version).where(VersionRow.mirror_done != VersionRow.mirror_wanted)
        requested = select(MirrorRequestRow.model, MirrorRequestRow.version)
        with self._ledger.reading() as session:
            rows = [
                *session.execute(changed.order_by(VersionRow.updated_at)),
                *session.execute(requested.group_by(MirrorRequestRow.model, MirrorRequestRow.version)),
            ]
        return list(dict.fromkeys(VersionRef(*row) for row in rows))

    def sync(self, ref: VersionRef) -> None:
        """Show one version.

        Raises:
            StoreUnavailable: MLflow does not answer, or refuses.
        """
        with self._ledger.mirror_lock():
            self._show(ref)

    def _sync_if_pending(self, ref: VersionRef) -> None:
        """Show a version, unless another server was faster."""
        with self._ledger.mirror_lock():
            with self._ledger.reading() as session:
                row = version_row(session, ref)
                pending = row.mirror_done != row.mirror_wanted or bool(requests_of(session, ref))
            if pending:
                self._show(ref)

    def _show(self, ref: VersionRef) -> None:
        with self._ledger.reading() as session:
            row = version_row(session, ref)
            version, model, change_count = to_version(row), get_model(session, ref.model), row.mirror_wanted
            holders = alias_holders(session, ref.model)
            there = () if version.artifact_deletion else version.files
            files = {file.path: self._blobs.path(file.sha256) for file in there}
            log_sha256, requests = log_of(session, ref), requests_of(session, ref)
            details = read_details(session, ref, partial(self._points_after, ref))
        log_path = self._blobs.path(log_sha256) if log_sha256 else None
        with span("show in MLflow", model=ref.model, version=ref.version):
            shown = self._mirror.sync(version, model, files, holders, log_path, details)
        self._note(ref, shown, change_count, requests)

    def _points_after(self, ref: VersionRef, shown: int) -> list[MetricPoint]:
        with self._ledger.reading() as session:
            return metric_points(session, ref, shown)

    def _note(self, ref: VersionRef, shown: Shown, change_count: int, requests: Sequence[int]) -> None:
        """Record what was shown; a concurrent change keeps the version pending."""
        row = (VersionRow.model == ref.model) & (VersionRow.version == ref.version)
        values = {"mirror_done": change_count, "run_id": shown.run_id, "mlflow_version": shown.mlflow_version}
        with self._ledger.writing() as session:
            session.execute(update(VersionRow).where(row).values(values))
            session.execute(delete(MirrorRequestRow).where(MirrorRequestRow.sequence.in_(requests)))
