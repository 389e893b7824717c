"""Changes as they come: in order, none lost and none twice, and which engines noticed."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import grpc
import pytest
from sqlalchemy.orm import Session

from modelward import AsyncClient, Client, EventKind, LoadFailure, ModelEvent, PromotionPolicy, RolloutState, errors
from modelward.shared.retry import error_of
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.rpc import model_events
from modelward_server.settings import Settings
from modelward_server.storage.audit import last_sequence
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(b"model")
    return tmp_path / "model.bin"


async def _take(events: AsyncGenerator[ModelEvent, None], count: int) -> list[ModelEvent]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [await anext(events) for _ in range(count)]


@pytest.mark.system
async def test_watch_tells_how_things_stand_and_then_every_change_in_order(
    server: RunningServer, name: str, artifact: Path
) -> None:
    async with AsyncClient(server.target, actor="tester") as client:
        await client.create_model(name, description="before")
        events = client.watch([name])
        [state] = await _take(events, 1)
        assert (state.kind, state.subject.description) == (EventKind.STATE, "before")  # type: ignore[union-attr]
        version = await client.register(name, artifact)
        await client.promote(version, to="staging", reason="try it")
        await client.log_metrics(version, {"accuracy": 0.5})
        await client.set_promotion_policy(PromotionPolicy(name))
        await client.promote(version, to="production", reason="it passed its tests")
        await client.halt(name, reason="stop")
        await client.resume(name)
        seen = await _take(events, 7)
        assert [event.kind for event in seen] == [
            EventKind.REGISTERED,
            EventKind.TRANSITION,
            EventKind.VERSION_CHANGED,
            EventKind.POLICY,
            EventKind.TRANSITION,
            EventKind.HALTED,
            EventKind.RESUMED,
        ]
        assert [event.sequence for event in seen] == sorted({event.sequence for event in seen})
        transitions = [item async for item in client.list_transitions(name)]
        assert seen[4].subject == transitions[0]
        assert seen[1].subject == transitions[1]
        await events.aclose()


@pytest.mark.system
async def test_token_goes_on_behind_its_event(server: RunningServer, name: str, artifact: Path) -> None:
    async with AsyncClient(server.target) as client:
        await client.create_model(name)
        events = client.watch([name])
        [state] = await _take(events, 1)
        await events.aclose()
        for _ in range(3):
            await client.register(name, artifact)
        again = client.watch([name], resume_token=state.resume_token)
        missed = await _take(again, 3)
        assert [event.subject.version for event in missed] == [1, 2, 3]  # type: ignore[union-attr]
        await again.aclose()
        last = client.watch([name], resume_token=missed[1].resume_token)
        assert [event.sequence for event in await _take(last, 1)] == [missed[2].sequence]
        await last.aclose()


@pytest.mark.system
def test_sync_watch_sees_changes_of_others(server: RunningServer, name: str, artifact: Path) -> None:
    with Client(server.target) as client, Client(server.target) as other:
        client.create_model(name)
        events = client.watch([name])
        next(events)
        timer = threading.Timer(0.2, lambda: other.register(name, artifact))
        timer.start()
        assert next(events).kind is EventKind.REGISTERED
        timer.join()
        events.close()


@pytest.mark.system
async def test_watch_survives_a_restart_without_gap_or_repeat(tmp_path: Path, artifact: Path) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data")
    running = RunningServer(settings)
    port = int(running.target.rpartition(":")[2])
    async with AsyncClient(running.target, timeout=PATIENCE_SECONDS) as client:
        await client.create_model("spx")
        events = client.watch(["spx"])
        seen = await _take(events, 1)
        for _ in range(3):
            await client.register("spx", artifact)
            seen += await _take(events, 1)
            await asyncio.to_thread(running.stop)
            running = await asyncio.to_thread(RunningServer, settings.model_copy(update={"port": port}))
            await client.register("spx", artifact)
            seen += await _take(events, 1)
        await events.aclose()
    await asyncio.to_thread(running.stop)
    assert [event.subject.version for event in seen[1:]] == [1, 2, 3, 4, 5, 6]  # type: ignore[union-attr]


@pytest.mark.system
async def test_watcher_that_fell_behind_what_is_in_memory_reads_on_from_the_log(
    server: RunningServer, name: str, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelward_server.rpc.model_events.BATCH_SIZE", 3)
    async with AsyncClient(server.target) as client:
        await client.create_model(name)
        for _ in range(10):
            await client.register(name, artifact)
        events = client.watch(resume_token="0")
        mine = [event async for event in _of(events, name, 11)]
        assert [event.kind for event in mine] == [EventKind.STATE, *[EventKind.REGISTERED] * 10]


async def _of(events: Any, name: str, count: int) -> AsyncIterator[ModelEvent]:
    async for event in events:
        if event.model == name:
            yield event
            count -= 1
        if not count:
            await events.aclose()
            return


@pytest.mark.parametrize(
    ("token", "kind"),
    [("x", errors.InvalidField), ("-1", errors.InvalidField), ("9" * 18, errors.ResumeTokenExpired)],
)
def test_token_that_is_none_is_refused(server: RunningServer, token: str, kind: type[Exception]) -> None:
    with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError) as caught:
        next(LifecycleServiceStub(channel).WatchModels(pb.WatchModelsRequest(resume_token=token)))
    assert isinstance(error_of(caught.value), kind)


@pytest.mark.system
async def test_rollout_tells_who_converged_who_lags_and_who_is_gone(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    for _ in range(2):
        version = await client.register(name, artifact)
        await client.promote(version, to="staging")
    await client.promote(f"{name}/1", to="production", reason="it passed its tests")
    assert str(await client.report_active(f"{name}/1", engine="ny4-01")) == f"{name}/1"
    await client.report_active(f"{name}/1", engine="ny4-02")
    await client.report_active(f"{name}/1", engine="ld4-01", silent_after=timedelta(microseconds=1))
    await client.promote(f"{name}/2", to="production", reason="it passed its tests")
    assert str(await client.report_active(f"{name}/1", engine="ny4-02")) == f"{name}/2"
    await client.report_active(f"{name}/2", engine="ny4-01")
    rollout = await client.get_rollout(name)
    assert str(rollout.expected) == f"{name}/2"
    assert [(status.engine, status.version, status.state) for status in rollout.engines] == [
        ("ld4-01", 1, RolloutState.GONE),
        ("ny4-01", 2, RolloutState.CONVERGED),
        ("ny4-02", 1, RolloutState.LAGGING),
    ]
    with pytest.raises(errors.VersionNotFound):
        await client.report_active(f"{name}/1", engine="ny4-02", failure=LoadFailure(9, "ImportError: onnx"))
    for running in (1, 2):
        await client.report_active(f"{name}/{running}", engine="ny4-02", failure=LoadFailure(2, "ImportError: onnx"))
        status = (await client.get_rollout(name)).engines[2]
        assert (status.version, status.state) == (running, RolloutState.FAILED)
        assert status.failure == LoadFailure(2, "ImportError: onnx")
    await client.report_active(f"{name}/2", engine="ny4-02")
    assert (await client.get_rollout(name)).engines[2] == replace(
        status, state=RolloutState.CONVERGED, failure=None, reported_at=ANY
    )
    await client.halt(name, reason="stop")
    assert (await client.get_rollout(name)).expected is None
    with pytest.raises(errors.VersionNotFound):
        await client.report_active(f"{name}/9", engine="ny4-01")


@pytest.mark.system  # Takes seconds.
async def test_a_database_that_is_away_when_the_feed_begins_is_waited_for(
    tmp_path: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = iter([True, True])

    def last(session: Session) -> int:
        if next(away, False):
            raise errors.StoreUnavailable("the disk is gone", store="database")
        return last_sequence(session)

    monkeypatch.setattr(model_events, "last_sequence", last)
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    async with AsyncClient(running.target) as client:
        await client.create_model("spx")
        events = client.watch(["spx"])
        await _take(events, 1)
        await client.register("spx", artifact)
        [told] = await asyncio.wait_for(_take(events, 1), PATIENCE_SECONDS)
        assert told.kind is EventKind.REGISTERED
        await events.aclose()
    await asyncio.to_thread(running.stop)


@pytest.mark.system
async def test_who_names_kinds_receives_engines_and_jobs_and_others_do_not(
    server: RunningServer, name: str, artifact: Path
) -> None:
    async with AsyncClient(server.target, actor="tester") as client:
        await client.create_model(name)
        usual = client.watch([name])
        await _take(usual, 1)
        named = client.watch([name], kinds=["engine", "job", "halted"])
        first = asyncio.ensure_future(anext(named))
        await asyncio.sleep(0.5)  # It has begun to watch; it does not begin with how things are.
        version = await client.register(name, artifact)
        for _ in range(3):
            await client.report_active(version, engine="ny4")
        status = (await first).subject
        assert (status.engine, status.version, status.state) == ("ny4", 1, RolloutState.LAGGING)  # type: ignore[union-attr]
        await client.report_active(version, engine="ny4", failure=LoadFailure(1, "no memory"))
        job = await client.request_retraining(name)
        await client.lease_job(name, holder="trainer-1")
        await client.halt(name, reason="stop")
        seen = await _take(named, 4)
        assert {event.kind for event in seen} == {EventKind.ENGINE, EventKind.JOB, EventKind.HALTED}
        assert [event.subject.failure for event in seen if event.kind is EventKind.ENGINE] == [  # type: ignore[union-attr]
            LoadFailure(1, "no memory")
        ]
        jobs = [event.subject for event in seen if event.kind is EventKind.JOB]
        assert [(one.job_id, one.state, one.holder) for one in jobs] == [  # type: ignore[union-attr]
            (job.job_id, "pending", ""),
            (job.job_id, "leased", "trainer-1"),
        ]
        assert [event.kind for event in await _take(usual, 2)] == [EventKind.REGISTERED, EventKind.HALTED]
        again = client.watch(
            [name], kinds=["job"], resume_token=next(e for e in seen if e.kind is EventKind.JOB).resume_token
        )
        assert [event.subject.state for event in await _take(again, 1)] == ["leased"]  # type: ignore[union-attr]
        for events in (usual, named, again):
            await events.aclose()


async def test_a_watch_of_changes_only_resumes_where_it_began(server: RunningServer, name: str, artifact: Path) -> None:
    async with AsyncClient(server.target) as client, grpc.aio.insecure_channel(server.target) as channel:
        await client.create_model(name)
        stub: Any = LifecycleServiceStub(channel)
        watch = stub.WatchModels(pb.WatchModelsRequest(models=[name], changes_only=True))
        begun = await watch.read()
        assert (list(begun.events), bool(begun.resume_token)) == ([], True)
        watch.cancel()
        await client.update_model(name, tags={"desk": "eu"})
        resumed = client.watch([name], resume_token=begun.resume_token)
        [state] = await _take(resumed, 1)
        assert (state.kind, state.subject.tags) == (EventKind.STATE, {"desk": "eu"})  # type: ignore[union-attr]
        await resumed.aclose()


@pytest.mark.system
async def test_an_engine_that_was_gone_is_told_of_when_it_reports_again(
    server: RunningServer, name: str, artifact: Path
) -> None:
    async with AsyncClient(server.target) as client:
        version = await client.register(name, artifact)
        await client.report_active(version, engine="ny4", silent_after=timedelta(milliseconds=1))
        events = client.watch([name], kinds=[EventKind.ENGINE])
        again = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.5)
        await client.report_active(version, engine="ny4")
        assert (await again).subject.engine == "ny4"  # type: ignore[union-attr]
        await events.aclose()


@pytest.mark.system  # Starts a server.
async def test_another_server_of_the_database_tells_of_engines(
    server: RunningServer, name: str, artifact: Path
) -> None:
    other = await asyncio.to_thread(RunningServer, server.settings.model_copy(update={"port": 0, "metrics_port": None}))
    async with AsyncClient(server.target) as client, AsyncClient(other.target) as watcher:
        version = await client.register(name, artifact)
        events = watcher.watch([name], kinds=[EventKind.ENGINE])
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.5)
        await client.report_active(version, engine="ny4")
        assert (await asyncio.wait_for(first, PATIENCE_SECONDS)).subject.engine == "ny4"  # type: ignore[union-attr]
        await events.aclose()
    await asyncio.to_thread(other.stop)
