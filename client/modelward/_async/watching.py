"""Client methods for events, and for the engines that follow them."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, timedelta

from modelward._async.connection import AsyncConnection
from modelward._coerce import AnyVersion, as_ref
from modelward.errors import LimitReached, Unavailable
from modelward.lifecycle import EnginePeriod, EventKind, LoadFailure, ModelEvent, ModelRollout, Rollout, VersionRef
from modelward.paging import AsyncPager
from modelward.shared.convert.common import ref_from_proto, ref_to_proto, span_to_proto, time_to_proto
from modelward.shared.convert.events import (
    KINDS,
    event_from_proto,
    failure_to_proto,
    model_rollout_from_proto,
    period_from_proto,
    rollout_from_proto,
)
from modelward.shared.retry import Backoff, pause_before_watching
from modelward.v1 import lifecycle_pb2 as pb

PAGE_SIZE = 200


class AsyncWatching(AsyncConnection):
    """Events, and the rollout of versions to engines."""

    async def watch(
        self,
        models: Sequence[str] = (),
        *,
        kinds: Sequence[EventKind | str] = (),
        changes_only: bool = False,
        resume_token: str = "",
    ) -> AsyncGenerator[ModelEvent, None]:
        """Iterate over changes as they happen, in order, until the iteration is left.

        Without a token it first yields the current state of the models. When the connection breaks or the server
        restarts, it continues after the last event, at another server where there is one: no event is lost or repeated,
        but for those of engines, which are only told as they happen.

        Args:
            models: only these models; all when empty.
            kinds: only these kinds of events; all but `"engine"`, `"job"`, `"approval"` and `"finding"`
                when empty.
            changes_only: without a token, leave out the current state of the models.
            resume_token: that of the event after which to continue.

        Returns:
            An iteration over the events, which has no end and no timeout.

        Raises:
            InvalidField: the token is not one of a watch, or a name is invalid.
            ResumeTokenExpired: the server does not know the event; its log was lost.
            LimitReached: the client has reached the maximum number of open streams.

        Examples:
            >>> async for event in mw.watch(["spx-trend"]):
            ...     print(event.kind, event.subject.production_version)
            ...     break
            state 1
        """
        request = pb.WatchModelsRequest(
            models=models,
            resume_token=resume_token,
            kinds=[KINDS[EventKind(kind)] for kind in kinds],
            changes_only=changes_only,
        )
        pauses = Backoff()
        while True:
            try:
                async for response in self._receive(self._lifecycle.WatchModels, request, math.inf):
                    pauses.reset()
                    request.resume_token = response.resume_token or request.resume_token
                    for message in response.events:
                        request.resume_token = message.resume_token or request.resume_token
                        event = event_from_proto(message)
                        if event is not None:
                            yield event
            except (Unavailable, LimitReached) as error:
                await asyncio.sleep(pause_before_watching(error, pauses, started=bool(request.resume_token)))

    async def report_active(
        self,
        version: AnyVersion,
        *,
        engine: str,
        silent_after: timedelta | None = None,
        failure: LoadFailure | None = None,
    ) -> VersionRef | None:
        """Report the version that an engine runs, and return the one that it should run.

        Args:
            version: the version that runs, such as `"spx-trend/3"`.
            engine: the engine's name, such as "engine-ny4-07".
            silent_after: the time without a report after which it counts as gone, 30 days at most; a minute by
                default.
            failure: the version of the same model that it could not load, so that it still runs this one.

        Returns:
            The version in production; None when there is none or the model is halted.

        Raises:
            ModelNotFound, VersionNotFound: a version does not exist.
            LimitReached: too many engines are on record, or this one changes its version too often.
        """
        request = pb.ReportActiveVersionRequest(
            version=ref_to_proto(as_ref(version)),
            engine=engine,
            silent_after=span_to_proto(silent_after),
            failure=failure_to_proto(failure) if failure else None,
        )
        answer = await self._call(self._lifecycle.ReportActiveVersion, request)
        return ref_from_proto(answer.expected) if answer.HasField("expected") else None

    async def get_rollout(self, model: str) -> Rollout:
        """Return the rollout: which engines run the expected version, which lag, failed to load it, or are gone.

        Args:
            model: the model's name.

        Returns:
            The expected version and the state of every engine that reported.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.GetRolloutRequest(model=model)
        return rollout_from_proto(await self._call(self._lifecycle.GetRollout, request))

    def list_rollouts(self, *, name_prefix: str = "") -> AsyncPager[ModelRollout]:
        """List the rollouts of many models, by the models' names; see `get_rollout`.

        Args:
            name_prefix: only models whose names have this prefix; all when empty.

        Returns:
            The rollouts, also of models without an engine; their pages are fetched as they are needed.

        Raises:
            InvalidField: the prefix is too long.

        Examples:
            >>> for one in await mw.list_rollouts(name_prefix="spx-trend"):
            ...     print(one.model, one.rollout.expected)
            spx-trend spx-trend/1
        """
        request = pb.ListRolloutsRequest(name_prefix=name_prefix, page_size=PAGE_SIZE)
        return self._list(self._lifecycle.ListRollouts, request, "rollouts", model_rollout_from_proto)

    def list_engine_periods(
        self,
        model: str,
        *,
        version: int = 0,
        engine: str = "",
        ended_after: datetime | None = None,
        started_before: datetime | None = None,
    ) -> AsyncPager[EnginePeriod]:
        """List which engine ran which version from when until when, the newest period first.

        A period begins with an engine's first report of a version. It ends with its first report of another one, or
        with its last report before it was gone. The server keeps periods for `keep_engines_days`.

        Args:
            model: the model's name.
            version: only periods of the version with this number; of all when 0.
            engine: only periods of this engine; of all when empty.
            ended_after: only periods that ended at this time or later, or have not ended.
            started_before: only periods that began before this time.

        Returns:
            The periods; their pages are fetched as they are needed.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
        """
        request = pb.ListEnginePeriodsRequest(
            model=model,
            version=version,
            engine=engine,
            ended_after=time_to_proto(ended_after),
            started_before=time_to_proto(started_before),
            page_size=PAGE_SIZE,
        )
        return self._list(self._lifecycle.ListEnginePeriods, request, "periods", period_from_proto)
