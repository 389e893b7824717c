"""Limits of what reports of engines add to the ledger: any client may send them, with names that it makes up."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelward.errors import LimitReached
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.engine_periods import periods_since
from modelward_server.storage.tables import EngineRow

MAX_PERIODS = 200
"""Maximum number of periods that one engine begins within `PERIODS_WITHIN`."""
PERIODS_WITHIN = timedelta(days=1)


@dataclass(frozen=True)
class EngineLimits:
    """How many engines the ledger keeps, those of each model counted separately.

    Args:
        of_client: maximum number of engines that one client reports.
        in_all: maximum number of engines of all clients.
    """

    of_client: int
    in_all: int

    def check_engine(self, session: Session, client: str, last: EngineRow | None) -> None:
        """Refuse an engine that is new, or that another client reported before, when there are too many.

        Args:
            session: the transaction.
            client: the authenticated client; empty where the server does not authenticate.
            last: what the engine reported last; None if this is its first report.

        Raises:
            LimitReached: the client reports too many engines, or all clients together do.
        """
        count = select(func.count()).select_from(EngineRow)
        if last is not None and last.reported_by == client:
            return
        if (session.scalar(count.where(EngineRow.reported_by == client)) or 0) >= self.of_client:
            whose = f"{client} reports" if client else "the clients of this server report"
            raise _too_many(f"{whose} {self.of_client} engines, the maximum for one client", "client_engines")
        if last is None and (session.scalar(count) or 0) >= self.in_all:
            raise _too_many(f"the server knows {self.in_all} engines, its maximum", "max_engines")


def _too_many(reached: str, setting: str) -> LimitReached:
    fix = "report under names that stay the same when an engine restarts; silent ones are forgotten"
    alternative = f"the operator can lower MODELWARD_KEEP_SILENT_ENGINES_DAYS or raise MODELWARD_{setting.upper()}"
    return LimitReached(f"{reached}; {fix}, and {alternative}", limit=setting)


def check_period(session: Session, model: str, engine: str, actor: ActorContext) -> None:
    """Refuse a report that begins a period of an engine which has begun too many in a short time.

    Raises:
        LimitReached: it changes its version, or is silent and reports again, too often.
    """
    if periods_since(session, model, engine, actor.at - PERIODS_WITHIN) >= MAX_PERIODS:
        message = f"{engine} changed its version, or reported again after it was gone, {MAX_PERIODS} times within a day"
        fix = "give each engine a name of its own, and set silent_after to more than the time between two reports"
        raise LimitReached(f"{message}; {fix}", limit="engine_periods")
