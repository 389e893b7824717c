"""The end of an A/B test: by hand, or as its result says."""

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
from modelward_server.lifecycle.repository import check_etag, production_version
from modelward_server.storage import audit
from modelward_server.storage.ab_tables import AbTestRow
from modelward_server.storage.audit import Kind

Gather = Callable[[Session, VersionRef, Reading], Evidence]
"""Reads the evidence that the gates ask for about a candidate, given a reading of the test."""


@dataclass(frozen=True)
class Concluded:
    """What the audit log keeps of the end of a test."""

    test: str
    winner: str
    version: VersionRef
    action: AbAction
    reason: str
    verdict: Verdict | None
    summary: str


@dataclass(frozen=True)
class Decision:
    """Which variant is chosen, and what is done about it."""

    winner: Variant
    action: AbAction


@dataclass(frozen=True)
class Asked:
    """How a test is to end.

    Attributes:
        winner: the variant that is chosen; empty for the one that is superior, or else the control.
        action: what is done about it; by rule, the result says it.
    """

    test: str
    winner: str
    action: AbAction
    reason: str
    expected_etag: str


@dataclass(frozen=True)
class Prepared:
    """What the end of a test rests on."""

    reading: Reading
    evidence: Evidence | None
    """For the gates between the winner and production; None where it is not promoted."""


def prepare_conclusion(session: Session, asked: Asked, gather: Gather) -> Prepared:
    """Read how a test stands, and what the gates ask for where its winner is to be promoted.

    Args:
        gather: reads the evidence about a candidate, given the reading of this test.

    Raises:
        AbTestNotFound: there is no such test.
        AbTestConcluded: it has ended already.
        EtagMismatch: it changed since the etag was read.
        InvalidField: the winner is not a variant of the test, or not the one that the rule chooses.
        AbTestUndecided: the rule decides nothing yet.
    """
    _, test = _checked(session, asked)
    reading = read_test(session, test)
    decision = decide(session, test, reading.result, asked.winner, asked.action)
    winner = decision.winner.version
    promotes = decision.action is AbAction.PROMOTE
    return Prepared(reading, gather(session, winner, reading) if promotes else None)


def conclude_ab_test(session: Session, asked: Asked, prepared: Prepared, actor: ActorContext) -> AbTest:
    """End a test, record what was decided and do it, all in this transaction.

    Raises:
        Outdated: what was prepared does not hold any more.
        GatesFailed, IllegalTransition: the winner cannot be promoted; the test goes on.
        NoPredecessor: there is nothing to roll back to; the test goes on.
        and as `prepare_conclusion`.
    """
    row, test = _checked(session, asked)
    prepared.reading.check(session)
    result = prepared.reading.result
    decision = decide(session, test, result, asked.winner, asked.action)
    because = f"A/B test {test.test}: {asked.reason or result.summary}"
    _act(session, test, decision, because, prepared.evidence, actor)
    concluded = repository.update(row, _ended(test, decision, asked.reason, result, actor))
    _record(session, test, decision, asked.reason, result, actor)
    return concluded


def _checked(session: Session, asked: Asked) -> tuple[AbTestRow, AbTest]:
    row, test = repository.running_test(session, asked.test)
    check_etag(asked.expected_etag, test.etag)
    if asked.winner and asked.winner not in {variant.name for variant in test.variants}:
        names = ", ".join(variant.name for variant in test.variants)
        raise InvalidField(FieldViolation("winner", f"{asked.winner!r} is not a variant; there are {names}"))
    return row, test


def decide(session: Session, test: AbTest, result: AbTestResult, winner: str, action: AbAction) -> Decision:
    """Say which variant is chosen and what follows."""
    if action is not AbAction.BY_RULE:
        chosen = winner or (result.best if result.verdict is Verdict.SUPERIOR else test.control.name)
        return Decision(test.variant(chosen), action)
    decision = _by_rule(session, test, result)
    if winner not in {"", decision.winner.name}:
        raise InvalidField(
            FieldViolation("winner", f"the rule chooses {decision.winner.name}; leave it empty, or conclude by hand")
        )
    return decision


def _by_rule(session: Session, test: AbTest, result: AbTestResult) -> Decision:
    if not result.sample_ratio_broken:
        breaking = {found.variant for found in result.variants if broken_guardrails(test, found)}
        if any(in_production(session, variant) for variant in test.challengers if variant.name in breaking):
            return Decision(test.control, AbAction.ROLL_BACK)
        if result.verdict is Verdict.SUPERIOR and result.best not in breaking:
            best = test.variant(result.best)
            return Decision(best, AbAction.NONE if in_production(session, best) else AbAction.PROMOTE)
    raise AbTestUndecided(f"the rule decides nothing yet, and the test goes on. {result.summary}", test=test.test)


def in_production(session: Session, variant: Variant) -> bool:
    """Whether a variant's version is the one in production of its model."""
    return production_version(session, variant.version.model) == variant.version.version


def _act(
    session: Session, test: AbTest, decision: Decision, reason: str, evidence: Evidence | None, actor: ActorContext
) -> None:
    if decision.action is AbAction.PROMOTE:
        promotion.transition(session, decision.winner.version, Stage.PRODUCTION, reason, "", actor, evidence)
    elif decision.action is AbAction.ROLL_BACK:
        promotion.rollback(session, _model_to_roll_back(session, test), reason, "", actor)


def _model_to_roll_back(session: Session, test: AbTest) -> str:
    """Return the model of the challenger in production, or else the control's."""
    live = (variant for variant in test.challengers if in_production(session, variant))
    return next(live, test.control).version.model


def _ended(test: AbTest, decision: Decision, reason: str, result: AbTestResult, actor: ActorContext) -> AbTest:
    conclusion = AbConclusion(decision.winner.name, decision.action, actor.name, reason, actor.at, result)
    return replace(test, state=AbTestState.CONCLUDED, conclusion=conclusion, etag="")


def _record(
    session: Session, test: AbTest, decision: Decision, reason: str, result: AbTestResult, actor: ActorContext
) -> None:
    version = decision.winner.version
    said = Concluded(test.test, decision.winner.name, version, decision.action, reason, result.verdict, result.summary)
    audit.append(session, Kind.AB_TEST_CONCLUDED, version.model, said, actor, version.version)
