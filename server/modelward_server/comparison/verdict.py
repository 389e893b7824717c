"""Evaluate the compared models: metrics, differences to the baseline, the verdict and its summary."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from modelward.comparison import (
    AnyMetric,
    Conclusion,
    MetricDifference,
    MetricEstimate,
    Resampling,
    Verdict,
)
from modelward.lifecycle import VersionRef
from modelward.shared.figures import beside, difference, in_words, level, p_equals, percent
from modelward.shared.figures import metric as metric_text
from modelward_server.comparison.difference_tests import TestedDifference, holm_adjusted, tested_difference, verdict_of
from modelward_server.statistics import bootstrap
from modelward_server.statistics.losses import informative_times, mean_losses, time_losses
from modelward_server.statistics.metrics import Floats, Scored, estimator
from modelward_server.statistics.model_confidence_set import confidence_set, superior_predictive_ability
from modelward_server.statistics.rounding import equalize, size_of, zero_rounding_errors

MIN_UNDEFINED_SHARE = 0.01
"""Minimum share of draws without a defined metric that is noted in the result."""
FEW_ROWS = 100
"""With fewer rows, the result notes that the intervals are inaccurate."""


@dataclass(frozen=True)
class EvaluationTerms:
    """The terms of an evaluation."""

    metrics: Sequence[AnyMetric]
    primary: AnyMetric
    baseline: VersionRef
    margin: float
    confidence_level: float
    block_rows: float
    """The mean block length in rows, or with a panel in times; 0: estimated from the data."""
    seed: int
    horizon: int = 1
    """The number of times over which the labels of neighbouring times overlap: no block is shorter."""
    undefined: frozenset[tuple[VersionRef, AnyMetric]] = frozenset()
    """The metrics that some versions lack; the baseline and another version have the primary one."""


@dataclass(frozen=True)
class ModelEvaluation:
    """The evaluation of one model."""

    metrics: tuple[MetricEstimate, ...]
    differences: tuple[MetricDifference, ...] = ()
    verdict: Verdict | None = None
    confidence_set_p_value: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of all models."""

    models: Mapping[VersionRef, ModelEvaluation]
    """The best by the primary metric first."""
    conclusion: Conclusion
    resampling: Resampling
    notes: tuple[str, ...]
    confidence_set: tuple[VersionRef, ...] = ()
    """The model confidence set: versions that cannot be ruled out as the best."""
    spa_p_value: float | None = None


def evaluate(scored: Mapping[VersionRef, Scored], terms: EvaluationTerms) -> Evaluation:
    """Evaluate models on the same rows.

    Args:
        scored: the predictions of at least two versions, including the baseline.
        terms: the terms of the evaluation.
    """
    baseline, evaluator = scored[terms.baseline], evaluator_of(scored, terms)
    block_rows = evaluator.block_rows
    set_p_values, spa = _confidence_set_and_spa(scored, terms, block_rows)
    models = {
        version: replace(evaluator.evaluate(version), confidence_set_p_value=set_p_values.get(version))
        for version in evaluator.ranking()
    }
    could_be_best = tuple(version for version in models if set_p_values.get(version, 0.0) > 1 - terms.confidence_level)
    resampling = Resampling(bootstrap.draws_for(baseline.rows), block_rows, terms.seed, terms.confidence_level)
    notes = (*_notes(baseline, block_rows), *_undefined(terms.metrics, evaluator.values, evaluator.draws))
    return Evaluation(models, evaluator.conclude(), resampling, notes, could_be_best, spa)


def evaluator_of(scored: Mapping[VersionRef, Scored], terms: EvaluationTerms) -> "Evaluator":
    """Return the evaluator of models on the same rows; see `evaluate`."""
    baseline = scored[terms.baseline]
    differences = [time_losses(one) - time_losses(baseline) for one in scored.values() if one is not baseline]
    block_rows = terms.block_rows or max(bootstrap.block_length(differences), terms.horizon)
    values, draws = _measured(scored, terms, block_rows)
    return Evaluator(scored, terms, block_rows, values, draws)


def _confidence_set_and_spa(
    scored: Mapping[VersionRef, Scored], terms: EvaluationTerms, block_rows: float
) -> tuple[dict[VersionRef, float], float | None]:
    """Return the model confidence set p-value of each version, and the p-value of no version being better.

    Both exist only for metrics that are means over the rows.
    """
    ranked = {version: one for version, one in scored.items() if (version, terms.primary) not in terms.undefined}
    losses = {version: mean_losses(terms.primary, one) for version, one in ranked.items()}
    known = {version: one for version, one in losses.items() if one is not None}
    if len(known) < len(ranked):
        return {}, None
    others = {version: one for version, one in known.items() if version != terms.baseline}
    spa = superior_predictive_ability(known[terms.baseline], others, block_rows, terms.seed)
    return confidence_set(known, block_rows, terms.seed), spa


def _measured(scored: Mapping[VersionRef, Scored], terms: EvaluationTerms, block_rows: float) -> tuple[Floats, Floats]:
    """Return the metrics, shape (models, metrics), and their draws, shape (draws, models, metrics).

    They are NaN where they are undefined.
    """
    estimators = [
        _no_value if (version, metric) in terms.undefined else estimator(metric, one)
        for version, one in scored.items()
        for metric in terms.metrics
    ]
    baseline = scored[terms.baseline]
    shape, rows, times = (len(scored), len(terms.metrics)), baseline.rows, baseline.times
    # Each by itself, so that a value does not depend on what else is computed, not even in its last digit.
    values = np.concatenate([estimate(np.ones((1, times))) for estimate in estimators])
    weights = bootstrap.draw_weights(times, block_rows, bootstrap.draws_for(rows), terms.seed, rows)
    draws = bootstrap.resample(estimators, weights)
    return _without_rounding(values.reshape(shape)), draws.reshape(-1, *shape)


def _no_value(weights: Floats) -> Floats:
    return np.full(len(weights), np.nan)


def _without_rounding(values: Floats) -> Floats:
    """Return metrics, shape (models, metrics), with those made equal that differ only by rounding errors."""
    equal = np.column_stack([equalize(column[:, None], size_of(column))[:, 0] for column in values.T])
    return np.where(np.isnan(values), np.nan, equal)


class Evaluator:
    """Computes the ranking, the estimates and the verdicts from the metrics and their bootstrap draws."""

    def __init__(
        self,
        scored: Mapping[VersionRef, Scored],
        terms: EvaluationTerms,
        block_rows: float,
        values: Floats,
        draws: Floats,
    ) -> None:
        self._scored, self._terms, self.block_rows = scored, terms, block_rows
        self.values, self.draws = values, draws
        self._place = {version: number for number, version in enumerate(scored)}
        self._blocks = scored[terms.baseline].times / block_rows
        self._comparisons = len(scored) - 1
        challengers = [version for version in scored if version != terms.baseline]
        pairs = [(version, metric) for version in challengers for metric in terms.metrics]
        found = {pair: self._test(*pair) for pair in pairs if self._is_defined(*pair)}
        self._differences = holm_adjusted(found, terms.primary)

    def ranking(self) -> list[VersionRef]:
        """Return the versions, the best first; among equals the baseline, then the one named first.

        Versions without the primary metric come last.
        """
        sign = 1 if self._terms.primary.lower_is_better else -1
        column = self._terms.metrics.index(self._terms.primary)
        return sorted(
            self._scored,
            key=lambda version: (
                np.nan_to_num(sign * self.values[self._place[version], column], nan=np.inf),
                version != self._terms.baseline,
                self._place[version],
            ),
        )

    def evaluate(self, version: VersionRef) -> ModelEvaluation:
        metrics = tuple(
            self._estimate(version, column)
            for column, metric in enumerate(self._terms.metrics)
            if (version, metric) not in self._terms.undefined
        )
        if version == self._terms.baseline:
            return ModelEvaluation(metrics)
        pairs = ((metric, self._differences.get((version, metric))) for metric in self._terms.metrics)
        differences = tuple(found.public(metric) for metric, found in pairs if found)
        decisive = self._differences.get((version, self._terms.primary))
        return ModelEvaluation(metrics, differences, self._verdict(decisive) if decisive else Verdict.INCONCLUSIVE)

    def conclude(self) -> Conclusion:
        """Compare the best version with the baseline, or, if the baseline is the best, with the second best.

        The difference is always the version's minus the baseline's; the verdict is that of the best version.
        """
        best, second, *_ = self.ranking()
        challenger, against = (best, self._terms.baseline) if best != self._terms.baseline else (second, second)
        found = self._differences[challenger, self._terms.primary]
        verdict, rows = self._verdict(found if challenger == best else found.negated()), self._scored[best].rows
        decided = verdict is not Verdict.INCONCLUSIVE
        needed = 0 if decided else bootstrap.rows_needed(found.drawn, rows, self._comparisons, self._level)
        conclusion = Conclusion(best, against, verdict, found.public(self._terms.primary), needed, "")
        return replace(conclusion, summary=self._in_words(conclusion))

    def _is_defined(self, version: VersionRef, metric: AnyMetric) -> bool:
        """Return whether a version and the baseline both have a metric."""
        return self._terms.undefined.isdisjoint({(version, metric), (self._terms.baseline, metric)})

    @property
    def _level(self) -> float:
        return self._terms.confidence_level

    def _estimate(self, version: VersionRef, column: int) -> MetricEstimate:
        place = self._place[version]
        found = bootstrap.interval(self.values[place, column], self.draws[:, place, column], self._blocks, self._level)
        return MetricEstimate(self._terms.metrics[column], float(found.value), found.low, found.high)

    def _test(self, version: VersionRef, metric: AnyMetric) -> TestedDifference:
        scored, baseline = self._scored[version], self._scored[self._terms.baseline]
        own, theirs = self._place[version], self._place[self._terms.baseline]
        column = self._terms.metrics.index(metric)
        pair = self.values[[own, theirs], column]
        draws = self.draws[:, own, column] - self.draws[:, theirs, column]
        drawn = bootstrap.paired_difference(
            float(pair[0] - pair[1]),
            zero_rounding_errors(draws, size_of(pair)),
            self._blocks,
            informative_times(metric, scored, baseline) / self.block_rows,
            self._comparisons,
            self._level,
        )
        return tested_difference(metric, scored, baseline, drawn, self.block_rows, self._terms.seed)

    def _verdict(self, found: TestedDifference) -> Verdict:
        lower_is_better = self._terms.primary.lower_is_better
        return verdict_of(found.drawn, found.adjusted_p_value, lower_is_better, self._terms.margin, self._level)

    def _in_words(self, found: Conclusion) -> str:
        column = self._terms.metrics.index(self._terms.primary)
        best, other = (float(self.values[self._place[version], column]) for version in (found.version, found.against))
        own, theirs = beside(best, other, metric_text)
        one = found.difference
        figures = (
            f"{self._terms.primary.replace('_', ' ')} {own} compared with {theirs}, difference from the baseline "
            f"{difference(one.difference)} ({level(self._level)} confidence interval {metric_text(one.low)} to "
            f"{metric_text(one.high)}, adjusted {p_equals(one.adjusted_p_value, 1 - self._level)}, {one.test.label})"
        )
        contradictory = found.verdict is Verdict.INCONCLUSIVE and one.adjusted_p_value <= 1 - self._level
        sentence = _TEST_AGAINST_INTERVAL if contradictory else _SENTENCES[found.verdict]
        return sentence.format(
            best=self._named(found.version, "The"), other=self._named(found.against, "the"), figures=figures
        ) + _advice(found, self._terms.margin)

    def _named(self, version: VersionRef, article: str) -> str:
        return f"{article} baseline {version}" if version == self._terms.baseline else str(version)


_SENTENCES = {
    Verdict.SUPERIOR: "{best} is better than {other}; the difference is statistically significant: {figures}.",
    Verdict.NON_INFERIOR: "{best} is non-inferior to {other}: {figures}.",
    Verdict.INCONCLUSIVE: (
        "{best} has the best value, but the difference from {other} is not statistically significant: {figures}."
    ),
}
_TEST_AGAINST_INTERVAL = (
    "{best} has the best value, but the comparison with {other} is inconclusive, because the confidence interval "
    "includes 0: {figures}."
)


def _advice(found: Conclusion, margin: float) -> str:
    if found.difference.difference == 0:
        return " Both have the same value on these rows."
    if found.verdict is Verdict.NON_INFERIOR:
        return f" The non-inferiority margin is {margin:g}."
    if not found.rows_needed:
        return ""
    return f" About {found.rows_needed:,} rows would be needed to detect a difference of this size."


def _undefined(metrics: Sequence[AnyMetric], values: Floats, draws: Floats) -> Iterator[str]:
    """Name the metrics that are undefined in many draws, for example because few rows have a loss."""
    undefined = np.isnan(draws).mean(axis=0) * ~np.isnan(values)
    for metric, share in zip(metrics, undefined.max(axis=0), strict=True):
        if share >= MIN_UNDEFINED_SHARE:
            part = in_words(percent(float(share)))
            yield f"{metric} is undefined in {part} of the bootstrap draws; these count for neither version"


def _notes(scored: Scored, block_rows: float) -> tuple[str, ...]:
    rows, times, unit = scored.rows, scored.times, "times" if scored.panel else "rows"
    few = [f"only {times} {unit}: the confidence intervals are rough approximations"] if times < FEW_ROWS else []
    together = f"{rows:,} rows of {times:,} times: rows of one time depend on each other and were resampled together"
    dependent = (
        f"neighbouring {unit} are dependent, so they were resampled in blocks of {block_rows:.1f} {unit} on average"
    )
    return (*few, *([together] if scored.panel else []), *([dependent] if block_rows >= 2 else []))
