"""Convert A/B tests between dataclasses and messages."""

from __future__ import annotations

from modelward.abtest import (
    AbAction,
    AbConclusion,
    AbEstimate,
    AbLook,
    AbMetric,
    AbNamespace,
    AbOutcome,
    AbTest,
    AbTestResult,
    AbTestState,
    Assignment,
    RecordedAbOutcomes,
    Variant,
    VariantResult,
)
from modelward.assignment import check_unit
from modelward.shared.convert.common import (
    ref_from_proto,
    ref_to_proto,
    span_from_proto,
    span_to_proto,
    time_from_proto,
    time_to_proto,
)
from modelward.shared.convert.comparison import verdict_from_proto, verdict_to_proto
from modelward.v1 import comparison_pb2 as pb

STATES = {state: pb.AbTestState.Value(f"AB_TEST_STATE_{state.name}") for state in AbTestState}
ACTIONS = {
    AbAction.NONE: pb.AB_ACTION_UNSPECIFIED,
    AbAction.PROMOTE: pb.AB_ACTION_PROMOTE,
    AbAction.ROLL_BACK: pb.AB_ACTION_ROLL_BACK,
    AbAction.BY_RULE: pb.AB_ACTION_BY_RULE,
}


def state_to_proto(state: AbTestState | None) -> pb.AbTestState.ValueType:
    return pb.AB_TEST_STATE_UNSPECIFIED if state is None else STATES[state]


def state_from_proto(value: pb.AbTestState.ValueType) -> AbTestState | None:
    """Convert a state; return None for unspecified and for a state that only newer servers know."""
    return next((state for state, known in STATES.items() if known == value), None)


def action_to_proto(action: AbAction) -> pb.AbAction.ValueType:
    return ACTIONS[action]


def action_from_proto(value: pb.AbAction.ValueType) -> AbAction:
    return next((action for action, known in ACTIONS.items() if known == value), AbAction.NONE)


def variant_to_proto(variant: Variant) -> pb.Variant:
    return pb.Variant(name=variant.name, version=ref_to_proto(variant.version), weight=variant.weight)


def variant_from_proto(message: pb.Variant) -> Variant:
    return Variant(message.name, ref_from_proto(message.version), message.weight)


def namespace_to_proto(namespace: AbNamespace | None) -> pb.AbNamespace | None:
    if namespace is None:
        return None
    # `from` is a keyword of Python.
    return pb.AbNamespace(name=namespace.name, until=namespace.until, **{"from": namespace.start})


def namespace_from_proto(message: pb.AbNamespace) -> AbNamespace:
    return AbNamespace(message.name, getattr(message, "from"), message.until)


def ab_metric_to_proto(metric: AbMetric) -> pb.AbMetric:
    return pb.AbMetric(key=metric.key, lower_is_better=metric.lower_is_better, margin=metric.margin)


def ab_metric_from_proto(message: pb.AbMetric) -> AbMetric:
    return AbMetric(message.key, message.lower_is_better, message.margin)


def ab_test_to_proto(test: AbTest) -> pb.AbTest:
    return pb.AbTest(
        test=test.test,
        description=test.description,
        variants=map(variant_to_proto, test.variants),
        coverage=test.coverage,
        salt=test.salt,
        namespace=namespace_to_proto(test.namespace),
        unit=test.unit,
        primary_metric=ab_metric_to_proto(test.primary_metric),
        guardrails=map(ab_metric_to_proto, test.guardrails),
        shadow=test.shadow,
        confidence_level=test.confidence_level,
        block=span_to_proto(test.block),
        state=state_to_proto(test.state),
        conclusion=conclusion_to_proto(test.conclusion) if test.conclusion else None,
        created_by=test.created_by,
        created_at=time_to_proto(test.created_at),
        etag=test.etag,
    )


def ab_test_from_proto(message: pb.AbTest) -> AbTest:
    return AbTest(
        test=message.test,
        description=message.description,
        variants=tuple(map(variant_from_proto, message.variants)),
        coverage=message.coverage if message.HasField("coverage") else 1.0,
        salt=message.salt,
        namespace=namespace_from_proto(message.namespace) if message.HasField("namespace") else None,
        unit=message.unit,
        primary_metric=ab_metric_from_proto(message.primary_metric),
        guardrails=tuple(map(ab_metric_from_proto, message.guardrails)),
        shadow=message.shadow,
        confidence_level=message.confidence_level,
        block=span_from_proto(message.block) if message.HasField("block") else None,
        state=state_from_proto(message.state) or AbTestState.RUNNING,
        conclusion=conclusion_from_proto(message.conclusion) if message.HasField("conclusion") else None,
        created_by=message.created_by,
        created_at=time_from_proto(message.created_at),
        etag=message.etag,
    )


def conclusion_to_proto(conclusion: AbConclusion) -> pb.AbConclusion:
    return pb.AbConclusion(
        winner=conclusion.winner,
        action=action_to_proto(conclusion.action),
        actor=conclusion.actor,
        reason=conclusion.reason,
        concluded_at=time_to_proto(conclusion.concluded_at),
        result=ab_result_to_proto(conclusion.result),
    )


def conclusion_from_proto(message: pb.AbConclusion) -> AbConclusion:
    return AbConclusion(
        winner=message.winner,
        action=action_from_proto(message.action),
        actor=message.actor,
        reason=message.reason,
        concluded_at=time_from_proto(message.concluded_at),
        result=ab_result_from_proto(message.result),
    )


def assignment_from_proto(message: pb.AssignVariantResponse) -> Assignment:
    return Assignment(variant_from_proto(message.variant), message.in_test, message.bucket)


def assignment_to_proto(assignment: Assignment) -> pb.AssignVariantResponse:
    return pb.AssignVariantResponse(
        variant=variant_to_proto(assignment.variant), in_test=assignment.in_test, bucket=assignment.bucket
    )


def ab_outcome_to_proto(outcome: AbOutcome, field: str = "outcome") -> pb.AbOutcome:
    """Convert an outcome.

    Raises:
        InvalidField: the assignment does not accept its unit.
    """
    check_unit(outcome.unit, f"{field}.unit")
    return pb.AbOutcome(
        outcome_id=outcome.outcome_id,
        unit=outcome.unit,
        variant=outcome.variant,
        metrics=outcome.metrics,
        before=outcome.before,
        observed_at=time_to_proto(outcome.observed_at),
        cluster=outcome.cluster,
    )


def ab_outcome_from_proto(message: pb.AbOutcome) -> AbOutcome:
    return AbOutcome(
        outcome_id=message.outcome_id,
        unit=message.unit,
        metrics=dict(message.metrics),
        before=dict(message.before),
        variant=message.variant,
        observed_at=time_from_proto(message.observed_at) if message.HasField("observed_at") else None,
        cluster=message.cluster,
    )


def recorded_to_proto(recorded: RecordedAbOutcomes) -> pb.RecordAbOutcomesResponse:
    return pb.RecordAbOutcomesResponse(
        recorded=recorded.recorded,
        repeated_ids=recorded.repeated_ids,
        mismatched=recorded.mismatched,
        outside=recorded.outside,
    )


def recorded_from_proto(message: pb.RecordAbOutcomesResponse) -> RecordedAbOutcomes:
    return RecordedAbOutcomes(message.recorded, message.repeated_ids, message.mismatched, message.outside)


def ab_estimate_to_proto(estimate: AbEstimate) -> pb.AbEstimate:
    return pb.AbEstimate(
        key=estimate.key,
        outcomes=estimate.outcomes,
        mean=estimate.mean,
        difference=estimate.difference,
        low=estimate.low,
        high=estimate.high,
        verdict=verdict_to_proto(estimate.verdict),
        variance_explained=estimate.variance_explained,
    )


def ab_estimate_from_proto(message: pb.AbEstimate) -> AbEstimate:
    return AbEstimate(
        key=message.key,
        outcomes=message.outcomes,
        mean=message.mean,
        difference=message.difference,
        low=message.low,
        high=message.high,
        verdict=verdict_from_proto(message.verdict),
        variance_explained=message.variance_explained,
    )


def variant_result_to_proto(result: VariantResult) -> pb.VariantResult:
    return pb.VariantResult(
        variant=result.variant,
        units=result.units,
        metrics=map(ab_estimate_to_proto, result.metrics),
        exposed_units=result.exposed_units,
    )


def variant_result_from_proto(message: pb.VariantResult) -> VariantResult:
    metrics = tuple(map(ab_estimate_from_proto, message.metrics))
    return VariantResult(message.variant, message.units, metrics, message.exposed_units)


def look_to_proto(look: AbLook) -> pb.AbLook:
    return pb.AbLook(
        variant=look.variant,
        at=time_to_proto(look.at),
        outcomes=look.outcomes,
        difference=look.difference,
        low=look.low,
        high=look.high,
    )


def look_from_proto(message: pb.AbLook) -> AbLook:
    return AbLook(
        message.variant, time_from_proto(message.at), message.outcomes, message.difference, message.low, message.high
    )


def ab_result_to_proto(result: AbTestResult) -> pb.AbTestResult:
    return pb.AbTestResult(
        test=result.test,
        as_of=time_to_proto(result.as_of),
        variants=map(variant_result_to_proto, result.variants),
        sample_ratio_p_value=result.sample_ratio_p_value,
        sample_ratio_sequential_p_value=result.sample_ratio_sequential_p_value,
        sample_ratio_broken=result.sample_ratio_broken,
        mismatched_units=result.mismatched_units,
        verdict=verdict_to_proto(result.verdict),
        best=result.best,
        broken_guardrails=result.broken_guardrails,
        summary=result.summary,
        looks=map(look_to_proto, result.looks),
    )


def ab_result_from_proto(message: pb.AbTestResult) -> AbTestResult:
    return AbTestResult(
        test=message.test,
        as_of=time_from_proto(message.as_of),
        variants=tuple(map(variant_result_from_proto, message.variants)),
        sample_ratio_p_value=message.sample_ratio_p_value,
        sample_ratio_sequential_p_value=message.sample_ratio_sequential_p_value,
        sample_ratio_broken=message.sample_ratio_broken,
        mismatched_units=message.mismatched_units,
        verdict=verdict_from_proto(message.verdict),
        best=message.best,
        broken_guardrails=tuple(message.broken_guardrails),
        summary=message.summary,
        looks=tuple(map(look_from_proto, message.looks)),
    )
