"""What somebody who is limited to some models learns of the others: nothing, by whatever way."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf.empty_pb2 import Empty

from modelward import AsyncClient, Client
from modelward.errors import ModelNotAllowed
from modelward.retraining import FollowUpAction
from modelward_server.app import App
from modelward_server.security import grants, scope
from modelward_server.security.identity import Role
from modelward_server.security.permissions import Reach, permission_of
from modelward_server.security.session import administering
from modelward_server.settings import Settings
from tests.conftest import RunningServer, new_database


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that asks who calls, with a model of each of two desks."""
    url = new_database(request.getfixturevalue("postgres")) if request.param == "postgresql" else ""
    places = tmp_path_factory.mktemp("places")
    pq.write_table(pa.table({"a": np.arange(50.0), "salary": np.arange(50.0)}), places / "ndx.parquet")
    settings = Settings(
        port=0,
        data_dir=tmp_path_factory.mktemp("data"),
        database_url=url,
        auth=True,
        allowed_sources=(places.as_uri(), "runs:/", "models:/"),
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(App, "_add_services", _with_strangers(App._add_services))
        running = RunningServer(settings)
    with Client(running.target, token=token_of(running, "founder")) as client:
        for model in ("ndx-trend", "spx-trend", "spx-trend"):
            client.register(model, "README.md", reference={"a": np.arange(50.0)})
    yield running
    running.stop()


STRANGERS = ("other.v1.Service", "modelward.v1.NewService", "grpc.health.v2.Health", "grpc.reflection.v2.Reflection")


def _with_strangers(add_services: Callable[[App], None]) -> Callable[[App], None]:
    """Let a server have services that the table of permissions does not know."""

    async def ask(request: Empty, context: object) -> Empty:
        return request

    handler = grpc.unary_unary_rpc_method_handler(ask, Empty.FromString, Empty.SerializeToString)

    def add(app: App) -> None:
        add_services(app)
        app._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, {"Ask": handler}) for name in STRANGERS]
        )

    return add


@pytest.fixture
def founder(guarded: RunningServer) -> Iterator[Client]:
    """Somebody without a limit."""
    with Client(guarded.target, token=token_of(guarded, "founder")) as client:
        yield client


@pytest.fixture
def desk(guarded: RunningServer) -> Iterator[Client]:
    """Somebody who is limited to `spx-`."""
    with Client(guarded.target, token=token_of(guarded, "desk", "spx-")) as client:
        yield client


@pytest.fixture
def foreign_file(guarded: RunningServer) -> str:
    """A file that the server may read, of nobody by its name."""
    return f"{guarded.settings.allowed_sources[0]}/ndx.parquet"


def token_of(running: RunningServer, name: str, *models: str, role: Role = Role.ADMIN) -> str:
    with administering(running.settings) as (session, caller):
        return grants.create_token(session, name, role, models, None, caller)


@pytest.mark.parametrize("service", STRANGERS)
def test_a_service_that_no_permission_is_known_of_is_for_nobody(guarded: RunningServer, service: str) -> None:
    metadata = (("authorization", f"Bearer {token_of(guarded, 'founder')}"),)
    with grpc.insecure_channel(guarded.target) as channel:
        ask = channel.unary_unary(f"/{service}/Ask", Empty.SerializeToString, Empty.FromString)
        with pytest.raises(grpc.RpcError) as refused:
            ask(Empty(), timeout=20, metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_is_for_viewers_and_channelz_for_unlimited_admins() -> None:
    assert permission_of("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo").role is Role.VIEWER
    assert permission_of("/grpc.channelz.v1.Channelz/GetServers") == (Role.ADMIN, Reach.WHOLE)
    for method in ("/other.v1.LifecycleService/GetModel", "/modelward.v1.LifecycleService/Drop", "/GetModel", "", "/"):
        assert permission_of(method).role is None, method


def test_no_retraining_policy_reads_what_its_author_may_not(desk: Client, founder: Client, foreign_file: str) -> None:
    asked = replace(desk.get_retraining_policy("spx-trend"), follow_up=FollowUpAction.COMPARE, label="salary")
    for place in (foreign_file, "models:/ndx-trend/1", "runs:/0123/model", "models:/spx-trend/1/../../ndx-trend/1"):
        with pytest.raises(ModelNotAllowed, match="is no place of theirs"):
            desk.set_retraining_policy(replace(asked, evaluation_uri=place))
    kept = desk.set_retraining_policy(replace(asked, evaluation_uri="models:/spx-trend/1/data.parquet"))
    founder.set_retraining_policy(replace(kept, evaluation_uri=foreign_file))
    with pytest.raises(ModelNotAllowed):  # Nor does a change of the rest make it theirs.
        desk.set_retraining_policy(replace(desk.get_retraining_policy("spx-trend"), label="a"))


async def test_no_call_reads_from_a_place_of_others(guarded: RunningServer, foreign_file: str) -> None:
    async with AsyncClient(guarded.target, token=token_of(guarded, "desk", "spx-")) as desk:
        job = await desk.request_retraining("spx-trend")
        leased = await desk.lease_job("spx-trend", holder="w")
        for place in (foreign_file, "models:/ndx-trend/1"):
            with pytest.raises(ModelNotAllowed):
                await desk.compare(["spx-trend/1", "spx-trend/2"], place, "salary")
            with pytest.raises(ModelNotAllowed):
                await desk.detect_drift_uri("spx-trend/1", place)
            with pytest.raises(ModelNotAllowed):
                await desk.register_uri("spx-trend", place)
            with pytest.raises(ModelNotAllowed):
                await desk.complete_job(leased, 1, evaluation=place)
        assert (await desk.get_job(job.job_id)).successor == 0


def test_what_the_contract_forgot_to_mark_is_refused_where_it_is_read(
    desk: Client, foreign_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "check_request", lambda *_, **__: None)
    for place in (foreign_file, "models:/ndx-trend/1"):
        with pytest.raises(ModelNotAllowed):
            desk.register_uri("spx-trend", place)
        with pytest.raises(ModelNotAllowed):
            desk.detect_drift_uri("spx-trend/1", place)
        with pytest.raises(ModelNotAllowed):
            desk.compare(["spx-trend/1", "spx-trend/2"], place, "salary")


def test_an_id_of_others_is_refused_as_one_that_is_not_there(desk: Client, founder: Client) -> None:
    drift = founder.detect_drift("ndx-trend/1", {"a": np.arange(50.0)})
    schedule = founder.create_schedule("ndx-trend", drift=True)
    job = founder.request_retraining("ndx-trend")
    asks = (
        (desk.get_drift_report, drift.report_id),
        (desk.get_schedule, schedule.schedule_id),
        (desk.get_job, job.job_id),
        (desk.get_comparison, "comparison-0"),
        (desk.get_ab_test, "nobodys"),
    )
    for ask, key in asks:
        said = []
        for asked in (key, "absent"):
            with pytest.raises(ModelNotAllowed) as refused:
                ask(asked)
            said.append((refused.value.message.replace(asked, "ID"), refused.value.metadata))
        assert said[0] == said[1]
        assert "ndx" not in said[0][0]
    with pytest.raises(ModelNotAllowed) as refused:
        desk.get_model("absent")
    assert "is not one of them" in refused.value.message
    assert desk.create_schedule("spx-trend", schedule_id=f"spx-{drift.report_id}", drift=True).model == "spx-trend"
