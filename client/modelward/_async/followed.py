"""One followed model, alone or among many: its version is resolved, downloaded, loaded and reported."""

import asyncio
import logging
import math
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from modelward._async.drills import AsyncDrills
from modelward._async.lifecycle import AsyncLifecycle
from modelward._async.watching import AsyncWatching
from modelward._drills import ReceivedDrills
from modelward._follow import CurrentModel, Followed, FollowOptions, cache_key
from modelward._text import one_line
from modelward._transfers import transfer_seconds
from modelward.errors import DeadlineExceeded, ModelHalted, NothingResolved, Unavailable, UnexpectedError
from modelward.lifecycle import ModelVersion
from modelward.shared.convert.common import stage_to_proto
from modelward.shared.convert.lifecycle import version_from_proto
from modelward.shared.retry import Attempts
from modelward.v1 import lifecycle_pb2 as pb

log = logging.getLogger(__name__)

REPORT_SECONDS = 20.0
"""How often an engine is reported: the server counts it as gone after a minute without a report."""


class AsyncSource(AsyncLifecycle, AsyncWatching, AsyncDrills):
    """The calls that a follower needs."""


class AsyncFollowedModel:
    """One followed model: the version to use now, and how it is replaced."""

    _connection: AsyncSource

    def __init__(self, model: str, options: FollowOptions) -> None:
        self._model = model
        self._stage = options.stage
        self._cache = options.cache
        self._load = options.load
        self._current_model = CurrentModel(options.max_staleness)
        self._callbacks = options.callbacks
        self._engine = options.engine
        self._key = cache_key(options.target, model, options.stage)
        self._report_due = 0.0
        self._drills = ReceivedDrills()

    @property
    def current(self) -> Followed:
        """The version to use now: reads an attribute, without locks and without the network.

        Raises:
            ModelHalted: the model was halted.
            NothingResolved: no version holds the stage.
            Unavailable: the server has been unavailable for longer than `max_staleness`.
            ModelFailed, FormatNotExecutable: no version was current, and that in the stage could not be loaded.
        """
        return self._current_model.current

    @property
    def error(self) -> Exception | None:
        """Why the version in the stage could not be loaded, so that the current one stays; None when it is current."""
        return self._current_model.failed.error

    def use(self, connection: AsyncSource) -> None:
        """Make the calls on a connection.

        Args:
            connection: it is not closed here.
        """
        self._connection = connection

    async def start(self) -> Exception | None:
        """Use the version in the stage; where that is impossible, the last good version.

        Returns:
            Why the server is unavailable; None if it is not.

        Raises:
            Exception: why there is no version to use.
        """
        try:
            await self.refresh()
        except (Unavailable, DeadlineExceeded) as error:
            await self.start_without_server(error)
            return error
        if self.error and self._current_model.running is None:
            await self._use_last_good(self.error)
        return None

    async def start_without_server(self, error: Exception) -> None:
        """Use the last good version, because the server is unavailable.

        Args:
            error: how the server's absence was noticed.

        Raises:
            Exception: `error`, if there is none.
        """
        self.lost()
        await self._use_last_good(error)

    def lost(self) -> None:
        """Record that the server does not respond."""
        self._current_model.lost()

    @property
    def seconds_left(self) -> float:
        """The seconds until the next report, or the next attempt to load a version that failed."""
        report = max(self._report_due - time.monotonic(), 0.0) if self._engine else math.inf
        return min(report, self._current_model.failed.seconds_left)

    async def _use_last_good(self, error: Exception) -> None:
        """Use the last good version from the disk.

        Raises:
            Exception: `error`, if there is none.
        """
        version = await asyncio.to_thread(self._cache.last_good, self._key, self._model)
        if version is None or self._current_model.failed.is_early(version):
            raise error
        await self._use(version, self._cache.artifact(version))

    def receive(self, events: Iterable[pb.ModelEvent]) -> None:
        """Take note of changes before `refresh`, which answers the drills among them.

        Args:
            events: changes of any models.
        """
        self._drills.receive(events, self._model, self._engine)

    async def refresh(self) -> None:
        """Resolve the stage and make the result current."""
        drills = self._drills.waiting
        request = pb.ResolveModelRequest(model=self._model, stage=stage_to_proto(self._stage))
        try:
            answer = await self._connection._call(self._connection._lifecycle.ResolveModel, request)
        except (ModelHalted, NothingResolved) as error:
            self._current_model.end(error)
            self._answer(drills)
            await asyncio.to_thread(self._cache.forget, self._key)
        else:
            self._answer(drills)
            await self._take(self._checked(version_from_proto(answer.version)))
        self._current_model.connected()

    def _answer(self, drills: Collection[str]) -> None:
        """Answer drills where a halt would have ended the use of the version; no other change waits for the call."""
        if drills:
            self._drills.answer(drills, self._current_model)
            self._answering = asyncio.create_task(self._send_answers())

    async def _send_answers(self) -> None:
        """Send the answers. No failure may end the follower; without its answer the engine is not proven."""
        for one in self._drills.take_answers():
            try:
                await self._connection.answer_drill(
                    one.drill_id, engine=self._engine, stopped_after=one.stopped_after, used_none=one.used_none
                )
            except Exception as error:
                reason = one_line(str(error))
                log.warning("the answer of %s to %s does not count: %s", self._engine, one.drill_id, reason)

    def _checked(self, version: ModelVersion) -> ModelVersion:
        if version.model != self._model:
            raise UnexpectedError(f"{self._model!r} is followed, but the server returned {version.model!r}")
        return version

    async def _take(self, version: ModelVersion) -> None:
        """Download the missing files of a version, use it, and record it as the last good version."""
        if self._current_model.keeps(version) or self._current_model.failed.is_early(version):
            return
        folder = await asyncio.to_thread(self._cache.artifact, version)
        attempts = Attempts(self._connection._timeout + transfer_seconds(version.files), self._connection._timeout)
        await self._connection._download(version, folder, attempts, private=True)
        self._current_model.failed.begin()
        try:
            await self._use(version, folder)
        except Exception as error:  # A loader may raise anything.
            self._failed(version, error)
        else:
            self._current_model.failed.clear()
            await asyncio.to_thread(self._cache.remember, self._key, version)
        await self.report()

    async def _use(self, version: ModelVersion, folder: Path) -> None:
        """Load verified files and make the version current."""
        followed = Followed(version, folder, await asyncio.to_thread(self._load, version, folder))
        self._current_model.swap(followed)
        self._callbacks.swapped(followed)

    def _failed(self, version: ModelVersion, error: Exception) -> None:
        """Keep the current version, and say once that this one could not be loaded."""
        if self._current_model.fail(version, error):
            self._callbacks.failed(version, error, self._current_model.running)

    async def report(self) -> None:
        """Report the version in memory, and the one that could not be loaded."""
        running = self._current_model.running
        self._report_due = time.monotonic() + REPORT_SECONDS
        if self._engine and running:
            failure = self._current_model.failed.report
            await self._connection.report_active(running.version, engine=self._engine, failure=failure)
