"""The choice of the versions that score, which all services that score share."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy.orm import Session

from modelward.errors import NotServed
from modelward_server.lifecycle.resolve import Selector
from modelward_server.rpc.answer_cache import keep
from modelward_server.rpc.idempotency import RequestUnitOfWork
from modelward_server.scoring.pool import ModelPool
from modelward_server.scoring.selection import ChosenVersions, choose
from modelward_server.storage.commit_counter import State

Value = TypeVar("Value")
Key = tuple[str, tuple[tuple[type, Selector], ...], datetime | None]


class VersionChoice:
    """Chooses versions, and keeps what it chose while nothing is committed to the ledger.

    Args:
        pool: the loaded models; None if this server offers no scoring.
        allow_pickle: whether formats that run their author's code may be loaded.
    """

    def __init__(self, unit_of_work: RequestUnitOfWork, pool: ModelPool | None, *, allow_pickle: bool) -> None:
        self._unit_of_work = unit_of_work
        self.pool = pool
        self._allow_pickle = allow_pickle
        self._chosen: dict[Key, tuple[State | None, ChosenVersions]] = {}

    def offered(self, method: str) -> ModelPool:
        """Return the loaded models.

        Raises:
            NotServed: this server offers no scoring.
        """
        if self.pool is None:
            fix = "start one with `modelward serve --scoring-processes N`"
            raise NotServed(f"this server does not score; {fix}", method=method)
        return self.pool

    async def to_score(self, model: str, selectors: Sequence[Selector], as_of: datetime | None) -> ChosenVersions:
        """Choose the versions that are about to predict; the one in production is loaded first from now on.

        Raises:
            the errors of `choose`.
        """
        state = self._unit_of_work.ledger.state()
        key = model, tuple((type(one), one) for one in selectors), as_of
        known = self._chosen.get(key)
        if known is not None and state is not None and known[0] == state:
            return known[1]
        chosen = await self.read(model, selectors, as_of, lambda _session, found: found)
        keep(self._chosen, key, (state, chosen))
        if as_of is None and self.pool and (production := chosen.in_production):
            self.pool.pin(model, production)
        return chosen

    async def read(
        self,
        model: str,
        selectors: Sequence[Selector],
        as_of: datetime | None,
        then: Callable[[Session, ChosenVersions], Value],
    ) -> Value:
        """Choose versions, and return what is read of them in the same transaction.

        Raises:
            the errors of `choose`.
        """

        def query(session: Session) -> Value:
            return then(session, choose(session, model, selectors, as_of, allow_pickle=self._allow_pickle))

        return await self._unit_of_work.read(query, urgent=True)
