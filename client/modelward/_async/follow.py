"""Follow a model: keep the current version in memory, usable without the network."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from modelward._async.connection import AsyncConnection
from modelward._async.lifecycle import AsyncLifecycle
from modelward._async.watching import AsyncWatching
from modelward._cache import Cache
from modelward._coerce import as_stage
from modelward._follow import (
    CurrentModel,
    FollowCallbacks,
    Followed,
    Loader,
    OnFailure,
    OnSwap,
    cache_key,
    load_supported,
    renamed_staleness,
)
from modelward._text import one_line
from modelward._transfers import transfer_seconds
from modelward.errors import (
    DeadlineExceeded,
    InvalidArgument,
    ModelHalted,
    NothingResolved,
    OutOfRange,
    Unavailable,
    UnexpectedError,
)
from modelward.lifecycle import ModelVersion, Stage
from modelward.shared.convert.common import stage_to_proto
from modelward.shared.convert.lifecycle import version_from_proto
from modelward.shared.retry import Attempts, Backoff
from modelward.v1 import lifecycle_pb2 as pb

log = logging.getLogger(__name__)

REPORT_SECONDS = 20.0
"""How often an engine is reported: the server counts it as gone after a minute without a report."""
MIN_WATCH_SECONDS = 0.05
CLOSE_SECONDS = 5.0
"""How long leaving the block waits for a running loader."""


class AsyncSource(AsyncLifecycle, AsyncWatching):
    """The calls that a follower needs."""


class AsyncFollower:
    """Keeps the current version of a stage in memory; use it in a `with` block.

    It watches the registry. When another version enters the stage, it downloads the files to a cache, verifies them,
    loads the model and only then makes it current. A version that cannot be loaded never replaces one that works: it is
    tried again after growing pauses. While the server is unavailable, the current version stays; a process that starts
    during an outage, or while the version in the stage cannot be loaded, uses the last good version from the disk. A
    halt, or a stage without a version, ends the use of a version, also of that on the disk.
    """

    def __init__(
        self,
        target: str,
        connect: Callable[[], AsyncSource],
        model: str,
        stage: Stage,
        cache: Cache,
        load: Loader,
        current_model: CurrentModel,
        callbacks: FollowCallbacks,
        engine: str,
    ) -> None:
        self._connect = connect
        self._model = model
        self._stage = stage
        self._cache = cache
        self._load = load
        self._current_model = current_model
        self._callbacks = callbacks
        self._engine = engine
        self._key = cache_key(target, model, stage)
        self._token = ""
        self._pauses = Backoff()
        self._closed = False

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

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._cache.open)
        self._connection = self._connect()
        self._closed = False
        try:
            await self._start()
            self._task = asyncio.create_task(self._run())
        except BaseException:
            await self._connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        await self._connection.close()
        await asyncio.wait([self._task], timeout=CLOSE_SECONDS)

    async def _start(self) -> None:
        """Use the version in the stage; where that is impossible, the last good version."""
        try:
            await self._refresh()
        except (Unavailable, DeadlineExceeded) as error:
            self._current_model.lost()
            await self._use_last_good(error)
        if self.error and self._current_model.running is None:
            await self._use_last_good(self.error)

    async def _use_last_good(self, error: Exception) -> None:
        """Use the last good version from the disk.

        Raises:
            Exception: `error`, if there is none.
        """
        version = await asyncio.to_thread(self._cache.last_good, self._key, self._model)
        if version is None or self._current_model.failed.is_early(version):
            raise error
        await self._use(version, self._cache.artifact(version))

    async def _run(self) -> None:
        """Watch until closed. No failure may end the follower; it only makes the current version stale."""
        while not self._closed:
            try:
                await self._watch()
            except Exception as error:
                if isinstance(error, OutOfRange | InvalidArgument):
                    self._token = ""  # The server does not know the token, or no longer: start a new watch.
                await self._wait_after(error)

    async def _wait_after(self, error: Exception) -> None:
        if not self._closed:  # Closing the connection also ends the watch.
            log.warning("the follower of %s will retry shortly: %s", self._model, one_line(str(error)))
            self._current_model.lost()
            await asyncio.sleep(self._pauses.next())

    async def _watch(self) -> None:
        """Refresh now, and again after every change of the model, until it is time to report or to load again."""
        await self._refresh()
        await self._report()
        seconds, failing = self._watch_seconds(), self.error
        try:
            await self._follow_events(seconds, failing)
        except DeadlineExceeded:
            if seconds == math.inf:
                raise

    def _watch_seconds(self) -> float:
        """Return for how long to watch before the next report or attempt to load."""
        report = REPORT_SECONDS if self._engine else math.inf
        return max(min(report, self._current_model.failed.seconds_left), MIN_WATCH_SECONDS)

    async def _follow_events(self, seconds: float, failing: Exception | None) -> None:
        """Refresh after every change of the model, until loading begins to fail or to succeed."""
        request = pb.WatchModelsRequest(models=[self._model], resume_token=self._token)
        watch = self._connection._receive(self._connection._lifecycle.WatchModels, request, seconds)
        async with aclosing(watch) as responses:
            async for response in responses:
                if response.events:
                    self._pauses.reset()
                    await self._refresh()
                    self._token = response.events[-1].resume_token or self._token
                if self.error is not failing:
                    return

    async def _refresh(self) -> None:
        """Resolve the stage and make the result current."""
        request = pb.ResolveModelRequest(model=self._model, stage=stage_to_proto(self._stage))
        try:
            answer = await self._connection._call(self._connection._lifecycle.ResolveModel, request)
        except (ModelHalted, NothingResolved) as error:
            self._current_model.end(error)
            await asyncio.to_thread(self._cache.forget, self._key)
        else:
            await self._take(self._checked(version_from_proto(answer.version)))
        self._current_model.connected()

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
        try:
            await self._use(version, folder)
        except Exception as error:  # A loader may raise anything.
            self._failed(version, error)
        else:
            self._current_model.failed.clear()
            await asyncio.to_thread(self._cache.remember, self._key, version)
        await self._report()

    async def _use(self, version: ModelVersion, folder: Path) -> None:
        """Load verified files and make the version current."""
        followed = Followed(version, folder, await asyncio.to_thread(self._load, version, folder))
        self._current_model.swap(followed)
        self._callbacks.swapped(followed)

    def _failed(self, version: ModelVersion, error: Exception) -> None:
        """Keep the current version, and say once that this one could not be loaded."""
        if self._current_model.fail(version, error):
            self._callbacks.failed(version, error, self._current_model.running)

    async def _report(self) -> None:
        """Report the version in memory, and the one that could not be loaded."""
        running = self._current_model.running
        if self._engine and running:
            failure = self._current_model.failed.report
            await self._connection.report_active(running.version, engine=self._engine, failure=failure)


class AsyncFollowing(AsyncConnection):
    """Followers of models."""

    def follow(
        self,
        model: str,
        *,
        stage: Stage | str = Stage.PRODUCTION,
        cache: Path | str | None = None,
        load: Loader | None = None,
        trusted: Sequence[str] = (),
        allow_pickle: bool = False,
        max_staleness: timedelta | None = None,
        engine: str = "",
        on_swap: OnSwap | None = None,
        on_failure: OnFailure | None = None,
        longest_staleness: timedelta | None = None,
    ) -> AsyncFollower:
        """Follow the version in production: keep it in memory and replace it when another one is promoted.

        Args:
            model: the model's name.
            stage: the stage to follow.
            cache: folder for files; `modelward` in the user's cache folder by default.
            load: loads a model from a version's files, given the version and their folder; by default scikit-learn
                every format that is installed is loaded, and files of a format that is not known are left to the
                caller: `current.model` is None and `current.folder` has them. None never replaces a model.
            trusted: names of further types that a skops file may contain.
            allow_pickle: also load pickles, which runs the code of their authors, current and future.
            max_staleness: how long the current version may be used while the server is unavailable; no limit by
                default.
            engine: when given, the running version, and one that could not be loaded, are reported to the server under
                this name: at each change, and every 20 seconds.
            on_swap: called with each version that becomes current, in the follower's thread or event loop.
            on_failure: called once for each version that could not be loaded, with that version and the exception.
            longest_staleness: deprecated spelling of `max_staleness`.

        Returns:
            A follower, to be used in a `with` block.

        Raises:
            ModelNotFound: on entering the block, if there is no such model.
            Unavailable: on entering the block, if the server is unavailable and the disk has no good version.
            ModelFailed, FormatNotExecutable, ImportError: on entering the block, if the version could not be loaded and
                the disk has no good version; with `load`, what it raised.
            InvalidField: on entering the block, if the cache is writable by others.
            FailedPrecondition: the client is closed.

        Examples:
            >>> async with mw.follow("spx-trend", cache=folder) as live:
            ...     prediction = live.current.model.predict([[0.5, -1.0]])  # no network here
            ...     print(live.current.version)
            spx-trend/1
        """
        self._check_open()
        return AsyncFollower(
            self.target,
            self._another,
            model,
            as_stage(stage),
            Cache(None if cache is None else Path(cache)),
            load or load_supported(trusted, allow_pickle),
            CurrentModel(renamed_staleness(max_staleness, longest_staleness)),
            FollowCallbacks(on_swap, on_failure),
            engine,
        )

    def _another(self) -> AsyncSource:
        """Open a separate connection, which is closed with the follower."""
        return AsyncSource(
            self.target, timeout=self._timeout, actor=self.actor, credentials=self._credentials, token=self._token
        )
