"""The background task that tries the versions that were registered, and whoever waits for a version's trial."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from modelward.errors import ModelwardError
from modelward.formats import formats
from modelward.lifecycle import Trial, TrialResult, VersionRef
from modelward.signature import Signature
from modelward_server.lifecycle import trials
from modelward_server.lifecycle.files import model_file
from modelward_server.lifecycle.trials import ClaimedTrial
from modelward_server.runtime.background import in_own_thread, note_failure, progressed, stalled
from modelward_server.runtime.retries import log_once
from modelward_server.runtime.tracing import span
from modelward_server.sandbox.sandbox import Limits
from modelward_server.sandbox.trial import try_version
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.ledger import Ledger

MAX_SECONDS = 30.0
"""The longest that the trial of a version may take."""
CLAIM_SECONDS = 60.0
"""For how much longer than a trial a claim lasts: for starting the process, and for recording the result."""
RETRY_AFTER = timedelta(seconds=10)
"""Pause before a version is tried again whose trial could not be made."""
POLL_SECONDS = 10.0
"""Interval at which it checks for versions that other servers registered or left; this server's own wake it at once."""
WAIT_POLL_SECONDS = 0.2
"""Interval at which a waiting call checks for the result of another server's trial."""
MAX_WAIT_SECONDS = 600.0
"""The longest that anybody waits for a trial, which may have others before it."""
TRIAL_SHARE = 0.8
"""The share of a call's time for which it waits for a trial."""


class Deadline(Protocol):
    """A call that has a deadline."""

    def time_remaining(self) -> float | None:
        """Return the seconds that are left; None without a deadline."""


class TrialTask:
    """Tries pending versions, one after the other, the oldest first.

    Of all servers, only one tries a version at a time. A server that dies leaves its claim, which ends by itself.

    Args:
        ledger, blobs: where the versions are.
        limits: of their processes.
        on_conclusion: called after each trial.
        prepare: makes a version that was tried ready for production, before whoever waits for it goes on.
    """

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobStore,
        limits: Limits,
        on_conclusion: Callable[[], None],
        prepare: Callable[[VersionRef], Awaitable[None]] | None = None,
    ) -> None:
        self._prepare = prepare
        self._ledger = ledger
        self._blobs = blobs
        self._on_conclusion = on_conclusion
        self._limits = replace(limits, seconds=min(limits.seconds, MAX_SECONDS))
        self._wanted = asyncio.Event()
        self._ended = asyncio.Condition()

    @property
    def allow_pickle(self) -> bool:
        """Whether formats that run their author's code are tried."""
        return self._limits.allow_pickle

    def wake(self) -> None:
        """Signal that a version may be pending."""
        self._wanted.set()

    async def run(self) -> None:
        """Try versions until cancelled."""
        while True:
            self._wanted.clear()
            try:
                while await self._next():
                    await progressed()
                await progressed()
            except (ModelwardError, SQLAlchemyError) as error:
                await stalled(error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), POLL_SECONDS)

    async def wait_within(self, ref: VersionRef, call: Deadline) -> None:
        """Wait as `wait` does for most of the time that a call has left; the rest is for the promotion itself."""
        remaining = call.time_remaining()
        await self.wait(ref, math.inf if remaining is None else TRIAL_SHARE * remaining)

    async def wait(self, ref: VersionRef, seconds: float = math.inf) -> None:
        """Wait until a version is not pending, at most for a time; a version that was never tried becomes pending.

        Raises:
            ModelNotFound, VersionNotFound: the version does not exist.
        """
        end = time.monotonic() + min(seconds, MAX_WAIT_SECONDS)
        trial = await in_own_thread(self._request, ref)
        while trial.result is TrialResult.PENDING and (left := end - time.monotonic()) > 0:
            self.wake()
            async with self._ended:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), min(left, WAIT_POLL_SECONDS))
            trial = await in_own_thread(self._read, ref)
        if self._prepare and trial.result is TrialResult.USABLE:
            await self._prepare(ref)

    def _request(self, ref: VersionRef) -> Trial:
        if (trial := self._read(ref)).result is not TrialResult.NOT_TRIED:
            return trial
        with self._ledger.writing() as session:
            return trials.request_trial(session, ref, self.allow_pickle)

    def _read(self, ref: VersionRef) -> Trial:
        with self._ledger.reading() as session:
            return trials.get_trial(session, ref)

    async def _next(self) -> bool:
        """Try the next version; return whether there was one."""
        claimed = await in_own_thread(self._claim)
        if claimed is None:
            return False
        try:
            with span("try", model=claimed.version.model, version=claimed.version.version):
                trial, signature = await self._try(claimed)
        except Exception as error:  # The versions after it must not wait for this one.
            note_failure(error)
            log_once("trying the version", claimed.version.ref, error)
            await in_own_thread(self._release, claimed, datetime.now(UTC) + RETRY_AFTER)
            return True
        except BaseException:
            await asyncio.shield(in_own_thread(self._release, claimed))
            raise
        await in_own_thread(self._conclude, claimed, trial, signature)
        self._on_conclusion()
        async with self._ended:
            self._ended.notify_all()
        return True

    def _claim(self) -> ClaimedTrial | None:
        """Claim a pending version; every write of the ledger leads here, so it is read first whether there is one."""
        now, duration = datetime.now(UTC), timedelta(seconds=self._limits.seconds + CLAIM_SECONDS)
        with self._ledger.reading() as session:
            if not trials.any_to_claim(session, now):
                return None
        with self._ledger.writing() as session:
            return trials.claim(session, now, duration)

    def _release(self, claimed: ClaimedTrial, until: datetime | None = None) -> None:
        with self._ledger.writing() as session:
            trials.release(session, claimed, until)

    def _conclude(self, claimed: ClaimedTrial, trial: Trial, signature: Signature | None) -> None:
        with self._ledger.writing() as session:
            trials.conclude(session, claimed, trial, signature)

    async def _try(self, claimed: ClaimedTrial) -> tuple[Trial, Signature | None]:
        version = claimed.version
        known = trials.trial_of_new(version.format, self.allow_pickle)
        if known.result is not TrialResult.PENDING:
            return known, None
        name, file = model_file(version, formats()[version.format])
        if file is None or version.artifact_deletion:
            return Trial(TrialResult.UNUSABLE, f"has no file {name}"), None
        path = await asyncio.to_thread(self._blobs.path, file.sha256)
        return await try_version(version, path, claimed.example, self._limits, claimed.names)
