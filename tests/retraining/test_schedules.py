"""Schedules, through both clients."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from modelward import AsyncClient, Client, Cron, Every, OnDrift, OnPerformance, SchedulePolicy, errors
from modelward.v1 import retraining_pb2 as pb
from modelward.v1.retraining_pb2_grpc import RetrainingServiceStub
from tests.support.clients import collect
from tests.support.running_server import RunningServer

WEEK = timedelta(days=7)


async def _refusal(call: Any) -> list[str]:
    with pytest.raises(errors.InvalidField) as caught:
        await call
    return [violation.field for violation in caught.value.violations]


async def test_created_schedule_is_returned_as_it_was_described(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    created = await client.create_schedule(
        name,
        every=timedelta(days=90),
        cron=Cron("30 17 * * FRI", "America/New_York"),
        drift=0.3,
        performance=[OnPerformance("accuracy", below=0.5), OnPerformance("log_loss", risen_by=0.1)],
        description="quarterly, or when the market moves",
    )
    assert created == await client.get_schedule(created.schedule_id)
    assert (created.model, created.created_by, created.paused) == (name, "tester", False)
    assert created.description == "quarterly, or when the market moves"
    assert created.triggers == (
        Every(timedelta(days=90)),
        Cron("30 17 * * FRI", "America/New_York"),
        OnDrift(0.3),
        OnPerformance("accuracy", below=0.5),
        OnPerformance("log_loss", risen_by=0.1),
    )


async def test_drift_alone_means_the_reports_own_decision(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    assert (await client.create_schedule(name, drift=True)).triggers == (OnDrift(None),)
    assert (await client.create_schedule(name, drift=0.0)).triggers == (OnDrift(0.0),)


async def test_a_schedule_id_is_given_once(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    await client.create_schedule(name, every=WEEK, schedule_id=name)
    with pytest.raises(errors.ScheduleExists) as caught:
        await client.create_schedule(name, every=WEEK, schedule_id=name)
    assert caught.value.metadata == {"schedule_id": name}


async def test_schedules_are_listed_by_model(client: AsyncClient, name: str) -> None:
    for model in (name, f"{name}-2"):
        await client.create_model(model)
        for number in (2, 1):
            await client.create_schedule(model, every=WEEK, schedule_id=f"{model}-{number}")
    assert [one.schedule_id for one in await collect(client.list_schedules(name))] == [f"{name}-1", f"{name}-2"]
    everywhere = [one.schedule_id for one in await collect(client.list_schedules())]
    assert everywhere == sorted(everywhere)
    assert {f"{name}-1", f"{name}-2-1"} <= set(everywhere)


async def test_what_is_not_given_stays_in_an_update(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    created = await client.create_schedule(name, every=WEEK, description="weekly")
    faster = await client.update_schedule(created.schedule_id, every=timedelta(days=1))
    assert (faster.triggers, faster.description) == ((Every(timedelta(days=1)),), "weekly")
    renamed = await client.update_schedule(created.schedule_id, description="daily")
    assert (renamed.triggers, renamed.description) == ((Every(timedelta(days=1)),), "daily")
    assert len({created.etag, faster.etag, renamed.etag}) == 3


async def test_a_stale_etag_is_refused_and_changes_nothing(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    created = await client.create_schedule(name, every=WEEK)
    current = await client.pause_schedule(created.schedule_id, reason="holidays", etag=created.etag)
    changes = (
        client.update_schedule(created.schedule_id, drift=True, etag=created.etag),
        client.resume_schedule(created.schedule_id, etag=created.etag),
        client.delete_schedule(created.schedule_id, etag=created.etag),
    )
    for change in changes:
        with pytest.raises(errors.EtagMismatch) as caught:
            await change
        assert caught.value.metadata == {"current_etag": current.etag}
    assert await client.get_schedule(created.schedule_id) == current


async def test_pause_keeps_its_reason_until_resume(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    created = await client.create_schedule(name, every=WEEK)
    paused = await client.pause_schedule(created.schedule_id, reason="holidays")
    assert (paused.paused, paused.pause_reason) == (True, "holidays")
    resumed = await client.resume_schedule(created.schedule_id)
    assert replace(resumed, etag="", updated_at=created.updated_at) == replace(created, etag="")


async def test_a_deleted_schedule_is_gone(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    created = await client.create_schedule(name, every=WEEK)
    assert await client.delete_schedule(created.schedule_id) == created
    with pytest.raises(errors.ScheduleNotFound) as caught:
        await client.get_schedule(created.schedule_id)
    assert caught.value.metadata == {"schedule_id": created.schedule_id}


@pytest.mark.system
@pytest.mark.parametrize("jitter", [timedelta(0), timedelta(days=1)])
@pytest.mark.weekly("postgresql")
async def test_previews_at_the_ends_of_time_show_what_there_is(
    client: AsyncClient, name: str, jitter: timedelta
) -> None:
    await client.create_model(name)
    policy = SchedulePolicy(jitter=jitter)
    rules = [Cron("0 0 * * *", "America/New_York"), Cron("*/30 2 * * *", "Asia/Tokyo"), Cron("* * * * *")]
    created = [await client.create_schedule(name, cron=rule, policy=policy) for rule in rules]
    created.append(await client.create_schedule(name, every=WEEK, policy=policy))
    end = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    for schedule in created:
        assert (await client.preview_schedule(schedule.schedule_id, after=end)).firings == ()
        late = (await client.preview_schedule(schedule.schedule_id, after=end - timedelta(days=20), count=5)).firings
        assert late
        assert all(firing.at > end - timedelta(days=20) for firing in late)
        early = await client.preview_schedule(schedule.schedule_id, after=datetime(1, 1, 1, tzinfo=UTC), count=5)
        assert len(early.firings) == 5  # Counted from its creation: nothing fired before.
    draft = await client.preview_triggers(cron=rules[0], policy=policy, after=datetime(1, 1, 1, tzinfo=UTC), count=2)
    assert [firing.at.year for firing in draft.firings] == [1, 1]
    assert (await client.preview_triggers(cron=rules[0], policy=policy, after=end)).firings == ()


async def test_preview_of_a_schedule_shows_its_firings_in_local_time(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    created = await client.create_schedule(name, cron=Cron("30 17 * * FRI", "America/New_York"), drift=0.5)
    preview = await client.preview_schedule(created.schedule_id, after=datetime(2040, 3, 1, tzinfo=UTC), count=2)
    assert [firing.at for firing in preview.firings] == [
        datetime(2040, 3, 2, 22, 30, tzinfo=UTC),
        datetime(2040, 3, 9, 22, 30, tzinfo=UTC),
    ]
    assert preview.firings[0].summary == "2040-03-02 17:30 America/New_York"
    assert preview.conditions == ("At 17:30 on Friday, America/New_York", "drift score of 0.5 or more")


async def test_preview_of_triggers_needs_no_schedule(client: AsyncClient) -> None:
    after = datetime(2024, 1, 1, tzinfo=UTC)
    preview = await client.preview_triggers(every=WEEK, cron="0 0 10 * *", after=after, count=3)
    assert [(firing.at.day, firing.trigger) for firing in preview.firings] == [(8, 0), (10, 1), (15, 0)]
    assert len((await client.preview_triggers(every=WEEK)).firings) == 10


@pytest.mark.parametrize(
    ("trigger", "field"),
    [
        ({}, "triggers"),
        ({"every": timedelta(0)}, "triggers[0].periodic.every"),
        ({"every": -WEEK}, "triggers[0].periodic.every"),
        ({"every": timedelta(days=40_000)}, "triggers[0].periodic.every"),
        ({"cron": ""}, "triggers[0].periodic.cron.expression"),
        ({"cron": "at noon"}, "triggers[0].periodic.cron.expression"),
        ({"every": WEEK, "cron": "61 * * * *"}, "triggers[1].periodic.cron.expression"),
        ({"cron": Cron("0 0 * * *", "Mars/Olympus")}, "triggers[0].periodic.cron.time_zone"),
        ({"drift": float("nan")}, "triggers[0].drift.min_score"),
        ({"drift": 1.5}, "triggers[0].drift.min_score"),
        ({"performance": OnPerformance("", below=1.0)}, "triggers[0].performance.metric"),
        ({"performance": OnPerformance("f1", below=float("nan"))}, "triggers[0].performance.below"),
        ({"performance": OnPerformance("f1", above=float("inf"))}, "triggers[0].performance.above"),
        ({"performance": OnPerformance("f1", fallen_by=0.0)}, "triggers[0].performance.fallen_by"),
        ({"performance": OnPerformance("f1", risen_by=-0.1)}, "triggers[0].performance.risen_by"),
    ],
    ids=str,
)
async def test_a_trigger_that_makes_no_sense_is_refused_by_its_field(
    client: AsyncClient, name: str, trigger: dict[str, Any], field: str
) -> None:
    await client.create_model(name)
    assert await _refusal(client.create_schedule(name, **trigger)) == [field]
    assert await collect(client.list_schedules(name)) == []


async def test_a_bad_draft_is_refused_by_its_field(client: AsyncClient) -> None:
    assert await _refusal(client.preview_triggers(cron="0 0 30 2 *")) == ["draft.triggers[0].periodic.cron.expression"]
    assert await _refusal(client.preview_triggers()) == ["draft.triggers"]


@pytest.mark.parametrize("bad", ["", "a" * 129, "-leading-dash", "with space", "with/slash", "é"])
async def test_names_outside_the_rule_are_refused(client: AsyncClient, bad: str) -> None:
    assert await _refusal(client.create_schedule(bad, every=WEEK)) == ["model"]


async def test_a_schedule_of_no_model_is_refused(client: AsyncClient, name: str) -> None:
    listed = (collect(client.list_schedules(name)), collect(client.list_due(name)))
    for call in (client.create_schedule(name, every=WEEK), *listed):
        with pytest.raises(errors.ModelNotFound):
            await call


async def test_an_update_that_changes_nothing_is_refused(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    created = await client.create_schedule(name, every=WEEK)
    assert await _refusal(client.update_schedule(created.schedule_id)) == ["update_mask"]
    assert await client.get_schedule(created.schedule_id) == created


async def test_an_update_to_a_bad_trigger_changes_nothing(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    created = await client.create_schedule(name, every=WEEK)
    update = client.update_schedule(created.schedule_id, cron="nonsense", description="new")
    assert await _refusal(update) == ["triggers[0].periodic.cron.expression"]
    assert await client.get_schedule(created.schedule_id) == created


async def test_two_bounds_on_one_metric_are_refused_before_any_call() -> None:
    with pytest.raises(errors.InvalidField, match="exactly one"):
        OnPerformance("accuracy", below=0.5, above=0.9)
    with pytest.raises(errors.InvalidField, match="exactly one"):
        OnPerformance("accuracy")


def test_triggers_emptied_by_hand_are_refused(server: RunningServer, name: str) -> None:
    with Client(server.target) as client:
        client.create_model(name)
        created = client.create_schedule(name, every=WEEK)
    with grpc.insecure_channel(server.target) as channel:
        stub = RetrainingServiceStub(channel)
        request = pb.UpdateScheduleRequest(schedule_id=created.schedule_id)
        request.update_mask.paths.append("triggers")
        with pytest.raises(grpc.RpcError, match="give at least one, or pause the schedule"):
            stub.UpdateSchedule(request)
        with pytest.raises(grpc.RpcError, match="condition: exactly one field is required"):
            stub.CreateSchedule(pb.CreateScheduleRequest(model=name, triggers=[pb.Trigger()]))
