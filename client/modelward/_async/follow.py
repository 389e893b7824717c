"""Following a model: what is to be used now, in memory, without the network."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from modelward._async.connection import AsyncConnection
from modelward._async.lifecycle import AsyncLifecycle
from modelward._async.watching import AsyncWatching
from modelward._cache import Cache
from modelward._coerce import as_stage
from modelward._follow import Followed, Holder, Loader, cache_key, load_known
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
from modelward.shared.retry import Attempts, Pauses
from modelward.v1 import lifecycle_pb2 as pb

log = logging.getLogger(__name__)

CLOSE_SECONDS = 5.0
"""How long the end of the block waits for a loader that is at work."""


class AsyncSource(AsyncLifecycle, AsyncWatching):
    """The calls that following needs."""


class AsyncFollower:
    """Keeps the version of a stage at hand; use it in a `with` block.

    It watches the registry. When another version comes to the stage, it fetches the files to a cache, verifies them,
    loads the model and only then makes it current. While the server is away, what is current stays so; a process that
    starts then takes the last version that was good from the disk.
    """

    def __init__(
        self,
        target: str,
        connect: Callable[[], AsyncSource],
        model: str,
        stage: Stage,
        cache: Cache,
        load: Loader,
        holder: Holder,
        engine: str,
    ) -> None:
        self._connect = connect
        self._model = model
        self._stage = stage
        self._cache = cache
        self._load = load
        self._holder = holder
        self._engine = engine
        self._key = cache_key(target, model, stage)
        self._token = ""
        self._pauses = Pauses()
        self._closed = False

    @property
    def current(self) -> Followed:
        """The version to use now: an attribute is read, no lock is taken and no network is asked.

        Raises:
            ModelHalted: the model was halted.
            NothingResolved: nothing is in the stage.
            Unavailable: the server was away for longer than is accepted.
        """
        return self._holder.current

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
        """Take what is in the stage now; while the server is away, the last version that was good."""
        try:
            await self._refresh()
        except (Unavailable, DeadlineExceeded):
            version = await asyncio.to_thread(self._cache.last_good, self._key, self._model)
            if version is None:
                raise
            self._holder.lost()
            await self._use(version, self._cache.artifact(version))

    async def _run(self) -> None:
        """Watch until closed. Whatever fails must not end the following; what is current may only grow stale."""
        while not self._closed:
            try:
                await self._watch()
            except Exception as error:
                if isinstance(error, OutOfRange | InvalidArgument):
                    self._token = ""  # The server does not know it, or no more: watch anew.
                await self._wait_after(error)

    async def _wait_after(self, error: Exception) -> None:
        if not self._closed:  # Closing the connection ends the watch, too.
            log.warning("following %s goes on in a moment: %s", self._model, one_line(str(error)))
            self._holder.lost()
            await asyncio.sleep(self._pauses.next())

    async def _watch(self) -> None:
        """Look now, and again after every change of the model."""
        await self._refresh()
        request = pb.WatchModelsRequest(models=[self._model], resume_token=self._token)
        async for response in self._connection._receive(self._connection._lifecycle.WatchModels, request, math.inf):
            if response.events:
                self._pauses.begin_anew()
                await self._refresh()
                self._token = response.events[-1].resume_token or self._token

    async def _refresh(self) -> None:
        """Ask what is in the stage now, and make it current."""
        request = pb.ResolveModelRequest(model=self._model, stage=stage_to_proto(self._stage))
        try:
            answer = await self._connection._call(self._connection._lifecycle.ResolveModel, request)
        except (ModelHalted, NothingResolved) as error:
            self._holder.put(error)
        else:
            await self._take(self._asked_for(version_from_proto(answer.version)))
        self._holder.connected()

    def _asked_for(self, version: ModelVersion) -> ModelVersion:
        if version.model != self._model:
            raise UnexpectedError(f"{self._model!r} is followed, and the server answers with {version.model!r}")
        return version

    async def _take(self, version: ModelVersion) -> None:
        """Fetch what the disk lacks of a version's files, use them, and keep it as the last version that was good."""
        if self._holder.keeps(version):
            return
        folder = await asyncio.to_thread(self._cache.artifact, version)
        attempts = Attempts(self._connection._timeout + transfer_seconds(version.files), self._connection._timeout)
        await self._connection._download(version, folder, attempts, private=True)
        await self._use(version, folder)
        await asyncio.to_thread(self._cache.remember, self._key, version)
        await self._report(version)

    async def _use(self, version: ModelVersion, folder: Path) -> None:
        """Load files that were verified, and swap."""
        model = await asyncio.to_thread(self._load, version, folder)
        self._holder.put(Followed(version, folder, model))

    async def _report(self, version: ModelVersion) -> None:
        if self._engine:
            await self._connection.report_active(version, engine=self._engine)


class AsyncFollowing(AsyncConnection):
    """Follows models."""

    def follow(
        self,
        model: str,
        *,
        stage: Stage | str = Stage.PRODUCTION,
        cache: Path | str | None = None,
        load: Loader | None = None,
        trusted: Sequence[str] = (),
        allow_pickle: bool = False,
        longest_staleness: timedelta | None = None,
        engine: str = "",
    ) -> AsyncFollower:
        """Keep the version that is in production at hand, in memory, and swap it when another one comes.

            with mw.follow("spx-direction") as live:
                live.current.model.predict(x)  # no network here

        Args:
            stage: the stage to follow.
            cache: folder for files; `modelward` in the user's cache folder when it is left out.
            load: makes a model of a version's files; scikit-learn (skops) and ONNX are known, of others
                `current.model` is None and `current.folder` has the files.
            trusted: names of further types that a skops file may hold.
            allow_pickle: also load pickles, which runs code of their authors, whoever they will be.
            longest_staleness: how long what is current may be used while the server is away; without end by default.
            engine: when given, the server is told under this name which version runs.

        Raises:
            ModelNotFound: when the block is entered and there is no such model.
            Unavailable: when the block is entered, the server is away and the disk has no version that was good.
            InvalidField: when the block is entered and others may write to the cache.
            FailedPrecondition: the client is closed.
        """
        self._check_open()
        return AsyncFollower(
            self.target,
            self._another,
            model,
            as_stage(stage),
            Cache(None if cache is None else Path(cache)),
            load or load_known(trusted, allow_pickle),
            Holder(longest_staleness),
            engine,
        )

    def _another(self) -> AsyncSource:
        """Open a connection of its own, which ends with the following."""
        return AsyncSource(
            self.target, timeout=self._timeout, actor=self.actor, credentials=self._credentials, token=self._token
        )
