"""Panels: rows of several groups at each time."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score

from modelward.comparison import Metric
from modelward.lifecycle import VersionRef
from modelward_server.comparison.verdict import Evaluation, EvaluationTerms, evaluate
from modelward_server.statistics.delong import influences
from modelward_server.statistics.long_run import mean_difference, standard_error
from modelward_server.statistics.metrics import Scored, estimator
from modelward_server.statistics.panel import Panel
from modelward_server.statistics.trading import compute_trading_returns

Floats = NDArray[np.float64]
OLD, NEW = VersionRef("model", 1), VersionRef("model", 2)
UNBALANCED = Panel(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 1, 2]))
NUMBERS = (Metric.R2, Metric.MSE, Metric.MAE, Metric.MEDIAN_ABSOLUTE_ERROR, Metric.HIT_RATE)
CLASSES = (Metric.F1, Metric.ACCURACY, Metric.ROC_AUC, Metric.LOG_LOSS)


def test_rows_are_summed_by_time() -> None:
    assert (UNBALANCED.rows, UNBALANCED.length) == (6, 3)
    assert UNBALANCED.counts.tolist() == [2, 1, 3]
    assert UNBALANCED.starts.tolist() == [0, 2, 3, 6]
    assert UNBALANCED.sums(np.array([1.0, 2, 4, 8, 16, 32])).tolist() == [3, 4, 56]
    assert UNBALANCED.sums(np.eye(6)).shape == (3, 6)


def test_the_mean_of_the_series_is_the_mean_over_the_rows() -> None:
    values = np.array([1.0, 2, 4, 8, 16, 32])
    assert UNBALANCED.series(values).mean() == pytest.approx(values.mean(), rel=1e-12)
    balanced = Panel(np.repeat(np.arange(3), 2))
    assert balanced.series(values) == pytest.approx([1.5, 6, 24], rel=1e-12)


def test_the_standard_error_uses_the_lowest_cosines() -> None:
    series, times = np.random.default_rng(0).normal(size=40), np.arange(40) + 0.5
    waves = [np.sqrt(2 / 40) * series @ np.cos(np.pi * wave * times / 40) for wave in range(1, 6)]
    error, freedom = standard_error(series, 5.0)
    assert error == pytest.approx(np.sqrt(np.mean(np.square(waves)) / 40), rel=1e-9)
    assert freedom == 5


def test_equal_series_have_no_difference_and_constant_ones_a_sign_test() -> None:
    losses = np.random.default_rng(0).normal(size=12)
    assert mean_difference(losses, losses, 1.0).p_value == 1.0
    assert mean_difference(losses + 1, losses, 2.0).p_value == 2.0**-5


@pytest.mark.system
def test_the_influences_on_the_area_are_those_of_leaving_rows_out() -> None:
    random = np.random.default_rng(0)
    positive, scores = random.random(200) < 0.4, random.normal(size=200)
    found, other = influences(positive, scores, -scores)
    area = roc_auc_score(positive, scores)
    without = [roc_auc_score(np.delete(positive, row), np.delete(scores, row)) for row in range(200)]
    assert found.mean() == pytest.approx(area, rel=1e-12)
    assert found == pytest.approx(200 * area - 199 * np.array(without), abs=0.03)
    assert found + other == pytest.approx(np.ones(200), abs=1e-9)


def test_turnover_is_that_of_each_group_and_a_time_earns_the_mean_of_its_rows() -> None:
    positions, returns = np.array([1.0, -1, -1, 1, 0, 1]), np.full(6, 0.1)
    found = compute_trading_returns(positions, returns, 100.0, 252, UNBALANCED)
    assert found.net == pytest.approx([-0.01, -0.1, (0.1 + (0.0 - 0.01) + (0.1 - 0.01)) / 3])


@pytest.mark.system
def test_a_panel_of_one_row_a_time_is_measured_as_a_series() -> None:
    random = np.random.default_rng(0)
    own, theirs = (_scored(random.normal(size=300), random.normal(size=300), None) for _ in range(2))
    for metrics, scored in zip((NUMBERS, CLASSES), zip(own, theirs, strict=True), strict=True):
        series, panel = (
            _evaluated({v: Scored(**{**vars(s), "panel": p}) for v, s in zip((OLD, NEW), scored, strict=True)}, metrics)
            for p in (None, Panel(np.arange(300)))
        )
        assert [_interval(one) for one in series.models[NEW].differences] == [
            pytest.approx(_interval(one), abs=1e-12) for one in panel.models[NEW].differences
        ]


@pytest.mark.parametrize(("metrics", "place"), [(NUMBERS, 0), (CLASSES, 1)])
def test_rows_repeated_within_their_times_change_no_interval(metrics: tuple[Metric, ...], place: int) -> None:
    signal, *noises = np.random.default_rng(0).normal(size=(3, 120))
    found = []
    for copies in (1, 5):
        panel = Panel(np.repeat(np.arange(120), copies))
        models = [_scored(np.repeat(signal, copies), np.repeat(noise, copies), panel)[place] for noise in noises]
        differences = _evaluated(dict(zip((OLD, NEW), models, strict=True)), metrics).models[NEW].differences
        found.append([[*_interval(one), one.p_value] for one in differences])
    assert np.array(found[0]) == pytest.approx(np.array(found[1]), abs=1e-9)


@pytest.mark.system
@pytest.mark.weekly
def test_equal_models_differ_on_few_panels() -> None:
    """Rows of a day share a shock and labels overlap: a test of rows finds differences that are none."""
    found = [_p_values(np.random.default_rng(seed)) <= 0.05 for seed in range(300)]
    ours, rows, days = np.mean(found, axis=0)
    assert 0.02 <= ours <= 0.09
    assert rows > 0.4
    assert days > 0.2


def _p_values(random: np.random.Generator, times: int = 60, symbols: int = 20) -> Floats:
    """Return the p-values of our test, of a t-test of rows, and of one of days."""
    shocks = np.convolve(random.normal(size=times + 4), np.ones(5), "valid")[:, None]
    difference = (shocks + random.normal(size=(times, symbols))).ravel()
    panel = Panel(np.repeat(np.arange(times), symbols))
    series = panel.series(difference)
    ours = mean_difference(series, np.zeros(times), 5.0).p_value
    return np.array([ours, ttest_1samp(difference, 0).pvalue, ttest_1samp(series, 0).pvalue])


def _evaluated(scored: dict[VersionRef, Scored], metrics: tuple[Metric, ...]) -> Evaluation:
    return evaluate(scored, EvaluationTerms(metrics, metrics[0], OLD, 0.0, 0.95, 0.0, 0, horizon=2))


def _interval(found: object) -> list[float]:
    return [getattr(found, name) for name in ("difference", "low", "high")]


def _scored(signal: Floats, noise: Floats, panel: Panel | None) -> tuple[Scored, Scored]:
    """Return predictions of numbers and of classes."""
    seen, truth = signal + noise, (signal > 0).astype(np.int64)
    up = 1 / (1 + np.exp(-seen))
    classes = Scored(truth, (seen > 0).astype(np.int64), (0, 1), np.column_stack([1 - up, up]), panel=panel)
    return Scored(signal, seen, panel=panel), classes


def test_every_metric_of_predictions_is_the_same_with_and_without_times() -> None:
    random, panel = np.random.default_rng(1), Panel(np.sort(random_times(50)))
    numbers, classes = _scored(random.normal(size=50), random.normal(size=50), None)
    for metrics, scored in ((NUMBERS, numbers), (CLASSES, classes)):
        for metric in metrics:
            by_row = estimator(metric, scored)(np.ones((1, 50)))
            by_time = estimator(metric, Scored(**{**vars(scored), "panel": panel}))(np.ones((1, panel.length)))
            assert by_time == pytest.approx(by_row, rel=1e-12)


def random_times(rows: int) -> NDArray[np.int64]:
    return np.append(np.arange(7), np.random.default_rng(2).integers(7, size=rows - 7))
