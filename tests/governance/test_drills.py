"""Drills: which engines prove that they would stop, after how long, and that none does."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from modelward import AsyncClient, Client, Drill, EngineProof, EventKind, errors
from modelward.shared.convert.events import event_from_proto
from modelward_server.settings import Settings
from tests.support.desk import Desk
from tests.support.killable_server import KillableServer
from tests.support.ports import free_port
from tests.support.running_server import RunningServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.system  # Takes seconds.

SECOND = timedelta(seconds=1)
WHY = "yearly test of the kill switch"
RELEASED = Path(__file__).parents[2] / "protos" / "released" / "modelward-0.1.0.binpb"
FILE = Path(__file__)


@pytest.fixture
def sdk(server: RunningServer) -> Iterator[Client]:
    with Client(server.target, actor="vera") as client:
        yield client


def produced(client: Client, name: str) -> str:
    """Put a version in production, and return the model's name."""
    version = client.register(name, FILE)
    client.promote(version, to="staging")
    client.promote(version, to="production", reason="it passed its tests")
    return name


def started(client: Client, name: str, timeout: timedelta | None = None) -> Drill:
    [drill] = client.start_drill(name, reason=WHY, timeout=timeout)
    return drill


def ended(client: Client, drill: Drill) -> Drill:
    eventually(lambda: client.get_drill(drill.drill_id).ended_at)
    return client.get_drill(drill.drill_id)


@pytest.mark.system  # Waits for followers.
@pytest.mark.weekly("postgresql")
def test_engines_prove_that_they_would_stop_and_serve_on(sdk: Client, name: str, tmp_path: Path) -> None:
    produced(sdk, name)
    with (
        sdk.follow(name, cache=tmp_path, engine="ny4-01") as one,
        sdk.follow_many([name], cache=tmp_path, engine="ny4-02") as many,
    ):
        before = sdk.get_model(name)
        drill = ended(sdk, started(sdk, name))
        assert [engine.engine for engine in drill.engines] == ["ny4-01", "ny4-02"]
        for engine in drill.engines:
            assert (engine.proof, engine.version, engine.used_none) == (EngineProof.PROVEN, 1, False)
            assert engine.stopped_after is not None
            assert engine.answered_after is not None
            assert timedelta(0) < engine.stopped_after <= engine.answered_after < drill.ends_at - drill.started_at
        assert (drill.proven, drill.not_proven) == (2, 0)
        assert drill.longest == max(engine.answered_after for engine in drill.engines if engine.answered_after)
        assert drill.ended_at == drill.started_at + drill.longest
        assert one.current.version.version == many[name].current.version.version == 1
        assert sdk.get_model(name) == before
    assert (drill.started_by, drill.reason) == ("vera", WHY)
    assert sdk.verify_audit_log().intact


async def test_async_followers_answer_too(server: RunningServer, name: str, tmp_path: Path) -> None:
    with Client(server.target) as sdk:
        produced(sdk, name)
    async with AsyncClient(server.target) as client, client.follow(name, cache=tmp_path, engine="ny4-01"):
        [drill] = await client.start_drill(name, reason=WHY)
        async for event in client.watch([name], kinds=["drill"], resume_token="0"):
            if isinstance(event.subject, Drill) and event.subject.ended_at:
                break
        assert (await client.get_drill(drill.drill_id)).proven == 1


def test_an_engine_that_only_reports_is_not_proven(sdk: Client, name: str) -> None:
    version = f"{produced(sdk, name)}/1"
    sdk.report_active(version, engine="in-go")
    sdk.report_active(version, engine="gone", silent_after=timedelta(milliseconds=1))
    time.sleep(0.01)
    drill = started(sdk, name, SECOND)
    assert [(engine.engine, engine.proof) for engine in drill.engines] == [("in-go", EngineProof.WAITING)]
    drill = ended(sdk, drill)
    [engine] = drill.engines
    assert (engine.proof, engine.answered_after, drill.not_proven) == (EngineProof.NOT_PROVEN, None, 1)
    assert drill.ended_at == drill.ends_at == drill.started_at + SECOND
    with pytest.raises(errors.DrillEnded):
        sdk.answer_drill(drill.drill_id, engine="in-go")
    assert sdk.get_drill(drill.drill_id) == drill


def test_the_first_answer_of_an_engine_that_was_running_counts(sdk: Client, name: str) -> None:
    version = f"{produced(sdk, name)}/1"
    for engine in ("one", "two"):
        sdk.report_active(version, engine=engine)
    drill_id = started(sdk, name).drill_id
    sdk.report_active(version, engine="later")
    with pytest.raises(errors.EngineNotDrilled, match="'later' had not reported"):
        sdk.answer_drill(drill_id, engine="later")
    with pytest.raises(errors.DrillNotFound):
        sdk.answer_drill("drill-0", engine="one")
    with pytest.raises(errors.DrillNotFound):
        sdk.get_drill("drill-0")
    first = sdk.answer_drill(drill_id, engine="one", stopped_after=timedelta(milliseconds=20))
    assert (first.proven, first.not_proven, first.ended_at) == (1, 0, None)
    assert sdk.answer_drill(drill_id, engine="one", stopped_after=SECOND, used_none=True) == first
    last = sdk.answer_drill(drill_id, engine="two")
    assert (last.proven, last.engines[0]) == (2, first.engines[0])
    assert last.ended_at is not None
    assert sdk.answer_drill(drill_id, engine="two") == last


@pytest.mark.system  # Waits for followers.
def test_an_engine_that_uses_no_version_says_so(sdk: Client, name: str, tmp_path: Path) -> None:
    produced(sdk, name)
    with sdk.follow(name, cache=tmp_path, engine="ny4-01"):
        sdk.halt(name, reason="prices are wrong")
        [engine] = ended(sdk, started(sdk, name)).engines
        assert (engine.proof, engine.used_none) == (EngineProof.PROVEN, True)
    assert sdk.get_model(name).halt is not None


@pytest.mark.system  # Waits for followers.
def test_two_drills_of_a_model_are_answered_each(sdk: Client, name: str, tmp_path: Path) -> None:
    produced(sdk, name)
    with sdk.follow(name, cache=tmp_path, engine="ny4-01"):
        drills = [started(sdk, name), started(sdk, name)]
        assert [ended(sdk, drill).proven for drill in drills] == [1, 1]


def test_a_watch_begins_with_the_drills_that_run(sdk: Client, name: str) -> None:
    sdk.report_active(f"{produced(sdk, name)}/1", engine="in-go")
    drill = started(sdk, name)
    events = sdk.watch([name])
    assert [next(events).kind, next(events).subject] == [EventKind.STATE, drill]
    answered = sdk.answer_drill(drill.drill_id, engine="in-go")
    assert next(events).subject == answered
    assert next(sdk.watch([name], kinds=["state"], changes_only=False)).kind is EventKind.STATE


def test_drills_are_listed_by_model_and_time(sdk: Client, name: str) -> None:
    produced(sdk, name)
    other = produced(sdk, f"{name}-other")
    since = datetime.now(UTC)
    drills = sdk.start_drill([name, other, name], reason=WHY)
    assert [(drill.model, drill.engines) for drill in drills] == [(name, ()), (other, ())]
    assert all(drill.ended_at == drill.started_at for drill in drills)
    assert list(sdk.list_drills(name)) == [drills[0]]
    assert {*drills} <= {*sdk.list_drills(started_after=since)}
    assert not {*drills} & {*sdk.list_drills(started_before=since)}
    assert {name, other} <= {drill.model for drill in sdk.start_drill(all_in_production=True, reason=WHY)}
    with pytest.raises(errors.ModelNotFound):
        sdk.start_drill([name, "unknown"], reason=WHY)
    with pytest.raises(errors.InvalidField):
        sdk.start_drill(reason=WHY)
    with pytest.raises(errors.InvalidField):
        sdk.start_drill(name, reason=" ")
    assert len(list(sdk.list_drills(name))) == 2


def test_operators_and_validators_start_drills_and_engines_answer(desk: Desk) -> None:
    name = desk.model()
    for person in ("quant", "compliance"):
        with pytest.raises(errors.RoleTooLow):
            desk.clients[person].start_drill(name, reason=WHY)
    for person in ("trader", "risk", "founder"):
        desk.compliance.report_active(f"{name}/1", engine=person)
        drill = started(desk.clients[person], name)
        for engine in drill.engines:
            drill = desk.compliance.answer_drill(drill.drill_id, engine=engine.engine)
        assert (drill.started_by, drill.not_proven, drill.ended_at is None) == (person, 0, False)
    assert desk.founder.verify_audit_log().intact


def test_clients_of_the_last_release_skip_drills(server: RunningServer, sdk: Client, name: str) -> None:
    produced(sdk, name)
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(RELEASED.read_bytes()).file:
        pool.Add(file)
    response: Any = GetMessageClass(pool.FindMessageTypeByName("modelward.v1.WatchModelsResponse"))
    request: Any = GetMessageClass(pool.FindMessageTypeByName("modelward.v1.WatchModelsRequest"))
    with grpc.insecure_channel(server.target) as channel:
        watch = channel.unary_stream(
            "/modelward.v1.LifecycleService/WatchModels",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )(request(models=[name]))
        assert next(watch).events[0].WhichOneof("event") == "state"
        drill = started(sdk, name)
        [told] = next(watch).events
        watch.cancel()
    assert (told.model, told.WhichOneof("event"), event_from_proto(told)) == (name, None, None)
    assert drill.drill_id.encode() in told.SerializeToString()
    [again] = [next(sdk.watch([name], kinds=["drill"], resume_token=str(int(told.resume_token) - 1)))]
    assert (again.kind, again.subject) == (EventKind.DRILL, drill)


@pytest.mark.system  # Starts processes.
def test_a_drill_is_answered_although_the_server_dies_before_it_tells_anybody(tmp_path: Path) -> None:
    port = ["--port", str(free_port())]
    server = KillableServer(tmp_path / "data", tmp_path / "log", *port, step="drill committed")
    with Client(f"127.0.0.1:{port[1]}", actor="vera", timeout=60) as sdk:
        produced(sdk, "spx")
        with sdk.follow("spx", cache=tmp_path / "cache", engine="ny4-01"):
            with pytest.raises(errors.ModelwardError), Client(f"127.0.0.1:{port[1]}", timeout=1) as hasty:
                hasty.start_drill("spx", reason=WHY)
            server.wait_until_killed()
            server = KillableServer(tmp_path / "data", tmp_path / "log2", *port)
            [drill] = sdk.list_drills()
            drill = ended(sdk, drill)
            assert (drill.proven, drill.not_proven) == (1, 0), "the follower received it after the restart"
            assert drill.longest is not None
            assert drill.longest > timedelta(milliseconds=100)
    server.kill()


@pytest.mark.system  # Starts a second server.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # Servers do not share a file of SQLite.
def test_engines_of_every_server_answer(server: RunningServer, sdk: Client, name: str, tmp_path: Path) -> None:
    produced(sdk, name)
    settings = Settings(port=0, data_dir=server.settings.data_dir, database_url=server.settings.database_url)
    other = RunningServer(settings)
    try:
        with Client(other.target) as client, client.follow(name, cache=tmp_path, engine="ld4-01"):
            assert ended(sdk, started(sdk, name)).proven == 1
    finally:
        other.stop()
