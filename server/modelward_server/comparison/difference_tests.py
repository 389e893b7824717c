"""Test each version's difference to the baseline in each metric, by the test that applies to the metric."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

from modelward.comparison import AnyMetric, Metric, MetricDifference, SignificanceTest, Verdict
from modelward.lifecycle import VersionRef
from modelward_server.statistics import bootstrap
from modelward_server.statistics.delong import delong, influences
from modelward_server.statistics.long_run import mean_difference
from modelward_server.statistics.losses import ERROR_RATE_METRICS, correct_rows, informative_times, mean_losses
from modelward_server.statistics.metrics import Floats, Scored
from modelward_server.statistics.paired_tests import PairedTestResult, diebold_mariano, holm, mcnemar, min_p_value
from modelward_server.statistics.sharpe import sharpe_difference

DEPENDENT_ROWS = 2.0
"""Mean block length from which rows count as dependent: tests that assume independence are then not used."""


@dataclass(frozen=True)
class TestedDifference:
    """One difference to the baseline: its bootstrap interval and its significance test."""

    drawn: bootstrap.PairedDifference
    tested: PairedTestResult
    adjusted_p_value: float = 1.0

    def public(self, metric: AnyMetric) -> MetricDifference:
        drawn, tested = self.drawn, self.tested
        return MetricDifference(
            metric=metric,
            difference=drawn.value,
            low=drawn.low,
            high=drawn.high,
            p_value=tested.p_value,
            adjusted_p_value=self.adjusted_p_value,
            test=SignificanceTest(tested.test),
            statistic=tested.statistic,
        )

    def negated(self) -> "TestedDifference":
        """Return the difference in the opposite direction: the baseline's to the version."""
        drawn, tested = self.drawn, self.tested
        negated = replace(drawn, value=0.0 - drawn.value, low=0.0 - drawn.high, high=0.0 - drawn.low)  # No -0.
        return replace(self, drawn=negated, tested=replace(tested, statistic=0.0 - tested.statistic))


TestedDifferences = Mapping[tuple[VersionRef, AnyMetric], TestedDifference]


def tested_difference(
    metric: AnyMetric,
    scored: Scored,
    baseline: Scored,
    drawn: bootstrap.PairedDifference,
    block_rows: float,
    seed: int,
) -> TestedDifference:
    """Test one difference.

    Args:
        metric: the metric.
        scored: the predictions of the version.
        baseline: the predictions of the baseline.
        drawn: the result of the paired bootstrap, which is the test for metrics without a specific one.
        block_rows: the mean number of dependent neighbouring rows, or of a panel times.
        seed: the same seed gives the same result.
    """
    found = _test(metric, scored, baseline, block_rows, seed)
    if found is None:
        return TestedDifference(drawn, PairedTestResult(SignificanceTest.BOOTSTRAP, 0.0, drawn.p_value))
    least = min_p_value(informative_times(metric, scored, baseline) / block_rows)
    return TestedDifference(drawn, replace(found, p_value=max(found.p_value, least)))


def _test(metric: AnyMetric, scored: Scored, baseline: Scored, block_rows: float, seed: int) -> PairedTestResult | None:
    if metric is Metric.SHARPE and scored.trading_returns and baseline.trading_returns:
        return sharpe_difference(scored.trading_returns.net, baseline.trading_returns.net, block_rows, seed)
    if metric is Metric.ICIR:
        return sharpe_difference(_coefficients(scored), _coefficients(baseline), block_rows, seed)
    weighted = scored.sample_weights is not None
    if metric is Metric.ROC_AUC and scored.panel and not weighted:
        own, theirs = (scored.panel.series(values) for values in _influences(scored, baseline))
        return replace(mean_difference(own, theirs, block_rows), test=SignificanceTest.DELONG)
    if metric in ERROR_RATE_METRICS | {Metric.ROC_AUC} and not scored.panel and not weighted:
        return _test_independent(metric, scored, baseline) if block_rows < DEPENDENT_ROWS else None
    losses, others = mean_losses(metric, scored), mean_losses(metric, baseline)
    if losses is None or others is None:
        return None
    if scored.panel:
        found = mean_difference(losses, others, block_rows)
    else:
        found = diebold_mariano(losses, others, ceil(block_rows))
    # Losses of metrics where higher is better are negated: the sign is that of the difference.
    return found if metric.lower_is_better else replace(found, statistic=-found.statistic)


def _coefficients(scored: Scored) -> Floats:
    """Return the rank correlations of the times that have one; which those are, the labels decide."""
    coefficients, defined = scored.rank_correlations
    return coefficients[defined > 0]


def _influences(scored: Scored, baseline: Scored) -> Floats:
    assert scored.probabilities is not None
    assert baseline.probabilities is not None
    return influences(scored.truth == 1, scored.probabilities[:, 1], baseline.probabilities[:, 1])


def _test_independent(metric: AnyMetric, scored: Scored, baseline: Scored) -> PairedTestResult:
    if metric in ERROR_RATE_METRICS:
        return mcnemar(correct_rows(metric, scored), correct_rows(metric, baseline))
    assert scored.probabilities is not None
    assert baseline.probabilities is not None
    return delong(scored.truth == 1, scored.probabilities[:, 1], baseline.probabilities[:, 1])


def holm_adjusted(found: TestedDifferences, primary: AnyMetric) -> dict[tuple[VersionRef, AnyMetric], TestedDifference]:
    """Correct the p-values by Holm's method: of the primary metric over all versions; of the others over all tests.

    The primary metric is tested first, as a gatekeeper, so additional metrics do not weaken the verdict.
    """
    first = {key: one for key, one in found.items() if key[1] == primary}
    return _corrected(found) | _corrected(first)


def _corrected(found: TestedDifferences) -> dict[tuple[VersionRef, AnyMetric], TestedDifference]:
    p_values = holm([one.tested.p_value for one in found.values()])
    return {
        key: replace(one, adjusted_p_value=p_value) for (key, one), p_value in zip(found.items(), p_values, strict=True)
    }


def verdict_of(
    found: bootstrap.PairedDifference | MetricDifference,
    p_value: float,
    lower_is_better: bool,
    margin: float,
    level: float,
) -> Verdict:
    """Return the verdict on a version, from its difference to another version.

    Args:
        found: the difference with its confidence interval.
        p_value: the corrected p-value of the significance test.
        lower_is_better: the direction of the metric.
        margin: the non-inferiority margin in the unit of the metric; 0 for none.
        level: the confidence level, such as 0.95.
    """
    worst = -found.high if lower_is_better else found.low
    best = -found.low if lower_is_better else found.high
    sure = p_value <= 1 - level
    if sure and worst > 0:
        return Verdict.SUPERIOR
    if margin > 0 and worst > -margin:
        return Verdict.NON_INFERIOR
    return Verdict.INFERIOR if sure and best < 0 else Verdict.INCONCLUSIVE
