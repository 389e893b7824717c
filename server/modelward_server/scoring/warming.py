"""Loading of versions that are about to be used, where their model is being scored."""

import asyncio
from contextlib import suppress

from sqlalchemy.orm import Session

from modelward.errors import ModelwardError
from modelward.lifecycle import VersionRef
from modelward_server.scoring.pool import ModelPool
from modelward_server.scoring.selection import ChosenVersions, choose
from modelward_server.storage.unit_of_work import UnitOfWork

MAX_SECONDS = 10.0
"""The longest that a promotion waits for its version to be loaded; loading goes on afterwards."""


class Warming:
    """Loads versions when they enter staging, and before production, so that no call waits for that afterwards.

    The version before it stays loaded until its memory is needed, for a rollback.
    """

    def __init__(self, unit_of_work: UnitOfWork, pool: ModelPool, *, allow_pickle: bool) -> None:
        self._unit_of_work = unit_of_work
        self._pool = pool
        self._allow_pickle = allow_pickle

    async def load(self, ref: VersionRef) -> None:
        """Load a version, if this server scores its model; one that cannot be loaded does not stop a promotion."""
        if self._pool.serves(ref.model):
            with suppress(ModelwardError, TimeoutError):
                async with asyncio.timeout(MAX_SECONDS):
                    await self._load(ref)

    async def _load(self, ref: VersionRef) -> None:
        def chosen(session: Session) -> ChosenVersions:
            return choose(session, ref.model, [ref.version], None, allow_pickle=self._allow_pickle)

        [model] = (await self._unit_of_work.read(chosen)).models
        await self._pool.load(model)
