"""Promotion gates: each evaluates one condition of the policy and returns the result with its evidence."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy.orm import Session

from modelward.lifecycle import (
    DriftAlarm,
    FreezeWindow,
    GateResult,
    MetricMargin,
    MetricRange,
    ModelVersion,
    PromotionPolicy,
    VersionRef,
)
from modelward.shared.figures import beside, metric, score
from modelward_server.statistics.rounding import differs, size_of


@dataclass(frozen=True)
class Verdict:
    """What a candidate's comparison, or its A/B test, with the version in production found."""

    source: str
    """The id of the source, such as "comparison comparison-0123" or "A/B test spx-exits"."""
    no_worse: bool
    summary: str


class Evidence(Protocol):
    """What the other services found about a candidate. It is read before the promotion, which only asks for it."""

    def verdict(self, session: Session, candidate: VersionRef, production: VersionRef) -> Verdict | None:
        """Return what the candidate's newest A/B test or comparison with the version in production found.

        Raises:
            Outdated: it was not read, or what it was read from has changed.
        """
        ...

    def drift_alarm(self, session: Session, candidate: VersionRef) -> DriftAlarm | None:
        """Return the alarm that stands for the candidate."""
        ...


@dataclass(frozen=True)
class Facts:
    """What the gates look at."""

    candidate: ModelVersion
    production: ModelVersion | None
    actor: str
    at: datetime
    verdict: Verdict | None = None
    drift_alarm: DriftAlarm | None = None


def evaluate(policy: PromotionPolicy, facts: Facts) -> tuple[GateResult, ...]:
    """Look at every condition of the policy; a condition that cannot be judged does not hold."""
    return tuple(_results(policy, facts))


def _results(policy: PromotionPolicy, facts: Facts) -> Iterator[GateResult]:
    yield from (_metric(bounds, facts.candidate) for bounds in policy.metrics)
    yield from (_no_worse(margin, facts) for margin in policy.no_worse_than_production)
    if policy.require_comparison:
        yield _comparison(facts)
    if policy.forbid_drift_alarm:
        yield _drift(facts)
    yield from (_tag(tag, facts.candidate) for tag in policy.required_tags)
    yield from (_freeze(window, facts.at) for window in policy.freezes)
    if policy.material:
        yield _second_person(facts)


def _metric(bounds: MetricRange, candidate: ModelVersion) -> GateResult:
    gate, value = f"metrics.{bounds.key}", candidate.metrics.get(bounds.key)
    if value is None:
        return GateResult(gate, False, f"{candidate} has no metric {bounds.key}")
    if bounds.at_least is not None and value < bounds.at_least:
        return GateResult(gate, False, _outside(bounds.key, value, "below", bounds.at_least))
    if bounds.at_most is not None and value > bounds.at_most:
        return GateResult(gate, False, _outside(bounds.key, value, "above", bounds.at_most))
    return GateResult(gate, True, f"{bounds.key} {metric(value)} is in range")


def _outside(key: str, value: float, side: str, bound: float) -> str:
    value_text, bound_text = beside(value, bound, metric)
    return f"{key} {value_text} is {side} {bound_text}"


def _no_worse(margin: MetricMargin, facts: Facts) -> GateResult:
    gate = f"no_worse_than_production.{margin.key}"
    if facts.production is None:
        return GateResult(gate, True, "no version is in production to compare with")
    ours, theirs = facts.candidate.metrics.get(margin.key), facts.production.metrics.get(margin.key)
    if ours is None or theirs is None:
        lacking = facts.candidate if ours is None else facts.production
        return GateResult(gate, False, f"{lacking} has no metric {margin.key}")
    worse_by = ours - theirs if margin.lower_is_better else theirs - ours
    mine, other = beside(ours, theirs, metric)
    evidence = f"{margin.key} {mine}, {other} of {facts.production}; the allowed deterioration is {margin.margin:g}"
    allowed = worse_by <= margin.margin or not differs(worse_by, margin.margin, size_of([ours, theirs]))
    return GateResult(gate, allowed, evidence)


def _comparison(facts: Facts) -> GateResult:
    gate = "require_comparison"
    if facts.production is None:
        return GateResult(gate, True, "no version is in production to compare with")
    if facts.verdict is None:
        return GateResult(gate, False, f"there is no comparison of {facts.candidate} with {facts.production}")
    return GateResult(gate, facts.verdict.no_worse, f"{facts.verdict.summary} ({facts.verdict.source})")


def _drift(facts: Facts) -> GateResult:
    alarm = facts.drift_alarm
    if alarm is None:
        return GateResult("forbid_drift_alarm", True, f"{facts.candidate} has no active drift alarm")
    evidence = f"active drift alarm: report {alarm.report_id} has a score of {score(alarm.score)}"
    return GateResult("forbid_drift_alarm", False, evidence)


def _tag(tag: str, candidate: ModelVersion) -> GateResult:
    value = candidate.tags.get(tag)
    evidence = f"{candidate} has no tag {tag}" if value is None else f"{tag} is {value!r}"
    return GateResult(f"required_tags.{tag}", value is not None, evidence)


def _freeze(window: FreezeWindow, at: datetime) -> GateResult:
    frozen = window.start <= at < window.end
    span = f"{window.start.isoformat()} to {window.end.isoformat()}"
    reason = f" ({window.reason})" if window.reason else ""
    return GateResult("freezes", not frozen, f"{'within' if frozen else 'outside'} the freeze window {span}{reason}")


def _second_person(facts: Facts) -> GateResult:
    author = facts.candidate.created_by
    if facts.actor == author:
        return GateResult("material", False, f"{author} registered {facts.candidate}; another person must promote it")
    return GateResult("material", True, f"promoted by {facts.actor}, registered by {author}")
