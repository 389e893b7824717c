"""Promotion gates: each evaluates one condition of the policy and states, with evidence, whether it is met."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy.orm import Session

from modelward.formats import formats
from modelward.lifecycle import (
    DriftAlarm,
    FreezeWindow,
    GateResult,
    MetricMargin,
    MetricRange,
    ModelVersion,
    PromotionPolicy,
    Trial,
    TrialResult,
    VersionRef,
)
from modelward.shared.figures import beside, metric, score
from modelward_server.lifecycle.backtest_gates import ReturnsEvidence, backtest_gates
from modelward_server.lifecycle.comparison_gates import ComparisonEvidence, comparison_gates
from modelward_server.lifecycle.signature_gate import signature_gate
from modelward_server.statistics.rounding import differs, size_of

USABLE = "usable"
"""The gate that a policy has unless it names it in `disabled_gates`."""
REASON = "reason"
"""The same for the rule that a reason must be given."""


@dataclass(frozen=True)
class EvidenceVerdict:
    """The verdict of a candidate's comparison, or its A/B test, with the version in production."""

    source: str
    """The source, such as "comparison comparison-0123" or "A/B test spx-exits"."""
    no_worse: bool
    summary: str


class Evidence(Protocol):
    """Evidence of other services about a candidate; it is read before the promotion's transaction."""

    def verdict(self, session: Session, candidate: VersionRef, production: VersionRef) -> EvidenceVerdict | None:
        """Return the verdict of the candidate's newest A/B test or comparison with the version in production.

        Raises:
            Outdated: it was not read, or its source has changed since.
        """
        ...

    def drift_alarm(self, session: Session, candidate: VersionRef) -> DriftAlarm | None:
        """Return the active drift alarm of the candidate."""
        ...

    def returns(self, session: Session, candidate: VersionRef) -> ReturnsEvidence | None:
        """Return what the candidate's newest comparison with returns says.

        Raises:
            Outdated: it was not read, or there are newer comparisons now.
        """
        ...

    def comparison(self, session: Session, candidate: VersionRef) -> ComparisonEvidence | None:
        """Return what the candidate's newest comparison says of its test.

        Raises:
            Outdated: it was not read, or there are newer comparisons now.
        """
        ...

    def trusted_signers(self) -> frozenset[str]:
        """Return the fingerprints of the signers that the operator trusts now.

        Raises:
            Outdated: they were not read.
        """
        ...


@dataclass(frozen=True)
class GateInputs:
    """The inputs of the gates."""

    candidate: ModelVersion
    production: ModelVersion | None
    actor: str
    at: datetime
    verdict: EvidenceVerdict | None = None
    drift_alarm: DriftAlarm | None = None
    returns: ReturnsEvidence | None = None
    comparison: ComparisonEvidence | None = None
    trusted_signers: frozenset[str] = frozenset()


def evaluate(policy: PromotionPolicy, inputs: GateInputs) -> tuple[GateResult, ...]:
    """Evaluate every condition of the policy; a condition that cannot be evaluated is not met."""
    return tuple(_results(policy, inputs))


def _results(policy: PromotionPolicy, inputs: GateInputs) -> Iterator[GateResult]:
    if USABLE not in policy.disabled_gates:
        yield _usable(inputs.candidate)
    yield from (_metric(bounds, inputs.candidate) for bounds in policy.metrics)
    yield from (_no_worse(margin, inputs) for margin in policy.no_worse_than_production)
    if policy.require_comparison:
        yield _comparison(inputs)
    if policy.forbid_drift_alarm:
        yield _drift(inputs)
    yield from backtest_gates(policy, inputs.candidate, inputs.returns)
    yield from comparison_gates(policy, inputs.candidate, inputs.comparison)
    if policy.require_signature:
        yield signature_gate(inputs.candidate, inputs.trusted_signers)
    yield from (_tag(tag, inputs.candidate) for tag in policy.required_tags)
    yield from (_freeze(window, inputs.at) for window in policy.freezes)
    if policy.material:
        yield _second_person(inputs)


def _usable(candidate: ModelVersion) -> GateResult:
    """A version must load and predict; files of a format that nobody here knows pass, and the evidence says so."""
    trial = candidate.trial or Trial(TrialResult.NOT_TRIED, "it has not been tried")
    if trial.result is TrialResult.USABLE:
        return GateResult(USABLE, True, f"{candidate} was loaded and predicted {trial.tried_with}")
    if trial.result is TrialResult.PENDING:
        return GateResult(USABLE, False, f"the trial of {candidate} has not ended; promote it again in a moment")
    verb = "is unusable" if trial.result is TrialResult.UNUSABLE else "was not tried"
    return GateResult(USABLE, candidate.format not in formats(), f"{candidate} {verb}: {trial.reason}")


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


def _no_worse(margin: MetricMargin, inputs: GateInputs) -> GateResult:
    gate = f"no_worse_than_production.{margin.key}"
    if inputs.production is None:
        return GateResult(gate, True, "no version is in production to compare with")
    candidate, production = (one.metrics.get(margin.key) for one in (inputs.candidate, inputs.production))
    if candidate is None or production is None:
        lacking = inputs.candidate if candidate is None else inputs.production
        return GateResult(gate, False, f"{lacking} has no metric {margin.key}")
    worse_by = candidate - production if margin.lower_is_better else production - candidate
    own, other = beside(candidate, production, metric)
    evidence = f"{margin.key} {own}, {other} of {inputs.production}; the allowed deterioration is {margin.margin:g}"
    allowed = worse_by <= margin.margin or not differs(worse_by, margin.margin, size_of([candidate, production]))
    return GateResult(gate, allowed, evidence)


def _comparison(inputs: GateInputs) -> GateResult:
    gate = "require_comparison"
    if inputs.production is None:
        return GateResult(gate, True, "no version is in production to compare with")
    if inputs.verdict is None:
        return GateResult(gate, False, f"there is no comparison of {inputs.candidate} with {inputs.production}")
    return GateResult(gate, inputs.verdict.no_worse, f"{inputs.verdict.summary} ({inputs.verdict.source})")


def _drift(inputs: GateInputs) -> GateResult:
    alarm = inputs.drift_alarm
    if alarm is None:
        return GateResult("forbid_drift_alarm", True, f"{inputs.candidate} has no active drift alarm")
    evidence = f"active drift alarm: report {alarm.report_id} has a score of {score(alarm.score)}"
    return GateResult("forbid_drift_alarm", False, evidence)


def _tag(tag: str, candidate: ModelVersion) -> GateResult:
    value = candidate.tags.get(tag)
    evidence = f"{candidate} has no tag {tag}" if value is None else f"{tag} is {value!r}"
    return GateResult(f"required_tags.{tag}", value is not None, evidence)


def _freeze(window: FreezeWindow, at: datetime) -> GateResult:
    frozen = window.start <= at < window.end
    period = f"{window.start.isoformat()} to {window.end.isoformat()}"
    reason = f" ({window.reason})" if window.reason else ""
    return GateResult("freezes", not frozen, f"{'within' if frozen else 'outside'} the freeze window {period}{reason}")


def _second_person(inputs: GateInputs) -> GateResult:
    authors, actor = inputs.candidate.registrants, inputs.actor
    if actor in authors:
        return GateResult("material", False, f"{actor} registered {inputs.candidate}; another person must promote it")
    return GateResult("material", True, f"promoted by {actor}, registered by {', '.join(authors)}")
