"""Each version's difference to the baseline in each metric, put to the test that suits it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

from modelward.comparison import Metric, MetricDifference, SignificanceTest, Verdict
from modelward.lifecycle import VersionRef
from modelward_server.statistics import bootstrap
from modelward_server.statistics.delong import delong
from modelward_server.statistics.losses import ERROR_RATE_METRICS, correct_rows, informative_rows, mean_losses
from modelward_server.statistics.metrics import Scored
from modelward_server.statistics.paired_tests import PairedTestResult, diebold_mariano, holm, mcnemar, min_p_value
from modelward_server.statistics.sharpe import sharpe_difference

DEPENDENT_ROWS = 2.0
"""From this mean length of blocks on rows count as dependent: tests that take them for independent are not used."""


@dataclass(frozen=True)
class Difference:
    """What is known of one difference to the baseline."""

    drawn: bootstrap.PairedDifference
    tested: PairedTestResult
    adjusted_p_value: float = 1.0

    def public(self, metric: Metric) -> MetricDifference:
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

    def turned(self) -> "Difference":
        """Return the baseline's difference to the version."""
        drawn, tested = self.drawn, self.tested
        turned = replace(drawn, value=0.0 - drawn.value, low=0.0 - drawn.high, high=0.0 - drawn.low)  # No -0.
        return replace(self, drawn=turned, tested=replace(tested, statistic=0.0 - tested.statistic))


Differences = Mapping[tuple[VersionRef, Metric], Difference]


def put_to_test(
    metric: Metric, scored: Scored, baseline: Scored, drawn: bootstrap.PairedDifference, block_rows: float, seed: int
) -> Difference:
    """Test one difference.

    Args:
        drawn: what the paired bootstrap made of it, which is the test where no better one is known.
        block_rows: the mean number of neighbouring rows that hang together.
    """
    found = _test(metric, scored, baseline, block_rows, seed)
    if found is None:
        return Difference(drawn, PairedTestResult(SignificanceTest.BOOTSTRAP, 0.0, drawn.p_value))
    least = min_p_value(informative_rows(metric, scored, baseline) / block_rows)
    return Difference(drawn, replace(found, p_value=max(found.p_value, least)))


def _test(metric: Metric, scored: Scored, baseline: Scored, block_rows: float, seed: int) -> PairedTestResult | None:
    if metric in ERROR_RATE_METRICS | {Metric.ROC_AUC}:
        return _test_independent(metric, scored, baseline) if block_rows < DEPENDENT_ROWS else None
    if metric is Metric.SHARPE and scored.trading_returns and baseline.trading_returns:
        return sharpe_difference(scored.trading_returns.net, baseline.trading_returns.net, block_rows, seed)
    losses, others = mean_losses(metric, scored), mean_losses(metric, baseline)
    if losses is None or others is None:
        return None
    found = diebold_mariano(losses, others, ceil(block_rows))
    # Of what earns, more is better: the sign is that of the difference.
    return found if metric.lower_is_better else replace(found, statistic=-found.statistic)


def _test_independent(metric: Metric, scored: Scored, baseline: Scored) -> PairedTestResult:
    if metric in ERROR_RATE_METRICS:
        return mcnemar(correct_rows(metric, scored), correct_rows(metric, baseline))
    assert scored.probabilities is not None
    assert baseline.probabilities is not None
    return delong(scored.truth == 1, scored.probabilities[:, 1], baseline.probabilities[:, 1])


def adjusted(found: Differences, primary: Metric) -> dict[tuple[VersionRef, Metric], Difference]:
    """Correct the p-values: those of the primary metric for all versions, which it alone decides; the others for all.

    The primary metric comes first, as a gatekeeper, so that looking at more metrics costs the verdict nothing.
    """
    first = {key: one for key, one in found.items() if key[1] is primary}
    return _corrected(found) | _corrected(first)


def _corrected(found: Differences) -> dict[tuple[VersionRef, Metric], Difference]:
    p_values = holm([one.tested.p_value for one in found.values()])
    return {
        key: replace(one, adjusted_p_value=p_value) for (key, one), p_value in zip(found.items(), p_values, strict=True)
    }


def judge(
    found: bootstrap.PairedDifference, p_value: float, lower_is_better: bool, margin: float, level: float
) -> Verdict:
    """Say how a version stands to what it is held against.

    Args:
        p_value: of the test that decides, corrected.
        margin: how much worse still counts as good; 0 for none.
    """
    worst = -found.high if lower_is_better else found.low
    best = -found.low if lower_is_better else found.high
    sure = p_value <= 1 - level
    if sure and worst > 0:
        return Verdict.SUPERIOR
    if margin > 0 and worst > -margin:
        return Verdict.NON_INFERIOR
    return Verdict.INFERIOR if sure and best < 0 else Verdict.INCONCLUSIVE
