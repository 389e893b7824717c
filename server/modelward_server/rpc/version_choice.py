"""The choice of the versions that score, which all services that score share."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField, NotServed
from modelward.lifecycle import Stage
from modelward.shared.convert.common import stage_from_proto, time_from_proto
from modelward.v1 import scoring_pb2 as pb
from modelward_server.lifecycle.halts import check_not_halted
from modelward_server.lifecycle.repository import model_row
from modelward_server.lifecycle.resolve import Selector
from modelward_server.rpc.answer_cache import FOREVER, KeptReads
from modelward_server.rpc.idempotency import RequestUnitOfWork
from modelward_server.scoring.pool import ModelPool
from modelward_server.scoring.selection import ChosenVersions, TestedVersions, choose, choose_tested

MAX_KEPT_EXAMPLES = 1 << 20
"""The largest examples, in bytes, of a choice that is kept; those of a thousand choices take a GiB at most."""

Value = TypeVar("Value")
Key = tuple[object, ...]


class VersionChoice:
    """Chooses versions, and keeps what it chose while nothing is committed to the ledger.

    Args:
        unit_of_work: the transactions of the ledger.
        pool: the loaded models, told which version is in production; None if this server offers no scoring.
        allow_pickle: whether formats that run their author's code may be loaded.
    """

    def __init__(self, unit_of_work: RequestUnitOfWork, pool: ModelPool | None, *, allow_pickle: bool) -> None:
        self._unit_of_work = unit_of_work
        self.pool = pool
        self._allow_pickle = allow_pickle
        self._chosen = KeptReads[Key, ChosenVersions](unit_of_work)
        self._tested = KeptReads[Key, TestedVersions](unit_of_work)
        self._trading = KeptReads[str, None](unit_of_work)

    def offered(self, method: str) -> ModelPool:
        """Return the loaded models.

        Raises:
            NotServed: this server offers no scoring.
        """
        if self.pool is None:
            fix = "start one with `modelward serve --scoring-processes N`"
            raise NotServed(f"this server does not score; {fix}", method=method)
        return self.pool

    async def choose(self, model: str, options: pb.ScoringOptions) -> ChosenVersions:
        """Return the versions that a request to score asks for.

        Raises:
            InvalidField: it asks for an A/B test together with versions, a past time or without a unit.
            the errors of `scoring.selection.choose` and `choose_tested`.
        """
        _check_test(options)
        if options.ab_test:
            return await self.of_test(model, options.ab_test, options.unit, "options.{}")
        as_of = time_from_proto(options.as_of) if options.HasField("as_of") else None
        return await self.to_score(model, [_selector(one) for one in options.versions], as_of)

    async def to_score(self, model: str, selectors: Sequence[Selector], as_of: datetime | None) -> ChosenVersions:
        """Choose the versions that are about to predict; the one in production is loaded first from now on.

        Raises:
            the errors of `choose`.
        """

        def query(session: Session) -> tuple[ChosenVersions, datetime]:
            return choose(session, model, selectors, as_of, allow_pickle=self._allow_pickle), FOREVER

        key = model, *((type(one), one) for one in selectors), as_of

        def is_kept(chosen: ChosenVersions) -> bool:
            """Each choice has rows of references, and anybody may name any past time and any list of versions."""
            return as_of is None and sum(len(one.example) for one in chosen.models) <= MAX_KEPT_EXAMPLES

        chosen = await self._chosen.read(key, query, urgent=True, is_kept=is_kept)
        if as_of is None and self.pool and (production := chosen.in_production):
            self.pool.pin(model, production)
        return chosen

    async def check_not_halted(self, model: str) -> None:
        """Check that a model is not halted, for whoever goes on to use a choice.

        Raises:
            ModelHalted: it is.
        """

        def query(session: Session) -> tuple[None, datetime]:
            check_not_halted(model_row(session, model))
            return None, FOREVER

        await self._trading.read(model, query, urgent=True)

    async def of_test(self, model: str, test: str, unit: str, field: str) -> ChosenVersions:
        """Return the version of the variant that an A/B test gives a unit.

        Args:
            model: the model's name.
            test: the name of the test.
            unit: the unit.
            field: the fields of both in the request, with braces for their names.

        Raises:
            the errors of `choose_tested` and `TestedVersions.of_unit`.
        """

        def query(session: Session) -> tuple[TestedVersions, datetime]:
            field_of_test = field.format("ab_test")
            return choose_tested(session, model, test, field_of_test, allow_pickle=self._allow_pickle), FOREVER

        tested = await self._tested.read((model, test, field), query, urgent=True)
        return tested.of_unit(unit, field.format("unit"))

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


def _check_test(options: pb.ScoringOptions) -> None:
    if options.ab_test:
        given = {field.name for field, _ in options.ListFields()} & {"versions", "as_of"}
        fix = "is given with ab_test, which chooses the version; send one of them"
        if given:
            raise InvalidField(*(FieldViolation(f"options.{name}", fix) for name in sorted(given)))
    elif options.unit:
        raise InvalidField(FieldViolation("options.unit", "is given without ab_test; name the test, or leave it out"))


def _selector(request: pb.VersionSelector) -> Selector:
    chosen = request.WhichOneof("selector")
    if chosen == "version":
        return request.version
    return request.alias if chosen == "alias" else stage_from_proto(request.stage) or Stage.PRODUCTION
