"""Convert comparisons between dataclasses and messages."""

from __future__ import annotations

from modelward.comparison import (
    AnyMetric,
    Comparison,
    ComparisonProgress,
    Conclusion,
    CostCurve,
    CostPoint,
    CustomMetric,
    DeflatedSharpe,
    Latency,
    Metric,
    MetricDifference,
    MetricEstimate,
    ModelKind,
    ModelResult,
    Resampling,
    SegmentComparison,
    SegmentResult,
    SignificanceTest,
    UndefinedMetric,
    Verdict,
)
from modelward.errors import UnexpectedError
from modelward.leaks import LeakCheck
from modelward.shared.convert.backtest import overfitting_from_proto, overfitting_to_proto
from modelward.shared.convert.common import (
    ref_from_proto,
    ref_to_proto,
    span_from_proto,
    span_to_proto,
    time_from_proto,
    time_to_proto,
    window_from_proto,
    window_to_proto,
)
from modelward.shared.convert.leaks import LEAKS, leak_kind_from_proto
from modelward.shared.convert.replay import replayed_from_proto, replayed_to_proto
from modelward.shared.convert.segments import adjustment_from_proto, adjustment_to_proto
from modelward.v1 import comparison_pb2 as pb

METRICS = {metric: pb.Metric.Value(f"METRIC_{metric.name}") for metric in Metric}
KINDS = {kind: pb.ModelKind.Value(f"MODEL_KIND_{kind.name}") for kind in ModelKind}
TESTS = {test: pb.SignificanceTest.Value(f"SIGNIFICANCE_TEST_{test.name}") for test in SignificanceTest}
VERDICTS = {verdict: pb.Verdict.Value(f"VERDICT_{verdict.name}") for verdict in Verdict}


def metric_to_proto(metric: Metric | None) -> pb.Metric.ValueType:
    return pb.METRIC_UNSPECIFIED if metric is None else METRICS[metric]


def metric_from_proto(value: pb.Metric.ValueType) -> Metric | None:
    """Convert a metric; return None for unspecified and for a metric that only newer servers know."""
    return next((metric for metric, known in METRICS.items() if known == value), None)


def any_metric_to_proto(metric: AnyMetric | None) -> tuple[pb.Metric.ValueType, str]:
    """Convert a metric, or one of the user's own."""
    if isinstance(metric, CustomMetric):
        return pb.METRIC_UNSPECIFIED, str(metric)
    return metric_to_proto(metric), ""


def any_metric_from_proto(value: pb.Metric.ValueType, custom: str) -> AnyMetric | None:
    """Convert a metric, or one of the user's own; None as in `metric_from_proto`."""
    if not custom:
        return metric_from_proto(value)
    try:
        return CustomMetric(custom)
    except ValueError:
        return None


def known_metric(value: pb.Metric.ValueType, custom: str) -> AnyMetric:
    """Convert a metric that the answer requires.

    Raises:
        UnexpectedError: only newer servers know the metric.
    """
    metric = any_metric_from_proto(value, custom)
    if metric is None:
        raise UnexpectedError(
            f"the server decided by metric {custom or value!r}, which this client does not know; update modelward"
        )
    return metric


def verdict_to_proto(verdict: Verdict | None) -> pb.Verdict.ValueType:
    return pb.VERDICT_UNSPECIFIED if verdict is None else VERDICTS[verdict]


def verdict_from_proto(value: pb.Verdict.ValueType) -> Verdict | None:
    """Convert a verdict; return None for unspecified and for a verdict that only newer servers know."""
    return next((verdict for verdict, known in VERDICTS.items() if known == value), None)


def estimate_to_proto(estimate: MetricEstimate) -> pb.MetricEstimate:
    metric, custom = any_metric_to_proto(estimate.metric)
    return pb.MetricEstimate(
        metric=metric, value=estimate.value, low=estimate.low, high=estimate.high, custom_metric=custom
    )


def estimate_from_proto(message: pb.MetricEstimate) -> MetricEstimate:
    return MetricEstimate(known_metric(message.metric, message.custom_metric), message.value, message.low, message.high)


def difference_to_proto(difference: MetricDifference) -> pb.MetricDifference:
    metric, custom = any_metric_to_proto(difference.metric)
    return pb.MetricDifference(
        metric=metric,
        custom_metric=custom,
        difference=difference.difference,
        low=difference.low,
        high=difference.high,
        p_value=difference.p_value,
        adjusted_p_value=difference.adjusted_p_value,
        test=TESTS[difference.test],
        statistic=difference.statistic,
    )


def difference_from_proto(message: pb.MetricDifference) -> MetricDifference:
    metric = known_metric(message.metric, message.custom_metric)
    return MetricDifference(
        metric=metric,
        difference=message.difference,
        low=message.low,
        high=message.high,
        p_value=message.p_value,
        adjusted_p_value=message.adjusted_p_value,
        test=next((test for test, known in TESTS.items() if known == message.test), SignificanceTest.BOOTSTRAP),
        statistic=message.statistic,
    )


def deflated_to_proto(sharpe: DeflatedSharpe | None) -> pb.DeflatedSharpe | None:
    if sharpe is None:
        return None
    return pb.DeflatedSharpe(
        probability=sharpe.probability,
        trials=sharpe.trials,
        expected_by_luck=sharpe.expected_by_luck,
        probabilistic=sharpe.probabilistic,
        minimum_rows=sharpe.minimum_rows,
    )


def deflated_from_proto(message: pb.DeflatedSharpe) -> DeflatedSharpe:
    return DeflatedSharpe(
        message.probability,
        message.trials,
        message.expected_by_luck,
        message.probabilistic,
        message.minimum_rows if message.HasField("minimum_rows") else None,
    )


def cost_curve_to_proto(curve: CostCurve) -> pb.CostCurve:
    points = [pb.CostPoint(cost_bps=one.cost_bps, sharpe=one.sharpe) for one in curve.points]
    return pb.CostCurve(break_even_bps=curve.break_even_bps, points=points)


def cost_curve_from_proto(message: pb.CostCurve) -> CostCurve:
    return CostCurve(
        break_even_bps=message.break_even_bps if message.HasField("break_even_bps") else None,
        points=tuple(CostPoint(one.cost_bps, one.sharpe) for one in message.points),
    )


def latency_to_proto(latency: Latency) -> pb.Latency:
    return pb.Latency(
        row_p50=span_to_proto(latency.row_p50),
        row_p99=span_to_proto(latency.row_p99),
        batch_p50=span_to_proto(latency.batch_p50),
        batch_p99=span_to_proto(latency.batch_p99),
        batch_rows=latency.batch_rows,
        row_calls=latency.row_calls,
        batch_calls=latency.batch_calls,
    )


def latency_from_proto(message: pb.Latency) -> Latency:
    return Latency(
        row_p50=span_from_proto(message.row_p50),
        row_p99=span_from_proto(message.row_p99),
        batch_p50=span_from_proto(message.batch_p50),
        batch_p99=span_from_proto(message.batch_p99),
        batch_rows=message.batch_rows,
        row_calls=message.row_calls,
        batch_calls=message.batch_calls,
    )


def leak_to_proto(leak: LeakCheck) -> pb.LeakCheck:
    return pb.LeakCheck(kind=LEAKS[leak.kind], found=leak.found, value=leak.value, detail=leak.detail)


def leak_from_proto(message: pb.LeakCheck) -> LeakCheck | None:
    """Convert a check; return None for a kind that only newer servers know."""
    kind = leak_kind_from_proto(message.kind)
    found = message.found if message.HasField("found") else None
    value = message.value if message.HasField("value") else None
    return LeakCheck(kind, found, value, message.detail) if kind else None


def undefined_to_proto(undefined: UndefinedMetric) -> pb.UndefinedMetric:
    metric, custom = any_metric_to_proto(undefined.metric)
    return pb.UndefinedMetric(metric=metric, custom_metric=custom, reason=undefined.reason)


def result_to_proto(result: ModelResult) -> pb.ModelResult:
    return pb.ModelResult(
        version=ref_to_proto(result.version),
        metrics=map(estimate_to_proto, result.metrics),
        differences=map(difference_to_proto, result.differences),
        verdict=verdict_to_proto(result.verdict),
        latency=latency_to_proto(result.latency) if result.latency else None,
        failure=result.failure,
        confidence_set_p_value=result.confidence_set_p_value,
        deflated_sharpe=deflated_to_proto(result.deflated_sharpe),
        cost_curve=cost_curve_to_proto(result.cost_curve) if result.cost_curve else None,
        coverage=result.coverage,
        leaks=map(leak_to_proto, result.leaks),
        undefined=map(undefined_to_proto, result.undefined),
    )


def result_from_proto(message: pb.ModelResult) -> ModelResult:
    return ModelResult(
        version=ref_from_proto(message.version),
        # Lists omit metrics that only newer servers know.
        metrics=tuple(map(estimate_from_proto, filter(_is_known, message.metrics))),
        differences=tuple(map(difference_from_proto, filter(_is_known, message.differences))),
        verdict=verdict_from_proto(message.verdict),
        latency=latency_from_proto(message.latency) if message.HasField("latency") else None,
        failure=message.failure,
        confidence_set_p_value=message.confidence_set_p_value if message.HasField("confidence_set_p_value") else None,
        deflated_sharpe=deflated_from_proto(message.deflated_sharpe) if message.HasField("deflated_sharpe") else None,
        cost_curve=cost_curve_from_proto(message.cost_curve) if message.HasField("cost_curve") else None,
        leaks=tuple(leak for one in message.leaks if (leak := leak_from_proto(one))),
        coverage=message.coverage if message.HasField("coverage") else None,
        undefined=tuple(
            UndefinedMetric(metric, one.reason)
            for one in message.undefined
            if (metric := any_metric_from_proto(one.metric, one.custom_metric))
        ),
    )


def _is_known(message: pb.MetricEstimate | pb.MetricDifference) -> bool:
    return any_metric_from_proto(message.metric, message.custom_metric) is not None


def conclusion_to_proto(conclusion: Conclusion) -> pb.Conclusion:
    return pb.Conclusion(
        version=ref_to_proto(conclusion.version),
        against=ref_to_proto(conclusion.against),
        verdict=verdict_to_proto(conclusion.verdict),
        difference=difference_to_proto(conclusion.difference),
        rows_needed=conclusion.rows_needed,
        summary=conclusion.summary,
    )


def conclusion_from_proto(message: pb.Conclusion) -> Conclusion:
    return Conclusion(
        version=ref_from_proto(message.version),
        against=ref_from_proto(message.against),
        verdict=verdict_from_proto(message.verdict) or Verdict.INCONCLUSIVE,
        difference=difference_from_proto(message.difference),
        rows_needed=message.rows_needed,
        summary=message.summary,
    )


def segment_to_proto(segment: SegmentComparison) -> pb.SegmentComparison:
    return pb.SegmentComparison(
        column=segment.column,
        name=segment.name,
        rows=segment.rows,
        window=window_to_proto(segment.window),
        note=segment.note,
        results=map(_segment_result_to_proto, segment.results),
    )


def segment_from_proto(message: pb.SegmentComparison) -> SegmentComparison:
    return SegmentComparison(
        column=message.column,
        name=message.name,
        rows=message.rows,
        window=window_from_proto(message.window),
        note=message.note,
        results=tuple(map(_segment_result_from_proto, message.results)),
    )


def _segment_result_to_proto(result: SegmentResult) -> pb.SegmentResult:
    return pb.SegmentResult(
        version=ref_to_proto(result.version),
        estimate=estimate_to_proto(result.estimate),
        difference=difference_to_proto(result.difference) if result.difference else None,
        verdict=verdict_to_proto(result.verdict),
    )


def _segment_result_from_proto(message: pb.SegmentResult) -> SegmentResult:
    return SegmentResult(
        version=ref_from_proto(message.version),
        estimate=estimate_from_proto(message.estimate),
        difference=difference_from_proto(message.difference) if message.HasField("difference") else None,
        verdict=verdict_from_proto(message.verdict),
    )


def comparison_to_proto(comparison: Comparison) -> pb.Comparison:
    resampling = comparison.resampling
    primary, custom = any_metric_to_proto(comparison.primary_metric)
    return pb.Comparison(
        comparison_id=comparison.comparison_id,
        kind=KINDS[comparison.kind],
        rows=comparison.rows,
        label=comparison.label,
        primary_metric=primary,
        custom_primary_metric=custom,
        baseline=ref_to_proto(comparison.baseline),
        results=map(result_to_proto, comparison.results),
        best=ref_to_proto(comparison.best),
        conclusion=conclusion_to_proto(comparison.conclusion),
        resampling=pb.Resampling(
            draws=resampling.draws,
            block_rows=resampling.block_rows,
            seed=resampling.seed,
            confidence_level=resampling.confidence_level,
        ),
        notes=comparison.notes,
        created_by=comparison.created_by,
        created_at=time_to_proto(comparison.created_at),
        confidence_set=map(ref_to_proto, comparison.confidence_set),
        spa_p_value=comparison.spa_p_value,
        window=window_to_proto(comparison.window),
        overfitting=overfitting_to_proto(comparison.overfitting),
        segments=map(segment_to_proto, comparison.segments),
        segment_adjustment=adjustment_to_proto(comparison.segment_adjustment),
        replay=replayed_to_proto(comparison.replay),
    )


def comparison_from_proto(message: pb.Comparison) -> Comparison:
    resampling = message.resampling
    classes = message.kind == pb.MODEL_KIND_CLASSIFICATION
    return Comparison(
        comparison_id=message.comparison_id,
        kind=ModelKind.CLASSIFICATION if classes else ModelKind.REGRESSION,
        rows=message.rows,
        label=message.label,
        primary_metric=known_metric(message.primary_metric, message.custom_primary_metric),
        baseline=ref_from_proto(message.baseline),
        results=tuple(map(result_from_proto, message.results)),
        best=ref_from_proto(message.best),
        conclusion=conclusion_from_proto(message.conclusion),
        resampling=Resampling(resampling.draws, resampling.block_rows, resampling.seed, resampling.confidence_level),
        notes=tuple(message.notes),
        created_by=message.created_by,
        created_at=time_from_proto(message.created_at),
        confidence_set=tuple(map(ref_from_proto, message.confidence_set)),
        spa_p_value=message.spa_p_value if message.HasField("spa_p_value") else None,
        window=window_from_proto(message.window),
        overfitting=overfitting_from_proto(message.overfitting) if message.HasField("overfitting") else None,
        segments=tuple(map(segment_from_proto, message.segments)),
        segment_adjustment=adjustment_from_proto(message.segment_adjustment),
        replay=replayed_from_proto(message.replay),
    )


def progress_to_proto(progress: ComparisonProgress) -> pb.ComparisonProgress:
    return pb.ComparisonProgress(fraction=progress.fraction, message=progress.message)


def progress_from_proto(message: pb.ComparisonProgress) -> ComparisonProgress:
    return ComparisonProgress(message.fraction, message.message)
