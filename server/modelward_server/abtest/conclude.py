"""Conclude an A/B test: manually, or by the rule from its result."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from modelward.abtest import AbAction, AbConclusion, AbTest, AbTestResult, AbTestState, Variant
from modelward.comparison import Verdict
from modelward.errors import AbTestUndecided, FieldViolation, InvalidField
from modelward.lifecycle import Stage, VersionRef
from modelward_server.abtest import repository
from modelward_server.abtest.readings import Reading, read_test
from modelward_server.abtest.verdict import broken_guardrails
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle import promotion
from modelward_server.lifecycle.gates import Evidence
from modelward_server.lifecycle.policies import check_reason
from modelward_server.lifecycle.repository import check_etag, production_version
from modelward_server.storage import audit
from modelward_server.storage.ab_tables import AbTestRow
from modelward_server.storage.audit import Kind

Gather = Callable[[Session, VersionRef, Reading], Evidence]
"""Reads the evidence that the gates require for a candidate, given a reading of the test."""


@dataclass(frozen=True)
class Concluded:
    """The audit record of a concluded test."""

    test: str
    winner: str
    version: VersionRef
    action: AbAction
    reason: str
    verdict: Verdict | None
    summary: str


@dataclass(frozen=True)
class WinnerDecision:
    """The winning variant, and the action that follows."""

    winner: Variant
    action: AbAction


@dataclass(frozen=True)
class ConclusionRequest:
    """The request to conclude a test.

    Attributes:
        winner: the winning variant; empty for the superior one, or otherwise the control.
        action: the action that follows; by rule, it is derived from the result.
    """

    test: str
    winner: str
    action: AbAction
    reason: str
    expected_etag: str
    expected_model_etag: str
    """Of the model whose version in production changes; empty for any."""


@dataclass(frozen=True)
class Prepared:
    """The inputs of a conclusion: the test's result, and the evidence for its promotion gates."""

    reading: Reading
    evidence: Evidence | None
    """For the gates between the winner and production; None if it is not promoted."""


def prepare_conclusion(session: Session, request: ConclusionRequest, gather: Gather) -> Prepared:
    """Compute the result of a test, and the evidence for the gates if its winner is to be promoted.

    Args:
        request: the request to conclude the test.
        gather: reads the evidence about a candidate, given the reading of this test.

    Raises:
        AbTestNotFound: the test does not exist.
        AbTestConcluded: it has already been concluded.
        EtagMismatch: it has changed since the etag was read.
        InvalidField: the winner is not a variant of the test, or not the one that the rule chooses.
        AbTestUndecided: the rule does not choose a winner yet.
    """
    _, test = _checked(session, request)
    reading = read_test(session, test)
    decision = choose_winner(session, test, reading.result, request.winner, request.action)
    winner = decision.winner.version
    promotes = decision.action is AbAction.PROMOTE
    return Prepared(reading, gather(session, winner, reading) if promotes else None)


def check_conclusion_reason(session: Session, request: ConclusionRequest) -> None:
    """Require the reason of a conclusion, as `check_reason` does; the rule states its own.

    Raises:
        AbTestNotFound: the test does not exist.
        InvalidField: the reason is blank.
    """
    if request.action is not AbAction.BY_RULE:
        test = repository.get_ab_test(session, request.test)
        check_reason(session, test.control.version.model, request.reason)


def conclude_ab_test(session: Session, request: ConclusionRequest, prepared: Prepared, actor: ActorContext) -> AbTest:
    """Conclude a test, record the decision and carry it out, all in this transaction.

    Raises:
        Outdated: the prepared inputs are no longer valid.
        GatesFailed, IllegalTransition: the winner cannot be promoted; the test continues.
        NoPredecessor: there is no version to roll back to; the test continues.
        EtagMismatch: the model has changed since its etag was read; the test continues.
        and as `prepare_conclusion`.
    """
    row, test = _checked(session, request)
    prepared.reading.check(session)
    result = prepared.reading.result
    decision = choose_winner(session, test, result, request.winner, request.action)
    because = f"A/B test {test.test}: {request.reason or result.summary}"
    _act(session, test, decision, because, request.expected_model_etag, prepared.evidence, actor)
    concluded = repository.update(row, _ended(test, decision, request.reason, result, actor))
    _record(session, test, decision, request.reason, result, actor)
    return concluded


def _checked(session: Session, request: ConclusionRequest) -> tuple[AbTestRow, AbTest]:
    row, test = repository.running_test(session, request.test)
    check_etag(request.expected_etag, test.etag)
    if request.winner and request.winner not in {variant.name for variant in test.variants}:
        names = ", ".join(variant.name for variant in test.variants)
        raise InvalidField(FieldViolation("winner", f"{request.winner!r} is not a variant; there are {names}"))
    return row, test


def choose_winner(
    session: Session, test: AbTest, result: AbTestResult, winner: str, action: AbAction
) -> WinnerDecision:
    """Return the winning variant and the action that follows."""
    if action is not AbAction.BY_RULE:
        chosen = winner or (result.best if result.verdict is Verdict.SUPERIOR else test.control.name)
        return WinnerDecision(test.variant(chosen), action)
    decision = _by_rule(session, test, result)
    if winner not in {"", decision.winner.name}:
        raise InvalidField(
            FieldViolation("winner", f"the rule chooses {decision.winner.name}; leave it empty, or conclude manually")
        )
    return decision


def _by_rule(session: Session, test: AbTest, result: AbTestResult) -> WinnerDecision:
    if not result.sample_ratio_broken:
        breaking = {variant.variant for variant in result.variants if broken_guardrails(test, variant)}
        if any(in_production(session, variant) for variant in test.challengers if variant.name in breaking):
            return WinnerDecision(test.control, AbAction.ROLL_BACK)
        if result.verdict is Verdict.SUPERIOR and result.best not in breaking:
            best = test.variant(result.best)
            return WinnerDecision(best, AbAction.NONE if in_production(session, best) else AbAction.PROMOTE)
    raise AbTestUndecided(
        f"the rule does not choose a winner yet, so the test continues. {result.summary}", test=test.test
    )


def in_production(session: Session, variant: Variant) -> bool:
    """Return whether a variant's version is its model's version in production."""
    return production_version(session, variant.version.model) == variant.version.version


def _act(
    session: Session,
    test: AbTest,
    decision: WinnerDecision,
    reason: str,
    model_etag: str,
    evidence: Evidence | None,
    actor: ActorContext,
) -> None:
    if decision.action is AbAction.PROMOTE:
        winner = decision.winner.version
        promotion.transition(session, winner, Stage.PRODUCTION, reason, "", actor, evidence, model_etag)
    elif decision.action is AbAction.ROLL_BACK:
        promotion.rollback(session, _model_to_roll_back(session, test), reason, model_etag, actor)


def _model_to_roll_back(session: Session, test: AbTest) -> str:
    """Return the model of the challenger in production, or otherwise the control's."""
    live = (variant for variant in test.challengers if in_production(session, variant))
    return next(live, test.control).version.model


def _ended(test: AbTest, decision: WinnerDecision, reason: str, result: AbTestResult, actor: ActorContext) -> AbTest:
    conclusion = AbConclusion(decision.winner.name, decision.action, actor.name, reason, actor.at, result)
    return replace(test, state=AbTestState.CONCLUDED, conclusion=conclusion, etag="")


def _record(
    session: Session, test: AbTest, decision: WinnerDecision, reason: str, result: AbTestResult, actor: ActorContext
) -> None:
    version = decision.winner.version
    concluded_record = Concluded(
        test.test, decision.winner.name, version, decision.action, reason, result.verdict, result.summary
    )
    audit.append(session, Kind.AB_TEST_CONCLUDED, version.model, concluded_record, actor, version.version)
