"""The demo's story: two models, one goes into production, the market changes, and what is done about it.

Everything goes through the SDK's `Client`, and every sentence says what was measured on the way.
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
from modelward.demo.backtest import MODEL, Walk, register
from modelward.demo.market import Sample, load_market, load_prices
from modelward.demo.output import Narrator, listed, metric_rows
from modelward.demo.training import FOLD_DAYS, FOLDS, Trained, gradient_boosting, random_forest, train
from modelward.retraining import OnPerformance
from modelward.shared.figures import percent, statistic

METRICS = ("accuracy", "balanced_accuracy", "roc_auc", "log_loss", "brier")
MARGIN = 0.02
"""How much higher a successor's log loss may be and still count as no worse; a coin's is 0.693."""
WORST_LOG_LOSS = 0.75
"""Of a quarter; a coin has 0.693, and a version above is surer of itself than it should be."""
CATCH_UP_SECONDS = 20.0


def tell(narrator: Narrator, quant: Client, risk: Client, picture: Path) -> None:
    """Tell it all.

    Args:
        quant: the client of who trains and registers.
        risk: the client of who promotes.
        picture: where the chart is to lie.
    """
    market = load_market()
    versions = _register_two(narrator, quant, market)
    best = _compare(narrator, quant, versions, market.between("2001", "2002"))
    _promote(narrator, risk, best)
    _schedule(narrator, quant)
    _set_policy(narrator, risk)
    narrator.chapter("The market moves on: 2007 to 2010, quarter by quarter")
    narrator.say(
        "The bar is the drift score: at 0.50 the strongest feature is at its threshold. Drift is called where it is "
        "also sure, which is to say more than what stretches of the training data differ by themselves. Right is the "
        "share of days whose direction the version in production foretold.\n"
    )
    years = market.between("2007", "2010")
    with TemporaryDirectory() as cache, quant.follow(MODEL, cache=cache, engine="engine-1") as engine:
        walk = Walk(narrator, quant, market, engine)
        with _progress(narrator) as progress:
            for name, days in progress.track(list(years.quarters()), description="walking"):
                walk.through(name, days)
    _sum_up(narrator, walk, years)
    _show_history(narrator, quant, walk)
    _draw(narrator, walk, picture)
    _wait_for_mlflow(quant)


def _register_two(narrator: Narrator, quant: Client, market: Sample) -> list[ModelVersion]:
    narrator.chapter("A quant trains two models on 2003 to 2006 and registers them")
    days = market.between("2003", "2006")
    trained = {"random forest": train(random_forest(), days), "gradient boosting": train(gradient_boosting(), days)}
    description = f"Guesses whether the S&P 500 closes higher tomorrow; trained on {days.first} to {days.last}."
    versions = [register(quant, model, algorithm, description) for algorithm, model in trained.items()]
    unseen = days.split(FOLDS * FOLD_DAYS)[1]
    narrator.say(
        f"Both guess whether the S&P 500 closes higher tomorrow, and learnt from {len(days):,} days. Measured walking "
        f"forward from {unseen.first} to {unseen.last}, each time trained only on the days before:"
    )
    named = {f"{v.version}, {name}": v.metrics for v, name in zip(versions, trained, strict=True)}
    narrator.table(["version", *METRICS], metric_rows(named, METRICS), METRICS)
    narrator.say(_say_how_good(trained, unseen))
    narrator.say(
        "The registry keeps their files, metrics, parameters and tags, and a profile of the days they learnt from."
    )
    return versions


def _say_how_good(trained: Mapping[str, Trained], days: Sample) -> str:
    up = float(days.label.mean())
    naive = max(up, 1 - up)
    best = max(model.metrics["accuracy"] for model in trained.values())
    said = (
        f"Always saying {'up' if up >= 0.5 else 'down'} would have been right on {percent(naive)} of those days; "
        f"the better model was on {percent(best)}."
    )
    return said if best > naive else f"{said} So neither beats the market: the demo is about how one looks after them."


def _compare(narrator: Narrator, quant: Client, versions: Sequence[ModelVersion], days: Sample) -> ModelVersion:
    narrator.chapter("Which of the two? The server runs both on days that neither has seen")
    found = quant.compare(versions, days.features, days.label, primary="log_loss")
    show_comparison(narrator, found)
    best = next(version for version in versions if version.ref == found.best)
    narrator.say(f"So {best} goes on: of the two it has the lower log loss on the {found.rows} days of 2001 and 2002.")
    return best


def show_comparison(narrator: Narrator, found: Comparison) -> None:
    """Print each version's metrics and latency, and the conclusion."""
    keys = ("accuracy", "roc_auc", "log_loss", "brier")
    rows = [
        [
            str(result.version.version),
            *(statistic(result[key]) for key in keys),
            _latency(result.latency),
        ]
        for result in found.results
        if not result.failure
    ]
    narrator.table(["version", *keys, "one guess takes"], rows, [*keys, "one guess takes"])
    narrator.say(found.summary)


def _latency(latency: Latency | None) -> str:
    return "" if latency is None else f"{latency.row_p50 / timedelta(milliseconds=1):.1f} ms"


def _promote(narrator: Narrator, risk: Client, version: ModelVersion) -> None:
    narrator.chapter("Through staging into production, past the gates")
    policy = PromotionPolicy(MODEL, metrics=(MetricRange("brier", at_most=0.26),), required_tags=("data",))
    risk.set_promotion_policy(policy)
    risk.promote(version, to="staging")
    moved = risk.promote(version, to="production", reason="the better of the two on 2001 and 2002")
    narrator.say(f"{moved.transition.actor} moved {version} to staging, then to production. The policy's gates:")
    rows = [["passed" if gate.passed else "failed", gate.gate, gate.evidence] for gate in moved.gates]
    narrator.table(["", "gate", "evidence"], rows)


def _schedule(narrator: Narrator, quant: Client) -> None:
    narrator.chapter("When is it to be retrained?")
    schedule = quant.create_schedule(
        MODEL, every=timedelta(days=180), drift=True, performance=OnPerformance("live_log_loss", above=WORST_LOG_LOSS)
    )
    preview = quant.preview_schedule(schedule.schedule_id, count=1)
    narrator.say(f"The schedule makes the model due: {', or '.join(preview.conditions)}.")
    narrator.say(f"By the clock alone that would be on {preview.firings[0].at:%d %B %Y}.")


def _set_policy(narrator: Narrator, risk: Client) -> None:
    narrator.chapter("What is to become of a successor?")
    policy = RetrainingPolicy(
        MODEL,
        follow_up=FollowUpAction.PROMOTE,
        promote_on=(Verdict.SUPERIOR, Verdict.NON_INFERIOR),
        primary_metric=Metric.LOG_LOSS,
        margin=MARGIN,
    )
    risk.set_retraining_policy(policy)
    narrator.say(
        "Nobody has to be there: when a job succeeds, the server moves the successor to staging, compares it with the "
        "version in production on days that neither has seen, and promotes it if it is better, or if it is no worse "
        f"by more than {MARGIN:g} of log loss, since it knows the market as it is now."
    )


@contextmanager
def _progress(narrator: Narrator) -> Iterator[Progress]:
    columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=narrator.console, transient=True) as progress:
        yield progress


def _sum_up(narrator: Narrator, walk: Walk, days: Sample) -> None:
    narrator.chapter("What was seen")
    drifted = [quarter.name for quarter in walk.quarters if quarter.detected]
    early = [quarter for quarter in walk.quarters if quarter.name < "2008"]
    narrator.say(
        f"Drift was seen in {len(drifted)} of {len(walk.quarters)} quarters"
        + (f": {listed(drifted)}." if drifted else ".")
    )
    false_alarms = sum(quarter.detected for quarter in early)
    narrator.say(
        f"In the {len(early)} quarters before 2008 there was "
        + ("no alarm." if not false_alarms else f"drift in {false_alarms} already.")
    )
    right, up = walk.right_share(), float(days.label.mean())
    narrator.say(
        f"What was in production was right on {percent(right)} of {len(days):,} days; the market rose on {percent(up)}."
    )
    still_due = list(walk.quant.list_due(MODEL))
    if still_due:
        narrator.say(f"{MODEL} is due at the end too: {still_due[0].reasons[0].summary}.")


def _show_history(narrator: Narrator, quant: Client, walk: Walk) -> None:
    narrator.chapter("Who was in production when, and who put it there")
    moves = [move for move in quant.list_transitions(MODEL) if move.to_stage is Stage.PRODUCTION][::-1]
    reigns = {reign.label: f"{reign.first:%Y-%m-%d} to {reign.last:%Y-%m-%d}" for reign in walk.reigns()}
    for move in moves:
        label = f"version {move.version.version}"
        put = f"put there at {move.moved_at:%H:%M:%S} UTC by {move.actor}:"
        narrator.say(f"[bold]{label}[/]  {reigns.get(label, 'from then on')}, {put}")
        narrator.say(move.reason, indent=14)
    narrator.say("")
    _ask_the_past(narrator, quant, moves)
    log = quant.verify_audit_log()
    state = "each holds the hash of the one before: nothing was changed" if log.intact else "THE CHAIN IS BROKEN"
    narrator.say(f"The audit log has {log.records} records; {state}.")


def _ask_the_past(narrator: Narrator, quant: Client, moves: Sequence[Transition]) -> None:
    """Ask which version was in production between the last two promotions."""
    if len(moves) < 2:
        return
    between = moves[-2].moved_at + (moves[-1].moved_at - moves[-2].moved_at) / 2
    then, now = quant.resolve(MODEL, as_of=between).version, quant.resolve(MODEL).version
    narrator.say(
        f"Asked which version is in production, the registry says {now.version}; asked for {between:%H:%M:%S}, it says "
        f"{then.version}."
    )


def _draw(narrator: Narrator, walk: Walk, picture: Path) -> None:
    chart.draw(picture, load_prices()["Adj Close"].loc["2007":"2010"], walk.quarters, walk.reigns())
    narrator.say(f"The picture of it all: {picture}")


def _wait_for_mlflow(quant: Client) -> None:
    """Let MLflow catch up with the registry, so that its UI shows every version."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while any(not version.mlflow_version for version in quant.list_versions(MODEL)) and time.monotonic() < deadline:
        time.sleep(0.2)
