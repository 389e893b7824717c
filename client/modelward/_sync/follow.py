# Derived from modelward/_async/follow.py by client/unasync.py: change that one.
"""Following a model: what is to be used now, in memory, without the network."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from modelward._cache import Cache
from modelward._coerce import as_stage
from modelward._follow import Followed, Holder, Loader, cache_key, load_known, start_thread
from modelward._sync.connection import Connection
from modelward._sync.lifecycle import Lifecycle
from modelward._sync.watching import Watching
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


class Source(Lifecycle, Watching):
    """The calls that following needs."""


class Follower:
    """Keeps the version of a stage at hand; use it in a `with` block.

    It watches the registry. When another version comes to the stage, it fetches the files to a cache, verifies them,
    loads the model and only then makes it current. While the server is away, what is current stays so; a process that
    starts then takes the last version that was good from the disk.
    """

    def __init__(
        self,
        target: str,
        connect: Callable[[], Source],
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

    def __enter__(self) -> Self:
        self._cache.open()
        self._connection = self._connect()
        self._closed = False
        try:
            self._start()
            self._task = start_thread(self._run)
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._connection.close()
        self._task.join(CLOSE_SECONDS)

    def _start(self) -> None:
        """Take what is in the stage now; while the server is away, the last version that was good."""
        try:
            self._refresh()
        except (Unavailable, DeadlineExceeded):
            version = self._cache.last_good(self._key, self._model)
            if version is None:
                raise
            self._holder.lost()
            self._use(version, self._cache.artifact(version))

    def _run(self) -> None:
        """Watch until closed. Whatever fails must not end the following; what is current may only grow stale."""
        while not self._closed:
            try:
                self._watch()
            except Exception as error:
                if isinstance(error, OutOfRange | InvalidArgument):
                    self._token = ""  # The server does not know it, or no more: watch anew.
                self._wait_after(error)

    def _wait_after(self, error: Exception) -> None:
        if not self._closed:  # Closing the connection ends the watch, too.
            log.warning("following %s goes on in a moment: %s", self._model, one_line(str(error)))
            self._holder.lost()
            time.sleep(self._pauses.next())

    def _watch(self) -> None:
        """Look now, and again after every change of the model."""
        self._refresh()
        request = pb.WatchModelsRequest(models=[self._model], resume_token=self._token)
        for response in self._connection._receive(self._connection._lifecycle.WatchModels, request, math.inf):
            if response.events:
                self._pauses.begin_anew()
                self._refresh()
                self._token = response.events[-1].resume_token or self._token

    def _refresh(self) -> None:
        """Ask what is in the stage now, and make it current."""
        request = pb.ResolveModelRequest(model=self._model, stage=stage_to_proto(self._stage))
        try:
            answer = self._connection._call(self._connection._lifecycle.ResolveModel, request)
        except (ModelHalted, NothingResolved) as error:
            self._holder.put(error)
        else:
            self._take(self._asked_for(version_from_proto(answer.version)))
        self._holder.connected()

    def _asked_for(self, version: ModelVersion) -> ModelVersion:
        if version.model != self._model:
            raise UnexpectedError(f"{self._model!r} is followed, and the server answers with {version.model!r}")
        return version

    def _take(self, version: ModelVersion) -> None:
        """Fetch what the disk lacks of a version's files, use them, and keep it as the last version that was good."""
        if self._holder.keeps(version):
            return
        folder = self._cache.artifact(version)
        attempts = Attempts(self._connection._timeout + transfer_seconds(version.files), self._connection._timeout)
        self._connection._download(version, folder, attempts, private=True)
        self._use(version, folder)
        self._cache.remember(self._key, version)
        self._report(version)

    def _use(self, version: ModelVersion, folder: Path) -> None:
        """Load files that were verified, and swap."""
        model = self._load(version, folder)
        self._holder.put(Followed(version, folder, model))

    def _report(self, version: ModelVersion) -> None:
        if self._engine:
            self._connection.report_active(version, engine=self._engine)


class Following(Connection):
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
    ) -> Follower:
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
        return Follower(
            self.target,
            self._another,
            model,
            as_stage(stage),
            Cache(None if cache is None else Path(cache)),
            load or load_known(trusted, allow_pickle),
            Holder(longest_staleness),
            engine,
        )

    def _another(self) -> Source:
        """Open a connection of its own, which ends with the following."""
        return Source(
            self.target, timeout=self._timeout, actor=self.actor, credentials=self._credentials, token=self._token
        )
