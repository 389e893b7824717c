"""The demo's scenario: two models, one is promoted, the market changes, and a successor is trained and promoted.

All steps use the SDK's `Client`, and every sentence reports a measured value.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from modelward import (
    Client,
    FollowUpAction,
    MetricRange,
    ModelVersion,
    PromotionPolicy,
    RetrainingPolicy,
    Stage,
    Transition,
)
from modelward.comparison import Comparison, Latency, Metric, Verdict
from modelward.demo import chart
from modelward.demo.backtest import MODEL, Backtest, register
from modelward.demo.market import Sample, load_market, load_prices
from modelward.demo.output import DemoOutput, listed, metric_rows
from modelward.demo.training import FOLD_DAYS, FOLDS, Trained, gradient_boosting, random_forest, train
from modelward.retraining import OnPerformance
from modelward.shared.figures import percent, statistic

METRICS = ("accuracy", "balanced_accuracy", "roc_auc", "log_loss", "brier")
MARGIN = 0.02
"""Non-inferiority margin of a successor's log loss; a coin flip has 0.693."""
WORST_LOG_LOSS = 0.75
"""Log loss of a quarter above which a version is overconfident; a coin flip has 0.693."""
CATCH_UP_SECONDS = 20.0


def run_scenario(output: DemoOutput, quant: Client, risk: Client, picture: Path) -> None:
    """Run the scenario.

    Args:
        quant: the client that trains and registers.
        risk: the client that promotes.
        picture: the path of the chart.
    """
    market = load_market()
    versions = _register_two(output, quant, market)
    best = _compare(output, quant, versions, market.between("2001", "2002"))
    _promote(output, risk, best)
    _schedule(output, quant)
    _set_policy(output, risk)
    output.chapter("Live monitoring: 2007 to 2010, quarter by quarter")
    output.say(
        "The bar is the drift score: at 0.50 the strongest feature is at its threshold. Drift is reported if the "
        "confidence is also sufficient: segments of the training data themselves rarely differ as much. Accuracy is "
        "the share of days whose direction the production version predicted correctly.\n"
    )
    years = market.between("2007", "2010")
    with TemporaryDirectory() as cache, quant.follow(MODEL, cache=cache, engine="engine-1") as engine:
        backtest = Backtest(output, quant, market, engine)
        with _progress(output) as progress:
            for name, days in progress.track(list(years.quarters()), description="walking"):
                backtest.process_quarter(name, days)
    _sum_up(output, backtest, years)
    _score(output, quant, years)
    _show_history(output, quant, backtest)
    _draw(output, backtest, picture)
    _wait_for_mlflow(quant)


def _register_two(output: DemoOutput, quant: Client, market: Sample) -> list[ModelVersion]:
    output.chapter("A quant trains two models on 2003 to 2006 and registers them")
    days = market.between("2003", "2006")
    trained = {"random forest": train(random_forest(), days), "gradient boosting": train(gradient_boosting(), days)}
    description = f"Predicts whether the S&P 500 closes higher tomorrow; trained on {days.first} to {days.last}."
    versions = [register(quant, model, algorithm, description) for algorithm, model in trained.items()]
    unseen = days.split(FOLDS * FOLD_DAYS)[1]
    output.say(
        f"Both predict whether the S&P 500 closes higher tomorrow, and were trained on {len(days):,} days. Measured by "
        f"walk-forward validation from {unseen.first} to {unseen.last}, each time trained only on the days before:"
    )
    named = {f"{v.version}, {name}": v.metrics for v, name in zip(versions, trained, strict=True)}
    output.table(["version", *METRICS], metric_rows(named, METRICS), METRICS)
    output.say(_accuracy_sentence(trained, unseen))
    output.say("The registry stores their files, metrics, parameters and tags, and a profile of their training data.")
    return versions


def _accuracy_sentence(trained: Mapping[str, Trained], days: Sample) -> str:
    up = float(days.label.mean())
    naive = max(up, 1 - up)
    best = max(model.metrics["accuracy"] for model in trained.values())
    sentence = (
        f"Always predicting {'up' if up >= 0.5 else 'down'} would have been correct on {percent(naive)} of those days; "
        f"the better model was correct on {percent(best)}."
    )
    return sentence if best > naive else f"{sentence} So neither beats the market: the demo is about operating models."


def _compare(output: DemoOutput, quant: Client, versions: Sequence[ModelVersion], days: Sample) -> ModelVersion:
    output.chapter("Comparison: the server runs both on days that neither was trained on")
    comparison = quant.compare(versions, days.features, days.label, primary="log_loss")
    show_comparison(output, comparison)
    best = next(version for version in versions if version.ref == comparison.best)
    output.say(f"{best} is selected: it has the lower log loss on the {comparison.rows} days of 2001 and 2002.")
    return best


def show_comparison(output: DemoOutput, comparison: Comparison) -> None:
    """Print each version's metrics and latency, and the conclusion."""
    keys = ("accuracy", "roc_auc", "log_loss", "brier")
    rows = [
        [
            str(result.version.version),
            *(statistic(result[key]) for key in keys),
            _latency(result.latency),
        ]
        for result in comparison.results
        if not result.failure
    ]
    output.table(["version", *keys, "time per prediction"], rows, [*keys, "time per prediction"])
    output.say(comparison.summary)


def _latency(latency: Latency | None) -> str:
    return "" if latency is None else f"{latency.row_p50 / timedelta(milliseconds=1):.1f} ms"


def _promote(output: DemoOutput, risk: Client, version: ModelVersion) -> None:
    output.chapter("Promotion: through staging to production, past the gates")
    policy = PromotionPolicy(MODEL, metrics=(MetricRange("brier", at_most=0.26),), required_tags=("data",))
    risk.set_promotion_policy(policy)
    risk.promote(version, to="staging")
    moved = risk.promote(version, to="production", reason="lower log loss on 2001 and 2002")
    output.say(f"{moved.transition.actor} moved {version} to staging, then to production. The policy's gates:")
    rows = [["passed" if gate.passed else "failed", gate.gate, gate.evidence] for gate in moved.gates]
    output.table(["", "gate", "evidence"], rows)


def _schedule(output: DemoOutput, quant: Client) -> None:
    output.chapter("Retraining schedule")
    schedule = quant.create_schedule(
        MODEL, every=timedelta(days=180), drift=True, performance=OnPerformance("live_log_loss", above=WORST_LOG_LOSS)
    )
    preview = quant.preview_schedule(schedule.schedule_id, count=1)
    output.say(f"The schedule makes the model due: {', or '.join(preview.conditions)}.")
    output.say(f"By the clock alone this is on {preview.firings[0].at:%d %B %Y}.")


def _set_policy(output: DemoOutput, risk: Client) -> None:
    output.chapter("Retraining policy")
    policy = RetrainingPolicy(
        MODEL,
        follow_up=FollowUpAction.PROMOTE,
        promote_on=(Verdict.SUPERIOR, Verdict.NON_INFERIOR),
        primary_metric=Metric.LOG_LOSS,
        margin=MARGIN,
    )
    risk.set_retraining_policy(policy)
    output.say(
        "No manual step is needed: when a job succeeds, the server moves the successor to staging, compares it with "
        "the production version on days that neither was trained on, and promotes it if it is better, or if it is "
        f"worse by at most {MARGIN:g} of log loss, because it was trained on more recent data."
    )


@contextmanager
def _progress(output: DemoOutput) -> Iterator[Progress]:
    columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.console, transient=True) as progress:
        yield progress


def _sum_up(output: DemoOutput, backtest: Backtest, days: Sample) -> None:
    output.chapter("Results")
    drifted = [quarter.name for quarter in backtest.quarters if quarter.detected]
    early = [quarter for quarter in backtest.quarters if quarter.name < "2008"]
    output.say(
        f"Drift was detected in {len(drifted)} of {len(backtest.quarters)} quarters"
        + (f": {listed(drifted)}." if drifted else ".")
    )
    false_alarms = sum(quarter.detected for quarter in early)
    output.say(
        f"In the {len(early)} quarters before 2008 there was "
        + ("no alarm." if not false_alarms else f"drift in {false_alarms} of them.")
    )
    accuracy, up = backtest.accuracy(), float(days.label.mean())
    output.say(
        f"The accuracy in production was {percent(accuracy)} over {len(days):,} days; the market rose on {percent(up)}."
    )
    still_due = list(backtest.quant.list_due(MODEL))
    if still_due:
        output.say(f"{MODEL} is due again at the end: {still_due[0].reasons[0].summary}.")


def _score(output: DemoOutput, quant: Client, days: Sample) -> None:
    found = quant.score(MODEL, days.features.tail(1))
    assert found.probabilities is not None
    output.say(
        f"Engines in other languages let the server score: after {days.last}, {found.version} gives a rise a "
        f"probability of {percent(found.probabilities[0, 1])}."
    )


def _show_history(output: DemoOutput, quant: Client, backtest: Backtest) -> None:
    output.chapter("History: production versions, and who promoted them")
    moves = [move for move in quant.list_transitions(MODEL) if move.to_stage is Stage.PRODUCTION][::-1]
    periods = {
        period.label: f"{period.first:%Y-%m-%d} to {period.last:%Y-%m-%d}" for period in backtest.production_periods()
    }
    for move in moves:
        label = f"version {move.version.version}"
        put = f"promoted at {move.moved_at:%H:%M:%S} UTC by {move.actor}:"
        output.say(f"[bold]{label}[/]  {periods.get(label, 'from then on')}, {put}")
        output.say(move.reason, indent=14)
    output.say("")
    _ask_the_past(output, quant, moves)
    log = quant.verify_audit_log()
    state = (
        "each contains the hash of the previous one, and none was changed" if log.intact else "THE HASH CHAIN IS BROKEN"
    )
    output.say(f"The audit log has {log.records} records; {state}.")


def _ask_the_past(output: DemoOutput, quant: Client, moves: Sequence[Transition]) -> None:
    """Resolve the production version at a time between the last two promotions."""
    if len(moves) < 2:
        return
    between = moves[-2].moved_at + (moves[-1].moved_at - moves[-2].moved_at) / 2
    past, now = quant.resolve(MODEL, as_of=between).version, quant.resolve(MODEL).version
    output.say(
        f"The registry resolves the production version as {now.version} now, and as of {between:%H:%M:%S} as "
        f"{past.version}."
    )


def _draw(output: DemoOutput, backtest: Backtest, picture: Path) -> None:
    chart.draw(picture, load_prices()["Adj Close"].loc["2007":"2010"], backtest.quarters, backtest.production_periods())
    output.say(f"The chart: {picture}")


def _wait_for_mlflow(quant: Client) -> None:
    """Wait until MLflow shows every version, or a timeout."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while any(not version.mlflow_version for version in quant.list_versions(MODEL)) and time.monotonic() < deadline:
        time.sleep(0.2)
