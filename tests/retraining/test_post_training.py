"""What follows a job: staging, comparison, promotion, as the policy says, and nothing more than once."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as dt_time
from pathlib import Path
from typing import Any

import exchange_calendars
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

from modelward import (
    AsyncClient,
    EvaluationWindow,
    FollowUp,
    FollowUpAction,
    FollowUpState,
    Job,
    Metric,
    PromotionPolicy,
    RetrainingPolicy,
    Stage,
    Verdict,
    errors,
)
from modelward_server.settings import Settings
from tests.support.clients import as_async, collect
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.scale import FULL
from tests.support.values import present
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Each test starts servers, and runs models in processes.

random = np.random.default_rng(11)
X = random.normal(size=(400, 2))
Y = (X[:, 0] > 0).astype(int)
GOOD = LogisticRegression().fit(X, Y)
BAD = LogisticRegression().fit(X, (random.random(400) > 0.5).astype(int))
ENDED = {FollowUpState.PROMOTED, FollowUpState.WAITING, FollowUpState.REFUSED}


@pytest.fixture(scope="session")
def database_url() -> str:
    """Comparisons wait for the models' processes: one database is enough, but for what two servers do."""
    return ""


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[AsyncClient]:
    """One kind of client is enough: what follows is the server's."""
    async with AsyncClient(server.target, actor="tester") as client:
        yield as_async(client)


async def _champion(client: Any, name: str, model: object) -> None:
    version = await client.register(name, model)
    await client.promote(version, to="staging")
    await client.promote(version, to="production", reason="it passed its tests")


async def _completed(client: Any, name: str, model: object, **evaluation: Any) -> Job:
    await client.request_retraining(name)
    job = await client.lease_job(name, holder="w")
    version = await client.register(name, model, job=job)
    done: Job = await client.complete_job(job, version, **evaluation)
    return done


async def _followed(client: Any, job: Job) -> FollowUp:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        seen = (await client.get_job(job.job_id)).follow_up
        if seen is not None and seen.state in ENDED:
            found: FollowUp = seen
            return found
        assert time.monotonic() < deadline, seen
        await asyncio.sleep(0.05)


async def _stages(client: Any, name: str) -> dict[int, Stage]:
    return {version.version: version.stage for version in await collect(client.list_versions(name))}


async def test_a_better_version_goes_into_production_by_itself(client: AsyncClient, name: str) -> None:
    await _champion(client, name, BAD)
    await client.set_retraining_policy(RetrainingPolicy(name, follow_up=FollowUpAction.PROMOTE))
    job = await _completed(client, name, GOOD, evaluation=(X, Y))
    assert job.follow_up is not None
    assert job.follow_up.state is FollowUpState.PENDING
    found = await _followed(client, job)
    assert (found.state, found.reason) == (FollowUpState.PROMOTED, f"{name}/2 is superior to {name}/1 by accuracy")
    assert await _stages(client, name) == {1: Stage.ARCHIVED, 2: Stage.PRODUCTION}
    compared = await client.get_comparison(found.comparison_id)
    assert compared.result(f"{name}/2").verdict is Verdict.SUPERIOR
    moves = await collect(client.list_transitions(name))
    into = next(move for move in moves if move.to_stage is Stage.PRODUCTION and move.version.version == 2)
    assert (into.actor, into.reason) == ("modelward", f"{found.reason} (job {job.job_id})")


async def test_a_worse_version_is_refused_and_stays_in_staging(client: AsyncClient, name: str) -> None:
    await _champion(client, name, GOOD)
    await client.set_retraining_policy(RetrainingPolicy(name, follow_up=FollowUpAction.PROMOTE))
    found = await _followed(client, await _completed(client, name, BAD, evaluation=(X, Y)))
    assert (found.state, found.reason) == (FollowUpState.REFUSED, f"{name}/2 is inferior to {name}/1 by accuracy")
    assert await _stages(client, name) == {1: Stage.PRODUCTION, 2: Stage.STAGING}


async def test_what_is_as_good_is_promoted_where_the_policy_says_so(client: AsyncClient, name: str) -> None:
    await _champion(client, name, GOOD)
    verdicts = (Verdict.SUPERIOR, Verdict.NON_INFERIOR)
    policy = RetrainingPolicy(name, follow_up=FollowUpAction.PROMOTE, promote_on=verdicts, margin=0.05)
    await client.set_retraining_policy(policy)
    found = await _followed(client, await _completed(client, name, GOOD, evaluation=(X, Y)))
    assert found.state is FollowUpState.PROMOTED
    assert "is non-inferior to" in found.reason


async def test_gates_and_material_models_leave_it_to_a_person(client: AsyncClient, name: str) -> None:
    await _champion(client, name, BAD)
    await client.set_retraining_policy(RetrainingPolicy(name, follow_up=FollowUpAction.PROMOTE))
    await client.set_promotion_policy(PromotionPolicy(name, required_tags=("reviewed",)))
    found = await _followed(client, await _completed(client, name, GOOD, evaluation=(X, Y)))
    assert found.state is FollowUpState.WAITING
    assert f"the promotion policy rejects it: required_tags.reviewed: {name}/2 has no tag reviewed" in found.reason
    await client.set_promotion_policy(PromotionPolicy(name, material=True))
    found = await _followed(client, await _completed(client, name, GOOD, evaluation=(X, Y)))
    assert found.state is FollowUpState.WAITING
    assert "it is material: a person decides" in found.reason
    assert (await _stages(client, name))[1] is Stage.PRODUCTION


async def test_the_first_version_is_promoted_without_a_comparison(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    await client.set_retraining_policy(RetrainingPolicy(name, follow_up=FollowUpAction.PROMOTE))
    found = await _followed(client, await _completed(client, name, GOOD))
    assert (found.state, found.comparison_id) == (FollowUpState.PROMOTED, "")
    assert await _stages(client, name) == {1: Stage.PRODUCTION}


@pytest.mark.parametrize(
    ("action", "evaluation", "reason"),
    [
        (FollowUpAction.STAGE, (X, Y), "is in staging; a person goes on"),
        (FollowUpAction.COMPARE, (X, Y), "is superior to .* by accuracy; a person decides"),
        (FollowUpAction.PROMOTE, None, "there is no test set"),
        (FollowUpAction.PROMOTE, "file:///etc/secrets.parquet", "the comparison failed: .*allow"),
        (FollowUpAction.PROMOTE, (X[:, :1], Y), "the comparison failed"),
    ],
    ids=["stage", "compare", "no-data", "not-allowed", "wrong-data"],
)
async def test_a_person_goes_on_where_the_policy_ends_or_a_step_fails(
    client: AsyncClient, name: str, action: FollowUpAction, evaluation: Any, reason: str
) -> None:
    await _champion(client, name, BAD)
    await client.set_retraining_policy(RetrainingPolicy(name, follow_up=action))
    found = await _followed(client, await _completed(client, name, GOOD, evaluation=evaluation))
    assert found.state is FollowUpState.WAITING
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.reason)
    assert await _stages(client, name) == {1: Stage.PRODUCTION, 2: Stage.STAGING}


async def test_without_a_policy_nothing_follows(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    job = await _completed(client, name, GOOD)
    assert job.follow_up is None
    assert await _stages(client, name) == {1: Stage.TRAINING}


@pytest.fixture(params=DATABASES if FULL else ["sqlite"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Of servers on one database and one folder."""
    url = new_database(request.getfixturevalue("postgres")) if request.param == "postgresql" else ""
    return Settings(port=0, data_dir=tmp_path / "data", database_url=url)


@pytest.mark.weekly
async def test_two_servers_do_it_once_and_a_restart_loses_nothing(settings: Settings, name: str) -> None:
    names = [f"{name}-{number}" for number in range(2)]
    running = [await asyncio.to_thread(RunningServer, settings) for _ in range(2)]
    async with AsyncClient(running[0].target) as client:
        for each in names:
            await _champion(client, each, BAD)
            await client.set_retraining_policy(RetrainingPolicy(each, follow_up=FollowUpAction.PROMOTE))
        done = [await _completed(client, each, GOOD, evaluation=(X, Y)) for each in names]
        await asyncio.to_thread(running[0].stop)
    async with AsyncClient(running[1].target) as client:
        for each, job in zip(names, done, strict=True):
            assert (await _followed(client, job)).state is FollowUpState.PROMOTED
            assert len([move async for move in client.list_transitions(each)]) == 7
            assert len([found async for found in client.list_comparisons(each)]) == 1
    await asyncio.to_thread(running[1].stop)


async def test_terms_of_a_panel_with_returns_are_those_of_the_comparison(client: AsyncClient, name: str) -> None:
    await _champion(client, name, BAD)
    terms: dict[str, Any] = {"returns": "earned", "cost_bps": 2.0, "time": "day", "group": "symbol", "horizon": 5}
    policy = RetrainingPolicy(name, follow_up=FollowUpAction.COMPARE, primary_metric=Metric.NET_RETURN, **terms)
    assert replace(await client.set_retraining_policy(policy), etag="") == policy
    days, direction = np.arange(len(X)) // 2, np.where(Y, 0.01, -0.01)
    symbols = np.array(["A", "B"], object)[np.arange(len(X)) % 2]
    table = {f"x{i}": column for i, column in enumerate(X.T)} | {"earned": direction, "day": days, "symbol": symbols}
    found = await _followed(client, await _completed(client, name, GOOD, evaluation=(table, Y)))
    assert found.state is FollowUpState.WAITING
    compared = await client.get_comparison(found.comparison_id)
    assert compared.primary_metric is Metric.NET_RETURN
    assert compared.window is not None
    assert (compared.window.times, compared.window.groups) == (len(X) // 2, 2)
    assert compared.resampling.block_rows >= 5


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"primary_metric": Metric.SHARPE}, "policy.returns: is missing, and sharpe"),
        ({"cost_bps": 1.0}, "policy.cost_bps: has no effect"),
        ({"group": "symbol"}, "policy.group_column: has no effect"),
        ({"returns": "label"}, "policy: names the column 'label' for two things"),
    ],
)
async def test_a_policy_that_can_compare_nothing_is_refused(
    client: AsyncClient, name: str, terms: dict[str, Any], field: str
) -> None:
    await client.create_model(name)
    with pytest.raises(errors.InvalidField, match=field):
        await client.set_retraining_policy(RetrainingPolicy(name, **terms))
    assert (await client.get_retraining_policy(name)).etag == "r0"


async def test_a_policy_whose_test_set_cannot_be_used_is_refused(client: AsyncClient, name: str, inbox: Path) -> None:
    await client.create_model(name)
    file = inbox / f"{name}.parquet"
    policy = RetrainingPolicy(name, evaluation_uri=file.as_uri(), label="up", returns="earned")
    with pytest.raises(errors.InvalidField, match=r"policy\.evaluation_uri"):
        await client.set_retraining_policy(policy)
    pq.write_table(pa.table({"x": [1.0], "up": [1], "earnt": [0.1]}), file)
    with pytest.raises(errors.InvalidField, match=r"policy.returns: names 'earned', which is not in the data.*earnt"):
        await client.set_retraining_policy(policy)
    with pytest.raises(errors.SourceNotAllowed):
        await client.set_retraining_policy(replace(policy, evaluation_uri="file:///etc/passwd"))
    assert (await client.set_retraining_policy(replace(policy, returns="earnt"))).etag == "r1"


@pytest.fixture(scope="module")
def sessions() -> list[date]:
    """The sessions of New York that have closed by now, as `exchange_calendars` tells them."""
    calendar = exchange_calendars.get_calendar("XNYS")
    closed = calendar.closes[calendar.closes <= datetime.now(UTC)]
    return [session.date() for session in closed.index]


@pytest.fixture
def moving_test_set(sessions: list[date], name: str, inbox: Path) -> Path:
    """Ten rows for each of the last 100 sessions: of the last 30, `GOOD` is right; of those before, it is wrong."""
    rows = np.arange(400).repeat(3)[:1000]
    days = np.repeat(np.array(sessions[-100:]), 10)
    right = days >= sessions[-30]
    columns = {f"x{i}": X[rows, i] for i in range(2)}
    labels = np.where(right, Y[rows], 1 - Y[rows])
    table = pa.table({**columns, "day": pa.array(days), "symbol": np.tile(np.arange(10), 100), "label": labels})
    pq.write_table(table, inbox / f"{name}.parquet")
    return inbox / f"{name}.parquet"


async def test_versions_are_compared_on_the_last_sessions_before_the_job(
    client: AsyncClient, name: str, moving_test_set: Path, sessions: list[date]
) -> None:
    await _champion(client, name, BAD)
    policy = RetrainingPolicy(
        name,
        follow_up=FollowUpAction.COMPARE,
        evaluation_uri=moving_test_set.as_uri(),
        time="day",
        group="symbol",
        data_window=timedelta(days=365),
    )
    await client.set_retraining_policy(policy)
    whole = await _followed(client, await _completed(client, name, GOOD))
    assert "is superior to" not in whole.reason
    window = EvaluationWindow("XNYS", sessions=30, embargo=5)
    changed = await client.set_retraining_policy(replace(policy, evaluation_window=window))
    assert changed.evaluation_window == window
    job = await _completed(client, name, GOOD)
    assert job.data_until == datetime.combine(sessions[-35], dt_time(), UTC)
    assert job.data_until - present(job.data_from) == timedelta(days=365)
    found = await _followed(client, job)
    assert "is superior to" in found.reason
    compared = await client.get_comparison(found.comparison_id)
    assert compared.rows == 300
    span = f"30 sessions of XNYS from {sessions[-30]} to {sessions[-1]}; 30 of them have rows"
    assert any(span in note for note in compared.notes)


async def test_a_test_set_without_the_last_sessions_is_left_to_a_person(
    client: AsyncClient, name: str, moving_test_set: Path, sessions: list[date]
) -> None:
    await _champion(client, name, BAD)
    window = EvaluationWindow("XNYS", sessions=30)
    policy = RetrainingPolicy(
        name,
        follow_up=FollowUpAction.PROMOTE,
        evaluation_uri=moving_test_set.as_uri(),
        time="day",
        group="symbol",
        evaluation_window=window,
    )
    await client.set_retraining_policy(policy)
    table = pq.read_table(moving_test_set)
    pq.write_table(table.slice(0, 700), moving_test_set)
    found = await _followed(client, await _completed(client, name, GOOD))
    assert found.state is FollowUpState.WAITING
    assert f"no row of the 30 sessions of XNYS from {sessions[-30]}" in found.reason


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"evaluation_window": EvaluationWindow("XNYS", 60), "evaluation_uri": ""}, "policy.evaluation_uri"),
        ({"evaluation_window": EvaluationWindow("XNYS", 60), "time": "", "group": ""}, "policy.time_column"),
        ({"evaluation_window": EvaluationWindow("NYSE2", 60)}, "policy.evaluation_window.calendar"),
        ({"evaluation_window": EvaluationWindow("XNYS", 5000, 1000)}, None),
        ({"evaluation_window": EvaluationWindow("XNYS", 0)}, "policy.evaluation_window.sessions"),
        ({"evaluation_window": EvaluationWindow("XNYS", 5, -1)}, "policy.evaluation_window.embargo"),
        ({"evaluation_window": EvaluationWindow("XSAU", 5000, 1000)}, "policy.evaluation_window.sessions"),
    ],
)
async def test_a_window_that_can_never_be_evaluated_is_refused(
    client: AsyncClient, name: str, moving_test_set: Path, terms: dict[str, Any], field: str | None
) -> None:
    await client.create_model(name)
    policy = RetrainingPolicy(name, evaluation_uri=moving_test_set.as_uri(), time="day", group="symbol")
    setting = client.set_retraining_policy(replace(policy, **terms))
    if field is None:
        assert (await setting).evaluation_window == terms["evaluation_window"]
        return
    with pytest.raises(errors.InvalidField) as caught:
        await setting
    assert field in [one.field for one in caught.value.violations]
