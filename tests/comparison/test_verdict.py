"""From models' answers to a verdict in words."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modelward.comparison import Latency, Metric, ModelKind, Verdict
from modelward.errors import InvalidField
from modelward.lifecycle import VersionRef
from modelward_server.comparison.scoring import choose_metrics, score_runs, split_column
from modelward_server.comparison.verdict import Evaluation, EvaluationTerms, evaluate
from modelward_server.sandbox.sandbox import Run

OLD, NEW, THIRD = (VersionRef("spx", number) for number in (3, 4, 5))
MOMENT = timedelta(milliseconds=1)
QUICK = Latency(MOMENT, MOMENT, MOMENT, MOMENT, 1, 1, 1)


def classes_run(predicted: Any, classes: tuple[Any, ...] = (0, 1), probabilities: Any = None) -> Run:
    return Run(ModelKind.CLASSIFICATION, classes, np.asarray(predicted, np.int64), probabilities, QUICK)


def numbers_run(predicted: Any) -> Run:
    return Run(ModelKind.REGRESSION, (), np.asarray(predicted, np.float64), None, QUICK)


def verdict(
    runs: dict[VersionRef, Run], truth: NDArray[Any], primary: Metric, margin: float = 0.0, block_rows: float = 1.0
) -> Evaluation:
    return evaluate(score_runs(runs, truth), EvaluationTerms([primary], primary, OLD, margin, 0.95, block_rows, seed=0))


def up_or_down(rows: int = 400, accuracy: float = 0.5, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return labels, and predictions of them that are right as often as said."""
    random = np.random.default_rng(seed)
    truth = random.integers(2, size=rows)
    return truth, np.where(random.random(rows) < accuracy, truth, 1 - truth)


def test_a_better_challenger_is_superior_and_the_sentence_says_so() -> None:
    truth, good = up_or_down(accuracy=0.7)
    outcome = verdict({OLD: classes_run(up_or_down(accuracy=0.5)[1]), NEW: classes_run(good)}, truth, Metric.ACCURACY)
    assert list(outcome.models) == [NEW, OLD]
    assert outcome.models[NEW].verdict is Verdict.SUPERIOR
    assert (outcome.conclusion.version, outcome.conclusion.against) == (NEW, OLD)
    assert outcome.conclusion.summary.startswith(
        "spx/4 is better than the baseline spx/3; the difference is statistically significant: accuracy "
    )
    assert outcome.conclusion.rows_needed == 0


def test_a_lead_by_luck_is_inconclusive_and_tells_how_many_rows_would_settle_it() -> None:
    truth, old = up_or_down(rows=200, accuracy=0.5)
    new = old.copy()
    new[np.flatnonzero(old != truth)[:12]] ^= 1  # Twelve rows better,
    new[np.flatnonzero(old == truth)[:8]] ^= 1  # and eight worse.
    outcome = verdict({OLD: classes_run(old), NEW: classes_run(new)}, truth, Metric.ACCURACY)
    assert outcome.conclusion.verdict is Verdict.INCONCLUSIVE
    assert outcome.conclusion.difference.difference == pytest.approx(0.02)
    assert outcome.conclusion.difference.p_value > 0.2  # McNemar's exact test: 0.50.
    # 20 rows of 200 differ, by 4 on balance: (1.96 + 0.84)^2 * (0.1 - 0.02^2) / 0.02^2 = 1,955 rows.
    assert outcome.conclusion.rows_needed == pytest.approx(1955, rel=0.1)
    assert "is not statistically significant" in outcome.conclusion.summary


def test_a_baseline_that_is_best_is_held_against_the_one_that_comes_next() -> None:
    truth, good = up_or_down(accuracy=0.8)
    _, fair = up_or_down(accuracy=0.6)
    _, bad = up_or_down(accuracy=0.5)
    runs = {NEW: classes_run(bad), OLD: classes_run(good), THIRD: classes_run(fair)}
    outcome = verdict(runs, truth, Metric.ACCURACY)
    assert list(outcome.models) == [OLD, THIRD, NEW]
    assert (outcome.conclusion.version, outcome.conclusion.against) == (OLD, THIRD)
    assert outcome.models[THIRD].verdict is Verdict.INFERIOR
    assert outcome.models[OLD].verdict is None
    assert outcome.models[OLD].differences == ()


def test_of_a_loss_the_lower_one_is_best() -> None:
    truth = np.random.default_rng(0).normal(size=300)
    runs = {OLD: numbers_run(truth + 2), NEW: numbers_run(truth + np.random.default_rng(1).normal(size=300))}
    outcome = verdict(runs, truth, Metric.MSE)
    assert outcome.conclusion.version == NEW
    assert outcome.conclusion.verdict is Verdict.SUPERIOR
    assert outcome.conclusion.difference.high < 0


def test_equal_models_leave_the_baseline_where_it_is() -> None:
    truth, same = up_or_down(accuracy=0.6)
    outcome = verdict({NEW: classes_run(same), OLD: classes_run(same)}, truth, Metric.ACCURACY)
    assert outcome.conclusion.version == OLD
    assert outcome.conclusion.verdict is Verdict.INCONCLUSIVE
    assert outcome.conclusion.summary.startswith("The baseline spx/3 has the best value")
    assert outcome.conclusion.summary.endswith("Both have the same value on these rows.")


@pytest.mark.system
def test_within_the_margin_a_challenger_is_non_inferior() -> None:
    truth, old = up_or_down(rows=1000, accuracy=0.8)
    new = old.copy()
    new[np.flatnonzero(old == truth)[:10]] ^= 1
    runs = {OLD: classes_run(old), NEW: classes_run(new)}
    assert verdict(runs, truth, Metric.ACCURACY).models[NEW].verdict is Verdict.INFERIOR
    assert verdict(runs, truth, Metric.ACCURACY, margin=0.05).models[NEW].verdict is Verdict.NON_INFERIOR


def test_the_same_seed_gives_the_same_answer() -> None:
    truth, good = up_or_down(accuracy=0.6)
    runs = {OLD: classes_run(up_or_down(seed=3)[1]), NEW: classes_run(good)}
    assert verdict(runs, truth, Metric.ACCURACY) == verdict(runs, truth, Metric.ACCURACY)


def test_rows_that_hang_together_are_drawn_in_blocks_and_the_reader_is_told() -> None:
    rising = np.repeat(np.random.default_rng(0).normal(size=40), 25)
    runs = {OLD: numbers_run(np.zeros(1000)), NEW: numbers_run(np.full(1000, 0.1))}
    outcome = verdict(runs, rising, Metric.MSE, block_rows=0.0)
    assert outcome.resampling.block_rows > 5
    assert "resampled in blocks" in outcome.notes[0]


def test_two_rows_are_answered_without_a_claim() -> None:
    outcome = verdict({OLD: numbers_run([5.0, 5.0]), NEW: numbers_run([0.0, 1.0])}, np.array([0.0, 1.0]), Metric.MSE)
    assert outcome.conclusion.verdict is Verdict.INCONCLUSIVE
    assert outcome.notes == ("only 2 rows: the confidence intervals are rough approximations",)


def test_classes_of_other_models_and_of_the_label_alone_are_put_into_one_order() -> None:
    truth = np.array(["up", "flat", "down", "up"], object)
    runs = {
        OLD: classes_run([1, 0, 0, 1], ("down", "up"), np.array([[0.2, 0.8]] * 4)),
        NEW: classes_run([0, 1, 0, 0], ("up", "flat")),
    }
    scored = score_runs(runs, truth)
    assert scored[OLD].classes == ("down", "flat", "up")
    assert scored[OLD].truth.tolist() == [2, 1, 0, 2]
    assert scored[OLD].predicted.tolist() == [2, 0, 0, 2]
    assert scored[NEW].predicted.tolist() == [2, 1, 2, 2]
    np.testing.assert_array_equal(scored[OLD].probabilities, [[0.2, 0.0, 0.8]] * 4)


def test_truth_values_and_numbers_are_the_same_classes() -> None:
    scored = score_runs({OLD: classes_run([1, 0]), NEW: classes_run([1, 1])}, np.array([True, False]))
    assert scored[OLD].truth.tolist() == [1, 0]


def test_metrics_are_chosen_by_the_kind_and_what_had_to_be_left_out_is_said() -> None:
    truth, predicted = up_or_down()
    runs = {OLD: classes_run(predicted), NEW: classes_run(predicted, probabilities=np.full((400, 2), 0.5))}
    metrics, primary, notes, _ = choose_metrics([], None, list(score_runs(runs, truth).values()))
    assert primary is Metric.ACCURACY
    assert metrics == [
        *(Metric.ACCURACY, Metric.BALANCED_ACCURACY, Metric.PRECISION, Metric.RECALL, Metric.F1, Metric.HIT_RATE),
        Metric.MATTHEWS_CORRELATION,
    ]
    assert notes[0] == "roc_auc is omitted: it needs probabilities, and a model gives none"


def test_a_primary_metric_that_is_not_in_the_list_is_measured_first() -> None:
    scored = list(score_runs({OLD: numbers_run([1, 2]), NEW: numbers_run([2, 1])}, np.array([1.0, 2.0])).values())
    assert choose_metrics([Metric.MAE], Metric.R2, scored) == ([Metric.R2, Metric.MAE], Metric.R2, [], {})
    assert choose_metrics([Metric.MAE, Metric.MSE], None, scored)[1] is Metric.MAE
    numbers = [Metric.MSE, Metric.MAE, Metric.R2, Metric.HIT_RATE, Metric.RMSE, Metric.MAPE]
    assert choose_metrics([], None, scored)[:2] == ([*numbers, Metric.MEDIAN_ABSOLUTE_ERROR], Metric.MSE)


@pytest.mark.parametrize(
    ("asked", "primary", "field"),
    [([Metric.MAE, Metric.ACCURACY], None, "metrics[1]"), ([], Metric.ROC_AUC, "primary_metric")],
)
def test_a_metric_that_makes_no_sense_is_refused_by_its_field(
    asked: list[Metric], primary: Metric | None, field: str
) -> None:
    scored = list(score_runs({OLD: numbers_run([1, 2]), NEW: numbers_run([2, 1])}, np.array([1.0, 2.0])).values())
    with pytest.raises(InvalidField) as refused:
        choose_metrics(asked, primary, scored)
    assert refused.value.violations[0].field == field


@pytest.mark.parametrize(
    ("runs", "truth", "message"),
    [
        ({OLD: classes_run([0]), NEW: numbers_run([0])}, [0], "spx/3 predicts classes and spx/4 numbers"),
        ({OLD: numbers_run([0]), NEW: numbers_run([0])}, ["up"], "holds text, but the models predict numbers"),
        ({OLD: classes_run([0]), NEW: classes_run([0])}, [7], "none of which is a class of spx/3: 0, 1"),
        ({OLD: classes_run([0]), NEW: classes_run([0])}, ["0"], "none of which is a class of spx/3: 0, 1"),
        ({OLD: classes_run([0] * 200), NEW: classes_run([0] * 200)}, range(200), "200 classes; 100 are the most"),
    ],
)
def test_labels_that_do_not_fit_the_models_are_refused(runs: dict[VersionRef, Run], truth: Any, message: str) -> None:
    labels = np.array(truth, object if isinstance(truth[0], str) else None)
    with pytest.raises(InvalidField, match=message):
        score_runs(runs, labels)


@pytest.mark.parametrize(
    ("columns", "field", "message"),
    [
        ({"x": np.ones(3)}, "label", "'y' is not a column; there are 'x'"),
        (
            {"x": np.ones(3), "y": np.array([1, np.nan, np.inf])},
            "data['y']",
            "is infinite or beyond 1e.150 in 1 of 3 rows",
        ),
        ({"x": np.ones(2), "y": np.array([None, None], object)}, "data['y']", "is missing in all of 2 rows"),
    ],
)
def test_a_label_that_is_not_there_is_refused(columns: dict[str, NDArray[Any]], field: str, message: str) -> None:
    with pytest.raises(InvalidField, match=message) as refused:
        split_column(columns, "y", "label")
    assert refused.value.violations[0].field == field
