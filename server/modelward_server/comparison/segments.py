"""Comparisons on segments of the rows, with the false discovery rate controlled over segments and versions."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import SegmentComparison, SegmentResult, Verdict
from modelward.lifecycle import VersionRef
from modelward.segments import SegmentAdjustment
from modelward_server.comparison.difference_tests import verdict_of
from modelward_server.comparison.verdict import EvaluationTerms, evaluator_of
from modelward_server.drift.row_segments import RowSegment, RowSegments
from modelward_server.statistics.false_discovery import false_discovery_adjusted
from modelward_server.statistics.metric_applicability import inapplicable_reason
from modelward_server.statistics.metrics import Scored
from modelward_server.statistics.panel import stacked

Models = Mapping[VersionRef, Scored]
Part = Callable[[NDArray[np.int64]], Models]
"""Returns the predictions of all models on some rows."""


def part_of(models: Models, rows: NDArray[np.int64]) -> dict[VersionRef, Scored]:
    """Return the predictions on some rows, ascending, without trading returns."""

    def part(one: Scored) -> Scored:
        return replace(
            one,
            truth=one.truth[rows],
            predicted=one.predicted[rows],
            probabilities=None if one.probabilities is None else one.probabilities[rows],
            errors=None if one.errors is None else one.errors[rows],
            sample_weights=None if one.sample_weights is None else one.sample_weights[rows],
            custom={name: replace(column, values=column.values[rows]) for name, column in one.custom.items()},
            panel=stacked(None if one.panel is None else one.panel.part(rows)),
            trading_returns=None,
        )

    return {version: part(one) for version, one in models.items()}


def compare_segments(
    segments: RowSegments, part: Part, terms: EvaluationTerms
) -> tuple[tuple[SegmentComparison, ...], SegmentAdjustment | None]:
    """Compare the models by the primary metric on each segment.

    The p-values are those of all versions on all segments. Versions on the same rows depend on each other too.

    Args:
        segments: the segments of the rows.
        part: the predictions on some of the rows.
        terms: the terms of the comparison.

    Returns:
        The segments, those where a version is worse than the baseline first, and how the p-values were adjusted; None
        if none was tested.
    """
    terms = replace(terms, metrics=[terms.primary])
    found = [_compared(segment, part, terms) for segment in segments.found]
    differences = [one.difference for segment in found for one in segment.results if one.difference]
    if not differences:
        return tuple(found), None
    several = any(len(segment.results) > 2 for segment in found)
    dependent = segments.dependent or several
    p_values = iter(false_discovery_adjusted([one.p_value for one in differences], dependent))
    decided = [_decided(segment, p_values, terms) for segment in found]
    decided.sort(key=lambda segment: _worst_first(segment, terms.primary.lower_is_better))
    method = SegmentAdjustment.BENJAMINI_YEKUTIELI if dependent else SegmentAdjustment.BENJAMINI_HOCHBERG
    return tuple(decided), method


def _compared(segment: RowSegment, part: Part, terms: EvaluationTerms) -> SegmentComparison:
    """Compare the models on one segment; its p-values are not adjusted yet."""
    result = SegmentComparison(segment.column, segment.name, len(segment.rows), segment.window, segment.note)
    if segment.note:
        return result
    models = part(segment.rows)
    note = next((why for one in models.values() if (why := inapplicable_reason(terms.primary, one))), "")
    if note:
        return replace(result, note=f"{terms.primary} {note}")
    evaluator = evaluator_of(models, terms)
    results = []
    for version in evaluator.ranking():
        evaluation = evaluator.evaluate(version)
        difference = next(iter(evaluation.differences), None)
        results.append(SegmentResult(version, evaluation.metrics[0], difference))
    return replace(result, results=tuple(results))


def _decided(segment: SegmentComparison, p_values: Iterator[float], terms: EvaluationTerms) -> SegmentComparison:
    """Adjust the p-values of a segment, and conclude from them; `p_values` are the next adjusted ones."""
    results = []
    for one in segment.results:
        difference = one.difference
        if difference is not None:
            difference = replace(difference, adjusted_p_value=next(p_values))
            verdict = verdict_of(
                difference,
                difference.adjusted_p_value,
                terms.primary.lower_is_better,
                terms.margin,
                terms.confidence_level,
            )
            one = replace(one, difference=difference, verdict=verdict)  # noqa: PLW2901 - the same result, decided
        results.append(one)
    return replace(segment, results=tuple(results))


def _worst_first(segment: SegmentComparison, lower_is_better: bool) -> tuple[bool, bool, float]:
    """Return the key by which segments are sorted: by the worst difference of a version; untested ones are last."""
    worst = [one.difference.difference * (-1 if lower_is_better else 1) for one in segment.results if one.difference]
    inferior = any(one.verdict is Verdict.INFERIOR for one in segment.results)
    return not worst, not inferior, min(worst, default=0.0)
