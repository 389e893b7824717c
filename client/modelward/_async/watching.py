"""The calls about changes as they come, and about the engines that follow them."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

from modelward._async.connection import AsyncConnection
from modelward._coerce import AnyVersion, as_ref
from modelward.errors import LimitReached, Unavailable
from modelward.lifecycle import ModelEvent, Rollout, VersionRef
from modelward.shared.convert.common import ref_from_proto, ref_to_proto, span_to_proto
from modelward.shared.convert.events import event_from_proto, rollout_from_proto
from modelward.shared.retry import Pauses, pause_before_watching
from modelward.v1 import lifecycle_pb2 as pb


class AsyncWatching(AsyncConnection):
    """What changes, and who has noticed."""

    async def watch(self, models: Sequence[str] = (), *, resume_token: str = "") -> AsyncGenerator[ModelEvent, None]:
        """Iterate over changes as they come, in their order, until the iteration is left.

        Without a token it first tells how the models stand. When the connection breaks or the server restarts, it goes
        on behind the last event, at another server where there is one: none is lost and none comes twice.

        Args:
            models: only these; all when it is empty.
            resume_token: of the event to go on behind.

        Raises:
            InvalidField: the token is not one of a watch, or a name is wrong.
            ResumeTokenExpired: the server does not know so recent an event; its log was lost.
            LimitReached: the client has as many streams open as it may.
        """
        request = pb.WatchModelsRequest(models=models, resume_token=resume_token)
        pauses = Pauses()
        while True:
            try:
                async for response in self._receive(self._lifecycle.WatchModels, request, math.inf):
                    pauses.begin_anew()
                    for message in response.events:
                        request.resume_token = message.resume_token or request.resume_token
                        event = event_from_proto(message)
                        if event is not None:
                            yield event
            except (Unavailable, LimitReached) as error:
                await asyncio.sleep(pause_before_watching(error, pauses, begun=bool(request.resume_token)))

    async def report_active(
        self, version: AnyVersion, *, engine: str, silent_after: timedelta | None = None
    ) -> VersionRef | None:
        """Tell the server which version an engine runs, and return the one that it should run.

        Args:
            engine: its name, as "engine-ny4-07".
            silent_after: how long it may be silent before it counts as gone; a minute when it is left out.

        Raises:
            ModelNotFound, VersionNotFound: the version does not exist.
        """
        request = pb.ReportActiveVersionRequest(
            version=ref_to_proto(as_ref(version)), engine=engine, silent_after=span_to_proto(silent_after)
        )
        answer = await self._call(self._lifecycle.ReportActiveVersion, request)
        return ref_from_proto(answer.expected) if answer.HasField("expected") else None

    async def get_rollout(self, model: str) -> Rollout:
        """Say which engines run the version that they should, which lag and which are gone.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.GetRolloutRequest(model=model)
        return rollout_from_proto(await self._call(self._lifecycle.GetRollout, request))
