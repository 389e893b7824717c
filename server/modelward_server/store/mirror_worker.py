"""The worker that keeps MLflow in step with the ledger, off the path of every request."""

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from sqlalchemy import select, update

from modelward.errors import ModelwardError
from modelward.lifecycle import Model, ModelVersion, VersionRef
from modelward_server.lifecycle.models import get_model
from modelward_server.lifecycle.resolve import alias_holders
from modelward_server.lifecycle.rows import to_version, version_row
from modelward_server.observability.spans import span
from modelward_server.store.artifacts import BlobStore
from modelward_server.store.ledger import Ledger
from modelward_server.store.retraining_tables import log_of
from modelward_server.store.tables import VersionRow

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
POLL_SECONDS = 10.0
"""How often it looks for what another server left undone; our own changes wake it at once."""
WATCHERS_FIRST_SECONDS = 0.5
"""How long MLflow waits after a change: its client's work would hold up the news for engines that watch."""


class Shown(Protocol):
    """Where a version is to be found in MLflow."""

    @property
    def run_id(self) -> str: ...
    @property
    def mlflow_version(self) -> str: ...


class Mirror(Protocol):
    """What shows the ledger's truth elsewhere."""

    def sync(
        self,
        version: ModelVersion,
        model: Model,
        files: Mapping[str, Path],
        holders: Sequence[ModelVersion],
        log: Path | None = None,
    ) -> Shown:
        """Make the mirror show the version as it is; calling it again changes nothing.

        Args:
            holders: the versions of the model that the aliases of stages mean.
            log: what the retraining job printed that the version came of.
        """
        ...


class MirrorWorker:
    """Syncs every version whose changes the mirror has not seen, and tries again while the mirror is away.

    One version is shown at a time, of all servers: two that find something missing would both add it.
    """

    def __init__(self, ledger: Ledger, blobs: BlobStore, mirror: Mirror) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._mirror = mirror
        self._changed = asyncio.Event()
        self._draining = asyncio.Event()
        self._cancelled = threading.Event()

    def wake(self) -> None:
        """Tell it that something changed."""
        self._changed.set()

    def drain(self) -> None:
        """Let `run` end when it has shown what changed until now, or has tried to."""
        self._draining.set()
        self._changed.set()

    async def run(self) -> None:
        """Work until told to drain; when cancelled, end with the version that is being shown."""
        try:
            while not self._draining.is_set():
                await self._work()
            await asyncio.to_thread(self.sync_pending)
        except asyncio.CancelledError:
            self._cancelled.set()
            raise

    async def _work(self) -> None:
        """Show every change, and wait for the next one; while the mirror is away, try again and again."""
        pause = FIRST_PAUSE_SECONDS
        self._changed.clear()
        while not await asyncio.to_thread(self.sync_pending):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._draining.wait(), pause)
                return
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), POLL_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._draining.wait(), WATCHERS_FIRST_SECONDS)

    def sync_pending(self) -> bool:
        """Sync every version that needs it and return whether all went well."""
        try:
            synced = [self._sync_if_pending(ref) for ref in self._pending() if not self._cancelled.is_set()]
            return all(synced)
        except (ModelwardError, OSError) as error:
            log.warning("the mirror waits: %s", error)
            return False

    def behind(self) -> int:
        """Return how many versions the mirror has not been shown as they are."""
        return len(self._pending())

    def _pending(self) -> list[VersionRef]:
        query = select(VersionRow.model, VersionRow.version).where(VersionRow.mirror_done != VersionRow.mirror_wanted)
        with self._ledger.reading() as session:
            return [
                VersionRef(model, version) for model, version in session.execute(query.order_by(VersionRow.updated_at))
            ]

    def sync(self, ref: VersionRef) -> bool:
        """Show one version and return whether that went well."""
        with self._ledger.mirroring():
            return self._show(ref)

    def _sync_if_pending(self, ref: VersionRef) -> bool:
        """Show a version, unless another server was faster."""
        with self._ledger.mirroring():
            with self._ledger.reading() as session:
                row = version_row(session, ref)
                pending = row.mirror_done != row.mirror_wanted
            return not pending or self._show(ref)

    def _show(self, ref: VersionRef) -> bool:
        with self._ledger.reading() as session:
            row = version_row(session, ref)
            version, model, wanted = to_version(row), get_model(session, ref.model), row.mirror_wanted
            holders = alias_holders(session, ref.model)
            files = {file.path: self._blobs.path(file.sha256) for file in version.files}
            log_sha256 = log_of(session, ref)
        try:
            log_path = self._blobs.path(log_sha256) if log_sha256 else None
            with span("show in MLflow", model=ref.model, version=ref.version):
                shown = self._mirror.sync(version, model, files, holders, log_path)
        except Exception as error:
            log.warning("MLflow does not show %s yet: %s", ref, error)
            return False
        self._note(ref, shown, wanted)
        return True

    def _note(self, ref: VersionRef, shown: Shown, wanted: int) -> None:
        """Remember what was shown; a change that came meanwhile keeps the version pending."""
        row = (VersionRow.model == ref.model) & (VersionRow.version == ref.version)
        values = {"mirror_done": wanted, "run_id": shown.run_id, "mlflow_version": shown.mlflow_version}
        with self._ledger.writing() as session:
            session.execute(update(VersionRow).where(row).values(values))
