"""Follow many models on one connection."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from modelward._async.followed import AsyncFollowedModel, AsyncSource
from modelward._follow import FollowOptions
from modelward._loader_pool import AsyncLoaderPool
from modelward._text import one_line
from modelward.errors import DeadlineExceeded, InvalidArgument, OutOfRange, Unavailable
from modelward.shared.retry import Backoff
from modelward.v1 import lifecycle_pb2 as pb

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
"""How often is looked for models that are due to be reported, or to be loaded again."""
RETRY_SECONDS = 1.0
"""The pause before a model is updated again whose update was interrupted."""
MAX_WATCHED = 1000
"""The most names that a watch may list; for more, all models are watched."""
CLOSE_SECONDS = 5.0


class AsyncFollowers(Mapping[str, AsyncFollowedModel]):
    """The followed models by their names; use it in a `with` block.

    One watch is open for all of them, and a few workers load what has changed. Each model is kept as a single follower
    keeps it: a version that cannot be loaded never replaces one that works, and does not affect the other models.
    """

    def __init__(
        self, connect: Callable[[], AsyncSource], models: Sequence[str], prefix: str, options: FollowOptions
    ) -> None:
        self._connect = connect
        self._models = models
        self._prefix = prefix
        self._options = options
        self._followed: dict[str, AsyncFollowedModel] = {}
        self._errors: dict[str, Exception] = {}
        self._interrupted: dict[str, tuple[str, float]] = {}
        """The models whose last update was interrupted, with the reason, and the time of the next attempt."""
        self._starting = False
        self._outage: Exception | None = None
        self._token = ""
        self._pauses = Backoff()
        self._closed = False

    def __getitem__(self, model: str) -> AsyncFollowedModel:
        return self._followed[model]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._followed))

    def __len__(self) -> int:
        return len(self._followed)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._options.cache.open)
        self._connection = self._connect()
        self._closed = False
        self._pool = AsyncLoaderPool(self._update)
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        self._watching = asyncio.create_task(self._run())
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()
        await asyncio.wait([self._watching], timeout=CLOSE_SECONDS)
        await asyncio.wait([self._ticking], timeout=CLOSE_SECONDS)

    async def _end(self) -> None:
        self._closed = True
        self._pool.close()
        await self._connection.close()

    async def _start(self) -> None:
        """Start every model. One that cannot be loaded, or not fetched, prevents no other.

        Raises:
            Exception: why none could be started, or an error of another kind, such as `ModelNotFound`.
        """
        self._followed, self._errors, self._outage, self._starting = {}, {}, None, True
        for name in await self._names():
            self._add(name)
            self._pool.submit(name)
        await self._pool.settle()
        self._starting = False
        errors = self._errors
        fatal = [error for name, error in errors.items() if not self._is_tolerable(name, error)]
        if errors and (fatal or len(errors) == len(self._followed)):
            raise (fatal or list(errors.values()))[0]

    def _is_tolerable(self, name: str, error: Exception) -> bool:
        return self._followed[name].error is not None or isinstance(error, Unavailable | DeadlineExceeded)

    async def _names(self) -> Sequence[str]:
        if not self._prefix:
            return self._models
        return [model.name async for model in self._connection.list_models(name_prefix=self._prefix)]

    def _add(self, name: str) -> None:
        followed = AsyncFollowedModel(name, self._options)
        followed.use(self._connection)
        self._followed[name] = followed

    async def _update(self, name: str) -> None:
        """Update a model in a worker. No failure may end the worker."""
        try:
            await self._begin(name) if self._starting else await self._refresh(name)
        except Exception as error:
            self._failed(name, error)

    async def _begin(self, name: str) -> None:
        """Start a model; after one has found the server unavailable, the others do not wait for it."""
        followed = self._followed[name]
        if self._outage is not None:
            await followed.start_without_server(self._outage)
        else:
            self._outage = await followed.start() or self._outage

    async def _refresh(self, name: str) -> None:
        followed = self._followed[name]
        before = followed.error
        await followed.refresh()
        if followed.error is not before or followed.seconds_left <= 0:
            await followed.report()
        self._interrupted.pop(name, None)

    def _failed(self, name: str, error: Exception) -> None:
        """Keep the error of a start; log it once, and update the model again a little later."""
        if self._starting:
            self._errors[name] = error
        if self._closed:  # Closing the connection also ends its calls.
            return
        self._followed[name].lost()
        reason = one_line(str(error))
        logged, _ = self._interrupted.get(name, ("", 0.0))
        if logged != reason:
            log.warning("the follower of %s will retry shortly: %s", name, reason)
        self._interrupted[name] = reason, time.monotonic() + RETRY_SECONDS

    async def _tick(self) -> None:
        """Update the models that are due, until closed."""
        while not self._closed:
            for name, followed in list(self._followed.items()):
                _, retry_at = self._interrupted.get(name, ("", math.inf))
                if retry_at <= time.monotonic() or followed.seconds_left <= 0:
                    self._pool.submit(name)
            await asyncio.sleep(TICK_SECONDS)

    async def _run(self) -> None:
        """Watch until closed. No failure may end it; it only makes the current versions stale."""
        while not self._closed:
            try:
                await self._watch()
            except Exception as error:
                if isinstance(error, OutOfRange | InvalidArgument):
                    self._token = ""  # The server does not know the token, or no longer: start a new watch.
                await self._wait_after(error)

    async def _wait_after(self, error: Exception) -> None:
        if not self._closed:  # Closing the connection also ends the watch.
            log.warning("the followers will watch again shortly: %s", one_line(str(error)))
            for followed in list(self._followed.values()):
                followed.lost()
            await asyncio.sleep(self._pauses.next())

    async def _watch(self) -> None:
        """Update every model now, and each again after every change of it."""
        for name in self:
            self._pool.submit(name)
        listed = [] if self._prefix or len(self) > MAX_WATCHED else list(self)
        request = pb.WatchModelsRequest(models=listed, resume_token=self._token)
        async for response in self._connection._receive(self._connection._lifecycle.WatchModels, request, math.inf):
            for event in response.events:
                self._pauses.reset()
                self._changed(event)
                self._token = event.resume_token or self._token

    def _changed(self, event: pb.ModelEvent) -> None:
        """Update a model that changed, and follow it if it is new and has the prefix."""
        name = event.model
        if name not in self._followed and self._prefix and name.startswith(self._prefix):
            self._add(name)
        if name in self._followed:
            self._followed[name].receive([event])
            self._pool.submit(name)
