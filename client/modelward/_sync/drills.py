# Derived from modelward/_async/drills.py by client/unasync.py: change that one.
"""Client methods for drills of halts."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from modelward._sync.connection import Connection
from modelward.drills import Drill
from modelward.paging import Pager
from modelward.shared.convert.common import span_to_proto, time_to_proto
from modelward.shared.convert.drills import drill_from_proto
from modelward.v1 import governance_pb2 as pb

PAGE_SIZE = 200


class Drills(Connection):
    """Drills: how long until every engine of a model would have stopped."""

    def start_drill(
        self,
        models: Sequence[str] = (),
        *,
        reason: str,
        all_in_production: bool = False,
        timeout: timedelta | None = None,
        request_id: str = "",
    ) -> Sequence[Drill]:
        """Start a drill of each model: its engines do all that they do at a halt, but stop nothing, and answer.

        The engines are those that reported and are not gone. A model without one has a drill that ends at once.

        Args:
            models: the models' names.
            reason: why, for the audit log.
            all_in_production: instead of `models`: every model with a version in production that the client may reach.
            timeout: how long the engines have to answer, from a second to an hour; 30 seconds by default.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The drills, by the names of their models. They run on: `get_drill` returns their current state.

        Raises:
            ModelNotFound: a model does not exist.
            InvalidField: neither models nor `all_in_production` are given, or both; the reason is blank, or the timeout
                too short or too long.

        Examples:
            >>> [drill] = mw.start_drill("spx-trend", reason="yearly test of the kill switch")
            >>> print(drill.model, drill.not_proven)
            spx-trend 0
        """
        request = pb.StartDrillRequest(
            models=models,
            all_in_production=all_in_production,
            reason=reason,
            timeout=span_to_proto(timeout),
            request_id=request_id,
        )
        return tuple(map(drill_from_proto, (self._call(self._governance.StartDrill, request)).drills))

    def answer_drill(
        self, drill_id: str, *, engine: str, stopped_after: timedelta | None = None, used_none: bool = False
    ) -> Drill:
        """Answer a drill for an engine; a follower with a name answers by itself.

        Args:
            drill_id: the id of the drill.
            engine: the name under which the engine reports.
            stopped_after: what it measured from receiving the drill until it would have used no version; None without a
                measurement.
            used_none: whether it used no version already.

        Returns:
            The drill. The first answer of an engine counts; another one changes nothing.

        Raises:
            DrillNotFound: there is no such drill.
            DrillEnded: it ended before the answer was received.
            EngineNotDrilled: the engine was not running when it started.
        """
        request = pb.AnswerDrillRequest(
            drill_id=drill_id, engine=engine, stopped_after=span_to_proto(stopped_after), used_none=used_none
        )
        return drill_from_proto((self._call(self._governance.AnswerDrill, request)).drill)

    def get_drill(self, drill_id: str) -> Drill:
        """Return a drill.

        Args:
            drill_id: its id.

        Returns:
            The drill, with what its engines have answered so far.

        Raises:
            DrillNotFound: there is no such drill.
        """
        request = pb.GetDrillRequest(drill_id=drill_id)
        return drill_from_proto((self._call(self._governance.GetDrill, request)).drill)

    def list_drills(
        self, model: str = "", *, started_after: datetime | None = None, started_before: datetime | None = None
    ) -> Pager[Drill]:
        """List drills, the newest first.

        Args:
            model: only those of this model; all when empty.
            started_after: only those that started at this time or later.
            started_before: only those that started before this time.

        Returns:
            The drills; their pages are fetched as they are needed.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListDrillsRequest(
            model=model,
            started_after=time_to_proto(started_after),
            started_before=time_to_proto(started_before),
            page_size=PAGE_SIZE,
        )
        return self._list(self._governance.ListDrills, request, "drills", drill_from_proto)
