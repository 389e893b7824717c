"""Follow models: keep their current versions in memory, usable without the network."""

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
from modelward._async.follow_many import AsyncFollowers
from modelward._async.followed import AsyncFollowedModel, AsyncSource
from modelward._cache import as_cache
from modelward._coerce import as_stage
from modelward._follow import (
    FollowCallbacks,
    FollowOptions,
    Loader,
    OnFailure,
    OnSwap,
    load_supported,
    renamed_staleness,
)
from modelward._text import one_line
from modelward.errors import DeadlineExceeded, FieldViolation, InvalidArgument, InvalidField, OutOfRange
from modelward.lifecycle import Stage
from modelward.shared.retry import Backoff
from modelward.v1 import lifecycle_pb2 as pb

log = logging.getLogger(__name__)

MIN_WATCH_SECONDS = 0.05
CLOSE_SECONDS = 5.0
"""How long leaving the block waits for a running loader."""


class AsyncFollower(AsyncFollowedModel):
    """Keeps the current version of a stage in memory; use it in a `with` block.

    It watches the registry. When another version enters the stage, it downloads the files to a cache, verifies them,
    loads the model and only then makes it current. A version that cannot be loaded never replaces one that works: it is
    tried again after growing pauses. While the server is unavailable, the current version stays; a process that starts
    during an outage, or while the version in the stage cannot be loaded, uses the last good version from the disk. A
    halt, or a stage without a version, ends the use of a version, also of that on the disk.
    """

    def __init__(self, connect: Callable[[], AsyncSource], model: str, options: FollowOptions) -> None:
        super().__init__(model, options)
        self._connect = connect
        self._token = ""
        self._pauses = Backoff()
        self._closed = False

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._cache.open)
        self._connection = self._connect()
        self._closed = False
        try:
            await self.start()
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
            self.lost()
            await asyncio.sleep(self._pauses.next())

    async def _watch(self) -> None:
        """Refresh now, and again after every change of the model, until it is time to report or to load again."""
        await self.refresh()
        await self.report()
        seconds, failing = max(self.seconds_left, MIN_WATCH_SECONDS), self.error
        try:
            await self._follow_events(seconds, failing)
        except DeadlineExceeded:
            if seconds == math.inf:
                raise

    async def _follow_events(self, seconds: float, failing: Exception | None) -> None:
        """Refresh after every change of the model, until loading begins to fail or to succeed."""
        request = pb.WatchModelsRequest(models=[self._model], resume_token=self._token)
        watch = self._connection._receive(self._connection._lifecycle.WatchModels, request, seconds)
        async with aclosing(watch) as responses:
            async for response in responses:
                if response.events:
                    self.receive(response.events)
                    self._pauses.reset()
                    await self.refresh()
                    self._token = response.events[-1].resume_token or self._token
                if self.error is not failing:
                    return


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
        staleness = renamed_staleness(max_staleness, longest_staleness)
        loader = load or load_supported(trusted, allow_pickle)
        options = FollowOptions(
            self.target,
            as_stage(stage),
            as_cache(cache),
            loader,
            staleness,
            FollowCallbacks(on_swap, on_failure),
            engine,
        )
        return AsyncFollower(self._another, model, options)

    def follow_many(
        self,
        models: Sequence[str] = (),
        *,
        prefix: str = "",
        stage: Stage | str = Stage.PRODUCTION,
        cache: Path | str | None = None,
        load: Loader | None = None,
        trusted: Sequence[str] = (),
        allow_pickle: bool = False,
        max_staleness: timedelta | None = None,
        engine: str = "",
        on_swap: OnSwap | None = None,
        on_failure: OnFailure | None = None,
    ) -> AsyncFollowers:
        """Follow many models on one connection, with one watch and a few loading threads for all of them.

        Args:
            models: the models' names.
            prefix: instead of `models`: every model whose name begins with this, also those that are created later.
            stage: as for `follow`, as are all that follow.
            cache: see `follow`.
            load: see `follow`; called in up to four threads at once.
            trusted: see `follow`.
            allow_pickle: see `follow`.
            max_staleness: see `follow`.
            engine: see `follow`.
            on_swap: see `follow`; called in the thread that loaded the version, up to four at once.
            on_failure: see `follow`; called as `on_swap`.

        Returns:
            A mapping of names to followed models with `current` and `error`, to be used in a `with` block. On entering
            it, a model that cannot be loaded does not prevent the others: its `current` raises, and `error` says why.

        Raises:
            InvalidField: neither models nor a prefix are given, or both; or, on entering the block, the cache is
                writable by others.
            ModelNotFound: on entering the block, if one of `models` does not exist.
            Unavailable: on entering the block, if the server is unavailable and the disk has no good version of any of
                them, or a prefix is given.
            FailedPrecondition: the client is closed.

        Examples:
            >>> async with mw.follow_many(["spx-trend"], cache=folder) as live:
            ...     print(live["spx-trend"].current.version)
            spx-trend/1
        """
        self._check_open()
        if bool(models) == bool(prefix):
            raise InvalidField(FieldViolation("models", "give names of models, or a prefix, and not both"))
        loader = load or load_supported(trusted, allow_pickle)
        callbacks = FollowCallbacks(on_swap, on_failure)
        options = FollowOptions(self.target, as_stage(stage), as_cache(cache), loader, max_staleness, callbacks, engine)
        return AsyncFollowers(self._another, models, prefix, options)

    def _another(self) -> AsyncSource:
        """Open a separate connection, which is closed with the follower."""
        return AsyncSource(
            self.target, timeout=self._timeout, actor=self.actor, credentials=self._credentials, token=self._token
        )
