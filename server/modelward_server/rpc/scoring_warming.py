"""Loading of versions that enter staging or production, on every server that scores their model."""

import asyncio
from contextlib import aclosing

from sqlalchemy.exc import SQLAlchemyError

from modelward.errors import StoreUnavailable, Unavailable
from modelward.lifecycle import Stage
from modelward.shared.convert.common import ref_from_proto, stage_from_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.rpc.model_events import ModelWatches
from modelward_server.runtime.background import progressed, stalled
from modelward_server.scoring.warming import Warming

RETRY_SECONDS = 1.0
"""Pause before the changes are followed again after a failure."""
ABOUT_TO_BE_USED = (Stage.STAGING, Stage.PRODUCTION)


class WarmingTask:
    """Follows the changes of stages, also those by other servers, and loads what calls are about to ask for."""

    def __init__(self, watches: ModelWatches, warming: Warming) -> None:
        self._watches = watches
        self._warming = warming

    async def run(self) -> None:
        """Follow until the server stops."""
        while True:
            try:
                await self._follow()
            except (StoreUnavailable, SQLAlchemyError) as error:
                await stalled(error)
            except Unavailable:  # The watches were closed.
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        kinds = [pb.MODEL_EVENT_KIND_TRANSITION]
        async with aclosing(self._watches.watch(pb.WatchModelsRequest(changes_only=True, kinds=kinds))) as messages:
            async for message in messages:
                await progressed()
                for moved in (event.transition for event in message.events):
                    if stage_from_proto(moved.to) in ABOUT_TO_BE_USED:
                        await self._warming.load(ref_from_proto(moved.version))
